//! What is too old to be asked for is deleted, and the outbox is dropped where the operator asks for it.

use std::time::Duration;

use super::Outbox;
use crate::database::{CooldownRow, HandledRow, PostRow, PostState, StorageError, decode, meta};

/// How long `handled`, and ends in `posts`, are kept.
pub const RETENTION: Duration = Duration::from_secs(7 * 86_400);

/// How many rows are looked at before other tasks get a turn.
const MAX_BATCH: usize = 500;

impl Outbox {
    /// Deletes what ended longer than [`RETENTION`] ago, and cooldowns that are over. Returns how many rows went.
    pub async fn expire(&self, now: u64) -> Result<usize, StorageError> {
        let kept = u64::try_from(RETENTION.as_millis()).unwrap_or(u64::MAX);
        let before = now.saturating_sub(kept);
        let handled = |bytes: &[u8]| Ok(decode::<HandledRow>("handled", bytes)?.at < before);
        let posts = |bytes: &[u8]| {
            let row: PostRow = decode("posts", bytes)?;
            Ok(row.state() != PostState::Queued && row.since < before)
        };
        let cooldowns = |bytes: &[u8]| Ok(decode::<CooldownRow>("cooldowns", bytes)?.until < now);
        Ok(sweep(&self.database.handled, handled).await?
            + sweep(&self.database.posts, posts).await?
            + sweep(&self.database.cooldowns, cooldowns).await?)
    }

    /// Drops what waits and the position, once: with `wanted` for the first time since a start without it. Returns whether.
    pub async fn skip_backlog(&self, wanted: bool) -> Result<bool, StorageError> {
        let done = self.database.meta.contains_key(meta::BACKLOG_SKIPPED)?;
        match (wanted, done) {
            (true, false) => {
                self.database.queue.clear()?;
                self.database.killmails.clear()?;
                // What waited is neither posted nor wanted any more; without its row it would be `Queued` forever.
                let queued = |bytes: &[u8]| Ok(decode::<PostRow>("posts", bytes)?.state() == PostState::Queued);
                sweep(&self.database.posts, queued).await?;
                // Digests are made of bytes that are gone, and what moved guilds had still to read is of the past as well.
                for kind in [meta::BATTLE, meta::CATCH_UP] {
                    for key in self.database.meta.scan_prefix(kind).keys() {
                        self.database.meta.remove(key?)?;
                    }
                }
                self.database.meta.remove(meta::POSITION)?;
                self.database.meta.insert(meta::BACKLOG_SKIPPED, &[1])?;
            }
            (false, true) => drop(self.database.meta.remove(meta::BACKLOG_SKIPPED)?),
            _ => return Ok(false),
        }
        self.flush().await?;
        Ok(wanted)
    }
}

async fn sweep(tree: &sled::Tree, gone: impl Fn(&[u8]) -> Result<bool, StorageError>) -> Result<usize, StorageError> {
    let mut removed = 0;
    for (index, row) in tree.iter().enumerate() {
        let (key, bytes) = row?;
        if gone(&bytes)? {
            // Unless it was rewritten meanwhile: then it is not old.
            let exchanged = tree.compare_and_swap(&key, Some(&bytes), None::<&[u8]>)?;
            removed += usize::from(exchanged.is_ok());
        }
        if index % MAX_BATCH == MAX_BATCH - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(removed)
}
