//! Periodic maintenance: deletes old rows, forgets guilds, writes the daily copy, counts the queue.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use killfeed_service::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::{
    database, metrics,
    outbox::Outbox,
    subscriptions::{Snapshot, Subscriptions, copies},
};

/// How often what is too old to be asked for is deleted, and counts are taken anew.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(3_600);
const COUNT_INTERVAL: Duration = Duration::from_secs(15);

/// Until `stop`; what it cannot do because the database failed ends the process.
pub(super) async fn upkeep(
    outbox: Arc<Outbox>,
    subscriptions: Arc<Subscriptions>,
    data_dir: PathBuf,
    forget_after: Duration,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut expire = tokio::time::interval(MAINTENANCE_INTERVAL);
    let mut count = tokio::time::interval(COUNT_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = expire.tick() => {
                outbox.end_quiet_battles(clock.now().unix_ms())?;
                let rows = outbox.expire(clock.now().unix_ms()).await?;
                tracing::debug!(rows, "old rows deleted");
                forget(&outbox, &subscriptions, &data_dir, forget_after, clock.now().unix_ms()).await?;
                if let Err(error) = copies::write(&data_dir, &subscriptions, clock.now().unix_ms()) {
                    tracing::error!(%error, "cannot write the daily copy of the subscriptions");
                }
            }
            _ = count.tick() => show_queue(&outbox, &subscriptions.snapshot(), clock.now().unix_ms())?,
        }
    }
}

/// What waits, in the metrics.
fn show_queue(outbox: &Outbox, snapshot: &Snapshot, now: u64) -> Result<(), database::StorageError> {
    // What waits for a suspended channel waits for its administrators.
    let oldest = outbox.oldest(|destination| snapshot.suspension(destination).is_none())?;
    let waited = Duration::from_millis(oldest.map_or(0, |queued| now.saturating_sub(queued)));
    metrics::waiting(outbox.waiting(), waited, snapshot.suspended());
    Ok(())
}

/// Deletes all that is kept of guilds that have removed the bot long ago.
async fn forget(
    outbox: &Outbox,
    subscriptions: &Subscriptions,
    data_dir: &Path,
    after: Duration,
    now: u64,
) -> anyhow::Result<()> {
    let before = now.saturating_sub(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    for guild in subscriptions.gone_since(before)? {
        let removed = subscriptions.forget(guild).await?;
        let destinations: BTreeSet<_> = removed.iter().map(|one| &one.spec.destination).collect();
        for destination in destinations {
            outbox.forget(destination, now)?;
        }
        outbox.forget_guild(guild)?;
        outbox.flush().await?;
        if let Err(error) = copies::without(data_dir, &[guild]) {
            // It stays marked as gone, and is forgotten in the copies, too, once they can be written to.
            tracing::error!(guild, %error, "daily copies cannot be rewritten without a guild");
            continue;
        }
        subscriptions.guild_back(guild).await?;
        tracing::info!(guild, "guild forgotten, it removed the bot long ago");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::subscriptions::file;

    #[tokio::test]
    async fn copies_that_cannot_be_rewritten_end_nothing_and_are_rewritten_later() {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
        let outbox = Outbox::new(database.clone());
        let subscriptions = Subscriptions::open(database, Duration::from_secs(60)).unwrap();
        let row = "[[subscription]]\nname = \"x\"\nguild = 7\nchannel = 8\nfilter = \"\"\n";
        subscriptions.take_file(file::parse(row, "").unwrap(), 1).await.unwrap();
        subscriptions.guild_gone(7, 100).await.unwrap();
        // A file where the folder of the copies should be.
        let exports = dir.path().join("exports");
        std::fs::write(&exports, "").unwrap();
        let forget = async || {
            forget(&outbox, &subscriptions, dir.path(), Duration::ZERO, 200)
                .await
                .unwrap();
            subscriptions.gone_since(200).unwrap()
        };
        assert_eq!(forget().await, [7], "it is tried again");
        assert!(subscriptions.list().is_empty());
        std::fs::remove_file(&exports).unwrap();
        assert_eq!(forget().await, [0; 0]);
    }
}
