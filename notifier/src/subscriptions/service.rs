//! The subscriptions of this process: on disk first, then in the snapshot. One writer at a time.

mod edit;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
pub use edit::{Actor, ChangeError};

use super::{Snapshot, Subscription, SubscriptionId, SubscriptionSource, SubscriptionSpec, WEBHOOK_GUILD, store};
use crate::{
    database::{CompiledRow, Database, StorageError, SuspensionRow},
    settings::Secret,
    sink::Destination,
};

type SubscriptionKey = (u64, String);

/// Subscriptions on disk and the snapshot made of them.
#[derive(Debug)]
pub struct Subscriptions {
    database: Arc<Database>,
    max_age: Duration,
    serves: Serves,
    /// Held by a writer over its read-decide-write, which never waits for anything but the disk: a std mutex is enough.
    all: Mutex<BTreeMap<SubscriptionKey, Arc<Subscription>>>,
    snapshot: ArcSwap<Snapshot>,
}

/// Which subscriptions this process serves; the others stay on disk and match nothing.
#[derive(Clone)]
pub(super) struct Serves(Arc<dyn Fn(&Subscription) -> bool + Send + Sync>);

impl std::fmt::Debug for Serves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Serves(...)")
    }
}

/// What taking over the subscriptions file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReconcileStats {
    /// New rows.
    pub added: usize,
    /// Rows that say something else now.
    pub changed: usize,
    /// Rows that are gone.
    pub removed: usize,
    /// Rows as they were.
    pub kept: usize,
    /// Rows whose name is taken by a subscription that was not made by the file.
    pub taken: usize,
}

impl Subscriptions {
    /// Reads them all. `max_age` is for those that say nothing.
    pub fn open(database: Arc<Database>, max_age: Duration) -> Result<Self, StorageError> {
        Self::open_serving(database, max_age, |_| true)
    }

    /// The same, where only some are served here.
    pub fn open_serving(
        database: Arc<Database>,
        max_age: Duration,
        serves: impl Fn(&Subscription) -> bool + Send + Sync + 'static,
    ) -> Result<Self, StorageError> {
        let opened = Self {
            all: Mutex::new(by_key(store::load(&database)?)),
            database,
            max_age,
            serves: Serves(Arc::new(serves)),
            snapshot: ArcSwap::default(),
        };
        opened.snapshot.store(Arc::new(opened.snapshot_of(&opened.lock())));
        Ok(opened)
    }

    fn snapshot_of(&self, all: &BTreeMap<SubscriptionKey, Arc<Subscription>>) -> Snapshot {
        let (here, elsewhere): (Vec<_>, Vec<_>) = all.values().partition(|one| (self.serves.0)(one));
        let mut snapshot = Snapshot::source(here.into_iter(), self.max_age, &self.snapshot.load());
        snapshot.set_elsewhere(elsewhere.into_iter().map(|one| one.spec.destination.clone()));
        snapshot
    }

    /// What killmails are matched against now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// All of them, ordered by guild, then name.
    pub fn list(&self) -> Vec<Arc<Subscription>> {
        self.lock().values().cloned().collect()
    }

    /// The URL of a webhook that some subscription posts through.
    pub fn webhook_url(&self, id: u64) -> Option<Secret> {
        let all = self.lock();
        // Rows of webhooks belong to no guild, which sorts them first.
        let of_webhooks = all.range((WEBHOOK_GUILD, String::new())..);
        of_webhooks
            .take_while(|((guild, _), _)| *guild == WEBHOOK_GUILD)
            .find(|(_, one)| one.spec.destination == Destination::Webhook(id))
            .and_then(|(_, one)| one.spec.webhook_url.clone())
    }

    /// Makes the file's rows be exactly `wishes`: those that say the same as before keep everything, an edited one keeps
    /// its id and starts at the log's head, one that is gone is removed. Others' subscriptions are not touched.
    pub async fn take_file(&self, wishes: Vec<SubscriptionSpec>, now: u64) -> Result<ReconcileStats, StorageError> {
        let mut counts = ReconcileStats::default();
        {
            let mut all = self.lock();
            let mut put = Vec::new();
            let mut gone: BTreeMap<SubscriptionKey, ()> = all
                .iter()
                .filter(|(_, subscription)| subscription.source == SubscriptionSource::File)
                .map(|(key, _)| (key.clone(), ()))
                .collect();
            for wish in wishes {
                let key = (wish.guild, wish.name.clone());
                gone.remove(&key);
                match all.get(&key) {
                    None => {
                        counts.added += 1;
                        put.push(new(wish, now));
                    }
                    Some(old) if old.source != SubscriptionSource::File => {
                        counts.taken += 1;
                        tracing::warn!(
                            name = wish.name,
                            guild = wish.guild,
                            "row of the subscriptions file skipped, name is already used"
                        );
                    }
                    Some(old) if old.spec == wish => counts.kept += 1,
                    Some(old) => {
                        counts.changed += 1;
                        put.push(edited(old, wish, now));
                    }
                }
            }
            let remove: Vec<SubscriptionKey> = gone.into_keys().collect();
            counts.removed = remove.len();
            self.write(&mut all, &put, &remove)?;
        }
        self.database.flush().await?;
        Ok(counts)
    }

    /// Stores a compiled form (and why it is old, if it is), unless the subscription was edited or removed meanwhile.
    pub async fn set_compiled(
        &self,
        of: &Subscription,
        compiled: Option<CompiledRow>,
        problem: String,
    ) -> Result<(), StorageError> {
        let of = Arc::new(of.clone());
        self.set_compiled_all(vec![(of, compiled, problem)]).await
    }

    /// The same for many.
    pub async fn set_compiled_all(
        &self,
        answers: Vec<(Arc<Subscription>, Option<CompiledRow>, String)>,
    ) -> Result<(), StorageError> {
        {
            let mut all = self.lock();
            let mut put = Vec::new();
            for (of, compiled, problem) in answers {
                let key = (of.spec.guild, of.spec.name.clone());
                let same = |now: &&Arc<Subscription>| {
                    now.id == of.id && now.spec.filter == of.spec.filter && now.spec.us == of.spec.us
                };
                let Some(current) = all.get(&key).filter(same) else {
                    continue;
                };
                if current.compiled != compiled || current.problem != problem {
                    let mut subscription = Subscription::clone(current);
                    (subscription.compiled, subscription.problem) = (compiled, problem);
                    put.push(subscription);
                }
            }
            if put.is_empty() {
                return Ok(());
            }
            self.write(&mut all, &put, &[])?;
        }
        self.database.flush().await
    }

    /// Marks every subscription of a destination: why it takes no posts, or (`None`) that it takes them again.
    pub async fn set_suspension(
        &self,
        destination: &Destination,
        suspension: Option<SuspensionRow>,
    ) -> Result<(), StorageError> {
        {
            let mut all = self.lock();
            let put: Vec<Subscription> = all
                .values()
                .filter(|subscription| subscription.spec.destination == *destination)
                .filter(|subscription| subscription.suspension != suspension)
                .map(|subscription| Subscription {
                    suspension: suspension.clone(),
                    ..Subscription::clone(subscription)
                })
                .collect();
            if put.is_empty() {
                return Ok(());
            }
            self.write(&mut all, &put, &[])?;
        }
        self.database.flush().await
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Writes these as they are.
    pub(crate) async fn put_all(&self, put: &[Subscription]) -> Result<(), StorageError> {
        {
            let mut all = self.lock();
            self.write(&mut all, put, &[])?;
        }
        self.database.flush().await
    }

    /// The disk first, then the map, then the snapshot.
    fn write(
        &self,
        all: &mut BTreeMap<SubscriptionKey, Arc<Subscription>>,
        put: &[Subscription],
        remove: &[SubscriptionKey],
    ) -> Result<(), StorageError> {
        let written = store::write(&self.database, put, remove)?;
        for key in remove {
            all.remove(key);
        }
        all.append(&mut by_key(written));
        self.snapshot.store(Arc::new(self.snapshot_of(all)));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SubscriptionKey, Arc<Subscription>>> {
        // A writer that panicked had either written the disk and the map or neither: the map is what was last on disk.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_key(subscriptions: Vec<Subscription>) -> BTreeMap<SubscriptionKey, Arc<Subscription>> {
    subscriptions
        .into_iter()
        .map(|subscription| {
            let key = (subscription.spec.guild, subscription.spec.name.clone());
            (key, Arc::new(subscription))
        })
        .collect()
}

pub(super) fn new(wish: SubscriptionSpec, now: u64) -> Subscription {
    Subscription {
        id: SubscriptionId(0),
        spec: wish,
        source: SubscriptionSource::File,
        created: (0, now),
        changed: (0, now),
        active_from: now,
        suspension: None,
        problem: String::new(),
        compiled: None,
    }
}

fn edited(old: &Subscription, wish: SubscriptionSpec, now: u64) -> Subscription {
    let same_filters = old.spec.filter == wish.filter && old.spec.us == wish.us;
    let same_place = old.spec.destination == wish.destination;
    Subscription {
        id: old.id,
        source: old.source,
        created: old.created,
        changed: (0, now),
        active_from: now,
        suspension: old.suspension.clone().filter(|_| same_place),
        problem: if same_filters {
            old.problem.clone()
        } else {
            String::new()
        },
        compiled: old.compiled.clone().filter(|_| same_filters),
        spec: wish,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{database, subscriptions::file};

    fn wishes(names: &[&str]) -> Vec<SubscriptionSpec> {
        let row = |name: &&str| format!("[[subscription]]\nname = \"{name}\"\nguild = 1\nchannel = 2\nfilter = \"\"\n");
        let text: String = names.iter().map(row).collect();
        file::parse(&text, "").unwrap()
    }

    #[tokio::test]
    async fn the_file_is_taken_over_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let database = database::open(dir.path(), SystemTime::now()).unwrap().database;
            Subscriptions::open(Arc::new(database), Duration::from_secs(60)).unwrap()
        };
        let subscriptions = open();
        let counts = subscriptions.take_file(wishes(&["a", "b"]), 10).await.unwrap();
        assert_eq!((counts.added, counts.kept), (2, 0));
        let everything = CompiledRow {
            static_data_build: "1".into(),
            language_version: 1,
            filter: Some(everything()),
            ..Default::default()
        };
        for subscription in subscriptions.list() {
            let compiled = Some(everything.clone());
            subscriptions
                .set_compiled(&subscription, compiled, String::new())
                .await
                .unwrap();
        }
        assert_eq!(subscriptions.snapshot().len(), 2);
        drop(subscriptions);

        let subscriptions = open();
        assert_eq!(subscriptions.snapshot().len(), 2);
        let mut next = wishes(&["b", "c"]);
        next[0].paused = true;
        let counts = subscriptions.take_file(next, 20).await.unwrap();
        let expected = ReconcileStats {
            added: 1,
            changed: 1,
            removed: 1,
            ..Default::default()
        };
        assert_eq!(counts, expected);
        let list = subscriptions.list();
        let seen: Vec<_> = list
            .iter()
            .map(|s| (s.spec.name.as_str(), s.id.0, s.active_from))
            .collect();
        assert_eq!(seen, [("b", 2, 20), ("c", 3, 20)]);
        // b is paused, c not compiled yet.
        assert!(subscriptions.snapshot().is_empty());
        assert!(
            list[0].compiled.is_some(),
            "the same filter needs no second compilation"
        );
        // An answer that comes too late for the filter it was asked for is dropped.
        let mut old = Subscription::clone(&list[1]);
        old.spec.filter = "npc".into();
        subscriptions
            .set_compiled(&old, Some(everything), String::new())
            .await
            .unwrap();
        assert!(subscriptions.snapshot().is_empty());
    }

    #[tokio::test]
    async fn a_suspension_is_of_the_destination_and_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
        let subscriptions = Subscriptions::open(database.clone(), Duration::from_secs(60)).unwrap();
        subscriptions.take_file(wishes(&["a", "b"]), 10).await.unwrap();
        let row = SuspensionRow {
            reason: "missing access".into(),
            code: 50001,
            since: 11,
            retired: false,
        };
        let here = Destination::Channel(2);
        subscriptions.set_suspension(&here, Some(row.clone())).await.unwrap();
        let again = Subscriptions::open(database, Duration::from_secs(60)).unwrap();
        assert_eq!(again.snapshot().suspension(&here), Some(&row));
        assert_eq!(again.snapshot().suspension(&Destination::Channel(3)), None);
        again.set_suspension(&here, None).await.unwrap();
        assert_eq!(again.snapshot().suspension(&here), None);
    }

    fn everything() -> killfeed::v1::Filter {
        crate::matching::tests::everything()
    }
}
