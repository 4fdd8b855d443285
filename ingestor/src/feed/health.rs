//! How the feed is doing, in a word and a sentence: from what was answered when. Pure; time comes in.

use killfeed::v1::FeedHealth;

use super::{Millis, timestamp};

/// The contract: DOWN after 60 s without any good answer.
const DOWN_AFTER: Millis = 60_000;
/// A failure that lasts this long holds documents up. The contract gives 10 s to say so.
const FAILING_AFTER: Millis = 5_000;
/// The contract: DELAYED when known to be more than 60 s behind.
const BEHIND: Millis = 60_000;
/// So long an answer "nothing new yet" (and the wait after it) proves that we are not behind.
const HEAD_FRESH: Millis = 8_000;

/// What was answered when.
#[derive(Debug)]
pub(super) struct HealthTracker {
    started: Millis,
    last_good: Option<Millis>,
    /// The first request since the last good answer went out then.
    unanswered_since: Option<Millis>,
    /// What went wrong last.
    reason: Option<String>,
    at_head: Option<Millis>,
    /// zKillboard's upload time of the newest document.
    uploaded: Option<Millis>,
    /// sequence.json named this number at this time.
    head: Option<(u64, Millis)>,
    pub(super) last_document: Option<Millis>,
}

/// What the walk knows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WalkStatus {
    pub(super) next: u64,
    pub(super) banned_until: Option<Millis>,
    pub(super) waits_for: Option<u64>,
    pub(super) searching: bool,
    pub(super) poll_interval: Millis,
}

impl HealthTracker {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            started: now,
            last_good: None,
            unanswered_since: None,
            reason: None,
            at_head: None,
            uploaded: None,
            head: None,
            last_document: None,
        }
    }

    pub(super) fn asked(&mut self, now: Millis) {
        self.unanswered_since.get_or_insert(now);
    }

    /// A document, sequence.json, or a 404 where one may be.
    pub(super) fn record_success(&mut self, now: Millis) {
        self.last_good = Some(now);
        self.unanswered_since = None;
        self.reason = None;
    }

    pub(super) fn record_failure(&mut self, reason: String) {
        self.reason = Some(reason);
    }

    /// Nothing new yet.
    pub(super) fn at_head(&mut self, now: Millis) {
        self.at_head = Some(now);
    }

    /// sequence.json named `number`.
    pub(super) fn head(&mut self, number: u64, now: Millis) {
        if self.head.is_none_or(|(known, _)| known < number) {
            self.head = Some((number, now));
        }
    }

    /// The walk's newest document came, uploaded at that time.
    pub(super) fn document(&mut self, uploaded: Option<Millis>, now: Millis) {
        self.last_document = Some(now);
        self.uploaded = uploaded;
    }

    /// How far behind the newest document is, while it is not known that there is no newer one.
    pub(super) fn lag(&self, now: Millis, standing: &WalkStatus) -> Millis {
        if self.fresh_head(now, standing) {
            return 0;
        }
        let by_document = self.uploaded.map_or(0, |uploaded| now.saturating_sub(uploaded));
        let by_head = match self.head {
            Some((number, at)) if standing.next <= number => now - at,
            _ => 0,
        };
        by_document.max(by_head).max(0)
    }

    pub(super) fn evaluate(&self, now: Millis, standing: &WalkStatus) -> (FeedHealth, String) {
        let next = standing.next;
        let reason = self.reason.as_deref();
        if let Some(until) = standing.banned_until {
            let reason = reason.unwrap_or("before this process started");
            let detail = format!(
                "banned by the feed's host ({reason}): no requests until {}",
                timestamp(until)
            );
            return (FeedHealth::Down, detail);
        }
        if let Some(since) = self.unanswered_since {
            let reason = reason.unwrap_or("no response yet");
            let last_good = self.last_good.unwrap_or(self.started);
            // A pause of our own (for a hole, say) is no failure: the first question after it gets its time too.
            if now >= (last_good + DOWN_AFTER).max(since + FAILING_AFTER) {
                let detail = format!("no usable response since {}: {reason}", timestamp(last_good));
                return (FeedHealth::Down, detail);
            }
            if now >= since + FAILING_AFTER {
                let detail = format!("requests have been failing since {}: {reason}", timestamp(since));
                return (FeedHealth::Delayed, detail);
            }
        }
        if self.last_good.is_none() {
            return (FeedHealth::Delayed, "starting: no response from the feed yet".into());
        }
        if let Some(number) = standing.waits_for {
            let detail = format!("document {number} is missing, but later ones exist: waiting for it");
            return (FeedHealth::Delayed, detail);
        }
        if standing.searching {
            return (
                FeedHealth::Delayed,
                "searching for the oldest document that still exists".into(),
            );
        }
        if self.lag(now, standing) > BEHIND {
            let detail = format!("catching up at document {next}: more than a minute behind");
            return (FeedHealth::Delayed, detail);
        }
        if self.fresh_head(now, standing) {
            return (FeedHealth::Ok, format!("at the head: waiting for document {next}"));
        }
        (FeedHealth::Ok, "reading the feed".into())
    }

    fn fresh_head(&self, now: Millis, standing: &WalkStatus) -> bool {
        let fresh = standing.poll_interval + HEAD_FRESH;
        self.at_head.is_some_and(|at| now - at <= fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: WalkStatus = WalkStatus {
        next: 100,
        banned_until: None,
        waits_for: None,
        searching: false,
        poll_interval: 6_000,
    };

    fn health(vitals: &HealthTracker, now: Millis) -> FeedHealth {
        vitals.evaluate(now, &STANDING).0
    }

    #[test]
    fn starts_delayed_and_is_ok_at_the_head() {
        let mut vitals = HealthTracker::new(0);
        assert_eq!(health(&vitals, 0), FeedHealth::Delayed);
        vitals.asked(0);
        vitals.record_success(100);
        vitals.at_head(100);
        assert_eq!(health(&vitals, 100), FeedHealth::Ok);
        assert_eq!(
            vitals.evaluate(100, &STANDING).1,
            "at the head: waiting for document 100"
        );
    }

    #[test]
    fn failures_first_delay_then_take_it_down_then_it_recovers() {
        let mut vitals = HealthTracker::new(0);
        vitals.asked(0);
        vitals.record_success(100);
        vitals.at_head(100);
        vitals.asked(6_100);
        vitals.record_failure("503 Service Unavailable".into());
        for (now, expected) in [
            (7_000, FeedHealth::Ok),
            (11_100, FeedHealth::Delayed),
            (60_099, FeedHealth::Delayed),
            (60_100, FeedHealth::Down),
            (600_000, FeedHealth::Down),
        ] {
            vitals.asked(now);
            assert_eq!(health(&vitals, now), expected, "{now}");
        }
        assert_eq!(
            vitals.evaluate(600_000, &STANDING).1,
            "no usable response since 1970-01-01T00:00:00.100Z: 503 Service Unavailable"
        );
        vitals.record_success(600_001);
        vitals.at_head(600_001);
        assert_eq!(health(&vitals, 600_001), FeedHealth::Ok);
    }

    #[test]
    fn a_pause_of_our_own_is_no_failure() {
        let mut vitals = HealthTracker::new(0);
        vitals.asked(0);
        vitals.record_success(0);
        assert_eq!(health(&vitals, 300_000), FeedHealth::Ok);
        vitals.asked(300_000);
        assert_eq!(health(&vitals, 301_000), FeedHealth::Ok);
        assert_eq!(health(&vitals, 305_000), FeedHealth::Down);
    }

    #[test]
    fn a_ban_is_down_at_once_and_a_hole_delays() {
        let mut vitals = HealthTracker::new(0);
        vitals.asked(0);
        vitals.record_success(0);
        let banned = WalkStatus {
            banned_until: Some(60_000),
            ..STANDING
        };
        assert_eq!(vitals.evaluate(1, &banned).0, FeedHealth::Down);
        let waiting = WalkStatus {
            waits_for: Some(99),
            ..STANDING
        };
        assert_eq!(vitals.evaluate(1, &waiting).0, FeedHealth::Delayed);
        let searching = WalkStatus {
            searching: true,
            ..STANDING
        };
        assert_eq!(vitals.evaluate(1, &searching).0, FeedHealth::Delayed);
    }

    #[test]
    fn behind_by_the_newest_document_or_by_sequence_json() {
        let mut vitals = HealthTracker::new(1_000_000);
        vitals.asked(1_000_000);
        vitals.record_success(1_000_000);
        vitals.document(Some(930_000), 1_000_000);
        assert_eq!(health(&vitals, 1_000_000), FeedHealth::Delayed);
        vitals.document(Some(995_000), 1_000_000);
        assert_eq!(health(&vitals, 1_000_000), FeedHealth::Ok);
        // Whatever a document says.
        vitals.document(Some(Millis::MIN), 1_000_000);
        assert_eq!(health(&vitals, 1_000_000), FeedHealth::Delayed);
        vitals.document(Some(Millis::MAX), 1_000_000);
        assert_eq!(health(&vitals, 1_000_000), FeedHealth::Ok);
        vitals.head(150, 1_000_000);
        vitals.document(None, 1_000_000);
        assert_eq!(health(&vitals, 1_060_000), FeedHealth::Ok);
        assert_eq!(health(&vitals, 1_060_001), FeedHealth::Delayed);
        vitals.at_head(1_060_001);
        assert_eq!(health(&vitals, 1_060_001), FeedHealth::Ok);
    }
}
