//! `ListKillmails`: the log from its newest end, in pages.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use killfeed::{
    Timestamp,
    cursor::Offset,
    filter::Program,
    id::KillmailId,
    v1::{Killmail, ListKillmailsRequest, ListKillmailsResponse},
};
use tonic::{Request, Status};

use super::{
    page_token::{PageToken, request_hash},
    service::ServiceState,
    start, status,
};
use crate::log::{LogError, LogRead, ReadLimit, Record, RecordKind};

/// The contract's numbers.
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 500;
/// A page ends early at whichever comes first.
const PAGE_BYTES: usize = 1024 * 1024;
const PAGE_SCANS: usize = 20_000;

pub(super) async fn list(
    edge: &ServiceState,
    request: Request<ListKillmailsRequest>,
) -> Result<ListKillmailsResponse, Status> {
    let caller = edge.authorize(&request)?;
    edge.caught_up()?;
    let request = request.into_inner();
    let page_size = page_size(request.page_size)?;
    let program = edge.program(&caller, &request.filter).await?;
    let range = range(&*edge.log, &request).await?;
    let list = List {
        log: &*edge.log,
        program: program.as_ref().map(|filtered| &filtered.program),
        range,
    };
    let result = if request.count_only {
        list.count().await
    } else {
        list.page(page_size, request_hash(&request)).await
    };
    result.map_err(|error| status::log_failed(&error))
}

fn page_size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(status::bad_field("page_size", "expected 0 (50 killmails) or more")),
    }
}

/// Which records a page is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    /// Above this one...
    above: Offset,
    /// ... and up to this one.
    up_to: Offset,
    /// The log's end as the first page saw it: decides which revision is the newest.
    head: Offset,
}

async fn range(log: &dyn LogRead, request: &ListKillmailsRequest) -> Result<Range, Status> {
    let token = match request.page_token.as_str() {
        "" => None,
        text => {
            let foreign = || {
                let expected = "expected the next_page_token of an earlier page of the same request to the same log";
                status::bad_field("page_token", expected)
            };
            let token = PageToken::parse(text).ok_or_else(foreign)?;
            let own = token.log == log.id()
                && token.request == request_hash(request)
                && token.head <= log.head().borrow().offset
                && token.below <= token.head;
            Some(own.then_some(token).ok_or_else(foreign)?)
        }
    };
    let head = token.map_or_else(|| log.head().borrow().offset, |token| token.head);
    let since = seek(log, "since", request.since.as_ref()).await?;
    let until = seek(log, "until", request.until.as_ref()).await?;
    let below = token.map(|token| Offset(token.below.0.saturating_sub(1)));
    Ok(Range {
        above: since.unwrap_or_default().max(log.status().trimmed),
        up_to: [until, below].into_iter().flatten().fold(head, Offset::min),
        head,
    })
}

/// The newest record ingested before `time`.
async fn seek(log: &dyn LogRead, field: &str, time: Option<&Timestamp>) -> Result<Option<Offset>, Status> {
    let Some(time) = time else {
        return Ok(None);
    };
    let ms = start::millis_up(time)
        .ok_or_else(|| status::bad_field(field, "expected a time with nanos between 0 and 999999999"))?;
    let place = log.seek(ms).await;
    place.map(Some).map_err(|error| status::log_failed(&error))
}

struct List<'a> {
    log: &'a dyn LogRead,
    program: Option<&'a Program>,
    range: Range,
}

impl List<'_> {
    async fn page(&self, page_size: usize, request: u64) -> Result<ListKillmailsResponse, LogError> {
        let mut killmails = Vec::new();
        let (mut bytes, mut scanned) = (0, 0);
        let mut backwards = Backwards::new(self.range.above, self.range.up_to);
        while let Some(records) = backwards.next(self.log).await? {
            for record in records.iter().rev() {
                scanned += 1;
                if let Some((id, killmail)) = self.matching(record) {
                    let newest = self.log.newest_at(id, self.range.head).await?;
                    if newest.is_none_or(|newest| newest.offset == record.offset) {
                        bytes += record.bytes.len();
                        killmails.push(killmail.clone());
                    }
                }
                if killmails.len() >= page_size || bytes >= PAGE_BYTES || scanned >= PAGE_SCANS {
                    let token = PageToken {
                        log: self.log.id(),
                        request,
                        head: self.range.head,
                        below: record.offset,
                    };
                    return Ok(ListKillmailsResponse {
                        killmails,
                        next_page_token: token.to_string(),
                        matched: 0,
                    });
                }
            }
            tokio::task::consume_budget().await;
        }
        Ok(ListKillmailsResponse {
            killmails,
            ..ListKillmailsResponse::default()
        })
    }

    /// Over the whole range at once. Goes from the head down, since a killmail's newest revision may lie above the range: then
    /// the older one within it does not count.
    async fn count(&self) -> Result<ListKillmailsResponse, LogError> {
        let mut updated: HashSet<KillmailId> = HashSet::new();
        let mut matched = 0;
        let mut backwards = Backwards::new(self.range.above, self.range.head);
        while let Some(records) = backwards.next(self.log).await? {
            for record in records.iter().rev() {
                let RecordKind::Killmail { id, revision } = record.kind else {
                    continue;
                };
                let newest = if revision > 0 {
                    updated.insert(id)
                } else {
                    !updated.contains(&id)
                };
                if newest && record.offset <= self.range.up_to && self.matching(record).is_some() {
                    matched += 1;
                }
            }
            tokio::task::consume_budget().await;
        }
        Ok(ListKillmailsResponse {
            matched,
            ..ListKillmailsResponse::default()
        })
    }

    fn matching<'r>(&self, record: &'r Record) -> Option<(KillmailId, &'r Killmail)> {
        let RecordKind::Killmail { id, .. } = record.kind else {
            return None;
        };
        let killmail = record.killmail()?;
        let matches = self.program.is_none_or(|program| program.matches(killmail));
        matches.then_some((id, killmail))
    }
}

/// Reads a log from its end in chunks: records come in log order within a chunk, chunks from the newest to the oldest.
struct Backwards {
    above: Offset,
    up_to: Offset,
    /// How many offsets the next chunk spans. Offsets may have holes: where there is nothing, the next chunk spans more; and less
    /// where killmails are so large that many of them would fill the memory.
    span: u64,
}

/// As many records as a page has at most, or a fast scan wants at once.
const SPAN: u64 = 512;
/// A chunk holds no more bytes than this, but at least one record.
const CHUNK_BYTES: usize = 4 * PAGE_BYTES;

impl Backwards {
    fn new(above: Offset, up_to: Offset) -> Self {
        Self {
            above,
            up_to,
            span: SPAN,
        }
    }

    /// `None`: the end, which is the oldest record of the range. A chunk may be empty.
    async fn next(&mut self, log: &dyn LogRead) -> Result<Option<VecDeque<Arc<Record>>>, LogError> {
        if self.up_to <= self.above {
            return Ok(None);
        }
        let mut from = Offset(self.up_to.0.saturating_sub(self.span)).max(self.above);
        let mut chunk: VecDeque<Arc<Record>> = VecDeque::new();
        let (mut at, mut bytes) = (from, 0);
        while at < self.up_to {
            let limit = ReadLimit {
                records: usize::try_from(self.span.min(SPAN)).unwrap_or(usize::MAX),
                bytes: PAGE_BYTES,
            };
            let read = log.read(at, limit).await?;
            let Some(last) = read.last() else {
                break;
            };
            at = last.offset;
            for record in read.into_iter().filter(|record| record.offset <= self.up_to) {
                bytes += record.bytes.len();
                chunk.push_back(record);
            }
            // Too much at once: the oldest of them are read again, when it is their turn.
            while bytes > CHUNK_BYTES
                && chunk.len() > 1
                && let Some(oldest) = chunk.pop_front()
            {
                bytes -= oldest.bytes.len();
                from = oldest.offset;
            }
        }
        let spanned = self.up_to.0 - from.0;
        self.up_to = from;
        self.span = match chunk.len() {
            0 => self.span.saturating_mul(4),
            _ if spanned < self.span => spanned,
            _ => (self.span * 2).min(SPAN),
        };
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::tests::FakeLog;

    #[tokio::test]
    async fn however_large_killmails_are_a_chunk_is_not() {
        let log = FakeLog::of(3);
        log.sized(200, 300_000);
        log.more(3);
        let head = log.head().borrow().offset;
        let mut backwards = Backwards::new(Offset(10), head);
        let (mut offsets, mut chunks) = (Vec::new(), 0);
        while let Some(records) = backwards.next(&*log).await.unwrap() {
            let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
            assert!(bytes <= CHUNK_BYTES, "{bytes} bytes at once");
            offsets.extend(records.iter().rev().map(|record| record.offset.0));
            chunks += 1;
        }
        assert!(offsets.into_iter().eq((2..=206).rev().map(|nth| nth * 10)), "each once");
        assert!(chunks < 60, "{chunks} chunks");
        assert!(log.reads() < 300, "{} reads", log.reads());
    }
}
