//! A database file behind a pane of glass: redb opens, repairs and checks it, and every write stays in memory. So a file can be
//! judged before anything in it changes.

use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Bound,
    os::unix::fs::FileExt as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

/// redb's page size, but any would do.
const PAGE: usize = 4096;

/// Reads from the file, writes to memory. It holds redb's locks on the real file, so that no one else changes it meanwhile.
#[derive(Debug)]
pub(super) struct OverlayBackend {
    file: File,
    locks: FileBackend,
    over: Mutex<Overlay>,
}

#[derive(Debug)]
struct Overlay {
    /// How long the file pretends to be.
    len: u64,
    /// What lies on disk, up to where reading it makes sense.
    on_disk: u64,
    pages: HashMap<u64, Box<[u8; PAGE]>>,
}

impl OverlayBackend {
    /// `file` must be open for writing, which redb's locks ask for; it is not written to.
    pub(super) fn new(file: File) -> Result<Self, redb::DatabaseError> {
        let len = file.metadata()?.len();
        let locks = FileBackend::new(file.try_clone()?)?;
        let over = Mutex::new(Overlay {
            len,
            on_disk: len,
            pages: HashMap::new(),
        });
        Ok(Self { file, locks, over })
    }

    fn over(&self) -> MutexGuard<'_, Overlay> {
        // Nothing below panics between two changes that belong together.
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One page as redb sees it.
    fn page(&self, over: &Overlay, number: u64) -> io::Result<Box<[u8; PAGE]>> {
        if let Some(page) = over.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE]);
        let start = number * PAGE as u64;
        if start < over.on_disk {
            let there = (over.on_disk - start).min(PAGE as u64) as usize;
            self.file.read_exact_at(&mut page[..there], start)?;
        }
        Ok(page)
    }
}

/// The parts of `len` bytes from `offset` on that lie in one page each: page, where in it, where in the buffer, how many.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(len - done);
        let part = (at / PAGE as u64, within, done, count);
        done += count;
        Some(part)
    })
}

impl StorageBackend for OverlayBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.over();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > over.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, at, count) in parts(offset, out.len()) {
            let page = self.page(&over, number)?;
            out[at..at + count].copy_from_slice(&page[within..within + count]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = self.over();
        over.on_disk = over.on_disk.min(len);
        // What is cut off must read as zeros should the file grow again.
        over.pages.retain(|number, page| {
            let start = number * PAGE as u64;
            if start < len && len - start < PAGE as u64 {
                page[(len - start) as usize..].fill(0);
            }
            start < len
        });
        over.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.over();
        for (number, within, at, count) in parts(offset, data.len()) {
            let mut page = self.page(&over, number)?;
            page[within..within + count].copy_from_slice(&data[at..at + count]);
            over.pages.insert(number, page);
        }
        over.len = over.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.locks.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn writes_are_seen_and_the_file_stays_as_it_is() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 5000]).unwrap();
        let preview = OverlayBackend::new(file.try_clone().unwrap()).unwrap();

        preview.write(4090, &[9; 10]).unwrap();
        preview.write(9000, &[5; 3]).unwrap();
        assert_eq!(preview.len().unwrap(), 9003);
        let mut read = vec![0; 9003];
        preview.read(0, &mut read).unwrap();
        let mut expected = vec![7; 5000];
        expected[4090..4100].fill(9);
        expected.resize(9000, 0);
        expected.extend([5; 3]);
        assert_eq!(read, expected);

        preview.set_len(4095).unwrap();
        assert!(preview.read(4090, &mut [0; 6]).is_err());
        preview.set_len(6000).unwrap();
        let mut read = vec![1; 10];
        preview.read(4090, &mut read).unwrap();
        assert_eq!(read, [9, 9, 9, 9, 9, 0, 0, 0, 0, 0]);

        assert_eq!(file.metadata().unwrap().len(), 5000);
    }
}
