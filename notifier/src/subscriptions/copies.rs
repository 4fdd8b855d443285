//! The daily copies of all subscriptions in the data folder: what a damaged database is filled from again.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{Subscription, Subscriptions, store};
use crate::database::{StorageError, SubscriptionRow};

/// So many days are kept.
const MAX_COPIES: usize = 7;
/// Of the copies' form.
const VERSION: u32 = 1;

/// The ending of a copy that is not whole yet.
const UNFINISHED: &str = "new";

/// Held while copies are written or rewritten: one that was begun before a guild is taken out has it, and is rewritten then.
static WRITING: Mutex<()> = Mutex::new(());

#[derive(Serialize, Deserialize)]
struct DailyCopy {
    version: u32,
    /// Milliseconds.
    made: u64,
    subscriptions: Vec<SubscriptionRow>,
}

/// A copy that was read.
#[derive(Debug)]
pub struct LoadedCopy {
    /// Which file.
    pub path: PathBuf,
    /// When it was made, milliseconds.
    pub made: u64,
    rows: Vec<SubscriptionRow>,
}

/// Writes today's copy, if there is none yet, and deletes those older than the newest seven. Returns whether it wrote one.
pub fn write(data_dir: &Path, subscriptions: &Subscriptions, now: u64) -> io::Result<bool> {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = folder(data_dir);
    fs::create_dir_all(&dir)?;
    let name = format!("subscriptions-{}.json", day(now));
    if dir.join(&name).exists() {
        return Ok(false);
    }
    let list = subscriptions.list();
    let copy = DailyCopy {
        version: VERSION,
        made: now,
        subscriptions: list.iter().map(|one| store::row(one)).collect(),
    };
    put(&dir, &name, &copy)?;
    let old = copies(data_dir)?;
    for path in old.iter().skip(MAX_COPIES) {
        fs::remove_file(path)?;
    }
    Ok(true)
}

/// The newest copy that can be read.
pub fn newest(data_dir: &Path) -> Option<LoadedCopy> {
    copies(data_dir).unwrap_or_default().into_iter().find_map(|path| {
        let read = read(&path);
        if let Err(error) = &read {
            tracing::warn!(path = %path.display(), %error, "cannot read a daily copy, trying an older one");
        }
        let copy = read.ok()?;
        Some(LoadedCopy {
            path,
            made: copy.made,
            rows: copy.subscriptions,
        })
    })
}

/// Takes guilds out of every copy: what was forgotten, or moved away, does not come back. A copy that cannot be read cannot be
/// rewritten either, nor used: it is deleted, as is what a crash left half written.
pub fn without(data_dir: &Path, guilds: &[u64]) -> io::Result<()> {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    for path in files(data_dir, UNFINISHED)? {
        fs::remove_file(path)?;
    }
    for path in copies(data_dir)? {
        let mut copy = match read(&path) {
            Ok(copy) => copy,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "unreadable daily copy deleted");
                fs::remove_file(path)?;
                continue;
            }
        };
        let before = copy.subscriptions.len();
        copy.subscriptions.retain(|row| !guilds.contains(&row.guild));
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(name) = name.filter(|_| copy.subscriptions.len() != before) {
            put(&folder(data_dir), &name, &copy)?;
        }
    }
    Ok(())
}

impl Subscriptions {
    /// Fills an empty database from a copy; returns how many subscriptions that were.
    pub async fn restore(&self, found: &LoadedCopy) -> Result<usize, StorageError> {
        let rows: Result<Vec<Subscription>, _> = found.rows.iter().cloned().map(store::read).collect();
        let rows = rows?;
        self.put_all(&rows).await?;
        Ok(rows.len())
    }
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("exports")
}

/// The newest first: their names sort as their days.
fn copies(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    files(data_dir, "json")
}

/// The files of the folder with this ending, in the reverse order of their names.
fn files(data_dir: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder(data_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

fn read(path: &Path) -> io::Result<DailyCopy> {
    let copy: DailyCopy = serde_json::from_slice(&fs::read(path)?)?;
    if copy.version == VERSION {
        Ok(copy)
    } else {
        Err(io::Error::other(format!(
            "it has version {}, this killfeed-notifier knows {VERSION}",
            copy.version
        )))
    }
}

/// Whole or not at all: under another name first. It holds webhooks' URLs, which are nobody else's business.
fn put(dir: &Path, name: &str, copy: &DailyCopy) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}.{UNFINISHED}"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(&serde_json::to_vec_pretty(copy)?)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// `2026-11-26`.
fn day(now: u64) -> String {
    crate::render::day(i64::try_from(now / 1_000).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration, time::SystemTime};

    use super::*;
    use crate::{
        database,
        subscriptions::{WEBHOOK_GUILD, file},
    };

    const DAY: u64 = 86_400_000;
    const TEXT: &str = r#"
[[subscription]]
name = "a"
guild = 7
channel = 2
filter = "npc"
us = "corporation:98"
ping = "role:3"
max_age = "unlimited"
style = "compact"

[[subscription]]
name = "hook"
webhook = "http://d/api/webhooks/9/secret"
filter = ""
"#;

    async fn subscriptions(dir: &Path) -> Subscriptions {
        let database = database::open(dir, SystemTime::now()).unwrap().database;
        Subscriptions::open(Arc::new(database), Duration::from_secs(60)).unwrap()
    }

    #[tokio::test]
    async fn seven_days_are_kept_and_the_newest_readable_one_restores_everything() {
        let dir = tempfile::tempdir().unwrap();
        let first = subscriptions(&dir.path().join("one")).await;
        first
            .take_file(file::parse(TEXT, "http://d").unwrap(), 5)
            .await
            .unwrap();
        let start = 20_000 * DAY;
        for day in 0..10 {
            assert!(write(dir.path(), &first, start + day * DAY).unwrap());
            assert!(
                !write(dir.path(), &first, start + day * DAY + DAY / 2).unwrap(),
                "once a day"
            );
        }
        let kept = copies(dir.path()).unwrap();
        assert_eq!(kept.len(), 7);
        assert!(kept[0].ends_with("subscriptions-2024-10-13.json"), "{kept:?}");
        // The newest one was being written when the power went.
        fs::write(&kept[0], "{\"version\": 1, \"made\": 3").unwrap();
        let found = newest(dir.path()).unwrap();
        assert_eq!((&found.path, found.made), (&kept[1], start + 8 * DAY));
        let second = subscriptions(&dir.path().join("two")).await;
        assert_eq!(second.restore(&found).await.unwrap(), 2);
        let wishes = |of: &Subscriptions| of.list().iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
        assert_eq!(wishes(&second), wishes(&first));
        // What the file says is what is there: nothing is made anew.
        let counts = second
            .take_file(file::parse(TEXT, "http://d").unwrap(), 9)
            .await
            .unwrap();
        assert_eq!((counts.kept, counts.added), (2, 0));

        // The unreadable copy is gone, and so is what a crash left: both may name whoever is to be forgotten.
        let unfinished = kept[1].with_extension("json.new");
        fs::write(&unfinished, "{}").unwrap();
        without(dir.path(), &[WEBHOOK_GUILD]).unwrap();
        assert!(!kept[0].exists() && !unfinished.exists());
        let all: String = copies(dir.path())
            .unwrap()
            .iter()
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        assert!(all.contains("\"a\"") && !all.contains("secret"), "{all}");
        let left = newest(dir.path()).unwrap();
        assert_eq!(left.rows.iter().map(|row| row.guild).collect::<Vec<_>>(), [7]);
        assert!(newest(&dir.path().join("nowhere")).is_none());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn nobody_else_reads_a_copy() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &subscriptions(dir.path()).await, 0).unwrap();
        let mode = fs::metadata(&copies(dir.path()).unwrap()[0])
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
