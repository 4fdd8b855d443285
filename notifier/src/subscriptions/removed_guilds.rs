//! Guilds that have removed the bot: since when, so that nothing is kept of them for ever.

use super::{Subscriptions, store};
use crate::database::StorageError;

impl Subscriptions {
    /// The bot is not in this guild any more; only the first time counts.
    pub async fn guild_gone(&self, guild: u64, now: u64) -> Result<(), StorageError> {
        store::mark_gone(self.database(), guild, Some(now))?;
        self.database().flush().await
    }

    /// It is in there again.
    pub async fn guild_back(&self, guild: u64) -> Result<(), StorageError> {
        if store::mark_gone(self.database(), guild, None)? {
            self.database().flush().await?;
        }
        Ok(())
    }

    /// Guilds that are gone since `before` or longer.
    pub fn gone_since(&self, before: u64) -> Result<Vec<u64>, StorageError> {
        store::gone_since(self.database(), before)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::{database, subscriptions::file};

    #[tokio::test]
    async fn a_guild_that_comes_back_in_time_keeps_everything() {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
        let subscriptions = Subscriptions::open(database, Duration::from_secs(60)).unwrap();
        let row = |guild: u64| {
            format!("[[subscription]]\nname = \"x\"\nguild = {guild}\nchannel = {guild}0\nfilter = \"\"\n")
        };
        let wishes = file::parse(&(row(1) + &row(2)), "").unwrap();
        subscriptions.take_file(wishes, 1).await.unwrap();
        subscriptions.guild_gone(1, 100).await.unwrap();
        subscriptions.guild_gone(1, 500).await.unwrap();
        subscriptions.guild_gone(2, 300).await.unwrap();
        assert_eq!(subscriptions.gone_since(99).unwrap(), [0; 0]);
        assert_eq!(subscriptions.gone_since(100).unwrap(), [1]);
        subscriptions.guild_back(1).await.unwrap();
        assert_eq!(subscriptions.gone_since(1_000).unwrap(), [2]);
    }
}
