//! For tests: a disk that fails on demand.

use std::{
    fs::File,
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use redb::{BackendError, Database, StorageBackend, backends::FileBackend};

use super::store::StoreError;

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Every access, opening too.
    Everything,
    /// The next sync, after which all is well: what was written before it is there.
    NextSync,
    /// So many syncs succeed, the next one fails, and then everything does: a commit in any state.
    AfterSyncs(u32),
}

static FAULTS: Mutex<Vec<(PathBuf, Fault)>> = Mutex::new(Vec::new());

/// From now on the file fails like that.
pub(super) fn break_disk(path: &Path, fault: Fault) {
    mend_disk(path);
    FAULTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((path.into(), fault));
}

/// From now on it works.
pub(super) fn mend_disk(path: &Path) {
    FAULTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|(broken, _)| broken != path);
}

pub(super) fn database(path: &Path, cache_bytes: usize) -> Result<Database, StoreError> {
    let file = File::options().read(true).write(true).open(path)?;
    Ok(Database::builder()
        .set_cache_size(cache_bytes)
        .create_with_backend(Faulty {
            path: path.into(),
            file: FileBackend::new(file)?,
        })?)
}

#[derive(Debug)]
struct Faulty {
    path: PathBuf,
    file: FileBackend,
}

impl Faulty {
    fn check(&self, syncing: bool) -> io::Result<()> {
        let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = faults.iter().position(|(path, _)| *path == self.path) else {
            return Ok(());
        };
        match faults[at].1 {
            Fault::Everything => {}
            _ if !syncing => return Ok(()),
            Fault::NextSync => drop(faults.remove(at)),
            Fault::AfterSyncs(0) => faults[at].1 = Fault::Everything,
            Fault::AfterSyncs(left) => {
                faults[at].1 = Fault::AfterSyncs(left - 1);
                return Ok(());
            }
        }
        Err(io::Error::other("the test disk failed"))
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.check(false)?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check(false)?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(false)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check(true)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(false)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
