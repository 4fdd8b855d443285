//! What people change, one by one or all at once. A change is on disk when these return, and never half of one.

use std::{collections::BTreeMap, sync::Arc};

use super::{SubscriptionKey, Subscriptions, by_key};
use crate::{
    database::{CompiledRow, StorageError},
    sink::Destination,
    subscriptions::{Subscription, SubscriptionId, SubscriptionSource, SubscriptionSpec},
};

/// Why a change was not made. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another subscription of the guild has this name.
    #[error("a subscription called {0:?} already exists in this server")]
    NameTaken(String),
    /// No subscription of the guild has this name.
    #[error("this server has no subscription called {0:?}")]
    NotFound(String),
    /// It is not any more what the change was made from.
    #[error("{0:?} was changed by someone else: look at it again, then repeat your change")]
    Conflict(String),
    /// The guild has as many as it may have.
    #[error("too many subscriptions: a server can have {limit}, and this would make {would_be}; remove some first")]
    TooMany {
        /// NOTIFIER_MAX_SUBSCRIPTIONS.
        limit: usize,
        /// How many there would be.
        would_be: usize,
    },
    /// The operator's file says that it is there.
    #[error(
        "{0:?} is in the operator's subscriptions file and would return with its next load: pause it, or ask the operator to remove it from the file"
    )]
    ManagedByFile(String),
    /// The database failed: the process must end.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Who changes something, and when (milliseconds).
#[derive(Debug, Clone, Copy)]
pub struct Actor {
    /// Discord's id of the user; 0 = not through Discord.
    pub user: u64,
    /// Through what.
    pub source: SubscriptionSource,
    /// Now.
    pub now: u64,
}

impl Subscriptions {
    /// One of a guild by its name.
    pub fn get(&self, guild: u64, name: &str) -> Option<Arc<Subscription>> {
        self.lock().get(&(guild, name.to_owned())).cloned()
    }

    /// All of a guild, ordered by name.
    pub fn of_guild(&self, guild: u64) -> Vec<Arc<Subscription>> {
        of_guild(&self.lock(), guild)
    }

    /// Adds every wish with its trees, or none. Each begins at the log's head.
    pub async fn add(
        &self,
        wishes: Vec<(SubscriptionSpec, CompiledRow)>,
        limit: usize,
        by: Actor,
    ) -> Result<Vec<Arc<Subscription>>, ChangeError> {
        let added;
        {
            let mut all = self.lock();
            let mut put: Vec<Subscription> = Vec::with_capacity(wishes.len());
            let mut new: BTreeMap<u64, usize> = BTreeMap::new();
            for (wish, compiled) in wishes {
                let key = (wish.guild, wish.name.clone());
                let twice = put
                    .iter()
                    .any(|other| other.spec.guild == wish.guild && other.spec.name == wish.name);
                if twice || all.contains_key(&key) {
                    return Err(ChangeError::NameTaken(wish.name));
                }
                *new.entry(wish.guild).or_default() += 1;
                put.push(Subscription {
                    id: SubscriptionId(0),
                    suspension: suspension(&all, &wish.destination),
                    spec: wish,
                    source: by.source,
                    created: (by.user, by.now),
                    changed: (by.user, by.now),
                    active_from: by.now,
                    problem: String::new(),
                    compiled: Some(compiled),
                });
            }
            for (guild, more) in new {
                let would_be = all.keys().filter(|(of, _)| *of == guild).count() + more;
                if would_be > limit {
                    return Err(ChangeError::TooMany { limit, would_be });
                }
            }
            let keys: Vec<SubscriptionKey> = put.iter().map(|one| (one.spec.guild, one.spec.name.clone())).collect();
            self.write(&mut all, &put, &[])?;
            added = keys.iter().filter_map(|key| all.get(key).cloned()).collect();
        }
        self.database.flush().await?;
        Ok(added)
    }

    /// Makes `seen` be `wish`, which may bear another name. It keeps its id and starts at the log's head. Refused if it is not as it
    /// was seen any more: `wish` was made from that, and compiled since.
    pub async fn edit(
        &self,
        seen: &Subscription,
        wish: SubscriptionSpec,
        compiled: CompiledRow,
        by: Actor,
    ) -> Result<Arc<Subscription>, ChangeError> {
        let edited;
        {
            let mut all = self.lock();
            let old_key = (seen.spec.guild, seen.spec.name.clone());
            let new_key = (seen.spec.guild, wish.name.clone());
            let Some(old) = all.get(&old_key) else {
                return Err(ChangeError::NotFound(old_key.1));
            };
            if old.id != seen.id || old.spec != seen.spec {
                return Err(ChangeError::Conflict(old_key.1));
            }
            if new_key != old_key && all.contains_key(&new_key) {
                return Err(ChangeError::NameTaken(wish.name));
            }
            if new_key != old_key && old.source == SubscriptionSource::File {
                return Err(ChangeError::ManagedByFile(old_key.1));
            }
            let same_place = old.spec.destination == wish.destination;
            let put = Subscription {
                id: old.id,
                suspension: if same_place {
                    old.suspension.clone()
                } else {
                    suspension(&all, &wish.destination)
                },
                spec: wish,
                // What a person has changed is no longer the file's to change back.
                source: by.source,
                created: old.created,
                changed: (by.user, by.now),
                active_from: by.now,
                problem: String::new(),
                compiled: Some(compiled),
            };
            let gone = if new_key == old_key { vec![] } else { vec![old_key] };
            self.write(&mut all, std::slice::from_ref(&put), &gone)?;
            edited = all.get(&new_key).cloned().unwrap_or_else(|| Arc::new(put));
        }
        self.database.flush().await?;
        Ok(edited)
    }

    /// Pauses or resumes those of `names`; returns those that were not so already. What a pause missed is not made up for.
    pub async fn set_paused(
        &self,
        guild: u64,
        names: &[String],
        paused: bool,
        by: Actor,
    ) -> Result<Vec<Arc<Subscription>>, ChangeError> {
        let changed: Vec<Arc<Subscription>>;
        {
            let mut all = self.lock();
            let mut put = Vec::new();
            for name in names {
                let Some(old) = all.get(&(guild, name.clone())) else {
                    return Err(ChangeError::NotFound(name.clone()));
                };
                if old.spec.paused != paused {
                    let mut one = Subscription::clone(old);
                    one.spec.paused = paused;
                    one.changed = (by.user, by.now);
                    one.source = by.source;
                    one.active_from = by.now;
                    put.push(one);
                }
            }
            self.write(&mut all, &put, &[])?;
            changed = by_key(put).into_values().collect();
        }
        self.database.flush().await?;
        Ok(changed)
    }

    /// Removes those of `names`, all or none, and returns them.
    pub async fn remove(&self, guild: u64, names: &[String]) -> Result<Vec<Arc<Subscription>>, ChangeError> {
        let mut removed = Vec::new();
        {
            let mut all = self.lock();
            let keys: Vec<SubscriptionKey> = names.iter().map(|name| (guild, name.clone())).collect();
            for key in &keys {
                match all.get(key) {
                    None => return Err(ChangeError::NotFound(key.1.clone())),
                    Some(one) if one.source == SubscriptionSource::File => {
                        return Err(ChangeError::ManagedByFile(key.1.clone()));
                    }
                    Some(one) => removed.push(one.clone()),
                }
            }
            self.write(&mut all, &[], &keys)?;
        }
        self.database.flush().await?;
        Ok(removed)
    }

    /// Removes everything of a guild, whoever made it.
    pub async fn forget(&self, guild: u64) -> Result<Vec<Arc<Subscription>>, StorageError> {
        let removed;
        {
            let mut all = self.lock();
            removed = of_guild(&all, guild);
            let keys: Vec<SubscriptionKey> = removed.iter().map(|one| (guild, one.spec.name.clone())).collect();
            self.write(&mut all, &[], &keys)?;
        }
        self.database.flush().await?;
        Ok(removed)
    }
}

fn of_guild(all: &BTreeMap<SubscriptionKey, Arc<Subscription>>, guild: u64) -> Vec<Arc<Subscription>> {
    let of_guild = all.range((guild, String::new())..);
    of_guild
        .take_while(|((of, _), _)| *of == guild)
        .map(|(_, one)| one.clone())
        .collect()
}

/// Why the destination takes no posts, as its other subscriptions have it.
fn suspension(
    all: &BTreeMap<SubscriptionKey, Arc<Subscription>>,
    destination: &Destination,
) -> Option<crate::database::SuspensionRow> {
    let there = all.values().filter(|one| one.spec.destination == *destination);
    // A retired channel is gone for good: whoever can choose it again has another one, or has it back.
    there
        .filter_map(|one| one.suspension.clone())
        .find(|suspension| !suspension.retired)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{database, matching::tests::subscription};

    fn by(now: u64) -> Actor {
        Actor {
            user: 5,
            source: SubscriptionSource::Command,
            now,
        }
    }

    fn wish(name: &str) -> (SubscriptionSpec, CompiledRow) {
        let template = subscription(1);
        let wish = SubscriptionSpec {
            name: name.into(),
            ..template.spec
        };
        (wish, template.compiled.unwrap())
    }

    fn names(all: &[Arc<Subscription>]) -> Vec<&str> {
        all.iter().map(|one| one.spec.name.as_str()).collect()
    }

    #[tokio::test]
    async fn changes_are_whole_and_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
        let open = || Subscriptions::open(database.clone(), Duration::from_secs(60)).unwrap();
        let subscriptions = open();
        let added = subscriptions.add(vec![wish("a"), wish("b")], 3, by(10)).await.unwrap();
        assert_eq!(names(&added), ["a", "b"]);
        assert_eq!(
            (added[0].id.0, added[0].created, added[0].active_from),
            (1, (5, 10), 10)
        );

        let taken = subscriptions
            .add(vec![wish("c"), wish("a")], 9, by(11))
            .await
            .unwrap_err();
        assert!(matches!(taken, ChangeError::NameTaken(name) if name == "a"));
        let twice = subscriptions
            .add(vec![wish("c"), wish("c")], 9, by(11))
            .await
            .unwrap_err();
        assert!(matches!(twice, ChangeError::NameTaken(name) if name == "c"));
        let many = subscriptions
            .add(vec![wish("c"), wish("d")], 3, by(11))
            .await
            .unwrap_err();
        assert!(matches!(many, ChangeError::TooMany { limit: 3, would_be: 4 }));
        assert_eq!(
            names(&subscriptions.of_guild(1)),
            ["a", "b"],
            "nothing of a refused change is there"
        );

        let (mut renamed, compiled) = wish("z");
        renamed.filter = "npc".into();
        let edited = subscriptions
            .edit(&added[0], renamed.clone(), compiled.clone(), by(20))
            .await
            .unwrap();
        assert_eq!((edited.id.0, edited.active_from, edited.created), (1, 20, (5, 10)));
        let taken = subscriptions
            .edit(&edited, wish("b").0, compiled, by(21))
            .await
            .unwrap_err();
        assert!(matches!(taken, ChangeError::NameTaken(_)));

        let paused = subscriptions
            .set_paused(1, &["b".into(), "z".into()], true, by(30))
            .await
            .unwrap();
        assert_eq!(names(&paused), ["b", "z"]);
        assert!(subscriptions.snapshot().is_empty());
        let again = subscriptions.set_paused(1, &["b".into()], true, by(31)).await.unwrap();
        assert!(again.is_empty());
        let resumed = subscriptions.set_paused(1, &["b".into()], false, by(40)).await.unwrap();
        assert_eq!(resumed[0].active_from, 40, "what the pause missed is not posted");

        let missing = subscriptions
            .remove(1, &["b".into(), "nobody".into()])
            .await
            .unwrap_err();
        assert!(matches!(missing, ChangeError::NotFound(name) if name == "nobody"));
        drop(subscriptions);
        let subscriptions = open();
        assert_eq!(names(&subscriptions.of_guild(1)), ["b", "z"]);
        assert_eq!(names(&subscriptions.remove(1, &["b".into()]).await.unwrap()), ["b"]);
        assert_eq!(names(&subscriptions.forget(1).await.unwrap()), ["z"]);
        assert!(open().list().is_empty());
    }

    /// An edit is made from what was read before its filter was compiled, which takes a while. Meanwhile the admin API has removed
    /// the subscription and made another one of its name, or the file was read again.
    #[tokio::test]
    async fn what_was_changed_meanwhile_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
        let subscriptions = Subscriptions::open(database, Duration::from_secs(60)).unwrap();
        let seen = subscriptions.add(vec![wish("a")], 9, by(1)).await.unwrap().remove(0);
        subscriptions.remove(1, &["a".into()]).await.unwrap();
        let gone = subscriptions
            .edit(&seen, wish("a").0, wish("a").1, by(2))
            .await
            .unwrap_err();
        assert!(matches!(gone, ChangeError::NotFound(name) if name == "a"));

        let (mut other, compiled) = wish("a");
        other.filter = "npc".into();
        let other = subscriptions
            .add(vec![(other, compiled)], 9, by(3))
            .await
            .unwrap()
            .remove(0);
        let changed = subscriptions
            .edit(&seen, wish("a").0, wish("a").1, by(4))
            .await
            .unwrap_err();
        assert!(matches!(changed, ChangeError::Conflict(name) if name == "a"));
        assert_eq!(subscriptions.get(1, "a").unwrap(), other);

        subscriptions.set_paused(1, &["a".into()], true, by(5)).await.unwrap();
        let changed = subscriptions
            .edit(&other, wish("b").0, wish("b").1, by(6))
            .await
            .unwrap_err();
        assert!(matches!(changed, ChangeError::Conflict(_)));
        assert!(subscriptions.get(1, "a").unwrap().spec.paused);
    }

    #[tokio::test]
    async fn rows_of_the_file_are_taken_over_but_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
        let subscriptions = Subscriptions::open(database, Duration::from_secs(60)).unwrap();
        subscriptions.take_file(vec![wish("a").0], 1).await.unwrap();
        let refused = subscriptions.remove(1, &["a".into()]).await.unwrap_err();
        assert!(matches!(refused, ChangeError::ManagedByFile(_)));
        subscriptions.set_paused(1, &["a".into()], true, by(2)).await.unwrap();
        let counts = subscriptions.take_file(vec![wish("a").0], 3).await.unwrap();
        assert_eq!(counts.taken, 1);
        assert!(
            subscriptions.get(1, "a").unwrap().spec.paused,
            "an answered command outlives a reload"
        );
    }
}
