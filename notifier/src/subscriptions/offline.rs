//! All subscriptions of a data folder that no notifier runs on: what a backup is made of, and put back into.

use std::{io, path::Path, sync::Arc, time::Duration};

use killfeed_service::clock::Clock;

use super::{Subscription, SubscriptionSource, SubscriptionSpec, Subscriptions, file, service};
use crate::database::{self, StorageError};

/// Why there is no backup, or why it was not put back. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// Nothing was ever kept there.
    #[error("no database in {0}: expected the data folder of a killfeed-notifier; set NOTIFIER_DATA_DIR")]
    Nothing(String),
    /// What was given is no file of subscriptions.
    #[error("the file is not an export of killfeed-notifier: {0}")]
    File(#[from] file::SubscriptionsFileError),
    /// Some are there already.
    #[error("nothing was imported: the data folder already has {0}; use a folder without them, like an empty one")]
    There(String),
    /// A guild would have too many.
    #[error(
        "nothing was imported: guild {guild} would have {would_be} subscriptions, and can have {limit}; raise NOTIFIER_MAX_SUBSCRIPTIONS"
    )]
    TooMany {
        /// Which.
        guild: u64,
        /// How many it would have.
        would_be: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The database cannot be used; also: a notifier runs on it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl OfflineError {
    /// A notifier runs on this folder, and can be asked.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Locked { .. }))
    }
}

/// All of them, of all guilds.
pub fn read(data_dir: &Path) -> Result<Vec<Arc<Subscription>>, OfflineError> {
    if !data_dir.join("sled").is_dir() {
        return Err(OfflineError::Nothing(data_dir.display().to_string()));
    }
    Ok(open(data_dir)?.list())
}

/// Adds every row of the file, or none; returns how many those are. Their filters are compiled when the notifier starts, and they
/// begin at the log's head.
pub async fn add(data_dir: &Path, text: &str, api_url: &str, limit: usize, now: u64) -> Result<usize, OfflineError> {
    let wishes = file::parse(text, api_url)?;
    let subscriptions = open(data_dir)?;
    let there = wishes
        .iter()
        .filter(|wish| subscriptions.get(wish.guild, &wish.name).is_some());
    let there: Vec<String> = there
        .map(|wish| format!("{:?} of guild {}", wish.name, wish.guild))
        .collect();
    if !there.is_empty() {
        return Err(OfflineError::There(there.join(", ")));
    }
    for wish in &wishes {
        let of_guild = |other: &&SubscriptionSpec| other.guild == wish.guild;
        let would_be = subscriptions.of_guild(wish.guild).len() + wishes.iter().filter(of_guild).count();
        if would_be > limit {
            let guild = wish.guild;
            return Err(OfflineError::TooMany { guild, would_be, limit });
        }
    }
    let put = wishes.into_iter().map(|wish| Subscription {
        // Its people may change it: it is not the operator's file that says it.
        source: SubscriptionSource::Command,
        ..service::new(wish, now)
    });
    let put: Vec<Subscription> = put.collect();
    subscriptions.put_all(&put).await?;
    Ok(put.len())
}

fn open(data_dir: &Path) -> Result<Subscriptions, OfflineError> {
    let opened = database::open(data_dir, Clock::system().now().wall)?;
    if let Some(moved) = opened.moved_aside {
        let reason = io::Error::other(format!(
            "the database is corrupt ({}) and was moved to {}",
            moved.reason,
            moved.to.display()
        ));
        return Err(OfflineError::Storage(StorageError::Open {
            path: data_dir.display().to_string(),
            reason: reason.to_string(),
        }));
    }
    // Nothing is matched here: the limit of ages is of no meaning.
    Ok(Subscriptions::open(Arc::new(opened.database), Duration::MAX)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::export;

    const ROWS: &str = r#"
[[subscription]]
name = "a"
guild = 7
channel = 2
filter = "npc"
ping = "role:3"

[[subscription]]
name = "a"
guild = 8
channel = 3
filter = ""
paused = true
"#;

    #[tokio::test]
    async fn what_was_read_is_added_elsewhere_as_it_was_or_not_at_all() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(matches!(read(one.path()), Err(OfflineError::Nothing(_))));
        assert_eq!(add(one.path(), ROWS, "", 5, 10).await.unwrap(), 2);
        let all = read(one.path()).unwrap();
        let text = export::json(all.iter().map(|one| &**one));
        assert_eq!(add(two.path(), &text, "", 5, 20).await.unwrap(), 2);
        let again = read(two.path()).unwrap();
        let wishes = |of: &[Arc<Subscription>]| of.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
        assert_eq!(wishes(&again), wishes(&all));
        assert_eq!(
            (again[0].active_from, again[0].source),
            (20, SubscriptionSource::Command)
        );

        let error = add(two.path(), &text, "", 5, 30).await.unwrap_err().to_string();
        assert!(error.contains("\"a\" of guild 7, \"a\" of guild 8"), "{error}");
        let more = ROWS.replace("\"a\"", "\"b\"");
        let error = add(two.path(), &more, "", 1, 30).await.unwrap_err();
        assert!(
            matches!(
                error,
                OfflineError::TooMany {
                    guild: 7,
                    would_be: 2,
                    limit: 1
                }
            ),
            "{error}"
        );
        assert!(matches!(
            add(two.path(), "{", "", 5, 30).await,
            Err(OfflineError::File(_))
        ));
        assert_eq!(read(two.path()).unwrap().len(), 2, "nothing of it was stored");
        let held = database::open(two.path(), Clock::system().now().wall).unwrap();
        assert!(read(two.path()).unwrap_err().is_running());
        drop(held);
    }
}
