//! The way of a killmail from the feed into the log: the only module that knows feed, parse, enrich and log together.
//!
//! One batch at a time: parse, drop what is known, add names and places, append together with the feed's new state. A
//! batch is asked of the feed only when the one before is durable, so pressure ends here and never in memory.

mod relay;
mod trace;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use killfeed::{
    backoff::Backoff,
    id::{ContentHash, KillmailId},
    v1::{FeedHealth, Killmail},
};
use killfeed_service::clock::{self, Clock};
use killfeed_service::trace::{SpanTimes, Traces};
use prost::Message as _;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    enrich::Enricher,
    feed::{Batch, DocumentOutcome, Feed, FeedItem},
    health::FeedReport,
    log::{AppendBatch, DedupEntry, Head, LogError, LogWrite, NewBody, NewEvent},
    metrics,
    parse::{self, Parsed, ParsedDocument},
};
use trace::{AppendTrace, DocumentTimes, Fetches};

/// Moves killmails from one feed into one log.
pub struct Pipeline {
    feed: Box<dyn Feed>,
    stages: Stages,
}

/// Everything behind the feed. Apart from it, because a feed may be moved between threads but not shared.
struct Stages {
    log: Arc<dyn LogWrite>,
    enrich: Enricher,
    clock: Clock,
    head: Head,
    /// While the log takes nothing the feed is not asked and says nothing: then its health is said from here.
    health: Option<watch::Sender<FeedReport>>,
    traces: Traces,
}

/// So many bodies are fetched at a time.
const BODY_CONCURRENCY: usize = 4;

/// What to do with a document of a killmail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Append it in this revision.
    Append(u32),
    /// It says nothing new, but its mark is of older rules: write the mark anew.
    UpdateEntry(u32),
    /// It says nothing new.
    Drop,
}

/// Whether a document is news, given what is remembered of its killmail.
fn decide(mark: Option<DedupEntry>, content: Option<ContentHash>) -> Decision {
    match (mark, content) {
        (None, _) => Decision::Append(0),
        // A document without zkb (history, archives) says less than what is known.
        (Some(_), None) => Decision::Drop,
        (Some(DedupEntry { revision, hash: None }), Some(_)) => Decision::Append(revision + 1),
        (
            Some(DedupEntry {
                revision,
                hash: Some(known),
            }),
            Some(new),
        ) if known.version != new.version => Decision::UpdateEntry(revision),
        (Some(DedupEntry { hash: Some(known), .. }), Some(new)) if known == new => Decision::Drop,
        (Some(DedupEntry { revision, .. }), Some(_)) => Decision::Append(revision + 1),
    }
}

/// What a batch held, after parsing, in feed order.
enum PipelineItem {
    Document(Box<ParsedDocument>, DocumentTimes),
    Gap(killfeed::v1::Gap),
}

impl Pipeline {
    /// `head`: where the log ends now.
    pub fn new(feed: Box<dyn Feed>, log: Arc<dyn LogWrite>, enrich: Enricher, clock: Clock, head: Head) -> Self {
        let stages = Stages {
            log,
            enrich,
            clock,
            head,
            health: None,
            traces: Traces::default(),
        };
        Self { feed, stages }
    }

    /// Says DOWN here while the log takes nothing; the feed has the other end.
    #[must_use]
    pub fn reporting(mut self, health: watch::Sender<FeedReport>) -> Self {
        self.stages.health = Some(health);
        self
    }

    /// Tells the way of every killmail.
    #[must_use]
    pub fn tracing(mut self, traces: Traces) -> Self {
        self.stages.traces = traces;
        self
    }

    /// Runs until `shutdown`. What was fetched but is not durable yet is fetched again at the next start.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let work = async {
                let batch = self.feed.next().await;
                self.process(batch).await;
            };
            tokio::select! {
                // Dropping `work` half-way is safe: the append is one transaction and carries the feed's state.
                () = shutdown.cancelled() => return,
                () = work => {}
            }
        }
    }

    async fn process(&mut self, batch: Batch) {
        if relay::of_relay(&batch) {
            let feed_state = self.feed.ack(&[]);
            return self.stages.relay(batch, feed_state).await;
        }
        let fetches = Fetches::new(self.feed.fetched());
        let (pieces, verdicts) = self.stages.read(batch, &fetches).await;
        let feed_state = self.feed.ack(&verdicts);
        self.stages.store(pieces, feed_state).await;
    }
}

impl Stages {
    /// Parses every document; null bodies are fetched from ESI, several at a time: one that is slow holds up the batch no longer
    /// than its own patience.
    async fn read(&self, batch: Batch, fetches: &Fetches) -> (Vec<PipelineItem>, Vec<(u64, DocumentOutcome)>) {
        let mut pieces = Vec::with_capacity(batch.items.len());
        let mut verdicts = Vec::with_capacity(batch.items.len());
        let read = stream::iter(batch.items).map(|item| self.read_item(item, fetches));
        let mut read = read.buffered(BODY_CONCURRENCY);
        while let Some((piece, verdict)) = read.next().await {
            pieces.extend(piece);
            verdicts.extend(verdict);
        }
        (pieces, verdicts)
    }

    async fn read_item(
        &self,
        item: FeedItem,
        fetches: &Fetches,
    ) -> (Option<PipelineItem>, Option<(u64, DocumentOutcome)>) {
        let (sequence, body) = match item {
            FeedItem::Gap(gap) => {
                warn!(
                    missing = gap.missing,
                    reason = gap.reason().as_str_name(),
                    "documents are missing, reporting a gap"
                );
                return (Some(PipelineItem::Gap(gap)), None);
            }
            FeedItem::Document { sequence, body } => (sequence, body),
            FeedItem::History(_) | FeedItem::Relayed(_) => return (None, None),
        };
        let mut way = fetches.way(sequence);
        let begun = self.traces.now();
        let document = self.read_document(sequence, &body).await;
        way.parsed = begun.map(SpanTimes::since);
        let (piece, verdict) = match document {
            Ok(Some(mut document)) => {
                // The feed's own number, whatever the body claims.
                document.killmail.feed_sequence = sequence;
                let fetch_again = document.sequence_updated.filter(|older| *older < sequence);
                (
                    Some(PipelineItem::Document(document, way)),
                    DocumentOutcome::Accepted { refetch: fetch_again },
                )
            }
            Ok(None) => {
                info!(sequence, "placeholder document skipped");
                (None, DocumentOutcome::Placeholder)
            }
            Err(reason) => {
                metrics::reject();
                warn!(sequence, reason, "document is unusable, fetching it again later");
                (None, DocumentOutcome::Unreadable)
            }
        };
        (piece, Some((sequence, verdict)))
    }

    async fn read_document(&self, sequence: u64, body: &[u8]) -> Result<Option<Box<ParsedDocument>>, String> {
        match parse::parse(body).map_err(|reject| reject.to_string())? {
            Parsed::Killmail(document) => Ok(Some(document)),
            Parsed::Placeholder => Ok(None),
            Parsed::NeedsBody(headless) => {
                debug!(
                    sequence,
                    killmail = headless.id().0,
                    "document has no ESI body, fetching it from ESI"
                );
                let body = self.enrich.killmail_body(headless.id(), headless.hash()).await;
                let body =
                    body.map_err(|error| format!("its ESI body is missing, and fetching it from ESI failed: {error}"))?;
                let document = headless.with_body(&body).map_err(|reject| reject.to_string())?;
                Ok(Some(Box::new(document)))
            }
        }
    }

    /// Appends what is news, together with the feed's new state.
    async fn store(&mut self, pieces: Vec<PipelineItem>, feed_state: Bytes) {
        let (mut append, news) = self.select(pieces).await;
        append.feed_state = Some(feed_state);
        let (events, marks) = (append.events.len(), append.dedup_entries.len());
        let begun = self.traces.now();
        self.head = self.append(append).await;
        news.record(&self.traces, begun, self.head);
        if events > 0 {
            debug!(events, marks, head = self.head.offset.0, "events appended to the log");
        }
    }

    /// Drops what is known, enriches the rest, and makes events of it.
    async fn select(&mut self, pieces: Vec<PipelineItem>) -> (AppendBatch, AppendTrace) {
        let ids = pieces.iter().filter_map(|piece| match piece {
            PipelineItem::Document(document, _) => Some(KillmailId(document.killmail.killmail_id)),
            PipelineItem::Gap(_) => None,
        });
        let mut known = self.marks(ids.collect()).await;
        let mut append = AppendBatch::default();
        // News with their place among the pieces, so that they can be enriched together and gaps stay in order.
        let mut news: Vec<Killmail> = Vec::new();
        let mut traced = AppendTrace::default();
        let mut order: Vec<Result<Option<ContentHash>, killfeed::v1::Gap>> = Vec::new();
        for piece in pieces {
            let (document, way) = match piece {
                PipelineItem::Gap(gap) => {
                    order.push(Err(gap));
                    continue;
                }
                PipelineItem::Document(document, way) => (*document, way),
            };
            let ParsedDocument {
                mut killmail, content, ..
            } = document;
            let id = KillmailId(killmail.killmail_id);
            let mark = known.get(&id).copied();
            let decision = match decide(mark, content) {
                Decision::UpdateEntry(revision) if relay::is_relayed(mark) => {
                    self.beside_record(&killmail, revision).await
                }
                decision => decision,
            };
            match decision {
                Decision::Drop => metrics::duplicate(),
                Decision::UpdateEntry(revision) => {
                    let mark = DedupEntry {
                        revision,
                        hash: content,
                    };
                    known.insert(id, mark);
                    append.dedup_entries.push((id, mark));
                }
                Decision::Append(revision) => {
                    // The same killmail can stand twice in one batch.
                    known.insert(
                        id,
                        DedupEntry {
                            revision,
                            hash: content,
                        },
                    );
                    killmail.revision = revision;
                    traced.push(&killmail, way);
                    news.push(killmail);
                    order.push(Ok(content));
                }
            }
        }
        let begun = self.traces.now();
        self.enrich.enrich(&mut news).await;
        traced.enriched = begun.map(SpanTimes::since);
        let ingested_ms = self.head.stamp(self.clock.now().wall_ms());
        let uploads: Vec<i64> = news
            .iter()
            .filter(|killmail| killmail.revision == 0)
            .filter_map(upload_ms)
            .collect();
        let mut news = news.into_iter();
        append.events = order
            .into_iter()
            .filter_map(|entry| {
                let body = match entry {
                    Err(gap) => NewBody::Gap(Bytes::from(gap.encode_to_vec())),
                    Ok(hash) => killmail_event(news.next()?, hash, ingested_ms),
                };
                Some(NewEvent {
                    offset: None,
                    ingested_ms,
                    body,
                })
            })
            .collect();
        metrics::logged(&append.events, &uploads, ingested_ms);
        (append, traced)
    }

    /// Waits for the log: without the marks nothing can be told new from old.
    async fn marks(&self, ids: Vec<KillmailId>) -> HashMap<KillmailId, DedupEntry> {
        let mut wait = LogRetry::new();
        loop {
            match self.log.dedup_entries(&ids).await {
                Ok(marks) => {
                    wait.over(self.health.as_ref());
                    return ids
                        .iter()
                        .copied()
                        .zip(marks)
                        .filter_map(|(id, mark)| Some((id, mark?)))
                        .collect();
                }
                Err(error) => wait.after(&error, self.health.as_ref()).await,
            }
        }
    }

    /// Waits until it is durable: a full or failing disk holds the feed up and loses nothing.
    async fn append(&self, batch: AppendBatch) -> Head {
        let mut wait = LogRetry::new();
        loop {
            match self.log.append(batch.clone()).await {
                Ok(head) => {
                    wait.over(self.health.as_ref());
                    return head;
                }
                Err(error) => wait.after(&error, self.health.as_ref()).await,
            }
        }
    }
}

fn killmail_event(mut killmail: Killmail, hash: Option<ContentHash>, ingested_ms: i64) -> NewBody {
    killmail.ingested_time = Some(clock::timestamp(ingested_ms));
    NewBody::Killmail {
        id: KillmailId(killmail.killmail_id),
        revision: killmail.revision,
        hash,
        bytes: Bytes::from(killmail.encode_to_vec()),
    }
}

fn upload_ms(killmail: &Killmail) -> Option<i64> {
    killmail.published_time.map(|time| time.seconds.saturating_mul(1_000))
}

/// The delay between two attempts to append.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// Waits between attempts to append, and reports it: once to the operator, and in the feed's health until an append succeeds.
struct LogRetry {
    backoff: Backoff,
    /// What the feed had said before.
    before: Option<FeedReport>,
}

impl LogRetry {
    fn new() -> Self {
        Self {
            backoff: BACKOFF,
            before: None,
        }
    }

    async fn after(&mut self, error: &LogError, health: Option<&watch::Sender<FeedReport>>) {
        let delay = self.backoff.next_delay();
        if self.backoff.failures() == 1 {
            error!(error = %error, "appending to the log failed, the feed is waiting");
        }
        if let Some(health) = health {
            let feed = health.borrow().clone();
            let down = FeedReport {
                health: FeedHealth::Down,
                detail: format!("killmails cannot be logged: {error}"),
                ..feed.clone()
            };
            self.before.get_or_insert(feed);
            down.publish(health);
        }
        metrics::log_wait();
        sleep(delay).await;
    }

    /// The log takes them again.
    fn over(self, health: Option<&watch::Sender<FeedReport>>) {
        if let (Some(health), Some(before)) = (health, self.before) {
            before.publish(health);
        }
    }
}

#[cfg(test)]
mod tests;
