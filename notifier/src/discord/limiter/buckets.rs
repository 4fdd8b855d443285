//! Which waiting requests may go now: the limiter's decisions, without a task or a clock of their own.
//!
//! Requests of one bucket go one after another: each answer says whether the next one may follow, so a limit that is not
//! known yet, or changes, is never overrun. Channels do not wait for each other.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    feedback::{BucketState, Feedback, Scope},
    invalid::InvalidRequests,
};

/// Discord's limit over all routes.
const GLOBAL_LIMIT: usize = 50;
/// The period of that limit: a second, and a little more because requests sent apart may arrive closer together.
const GLOBAL_PERIOD: Duration = Duration::from_millis(1_050);
/// How often what is known of quiet channels is dropped; their buckets have long been reset by then.
const FORGET_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// What a request counts against, as far as it is known before Discord has answered one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// Method and path with the ids left out.
    pub(crate) template: &'static str,
    /// The channel, guild or webhook in the path: buckets are counted for each of them; 0 = none.
    pub(crate) major: u64,
}

/// A decision about one waiting request, known by the `T` it came with.
#[derive(Debug, PartialEq)]
pub(super) enum Decision<T> {
    /// It may be sent now; [`Buckets::done`] must follow.
    Go { route: Route, request: T },
    /// It would have to wait beyond its deadline.
    TooLong { request: T, wait: Duration },
}

/// All buckets and what waits for them.
#[derive(Debug)]
pub(super) struct Buckets<T> {
    queues: HashMap<u64, Queue<T>>,
    next_queue: u64,
    /// The queue of each route used so far.
    routes: HashMap<Route, u64>,
    /// The queue of each bucket named so far, by name and major id.
    named: HashMap<(String, u64), u64>,
    /// Queues in which something waits, whose turn comes first at the front.
    turns: VecDeque<u64>,
    /// When the newest requests were sent, at most [`GLOBAL_LIMIT`] of them.
    sent: VecDeque<Instant>,
    /// Until when a global 429 stops everything.
    stopped_until: Option<Instant>,
    pub(super) invalid: InvalidRequests,
    forgotten: Option<Instant>,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<QueuedRequest<T>>,
    in_flight: bool,
    /// Closed until then: the bucket is empty.
    empty_until: Option<Instant>,
}

#[derive(Debug)]
struct QueuedRequest<T> {
    route: Route,
    deadline: Instant,
    request: T,
}

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            next_queue: 0,
            routes: HashMap::new(),
            named: HashMap::new(),
            turns: VecDeque::new(),
            sent: VecDeque::new(),
            stopped_until: None,
            invalid: InvalidRequests::default(),
            forgotten: None,
        }
    }
}

impl<T> Buckets<T> {
    /// A request on `route` wants to go, until `deadline`.
    pub(super) fn want(&mut self, now: Instant, route: Route, deadline: Instant, request: T) {
        self.forget_quiet(now);
        let id = self.queue_of(route);
        self.push(
            id,
            QueuedRequest {
                route,
                deadline,
                request,
            },
        );
    }

    /// The request that went on `route` is over; `None` = nobody knows how.
    pub(super) fn done(&mut self, now: Instant, route: Route, feedback: Option<Feedback>) {
        let id = self.queue_of(route);
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.in_flight = false;
        }
        let Some(feedback) = feedback else { return };
        if feedback.invalid {
            self.invalid.record(now);
        }
        let id = match &feedback.bucket {
            Some(bucket) => self.learn(route, id, bucket),
            None => id,
        };
        if let (Some(bucket), Some(queue)) = (&feedback.bucket, self.queues.get_mut(&id)) {
            queue.empty_until = (bucket.remaining == 0).then(|| now + bucket.reset_after);
        }
        match feedback.limited {
            Some((Scope::Global, wait)) => self.stopped_until = self.stopped_until.max(Some(now + wait)),
            Some((Scope::User | Scope::Shared, wait)) => {
                if let Some(queue) = self.queues.get_mut(&id) {
                    queue.empty_until = Some(now + wait);
                }
            }
            None => {}
        }
    }

    /// Everything that can be decided now.
    pub(super) fn decide(&mut self, now: Instant) -> Vec<Decision<T>> {
        let mut decisions = Vec::new();
        let stopped = self.stopped(now);
        let mut served = VecDeque::new();
        for _ in 0..self.turns.len() {
            let Some(id) = self.turns.pop_front() else { break };
            let slot = self.next_slot(now).is_none();
            let Some(queue) = self.queues.get_mut(&id) else {
                continue;
            };
            let closed = stopped.max(queue.empty_until.filter(|&until| until > now));
            if let Some(opens) = closed {
                queue.give_up(now, opens, &mut decisions);
            }
            let goes = closed.is_none() && !queue.in_flight && slot;
            if let Some(next) = goes.then(|| queue.waiting.pop_front()).flatten() {
                queue.in_flight = true;
                self.sent.push_back(now);
                decisions.push(Decision::Go {
                    route: next.route,
                    request: next.request,
                });
                served.push_back(id);
            } else {
                // At the back of those passed over, which keep their order before those just served.
                self.turns.push_back(id);
            }
        }
        self.turns.append(&mut served);
        let queues = &self.queues;
        self.turns
            .retain(|id| queues.get(id).is_some_and(|queue| !queue.waiting.is_empty()));
        decisions
    }

    /// When [`Buckets::decide`] should be asked again, if no answer comes before.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        let everyone = self.stopped(now).max(self.next_slot(now));
        let opens = |id| {
            let queue: &Queue<T> = self.queues.get(id).filter(|queue| !queue.in_flight)?;
            queue.empty_until.max(everyone)
        };
        self.turns.iter().filter_map(opens).min()
    }

    /// Until when nothing at all may be sent.
    pub(super) fn stopped(&mut self, now: Instant) -> Option<Instant> {
        self.stopped_until = self.stopped_until.filter(|&until| until > now);
        self.stopped_until.max(self.invalid.paused_until(now))
    }

    /// When the next request fits the global limit; `None` = now.
    fn next_slot(&mut self, now: Instant) -> Option<Instant> {
        while self.sent.front().is_some_and(|&sent| sent + GLOBAL_PERIOD <= now) {
            self.sent.pop_front();
        }
        let full = self.sent.len() >= GLOBAL_LIMIT;
        full.then(|| self.sent.front().map(|&sent| sent + GLOBAL_PERIOD))
            .flatten()
    }

    /// The queue that `route` now belongs to, as Discord has named its bucket.
    fn learn(&mut self, route: Route, id: u64, bucket: &BucketState) -> u64 {
        let shared = *self.named.entry((bucket.name.clone(), route.major)).or_insert(id);
        if shared == id {
            return id;
        }
        self.routes.insert(route, shared);
        let Some(queue) = self.queues.get_mut(&id) else {
            return shared;
        };
        let (moving, staying) = std::mem::take(&mut queue.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|waiting| waiting.route == route);
        queue.waiting = staying;
        for waiting in moving {
            self.push(shared, waiting);
        }
        shared
    }

    fn queue_of(&mut self, route: Route) -> u64 {
        let next = self.next_queue;
        let id = *self.routes.entry(route).or_insert(next);
        if id == next {
            self.next_queue += 1;
        }
        self.queues.entry(id).or_default();
        id
    }

    fn push(&mut self, id: u64, waiting: QueuedRequest<T>) {
        let queue = self.queues.entry(id).or_default();
        if queue.waiting.is_empty() && !self.turns.contains(&id) {
            self.turns.push_back(id);
        }
        queue.waiting.push_back(waiting);
    }

    fn forget_quiet(&mut self, now: Instant) {
        let forgotten = *self.forgotten.get_or_insert(now);
        if now.duration_since(forgotten) < FORGET_INTERVAL {
            return;
        }
        self.forgotten = Some(now);
        self.queues.retain(|_, queue| {
            queue.in_flight || !queue.waiting.is_empty() || queue.empty_until.is_some_and(|until| until > now)
        });
        self.routes.retain(|_, id| self.queues.contains_key(id));
        self.named.retain(|_, id| self.queues.contains_key(id));
    }
}

impl<T> Queue<T> {
    /// Gives up those that cannot wait until `opens`.
    fn give_up(&mut self, now: Instant, opens: Instant, decisions: &mut Vec<Decision<T>>) {
        let (patient, hurried) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|waiting| waiting.deadline >= opens);
        self.waiting = patient;
        decisions.extend(hurried.into_iter().map(|waiting| Decision::TooLong {
            request: waiting.request,
            wait: opens.duration_since(now),
        }));
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            in_flight: false,
            empty_until: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_TIMEOUT: Duration = Duration::from_secs(60);

    fn route(major: u64) -> Route {
        Route {
            template: "POST /channels/{}/messages",
            major,
        }
    }

    fn bucket(name: &str, remaining: u32, reset_after: u64) -> Option<Feedback> {
        Some(Feedback {
            bucket: Some(BucketState {
                name: name.into(),
                remaining,
                reset_after: Duration::from_secs(reset_after),
            }),
            limited: None,
            invalid: false,
        })
    }

    fn limited(scope: Scope, wait: u64) -> Option<Feedback> {
        Some(Feedback {
            bucket: None,
            limited: Some((scope, Duration::from_secs(wait))),
            invalid: scope != Scope::Shared,
        })
    }

    fn went(decisions: Vec<Decision<u32>>) -> Vec<u32> {
        decisions
            .into_iter()
            .map(|decision| match decision {
                Decision::Go { request, .. } => request,
                Decision::TooLong { .. } => panic!("{decision:?}"),
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_used_up_then_waited_for() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        for n in 0..4 {
            buckets.want(now, route(1), now + TEST_TIMEOUT, n);
        }
        assert_eq!(went(buckets.decide(now)), [0]);
        assert!(went(buckets.decide(now)).is_empty(), "one at a time");
        buckets.done(now, route(1), bucket("b", 1, 5));
        assert_eq!(went(buckets.decide(now)), [1]);
        buckets.done(now, route(1), bucket("b", 0, 5));
        assert!(went(buckets.decide(now)).is_empty());
        assert_eq!(buckets.next(now), Some(now + Duration::from_secs(5)));
        let later = now + Duration::from_secs(5);
        assert_eq!(went(buckets.decide(later)), [2]);
        buckets.done(later, route(1), None);
        assert_eq!(went(buckets.decide(later)), [3], "a request given up frees its place");
    }

    #[tokio::test(start_paused = true)]
    async fn channels_do_not_wait_for_each_other_but_all_for_a_global_limit() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        buckets.want(now, route(1), now + TEST_TIMEOUT, 1);
        assert_eq!(went(buckets.decide(now)), [1]);
        buckets.done(now, route(1), limited(Scope::User, 9));
        buckets.want(now, route(1), now + TEST_TIMEOUT, 2);
        buckets.want(now, route(2), now + TEST_TIMEOUT, 3);
        assert_eq!(went(buckets.decide(now)), [3]);
        buckets.done(now, route(2), limited(Scope::Global, 20));
        buckets.want(now, route(3), now + TEST_TIMEOUT, 4);
        assert!(went(buckets.decide(now)).is_empty());
        assert_eq!(buckets.next(now), Some(now + Duration::from_secs(20)));
        assert_eq!(went(buckets.decide(now + Duration::from_secs(20))), [2, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_fifty_a_second_and_everyone_gets_a_turn() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        for n in 0..120_u32 {
            buckets.want(now, route(u64::from(n % 60)), now + TEST_TIMEOUT, n);
        }
        let first = went(buckets.decide(now));
        assert_eq!(first.len(), GLOBAL_LIMIT);
        for n in &first {
            buckets.done(now, route(u64::from(n % 60)), None);
        }
        assert!(went(buckets.decide(now)).is_empty());
        assert_eq!(buckets.next(now), Some(now + GLOBAL_PERIOD));
        let second = went(buckets.decide(now + GLOBAL_PERIOD));
        assert_eq!(second.len(), GLOBAL_LIMIT);
        assert_eq!(
            second[..10],
            [50, 51, 52, 53, 54, 55, 56, 57, 58, 59],
            "those passed over come first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_wait_that_long_is_told_so() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        buckets.want(now, route(1), now + TEST_TIMEOUT, 1);
        assert_eq!(went(buckets.decide(now)), [1]);
        buckets.done(now, route(1), limited(Scope::User, 30));
        buckets.want(now, route(1), now + Duration::from_secs(10), 2);
        let wait = Duration::from_secs(30);
        assert_eq!(buckets.decide(now), [Decision::TooLong { request: 2, wait }]);
        assert_eq!(buckets.next(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn routes_of_one_bucket_share_it_within_a_channel() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let edit = |major| Route {
            template: "PATCH /channels/{}/messages/{}",
            major,
        };
        buckets.want(now, route(1), now + TEST_TIMEOUT, 1);
        buckets.want(now, edit(1), now + TEST_TIMEOUT, 2);
        buckets.want(now, edit(1), now + TEST_TIMEOUT, 3);
        buckets.want(now, edit(2), now + TEST_TIMEOUT, 4);
        assert_eq!(went(buckets.decide(now)), [1, 2, 4]);
        buckets.done(now, route(1), bucket("shared", 1, 5));
        buckets.done(now, edit(2), bucket("shared", 1, 5));
        buckets.done(now, edit(1), bucket("shared", 0, 5));
        buckets.want(now, route(1), now + TEST_TIMEOUT, 5);
        buckets.want(now, edit(2), now + TEST_TIMEOUT, 6);
        assert_eq!(
            went(buckets.decide(now)),
            [6],
            "another channel has a bucket of its own"
        );
        assert_eq!(
            went(buckets.decide(now + Duration::from_secs(5))),
            [3],
            "and then one at a time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_invalid_requests_stop_everything() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let refused = Feedback {
            bucket: None,
            limited: None,
            invalid: true,
        };
        for n in 0..1_000 {
            buckets.done(now, route(n), Some(refused.clone()));
        }
        buckets.want(now, route(5_000), now + TEST_TIMEOUT, 1);
        let wait = Duration::from_secs(600);
        assert_eq!(buckets.decide(now), [Decision::TooLong { request: 1, wait }]);
        assert_eq!(buckets.stopped(now), Some(now + wait));
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_channels_are_forgotten() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        for channel in 0..40_u32 {
            buckets.want(now, route(u64::from(channel)), now + TEST_TIMEOUT, channel);
            buckets.decide(now);
            buckets.done(now, route(u64::from(channel)), bucket("b", 4, 5));
        }
        let later = now + FORGET_INTERVAL;
        buckets.want(later, route(1), later + TEST_TIMEOUT, 1);
        assert_eq!(buckets.queues.len(), 1);
        assert_eq!((buckets.routes.len(), buckets.named.len()), (1, 0));
    }
}
