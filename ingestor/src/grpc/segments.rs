//! Older stretches of the log that streams of different filters read side by side: read and decoded once for all of them. What is
//! recent, the log keeps in memory itself.

use std::{sync::Arc, time::Duration};

use killfeed::cursor::Offset;
use moka::{future::Cache, policy::EvictionPolicy};

use crate::log::{LogError, Record, memory};

/// Kept of what was read, in bytes as [`memory`] counts them: some seventy stretches. Streams that catch up side by side drift that
/// far apart, since their connections alone hold some megabytes each.
const BUDGET: u64 = 96 * 1024 * 1024;
/// What nobody reads any more is let go.
const IDLE_TTL: Duration = Duration::from_secs(30);
/// What a stretch is counted with beside its records.
const OVERHEAD: usize = 256;

/// Records in order, that nothing can be added to.
pub(super) type Segment = Arc<[Arc<Record>]>;

/// The stretches that were read last, by the offset after which they begin.
#[derive(Debug)]
pub(super) struct SegmentCache(Cache<Offset, Segment>);

impl SegmentCache {
    pub(super) fn new() -> Self {
        let weigh = |_: &Offset, cell: &Segment| {
            let records: usize = cell.iter().map(|record| memory(record)).sum();
            u32::try_from(OVERHEAD + records).unwrap_or(u32::MAX)
        };
        // Streams read on and on: what was read longest ago goes, however often it was read.
        let policy = EvictionPolicy::lru();
        let cells = Cache::builder().max_capacity(BUDGET).weigher(weigh);
        Self(cells.eviction_policy(policy).time_to_idle(IDLE_TTL).build())
    }

    /// The records of the stretch after `after`, and whether nothing can be added to them; only then they are kept. `read` reads
    /// them, if nobody has.
    pub(super) async fn get(
        &self,
        after: Offset,
        read: impl AsyncFnOnce() -> Result<(Vec<Arc<Record>>, bool), LogError>,
    ) -> Result<(Segment, bool), LogError> {
        // Those who come while it is read wait for it, and share what came of it.
        let read = async {
            match read().await {
                Ok((records, true)) => Ok(Segment::from(records)),
                Ok((records, false)) => Err(NotKept::Growing(records.into())),
                Err(error) => Err(NotKept::Failed(error)),
            }
        };
        match self.0.try_get_with(after, read).await {
            Ok(cell) => Ok((cell, true)),
            Err(not_kept) => match &*not_kept {
                NotKept::Growing(records) => Ok((records.clone(), false)),
                NotKept::Failed(error) => Err(error.clone()),
            },
        }
    }
}

enum NotKept {
    Growing(Segment),
    Failed(LogError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::RecordKind;

    fn records(bytes: usize) -> Vec<Arc<Record>> {
        let bytes = vec![0; bytes].into();
        vec![Arc::new(Record::new(Offset(1), 0, RecordKind::Gap, bytes))]
    }

    #[tokio::test]
    async fn a_stretch_is_read_once_unless_it_can_grow_or_could_not_be_read() {
        let cells = SegmentCache::new();
        let full = async || Ok((records(10), true));
        let never = async || panic!("it was read before");
        let (first, _) = cells.get(Offset(0), full).await.unwrap();
        let (second, complete) = cells.get(Offset(0), never).await.unwrap();
        assert!(complete && Arc::ptr_eq(&first, &second));

        let growing = async || Ok((records(10), false));
        assert!(!cells.get(Offset(64), growing).await.unwrap().1);
        let failing = async || Err(LogError::Closed);
        assert!(matches!(cells.get(Offset(64), failing).await, Err(LogError::Closed)));
        assert!(cells.get(Offset(64), full).await.unwrap().1);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let cells = SegmentCache::new();
        for n in 0..100 {
            let large = async || Ok((records(1024 * 1024), true));
            cells.get(Offset(n), large).await.unwrap();
            cells.0.run_pending_tasks().await;
            assert!(cells.0.weighted_size() <= BUDGET);
        }
        assert!(cells.0.entry_count() > 3);
    }
}
