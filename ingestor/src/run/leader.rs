//! Several ingestors over one log: whose turn it is asks zKillboard, the others stand by and say what that one says.

use std::{future::Future as _, pin::pin, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use killfeed::v1::FeedHealth;
use killfeed_service::clock::{self, Clock};
use killfeed_service::trace::Traces;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{StartError, configuration, source};
use crate::{
    enrich::Enricher,
    feed::{Batch, DocumentOutcome, Feed},
    health::FeedReport,
    log::{JetStreamLog, LeadershipWatch, metrics},
    pipeline::Pipeline,
    settings::Settings,
};

/// With the 5 s in which it is noticed, the health is DOWN within 10 s of the cause.
const OUTAGE_GRACE: Duration = Duration::from_secs(4);

/// Takes turns until `stop`, or until the log can never be used again.
pub(super) async fn run(
    log: Arc<JetStreamLog>,
    settings: Settings,
    enrich: Enricher,
    report: watch::Sender<FeedReport>,
    traces: Traces,
    stop: CancellationToken,
) -> Result<(), StartError> {
    // Without static data a killmail would be logged without its place for good: nobody's turn before.
    let ready = async {
        tokio::select! {
            () = enrich.wait_ready() => Ok(()),
            error = log.lost() => Err(configuration(error)),
            never = follow_leader(&log, &report) => match never {},
        }
    };
    match stop.run_until_cancelled(ready).await {
        Some(ready) => ready?,
        None => return Ok(()),
    }
    let settled = watch::Sender::new(None);
    while !stop.is_cancelled() {
        Box::pin(run_term(&log, &settings, &enrich, &report, &settled, &traces, &stop)).await?;
    }
    Ok(())
}

/// Stands by until it is this ingestor's turn, and then asks zKillboard for as long as it lasts. `settled`: how the feed stood in the
/// end. A refusal that came while the log was out of reach is written down nowhere else.
async fn run_term(
    log: &Arc<JetStreamLog>,
    settings: &Settings,
    enrich: &Enricher,
    report: &watch::Sender<FeedReport>,
    settled: &watch::Sender<Option<Bytes>>,
    traces: &Traces,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let (said, note) = watch::channel(String::new());
    let leadership = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        error = log.lost() => return Err(configuration(error)),
        never = follow_leader(log, report) => match never {},
        leadership = log.acquire(note) => leadership,
    };
    let (writer, lasts) = (leadership.writer(), leadership.lasts());
    ::metrics::gauge!(metrics::TURN).set(1.0);
    let before = settled.borrow().clone();
    let ended = match source::own(settings, &*writer, report.clone(), before).await {
        Ok(source) => {
            let feed = Box::new(Leased {
                feed: source.feed,
                lasts: lasts.clone(),
                settled: settled.clone(),
            });
            let pipeline = Pipeline::new(feed, writer, enrich.clone(), Clock::system(), leadership.head())
                .reporting(report.clone())
                .tracing(traces.clone());
            tokio::select! {
                () = lasts.over() => Ok(()),
                () = outage_exceeds_grace(log.trouble()) => Ok(()),
                error = log.lost() => Err(configuration(error)),
                never = notify(report.subscribe(), said) => match never {},
                () = pipeline.run(stop.clone()) => Ok(()),
            }
        }
        Err(error) => Err(error),
    };
    // The feed is gone by now: the next one may ask.
    ::metrics::gauge!(metrics::TURN).set(0.0);
    leadership.release().await;
    ended
}

/// Until the log has been out of reach for a while. The lease may be renewed all the same (another part of the servers keeps it), but
/// whoever leads without seeing the log would say that all is well while its own streams stand still.
async fn outage_exceeds_grace(mut trouble: watch::Receiver<Option<String>>) {
    while trouble.wait_for(Option::is_some).await.is_ok() {
        match timeout(OUTAGE_GRACE, trouble.wait_for(Option::is_none)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => break,
            Err(_) => {
                tracing::warn!("shared log unreachable, releasing the lease");
                return;
            }
        }
    }
    // The log is closed: nothing will be said of it any more.
    std::future::pending().await
}

/// A feed that asks nothing once the lease is over, also in a process that was stopped meanwhile and does not know it yet.
struct Leased {
    feed: Box<dyn Feed>,
    lasts: LeadershipWatch,
    settled: watch::Sender<Option<Bytes>>,
}

#[async_trait]
impl Feed for Leased {
    async fn next(&mut self) -> Batch {
        let lasts = self.lasts.clone();
        let mut next = pin!(self.feed.next());
        // Nobody wakes it any more then: it is dropped.
        std::future::poll_fn(|context| {
            if lasts.now() {
                next.as_mut().poll(context)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    fn ack(&mut self, verdicts: &[(u64, DocumentOutcome)]) -> Bytes {
        let state = self.feed.ack(verdicts);
        self.settled.send_replace(Some(state.clone()));
        state
    }
}

/// The feed's state as one ingestor tells it to the others.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct LeaderHealth {
    /// 1 OK, 2 DELAYED, 3 DOWN, as in the contract.
    health: i32,
    detail: String,
    last_document_ms: Option<i64>,
    upstream_sequence: u64,
}

impl LeaderHealth {
    fn of(report: &FeedReport) -> Self {
        Self {
            health: report.health.into(),
            detail: report.detail.clone(),
            last_document_ms: report.last_document.map(clock::to_ms),
            upstream_sequence: report.upstream_sequence,
        }
    }

    fn report(self) -> FeedReport {
        FeedReport {
            health: FeedHealth::try_from(self.health).unwrap_or(FeedHealth::Delayed),
            detail: self.detail,
            last_document: self.last_document_ms.map(clock::from_ms),
            upstream_sequence: self.upstream_sequence,
        }
    }
}

/// Tells the others how the feed is doing.
async fn notify(mut report: watch::Receiver<FeedReport>, said: watch::Sender<String>) -> Never {
    loop {
        let told = LeaderHealth::of(&report.borrow_and_update());
        match serde_json::to_string(&told) {
            Ok(text) => {
                said.send_replace(text);
            }
            Err(error) => tracing::debug!(%error, "encoding the feed's health failed"),
        }
        if report.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Says what the one whose turn it is says, or why the log is out of reach.
async fn follow_leader(log: &JetStreamLog, report: &watch::Sender<FeedReport>) -> Never {
    let (mut heard, mut trouble, mut hindered) = (log.leader_health(), log.trouble(), log.election_error());
    loop {
        let last = report.borrow().clone();
        let said = heard.borrow_and_update().clone();
        let reason = trouble.borrow_and_update().clone();
        let hindrance = hindered.borrow_and_update().clone();
        standing(last, said.as_deref(), reason, hindrance).publish(report);
        let changed = tokio::select! {
            changed = heard.changed() => changed,
            changed = trouble.changed() => changed,
            changed = hindered.changed() => changed,
        };
        if changed.is_err() {
            return std::future::pending().await;
        }
    }
}

/// `hindrance`: why this ingestor cannot take its turn.
fn standing(last: FeedReport, said: Option<&str>, trouble: Option<String>, hindrance: Option<String>) -> FeedReport {
    if let Some(reason) = trouble {
        return out_of_reach(last, &reason);
    }
    if let Some(reason) = hindrance {
        return FeedReport {
            health: FeedHealth::Delayed,
            detail: format!("this ingestor cannot become the leader: {reason}"),
            ..last
        };
    }
    let told = said.and_then(|said| serde_json::from_str::<LeaderHealth>(said).ok());
    told.map_or_else(
        || FeedReport {
            health: FeedHealth::Delayed,
            detail: "no ingestor is polling zKillboard: waiting for a new leader".into(),
            ..last
        },
        LeaderHealth::report,
    )
}

fn out_of_reach(last: FeedReport, reason: &str) -> FeedReport {
    FeedReport {
        health: FeedHealth::Down,
        detail: format!("killmails cannot be logged: the shared log is unavailable: {reason}"),
        ..last
    }
}

/// What does not end.
type Never = std::convert::Infallible;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(health: FeedHealth) -> FeedReport {
        FeedReport {
            health,
            detail: "all is well".into(),
            last_document: Some(clock::from_ms(1_790_000_000_123)),
            upstream_sequence: 97,
        }
    }

    #[test]
    fn what_one_tells_the_others_say() {
        for health in [FeedHealth::Ok, FeedHealth::Delayed, FeedHealth::Down] {
            let text = serde_json::to_string(&LeaderHealth::of(&report(health))).unwrap();
            assert_eq!(standing(FeedReport::default(), Some(&text), None, None), report(health));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_see_the_log_for_long_does_not_lead() {
        let (trouble, told) = watch::channel(None);
        let (over, short) = (outage_exceeds_grace(told), OUTAGE_GRACE - Duration::from_millis(1));
        let mut over = pin!(over);
        // Well, or not well for a moment only, however often.
        assert!(timeout(10 * OUTAGE_GRACE, over.as_mut()).await.is_err());
        for _ in 0..3 {
            trouble.send_replace(Some("no leader".to_owned()));
            assert!(timeout(short, over.as_mut()).await.is_err());
            trouble.send_replace(None);
            assert!(timeout(short, over.as_mut()).await.is_err());
        }
        trouble.send_replace(Some("no leader".to_owned()));
        assert!(timeout(short, over.as_mut()).await.is_err());
        // Another reason is no end of it.
        trouble.send_replace(Some("no answer".to_owned()));
        assert!(timeout(Duration::from_millis(2), over.as_mut()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_closed_log_nothing_is_said() {
        let (trouble, told) = watch::channel(Some("no leader".to_owned()));
        drop(trouble);
        assert!(timeout(10 * OUTAGE_GRACE, outage_exceeds_grace(told)).await.is_err());
    }

    #[test]
    fn without_a_word_or_without_the_log_it_is_not_well() {
        let of = |said, trouble, hindrance| standing(report(FeedHealth::Ok), said, trouble, hindrance).health;
        assert_eq!(of(None, None, None), FeedHealth::Delayed);
        assert_eq!(of(Some("what a later version says"), None, None), FeedHealth::Delayed);
        let text = serde_json::to_string(&LeaderHealth::of(&report(FeedHealth::Ok))).unwrap();
        let (gone, forbidden) = (Some("no connection".to_owned()), Some("it is forbidden".to_owned()));
        assert_eq!(of(Some(&text), gone.clone(), None), FeedHealth::Down);
        assert_eq!(of(Some(&text), None, forbidden.clone()), FeedHealth::Delayed);
        assert_eq!(of(Some(&text), gone, forbidden), FeedHealth::Down);
    }
}
