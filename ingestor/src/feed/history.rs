//! zKillboard's history as a source: whole days, from its list of hashes and ESI's bodies. It comes to an end.
//!
//! It shares the feed's bucket, bans and state: to zKillboard it is one and the same client.

mod day;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use ::metrics::counter;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use killfeed::{backoff::Backoff, id::KillmailId};
use killfeed_service::clock::Clock;
use serde_json::value::RawValue;
use tokio::{sync::watch, time::sleep};

pub use self::day::{Day, ParseDayError};
use super::{
    Batch, DocumentOutcome, Feed, FeedItem, MAX_RETRY_AFTER, Millis, esi_body,
    fetch::{Answered, Fetcher},
    limiter::TokenBucket,
    metrics,
    r2z2::{SteadyClock, is_zkillboard},
    source_state,
    state::{Backfill, FeedState, StateError},
    walk::FetchAnswer,
};

/// Documents handed out at once: their names are looked up together.
const MAX_DOCUMENTS: usize = 200;
/// A request is tried so often in all.
const MAX_ATTEMPTS: u32 = 8;
/// The delay between two attempts of one request.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Which of these killmails are known already.
pub type KnownFn = Box<dyn Fn(Vec<KillmailId>) -> BoxFuture<'static, Vec<bool>> + Send + Sync>;

/// What to fetch.
#[derive(Debug, Clone)]
pub struct HistorySettings {
    /// The base of `/history/...`.
    pub base_url: String,
    /// Requests a second at most.
    pub rate: f64,
    /// Name, version and contact.
    pub user_agent: String,
    /// The first day.
    pub from: Day,
    /// The last day.
    pub to: Day,
}

/// How a backfill goes.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillProgress {
    /// The day it is at.
    pub day: Day,
    /// Killmails of that day; 0 = not known yet.
    pub of_day: u64,
    /// How many of them are done.
    pub done: u64,
    /// Killmails that were new, of all days of this run.
    pub handed_out: u64,
    /// Killmails that were known already.
    pub known: u64,
    /// Killmails whose bodies could not be had.
    pub unreadable: u64,
    /// What it waits for, in words.
    pub waits: Option<String>,
    /// How it ended.
    pub outcome: Option<BackfillOutcome>,
}

/// How a backfill ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackfillOutcome {
    /// All days are done.
    Done,
    /// zKillboard has not written this day yet.
    NotThere(Day),
    /// It failed again and again, as said.
    GaveUp(String),
}

/// The source.
pub struct HistoryFeed {
    state: FeedState,
    bucket: TokenBucket,
    clock: SteadyClock,
    fetcher: Fetcher,
    known: KnownFn,
    job: Backfill,
    stage: Stage,
    /// The batch that is being stored ends its day.
    ends_day: bool,
    backoff: Backoff,
    progress: watch::Sender<BackfillProgress>,
}

enum Stage {
    List,
    Bodies(BTreeMap<u64, String>),
    /// In the order in which it happened, the last one first.
    Documents(Vec<Bytes>),
    Ended(BackfillOutcome),
}

/// What came of a request that was repeated as often as it may.
enum Got {
    Body(Bytes),
    Missing,
    /// The state has to be stored first.
    Banned,
    GaveUp(String),
}

impl HistoryFeed {
    /// `state`: as it was stored last, by whichever source. A backfill of the same days that is not over goes on where it was.
    pub fn new(settings: &HistorySettings, state: Option<Bytes>, known: KnownFn) -> Result<Self, StateError> {
        let clock = SteadyClock::start(Clock::system());
        let now = clock.now();
        let state = state.map_or_else(|| Ok(FeedState::default()), |bytes| source_state::to_r2z2(&bytes))?;
        let mut state = state.restored(now);
        let same = |job: &Backfill| job.from == settings.from && job.to == settings.to && job.next >= job.from;
        let job = state.backfill.filter(same).unwrap_or(Backfill {
            from: settings.from,
            to: settings.to,
            next: settings.from,
        });
        state.backfill = Some(job);
        let fetcher = Fetcher::new(&settings.base_url, &settings.user_agent)
            .map_err(|error| StateError::Client(error.to_string()))?;
        let progress = BackfillProgress {
            day: job.next,
            of_day: 0,
            done: 0,
            handed_out: 0,
            known: 0,
            unreadable: 0,
            waits: None,
            outcome: None,
        };
        Ok(Self {
            bucket: TokenBucket::start(settings.rate, is_zkillboard(&settings.base_url), state.bucket, now),
            state,
            clock,
            fetcher,
            known,
            job,
            stage: Stage::List,
            ends_day: false,
            backoff: BACKOFF,
            progress: watch::Sender::new(progress),
        })
    }

    /// How it goes. Once there is an outcome, everything handed out before is stored.
    pub fn progress(&self) -> watch::Receiver<BackfillProgress> {
        self.progress.subscribe()
    }

    /// One file, within all limits.
    async fn get(&mut self, name: &str) -> Got {
        loop {
            let now = self.clock.now();
            if let Some(until) = self.state.ban.active(now) {
                self.wait(
                    until,
                    format!(
                        "banned by the feed's host: no requests until {}",
                        super::timestamp(until)
                    ),
                )
                .await;
                continue;
            }
            if !self.bucket.take(now) {
                let ready = self.bucket.ready_at(now);
                sleep(Duration::from_millis(u64::try_from(ready - now).unwrap_or(0))).await;
                continue;
            }
            let Answered { answer, body, reason } = self.fetcher.clone().history(name.to_owned()).await;
            let now = self.clock.now();
            match answer {
                FetchAnswer::Found => {
                    self.backoff.reset();
                    return Got::Body(body);
                }
                FetchAnswer::Missing => {
                    self.backoff.reset();
                    return Got::Missing;
                }
                FetchAnswer::Banned { retry_after } => {
                    counter!(metrics::BANS).increment(1);
                    self.state.ban.refuse(now, retry_after, fastrand::f64());
                    tracing::error!(file = name, reason, "the feed's host banned this ingestor");
                    return Got::Banned;
                }
                FetchAnswer::Failed { .. } | FetchAnswer::Undecodable | FetchAnswer::Head(_) => {
                    if self.backoff.failures() + 1 >= MAX_ATTEMPTS {
                        return Got::GaveUp(format!("history/{name}.json: {reason}"));
                    }
                    let asked = match answer {
                        FetchAnswer::Failed { retry_after } => retry_after.map(|asked| asked.min(MAX_RETRY_AFTER)),
                        _ => None,
                    };
                    let delay = self.backoff.next_delay_after(asked);
                    self.wait(
                        now + delay.as_millis() as Millis,
                        format!("history/{name}.json: {reason}; retrying"),
                    )
                    .await;
                }
            }
        }
    }

    async fn wait(&self, until: Millis, why: String) {
        self.progress.send_modify(|progress| progress.waits = Some(why));
        let pause = (until - self.clock.now()).max(0);
        sleep(Duration::from_millis(u64::try_from(pause).unwrap_or(0))).await;
        self.progress.send_modify(|progress| progress.waits = None);
    }

    /// The day's killmails that are not known yet, as documents.
    async fn documents(&mut self, hashes: BTreeMap<u64, String>, bodies: Option<Bytes>) -> Result<Vec<Bytes>, String> {
        let bodies = match &bodies {
            Some(bytes) => read_bodies(bytes)
                .map_err(|error| format!("cannot read history/raw/{}.json: {error}", self.job.next.file()))?,
            None => BTreeMap::new(),
        };
        let mut ids: Vec<u64> = hashes.keys().chain(bodies.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let known = (self.known)(ids.iter().map(|id| KillmailId(*id)).collect()).await;
        let total = ids.len() as u64;
        let news: Vec<u64> = ids
            .into_iter()
            .zip(known)
            .filter_map(|(id, known)| (!known).then_some(id))
            .collect();
        let known = total - news.len() as u64;
        self.progress.send_modify(|progress| {
            progress.of_day = total;
            progress.done = known;
            progress.known += known;
        });
        let mut documents = Vec::with_capacity(news.len());
        // A body that the history lacks comes from ESI, and stands where its id does: ids are given out in time.
        let mut last_ms = Millis::MIN;
        for id in news {
            let body = bodies.get(&id).map(|body| body.get().as_bytes());
            let about = body.and_then(esi_body::about).filter(|about| about.id == id);
            let hash = hashes
                .get(&id)
                .cloned()
                .or_else(|| about.as_ref().map(|about| about.hash.clone()));
            let Some(hash) = hash else { continue };
            last_ms = about.as_ref().map_or(last_ms, |about| about.kill_ms);
            let body = about.and(body);
            documents.push((last_ms, id, esi_body::document(id, &hash, body)));
        }
        documents.sort_by_key(|(kill_ms, id, _)| (*kill_ms, *id));
        Ok(documents.into_iter().rev().map(|(_, _, document)| document).collect())
    }

    /// Goes on to the next stage; `Some` = hand this out first.
    async fn advance(&mut self) -> Option<Batch> {
        let day = self.job.next;
        match std::mem::replace(&mut self.stage, Stage::List) {
            Stage::List => {
                if day > self.job.to {
                    self.stage = Stage::Ended(BackfillOutcome::Done);
                    return None;
                }
                self.progress.send_modify(|progress| {
                    progress.day = day;
                    progress.of_day = 0;
                    progress.done = 0;
                });
                match self.get(&day.file()).await {
                    Got::Body(list) => match read_hashes(&list) {
                        Ok(hashes) => self.stage = Stage::Bodies(hashes),
                        Err(error) => {
                            let reason = format!("cannot read history/{}.json: {error}", day.file());
                            self.stage = Stage::Ended(BackfillOutcome::GaveUp(reason));
                        }
                    },
                    Got::Missing => self.stage = Stage::Ended(BackfillOutcome::NotThere(day)),
                    Got::GaveUp(reason) => self.stage = Stage::Ended(BackfillOutcome::GaveUp(reason)),
                    Got::Banned => return Some(Batch::default()),
                }
                None
            }
            Stage::Bodies(hashes) => {
                let bodies = match self.get(&format!("raw/{}", day.file())).await {
                    Got::Body(bodies) => Some(bodies),
                    // Before July 2026 there are none: ESI has them.
                    Got::Missing => None,
                    Got::GaveUp(reason) => {
                        self.stage = Stage::Ended(BackfillOutcome::GaveUp(reason));
                        return None;
                    }
                    Got::Banned => {
                        self.stage = Stage::Bodies(hashes);
                        return Some(Batch::default());
                    }
                };
                self.stage = match self.documents(hashes, bodies).await {
                    Ok(documents) => Stage::Documents(documents),
                    Err(reason) => Stage::Ended(BackfillOutcome::GaveUp(reason)),
                };
                None
            }
            Stage::Documents(mut documents) => {
                let left = documents.len().saturating_sub(MAX_DOCUMENTS);
                let items = documents
                    .split_off(left)
                    .into_iter()
                    .rev()
                    .map(|body| FeedItem::Document {
                        // The history knows no numbers of the feed.
                        sequence: 0,
                        body,
                    });
                let batch = Batch { items: items.collect() };
                self.ends_day = documents.is_empty();
                self.stage = if self.ends_day {
                    Stage::List
                } else {
                    Stage::Documents(documents)
                };
                Some(batch)
            }
            Stage::Ended(outcome) => {
                self.progress
                    .send_modify(|progress| progress.outcome = Some(outcome.clone()));
                self.stage = Stage::Ended(outcome);
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
impl Feed for HistoryFeed {
    async fn next(&mut self) -> Batch {
        loop {
            if let Some(batch) = self.advance().await {
                return batch;
            }
        }
    }

    fn ack(&mut self, verdicts: &[(u64, DocumentOutcome)]) -> Bytes {
        let unreadable = verdicts
            .iter()
            .filter(|(_, verdict)| *verdict == DocumentOutcome::Unreadable)
            .count() as u64;
        let all = verdicts.len() as u64;
        self.progress.send_modify(|progress| {
            progress.done += all;
            progress.handed_out += all - unreadable;
            progress.unreadable += unreadable;
        });
        if std::mem::take(&mut self.ends_day) {
            self.job.next = self.job.next.next();
        }
        // A job that is over leaves nothing behind: asked for again, it looks for what came meanwhile.
        self.state.backfill = (self.job.next <= self.job.to).then_some(self.job);
        self.state.bucket = self.bucket.save();
        self.state.to_bytes()
    }
}

fn read_hashes(text: &[u8]) -> Result<BTreeMap<u64, String>, String> {
    let list: BTreeMap<String, String> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let entry = |(id, hash): (String, String)| {
        let id: u64 = id.parse().map_err(|_| format!("invalid killmail id {id:?}"))?;
        if esi_body::is_hash(&hash) {
            Ok((id, hash))
        } else {
            Err(format!("invalid hash {hash:?} of killmail {id}"))
        }
    };
    list.into_iter().map(entry).collect()
}

fn read_bodies(text: &[u8]) -> Result<BTreeMap<u64, &RawValue>, String> {
    let bodies: BTreeMap<String, &RawValue> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let entry = |(id, body): (String, _)| {
        let id: u64 = id.parse().map_err(|_| format!("invalid killmail id {id:?}"))?;
        Ok((id, body))
    };
    bodies.into_iter().map(entry).collect()
}
