//! What the trace of a killmail says of its way into the log. It is told when the killmail is durable: before that nobody knows
//! whether it is news, and in which revision.

use std::{collections::HashMap, time::SystemTime};

use killfeed::v1::Killmail;
use killfeed_service::trace::{KeyValue, SpanKind, SpanTimes, Traces};

use crate::{feed::FetchTiming, log::Head};

/// When what happened to a document, as far as anybody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DocumentTimes {
    fetched: Option<SpanTimes>,
    pub(super) parsed: Option<SpanTimes>,
}

/// When the documents of a batch were fetched, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Fetches(HashMap<u64, SpanTimes>);

impl Fetches {
    pub(super) fn new(fetched: Vec<FetchTiming>) -> Self {
        let times = fetched.into_iter().map(|one| {
            let times = SpanTimes {
                begun: one.begun,
                ended: one.ended,
            };
            (one.sequence, times)
        });
        Self(times.collect())
    }

    pub(super) fn way(&self, sequence: u64) -> DocumentTimes {
        DocumentTimes {
            fetched: self.0.get(&sequence).copied(),
            parsed: None,
        }
    }
}

/// What is about to be appended, and how it came here.
#[derive(Debug, Default)]
pub(super) struct AppendTrace {
    ways: Vec<(u64, u32, u64, DocumentTimes)>,
    pub(super) enriched: Option<SpanTimes>,
}

impl AppendTrace {
    pub(super) fn push(&mut self, killmail: &Killmail, way: DocumentTimes) {
        let name = (killmail.killmail_id, killmail.revision, killmail.feed_sequence);
        self.ways.push((name.0, name.1, name.2, way));
    }

    /// They are durable: appended from `begun` until now, and the log ends at `head`.
    pub(super) fn record(self, traces: &Traces, begun: Option<SystemTime>, head: Head) {
        let Some(appended) = begun.map(SpanTimes::since) else {
            return;
        };
        for (killmail_id, revision, sequence, way) in self.ways {
            let Some(trail) = traces.killmail(killmail_id, revision) else {
                return;
            };
            let begun = [way.fetched, way.parsed, Some(appended)].into_iter().flatten().next();
            if let Some(first) = begun {
                trail.root(SpanTimes {
                    begun: first.begun,
                    ended: appended.ended,
                });
            }
            // Numbers of documents and offsets are far below what 63 bits hold.
            let sequence = KeyValue::new("feed.sequence", i64::try_from(sequence).unwrap_or(i64::MAX));
            let head = KeyValue::new("log.head", i64::try_from(head.offset.0).unwrap_or(i64::MAX));
            let steps = [
                ("fetch", SpanKind::Client, way.fetched, vec![sequence]),
                ("parse", SpanKind::Internal, way.parsed, Vec::new()),
                ("enrich", SpanKind::Internal, self.enriched, Vec::new()),
                ("append", SpanKind::Producer, Some(appended), vec![head]),
            ];
            for (name, kind, times, attributes) in steps {
                if let Some(times) = times {
                    trail.step(name, kind, times, attributes);
                }
            }
        }
    }
}

/// A relay's records are durable here, too.
pub(super) fn record_relayed(traces: &Traces, killmails: Vec<(u64, u32)>, begun: Option<SystemTime>) {
    let Some(relayed) = begun.map(SpanTimes::since) else {
        return;
    };
    for (killmail_id, revision) in killmails {
        if let Some(trail) = traces.killmail(killmail_id, revision) {
            trail.step("relay", SpanKind::Consumer, relayed, Vec::new());
        }
    }
}
