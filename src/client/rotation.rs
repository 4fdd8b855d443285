//! Whose turn it is among several endpoints.

use tokio::time::Instant;

/// Which endpoints were tried in this round, until when each asked to be left alone, and who refuses us.
pub(crate) struct Rotation(Vec<EndpointState>);

#[derive(Debug, Clone, Copy, Default)]
struct EndpointState {
    tried: bool,
    leave_alone_until: Option<Instant>,
    refuses: bool,
}

impl Rotation {
    /// `count` is at least 1.
    pub(crate) fn new(count: usize) -> Self {
        Self(vec![EndpointState::default(); count])
    }

    /// It failed, and is left alone until then.
    pub(crate) fn mark_failed(&mut self, index: usize, leave_alone_until: Instant) {
        let seat = self.seat(index);
        seat.tried = true;
        seat.leave_alone_until = Some(leave_alone_until);
    }

    /// Whether it let us in when it was asked last.
    pub(crate) fn refuses(&mut self, index: usize, refuses: bool) {
        self.seat(index).refuses = refuses;
    }

    /// Nobody lets us in: all have said so since something was delivered.
    pub(crate) fn all_refuse(&self) -> bool {
        self.0.iter().all(|seat| seat.refuses)
    }

    /// The next one behind `from` that was not tried in this round and may be asked now.
    pub(crate) fn untried(&self, from: usize, now: Instant) -> Option<usize> {
        self.behind(from)
            .find(|index| !self.0[*index].tried && self.free(*index, now))
    }

    /// Whom to ask first in the next round.
    pub(crate) fn after_wait(&self, from: usize, now: Instant) -> usize {
        let next = self.behind(from).find(|index| self.free(*index, now));
        next.unwrap_or(from)
    }

    /// When the first of them may be asked again.
    pub(crate) fn soonest(&self, now: Instant) -> Instant {
        let until = self.0.iter().map(|seat| seat.leave_alone_until.unwrap_or(now)).min();
        until.unwrap_or(now)
    }

    /// A new round begins.
    pub(crate) fn start_round(&mut self) {
        for seat in &mut self.0 {
            seat.tried = false;
        }
    }

    /// The worst is over.
    pub(crate) fn reset(&mut self) {
        self.0.fill(EndpointState::default());
    }

    fn seat(&mut self, index: usize) -> &mut EndpointState {
        let count = self.0.len();
        &mut self.0[index % count]
    }

    fn free(&self, index: usize, now: Instant) -> bool {
        self.0[index].leave_alone_until.is_none_or(|until| until <= now)
    }

    /// All of them in turn, `from` last.
    fn behind(&self, from: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.0.len();
        (1..=count).map(move |step| (from + step) % count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn everybody_gets_a_turn_and_who_asked_for_peace_has_it() {
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        let mut ring = Rotation::new(3);
        assert_eq!(ring.untried(0, now), Some(1));
        ring.mark_failed(0, now);
        ring.mark_failed(1, later);
        assert_eq!(ring.untried(1, now), Some(2));
        ring.mark_failed(2, now);
        assert_eq!(ring.untried(2, now), None, "a round is over");
        ring.start_round();
        assert_eq!(ring.soonest(now), now);
        assert_eq!(ring.after_wait(0, now), 2, "1 is left alone");
        assert_eq!(ring.after_wait(0, later), 1);
        ring.reset();
        assert_eq!(ring.untried(0, now), Some(1));
        let mut alone = Rotation::new(1);
        assert_eq!(alone.untried(0, now), Some(0));
        alone.mark_failed(0, later);
        assert_eq!((alone.untried(0, now), alone.soonest(now)), (None, later));
        assert_eq!(alone.after_wait(0, now), 0, "there is nobody else");
    }

    #[test]
    fn a_refusal_is_remembered_until_something_is_delivered() {
        let mut ring = Rotation::new(2);
        ring.refuses(0, true);
        ring.mark_failed(0, Instant::now());
        ring.start_round();
        assert!(!ring.all_refuse(), "the other one may be restarting");
        ring.refuses(1, true);
        assert!(ring.all_refuse());
        ring.refuses(0, false);
        assert!(!ring.all_refuse());
        ring.refuses(0, true);
        ring.reset();
        assert!(!ring.all_refuse());
    }
}
