//! The reserve on the log's disk: appends stop while there is still room, because redb 4.6 answers a full disk by failing every
//! read until it is opened again, which a full disk forbids.

use std::{fmt, io, path::Path, sync::Arc};

use super::LogError;

/// How many bytes an ordinary user may still write where the given file lies.
#[derive(Clone)]
pub struct FreeSpace(Arc<Probe>);

type Probe = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

impl FreeSpace {
    /// Asks the file system.
    pub fn of_disk() -> Self {
        Self::from(|path: &Path| {
            let disk = rustix::fs::statvfs(path)?;
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        })
    }

    /// Fails if less than `reserve` is free. A file system that cannot tell does not stop anything: its own error will.
    pub(super) fn check(&self, path: &Path, reserve: u64) -> Result<(), LogError> {
        match (self.0)(path) {
            Ok(free) if free < reserve => Err(LogError::DiskFull { free, reserve }),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "reading the free space of the log's disk failed");
                Ok(())
            }
        }
    }
}

impl<F: Fn(&Path) -> io::Result<u64> + Send + Sync + 'static> From<F> for FreeSpace {
    fn from(probe: F) -> Self {
        Self(Arc::new(probe))
    }
}

impl fmt::Debug for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreeSpace")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_reserve_is_full() {
        let probe = FreeSpace::from(|_: &Path| Ok(1_000));
        assert!(probe.check(Path::new("/x"), 1_000).is_ok());
        assert!(matches!(
            probe.check(Path::new("/x"), 1_001),
            Err(LogError::DiskFull {
                free: 1_000,
                reserve: 1_001
            })
        ));
    }

    #[test]
    fn a_disk_that_cannot_tell_stops_nothing() {
        let probe = FreeSpace::from(|_: &Path| Err(io::Error::other("no")));
        assert!(probe.check(Path::new("/x"), u64::MAX).is_ok());
    }

    #[test]
    fn this_disk_can_tell() {
        assert!(FreeSpace::of_disk().check(Path::new("/"), 1).is_ok());
        assert!(FreeSpace::of_disk().check(Path::new("/"), u64::MAX).is_err());
    }
}
