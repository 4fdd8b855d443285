//! Follows the stream: killmails → matches → outbox, together with the position. Compiles subscriptions before it starts,
//! and again when that is called for.

mod catch_up;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use killfeed::{
    backoff::Backoff,
    client::{Client, ConnectionState, Event, EventKind, Events, FollowError, FollowOptions, Position, Start},
    v1::Killmail,
};
use killfeed_service::clock::Clock;
use killfeed_service::trace::{KeyValue, SpanKind, SpanTimes, Traces};
use prost::Message as _;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    database::StorageError,
    matching, metrics,
    outbox::{IncomingKillmail, Outbox},
    subscriptions::{self, Compile, Snapshot, Subscriptions},
};

/// Events written in one transaction. More would only make a crash repeat more.
const MAX_BATCH: usize = 64;
/// CCP's static data change about once a week; trees are compared at least this often.
const RECOMPILE_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long the stream waits for subscriptions whose names cannot be looked up.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(30);
/// A name that could not be looked up is asked for again after this.
const COMPILE_RETRY_DELAY: Duration = Duration::from_secs(30);

/// The delay between two rounds in which no ingestor compiles.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Why following ended.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The ingestors refuse for good.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// The stream's way into the outbox.
pub struct StreamConsumer {
    /// Where the stream comes from.
    pub client: Client,
    /// Where it goes.
    pub outbox: Arc<Outbox>,
    /// What it is matched against.
    pub subscriptions: Arc<Subscriptions>,
    /// The wall clock.
    pub clock: Clock,
    /// `true` once the position is on disk and while the stream is open.
    pub ready: watch::Sender<bool>,
    /// Who is told what became of each killmail.
    pub traces: Traces,
}

impl StreamConsumer {
    /// Follows until `shutdown`: from the stored position, or from the log's head where there is none.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ConsumeError> {
        self.catch_up(&shutdown).await?;
        let stored = self.outbox.position()?;
        let start = stored.map_or(Start::Latest, Start::After);
        let outbox = self.outbox.clone();
        let seen = move |killmail_id, revision| {
            outbox.seen(killmail_id, revision).unwrap_or_else(|error| {
                // The transaction asks again, and ends the process if the database is broken.
                tracing::error!(%error, "cannot read handled killmails");
                false
            })
        };
        let mut events = self.client.follow(FollowOptions {
            on_expired_continue: true,
            include_updates: true,
            seen: Some(Arc::new(seen)),
            ..FollowOptions::new("", start)
        });
        let states = tokio::spawn(report(events.state(), shutdown.clone()));
        let result = self.follow(&mut events, &shutdown).await;
        self.ready.send_replace(false);
        states.abort();
        result
    }

    /// What a run of events comes to. Reads where killmails that came again were posted.
    fn arrivals(&self, events: &[Event], now: u64) -> Result<(Vec<IncomingKillmail>, Option<Position>), StorageError> {
        let snapshot = self.subscriptions.snapshot();
        let (mut arrivals, position) = arrivals(events, &snapshot, now, &self.traces);
        for arrival in arrivals.iter_mut().filter(|arrival| arrival.revision > 0) {
            // Where it does not match any more its post shows the later revision all the same.
            let matched: BTreeSet<_> = arrival.matches.iter().map(|found| &found.destination).collect();
            let others = snapshot
                .destinations()
                .filter(|destination| !matched.contains(destination));
            arrival.posted = self.outbox.posted(arrival.killmail_id, others)?;
        }
        Ok((arrivals, position))
    }

    async fn follow(&self, events: &mut Events, shutdown: &CancellationToken) -> Result<(), ConsumeError> {
        let mut state = events.state();
        loop {
            let next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                next = events.next_ready(MAX_BATCH) => next?,
                // The stream broke: not ready until its next event is on disk.
                Ok(()) = state.changed() => {
                    let open = matches!(*state.borrow_and_update(), ConnectionState::Connected { .. });
                    if !open {
                        self.ready.send_replace(false);
                    }
                    continue;
                }
            };
            let now = self.clock.now().unix_ms();
            if let Some(last) = next.last() {
                let at = matching::millis(&Some(last.position.time));
                metrics::stream_lag(Duration::from_millis(now.saturating_sub(at)));
            }
            let (arrivals, position) = self.arrivals(&next, now)?;
            let arrived = self.outbox.enqueue(&arrivals, position.as_ref(), now)?;
            self.outbox.flush().await?;
            metrics::arrived(&arrived);
            self.ready.send_replace(true);
        }
    }
}

/// What a run of events comes to: the killmails with whom they are for, and the position after them. Pure but for what it says
/// in logs, metrics and traces.
fn arrivals(
    events: &[Event],
    snapshot: &Snapshot,
    now: u64,
    traces: &Traces,
) -> (Vec<IncomingKillmail>, Option<Position>) {
    let mut arrivals = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::Killmail(killmail) => arrivals.push(arrival(killmail, snapshot, now, traces)),
            EventKind::Progress(_) => {}
            EventKind::Gap(gap) => {
                metrics::gap();
                tracing::warn!(
                    reason = gap.reason().as_str_name(),
                    missing = gap.missing,
                    from = ?gap.from_time,
                    to = ?gap.to_time,
                    "killmails may be missing here"
                );
            }
        }
    }
    (arrivals, events.last().map(|event| event.position.clone()))
}

fn arrival(killmail: &Killmail, snapshot: &Snapshot, now: u64, traces: &Traces) -> IncomingKillmail {
    let (begun, told) = (Instant::now(), traces.now());
    let matches = matching::matches(killmail, snapshot, now);
    metrics::matched(begun.elapsed());
    if let (Some(begun), Some(trail)) = (told, traces.killmail(killmail.killmail_id, killmail.revision)) {
        let destinations = i64::try_from(matches.len()).unwrap_or(i64::MAX);
        let attributes = vec![KeyValue::new("destinations", destinations)];
        trail.step("match", SpanKind::Consumer, SpanTimes::since(begun), attributes);
    }
    IncomingKillmail {
        killmail_id: killmail.killmail_id,
        revision: killmail.revision,
        bytes: killmail.encode_to_vec(),
        kill_time: matching::millis(&killmail.kill_time),
        published: matching::millis(&killmail.published_time),
        system: killmail.location.as_ref().map_or(0, |location| location.system_id),
        value: killmail.value.as_ref().and_then(|value| value.total),
        matches,
        posted: Vec::new(),
    }
}

/// Compiles what has no tree yet before the stream is opened: killmails that stream by meanwhile would be lost to it. Waits
/// for an ingestor for as long as it takes (without one there is no stream either), and for names that it cannot look up for
/// half a minute: the other subscriptions have waited long enough then.
pub async fn compile_first(
    subscriptions: &Subscriptions,
    compile: &dyn Compile,
    shutdown: &CancellationToken,
) -> Result<(), StorageError> {
    let mut backoff = BACKOFF;
    let mut patience = None;
    while subscriptions.list().iter().any(|one| one.compiled.is_none()) {
        let round = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            round = subscriptions::compile_pending(subscriptions, compile) => round?,
        };
        match round {
            Ok(round) if round.waiting == 0 => break,
            Ok(round) => {
                let until = *patience.get_or_insert(Instant::now() + COMPILE_TIMEOUT);
                if Instant::now() >= until {
                    tracing::warn!(
                        waiting = round.waiting,
                        "starting without some subscriptions, names are unavailable"
                    );
                    break;
                }
            }
            Err(error) => tracing::warn!(%error, "no ingestor answers, subscriptions are not compiled yet"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
    metrics::subscriptions(subscriptions.snapshot().len());
    Ok(())
}

/// Compiles again when the stream is opened, when `changed` says so, hourly, and sooner where a name could not be looked up.
pub async fn keep_compiled(
    subscriptions: Arc<Subscriptions>,
    compile: Arc<dyn Compile>,
    mut open: watch::Receiver<bool>,
    changed: Arc<Notify>,
    shutdown: CancellationToken,
) -> Result<(), StorageError> {
    let mut next = Instant::now() + RECOMPILE_INTERVAL;
    let mut backoff = BACKOFF;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            opened = open.wait_for(|open| *open) => if opened.is_err() { return Ok(()) },
            () = changed.notified() => {}
            () = tokio::time::sleep_until(next) => {}
        }
        let round = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            round = subscriptions::compile_pending(&subscriptions, &*compile) => round?,
        };
        metrics::subscriptions(subscriptions.snapshot().len());
        let wait = match round {
            Ok(round) => {
                backoff.reset();
                if round != subscriptions::Round::default() {
                    tracing::info!(
                        compiled = round.compiled,
                        bad = round.bad,
                        waiting = round.waiting,
                        "subscriptions compiled"
                    );
                }
                if round.waiting > 0 {
                    COMPILE_RETRY_DELAY
                } else {
                    RECOMPILE_INTERVAL
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no ingestor compiles filters, keeping the compiled ones");
                COMPILE_RETRY_DELAY + backoff.next_delay()
            }
        };
        next = Instant::now() + wait;
        // Not again before the stream has been closed and opened anew.
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            closed = open.wait_for(|open| !*open) => if closed.is_err() { return Ok(()) },
            () = changed.notified() => changed.notify_one(),
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// Says in the log and the metrics how the connection goes.
async fn report(mut state: watch::Receiver<ConnectionState>, shutdown: CancellationToken) {
    loop {
        let now = state.borrow_and_update().clone();
        metrics::connected(matches!(now, ConnectionState::Connected { .. }));
        match now {
            ConnectionState::Connecting { endpoint } => tracing::debug!(endpoint, "opening the stream"),
            ConnectionState::Connected { endpoint } => tracing::info!(endpoint, "the stream is open"),
            ConnectionState::Waiting {
                endpoint,
                why,
                wait,
                failed_rounds,
            } => tracing::warn!(endpoint, why, ?wait, failed_rounds, "cannot open the stream, retrying"),
            ConnectionState::Ended(_) => return,
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::SystemTime};

    use async_trait::async_trait;
    use killfeed::v1::{Filter, Gap, Progress};

    use super::*;
    use crate::{
        database,
        matching::tests::{snapshot, subscription},
        subscriptions::{CompileError, file},
    };

    #[test]
    fn a_run_of_events_ends_at_its_last_position() {
        let at = |cursor: &str, what| Event {
            position: Position {
                cursor: cursor.into(),
                time: killfeed::Timestamp::default(),
            },
            kind: what,
        };
        let killmail = Killmail {
            killmail_id: 7,
            revision: 2,
            ..Default::default()
        };
        let events = [
            at("a", EventKind::Killmail(Box::new(killmail.clone()))),
            at("b", EventKind::Gap(Gap::default())),
            at("c", EventKind::Progress(Progress::default())),
        ];
        let (arrivals, position) = arrivals(&events, &snapshot(&[subscription(1)]), 0, &Traces::default());
        assert_eq!(position.unwrap().cursor, "c");
        assert_eq!(arrivals.len(), 1);
        assert_eq!(
            (arrivals[0].killmail_id, arrivals[0].revision, arrivals[0].matches.len()),
            (7, 2, 1)
        );
        assert_eq!(Killmail::decode(&arrivals[0].bytes[..]).unwrap(), killmail);
    }

    /// Answers nothing at first, then not the names, then everything: one state for each question for the build.
    struct Slow(Mutex<u32>);

    #[async_trait]
    impl Compile for Slow {
        async fn static_data_build(&self) -> Result<String, CompileError> {
            let mut asked = self.0.lock().unwrap();
            *asked += 1;
            match *asked {
                1..3 => Err(CompileError::Unavailable("down".into())),
                _ => Ok("1".into()),
            }
        }

        async fn compile(&self, filter: &str) -> Result<Filter, CompileError> {
            match *self.0.lock().unwrap() {
                0..6 => Err(CompileError::Unavailable("names".into())),
                _ if filter == "never" => Err(CompileError::Unavailable("names".into())),
                _ => Ok(crate::matching::tests::everything()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_stream_waits_for_new_subscriptions_but_not_for_ever() {
        let shutdown = tokio_util::sync::CancellationToken::new();
        for (filter, active) in [("npc", 1), ("never", 0)] {
            let dir = tempfile::tempdir().unwrap();
            let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
            let subscriptions = Subscriptions::open(database, Duration::from_secs(60)).unwrap();
            let text = format!("[[subscription]]\nname = \"x\"\nguild = 1\nchannel = 2\nfilter = \"{filter}\"\n");
            subscriptions
                .take_file(file::parse(&text, "").unwrap(), 1)
                .await
                .unwrap();
            let slow = Slow(Mutex::default());
            compile_first(&subscriptions, &slow, &shutdown).await.unwrap();
            assert_eq!(subscriptions.snapshot().len(), active, "{filter}");
            assert!(*slow.0.lock().unwrap() >= 6);
        }
    }
}
