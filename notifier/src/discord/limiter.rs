//! Discord's rate limits: a private task that hands out permits to send. Buckets are learnt from the answers, never
//! hard-coded; one limiter serves both Discord itself and a proxy before it.

mod buckets;
mod feedback;
mod invalid;

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};

use buckets::{Buckets, Decision};
pub(crate) use {buckets::Route, feedback::Feedback};

/// Requests that may wait to be heard by the limiter; beyond it callers wait, which they do anyway.
const QUEUE_CAPACITY: usize = 256;
/// What a caller is told to wait whose turn did not come in time though nothing is known to be closed.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// 1 while sending is paused because too many requests were invalid.
pub const METRIC_PAUSED: &str = "notifier_discord_paused";

/// Hands out permits. Clones share one task, which ends with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Limiter {
    inbox: mpsc::Sender<PermitRequest>,
}

/// Permission to send one request. Dropping it says that nobody knows what became of the request.
#[derive(Debug)]
pub(crate) struct Permit {
    answer: oneshot::Sender<Feedback>,
}

/// No permit within the caller's patience: wait this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

struct PermitRequest {
    route: Route,
    deadline: Instant,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<Permit, Wait>>;

impl Limiter {
    pub(crate) fn start() -> Self {
        let (inbox, wants) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(run(wants));
        Self { inbox }
    }

    /// Waits for permission to send a request on `route`, at most for `patience`; if it is clear that this is not enough, not at all.
    pub(crate) async fn permit(&self, route: Route, patience: Duration) -> Result<Permit, Wait> {
        let deadline = Instant::now() + patience;
        let (reply, answer) = oneshot::channel();
        let want = PermitRequest { route, deadline, reply };
        let asked = async {
            // The task outlives its handles: neither half fails while `self` is there.
            self.inbox.send(want).await.map_err(|_| Wait(BUSY_RETRY_AFTER))?;
            answer.await.map_err(|_| Wait(BUSY_RETRY_AFTER))?
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(Wait(BUSY_RETRY_AFTER)))
    }
}

impl Permit {
    /// Says what the answer said.
    pub(crate) fn complete(self, feedback: Feedback) {
        // The limiter is gone only when nobody asks it any more.
        let _ = self.answer.send(feedback);
    }
}

async fn run(mut wants: mpsc::Receiver<PermitRequest>) {
    let mut buckets = Buckets::<Reply>::default();
    let mut in_flight = FuturesUnordered::new();
    let mut paused = false;
    loop {
        let now = Instant::now();
        let wake = buckets.next(now);
        tokio::select! {
            // Answers first: what one says holds for everything asked after it.
            biased;
            Some((route, feedback)) = in_flight.next() => buckets.done(Instant::now(), route, feedback),
            want = wants.recv() => match want {
                Some(PermitRequest { route, deadline, reply }) => buckets.want(Instant::now(), route, deadline, reply),
                None => return,
            },
            () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
        }
        let now = Instant::now();
        for decision in buckets.decide(now) {
            match decision {
                Decision::Go { route, request } => {
                    let (answer, feedback) = oneshot::channel();
                    // Also where the caller has gone: the permit is dropped in here, and its place is free again.
                    let _ = request.send(Ok(Permit { answer }));
                    in_flight.push(async move { (route, feedback.await.ok()) });
                }
                Decision::TooLong { request, wait } => {
                    let _ = request.send(Err(Wait(wait)));
                }
            }
        }
        say_when_paused(&mut paused, buckets.invalid.paused_until(now).map(|until| until - now));
    }
}

fn say_when_paused(paused: &mut bool, wait: Option<Duration>) {
    if *paused == wait.is_some() {
        return;
    }
    *paused = wait.is_some();
    metrics::gauge!(METRIC_PAUSED).set(u8::from(*paused));
    match wait {
        Some(wait) => tracing::warn!(
            seconds = wait.as_secs(),
            hint = "1,000 of them within 10 minutes; Discord bans the address at 10,000",
            "sending paused after many requests failed with 401, 403, 429"
        ),
        None => tracing::info!("sending resumed after a pause for failed requests"),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, StatusCode};

    use super::*;

    const ROUTE: Route = Route {
        template: "POST /channels/{}/messages",
        major: 7,
    };
    const TEST_TIMEOUT: Duration = Duration::from_secs(10);

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Feedback {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        Feedback::read(StatusCode::from_u16(status).unwrap(), &headers)
    }

    fn bucket(remaining: &str) -> Feedback {
        answer(
            200,
            &[
                ("x-ratelimit-bucket", "b"),
                ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-reset-after", "5"),
            ],
        )
    }

    #[tokio::test(start_paused = true)]
    async fn permits_come_one_by_one_and_stop_at_the_limit() {
        let limiter = Limiter::start();
        let start = Instant::now();
        for remaining in ["2", "1", "0"] {
            let permit = limiter.permit(ROUTE, TEST_TIMEOUT).await.unwrap();
            permit.complete(bucket(remaining));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        let permit = limiter.permit(ROUTE, TEST_TIMEOUT).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 5);
        permit.complete(answer(429, &[("retry-after", "60"), ("x-ratelimit-scope", "user")]));
        let refused = limiter.permit(ROUTE, TEST_TIMEOUT).await.unwrap_err();
        assert_eq!(refused.0.as_secs(), 60, "said at once");
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_permit_frees_its_place_and_a_dropped_caller_his() {
        let limiter = Limiter::start();
        let first = limiter.permit(ROUTE, TEST_TIMEOUT).await.unwrap();
        let gone = tokio::time::timeout(Duration::from_secs(1), limiter.permit(ROUTE, TEST_TIMEOUT)).await;
        assert!(gone.is_err(), "waits for the first");
        drop(first);
        limiter.permit(ROUTE, TEST_TIMEOUT).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_behind_a_slow_request() {
        let limiter = Limiter::start();
        let _slow = limiter.permit(ROUTE, TEST_TIMEOUT).await.unwrap();
        let start = Instant::now();
        assert_eq!(
            limiter.permit(ROUTE, TEST_TIMEOUT).await.unwrap_err(),
            Wait(BUSY_RETRY_AFTER)
        );
        assert_eq!(start.elapsed(), TEST_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_global_429_stops_every_route() {
        let limiter = Limiter::start();
        let permit = limiter.permit(ROUTE, TEST_TIMEOUT).await.unwrap();
        permit.complete(answer(429, &[("retry-after", "3"), ("x-ratelimit-global", "true")]));
        let start = Instant::now();
        let other = Route { major: 8, ..ROUTE };
        limiter.permit(other, TEST_TIMEOUT).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 3);
    }
}
