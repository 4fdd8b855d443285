//! The retry loop: owns the position, opens streams, hands out events, waits, fails over. A hand-written state machine, so that
//! dropping a future of [`Events::next`] half-way loses nothing: not an event, not a connection that is being opened.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt as _, Stream};
use prost_types::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};
use tonic::{Code, Status, Streaming};

use super::{
    FollowOptions, MAX_MESSAGE, Position, Start,
    failover::Endpoints,
    observer::ClientEvent,
    retry::{self, Failure, FollowError, RetryAction, RetryContext},
    rotation::Rotation,
};
use crate::{
    backoff::Backoff,
    v1::{
        self, Gap, Killmail, OnExpired, Progress, StreamKillmailsRequest, StreamKillmailsResponse,
        killmail_service_client::KillmailServiceClient, stream_killmails_request, stream_killmails_response,
    },
};

/// A Progress comes every 15 s ±10 %: a stream that is silent for three of them is dead, whatever TCP believes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How far back another log is asked for: two ingestors log a killmail at different times, and clocks differ.
const OVERLAP_SECONDS: i64 = 600;

/// One event of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// To be stored once the event is handled.
    pub position: Position,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A killmail that matches the filter.
    Killmail(Box<Killmail>),
    /// Nothing that matches up to here.
    Progress(Progress),
    /// Killmails may be missing here.
    Gap(Gap),
}

/// How following goes, for logs and `/readyz`.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionState {
    /// A stream is being opened.
    Connecting {
        /// Where to.
        endpoint: String,
    },
    /// A stream is open.
    Connected {
        /// Where to.
        endpoint: String,
    },
    /// All endpoints were tried in vain; it goes on by itself.
    Waiting {
        /// The last one tried.
        endpoint: String,
        /// What it said, or why it could not be asked.
        why: String,
        /// How long.
        wait: Duration,
        /// How many rounds have failed since the last event.
        failed_rounds: u32,
    },
    /// It is over.
    Ended(FollowError),
}

/// The events, over as many streams as it takes. Made by [`super::Client::follow`].
pub struct Events {
    endpoints: Arc<Endpoints>,
    follow: FollowOptions,
    /// Where the next attempt starts: moves with every event.
    start: Start,
    /// Time of the last place reached, for a log that does not know our cursor.
    time: Timestamp,
    /// The endpoint that the current attempt is about.
    endpoint: usize,
    ring: Rotation,
    /// Counts the rounds that failed since the last event.
    backoff: Backoff,
    accept_gap: bool,
    phase: Phase,
    /// As a stream: the error was handed out, what comes now is the end.
    error_said: bool,
    state: watch::Sender<ConnectionState>,
}

type ConnectFuture = Pin<Box<dyn Future<Output = Result<Streaming<StreamKillmailsResponse>, Status>> + Send>>;

enum Phase {
    /// Nothing is under way.
    Idle,
    Waiting(Pin<Box<Sleep>>),
    Opening(ConnectFuture),
    Open {
        stream: Box<Streaming<StreamKillmailsResponse>>,
        silence: Pin<Box<Sleep>>,
        /// The clock of `silence` runs: only while there is nothing to hand out, so a slow caller is not the stream's fault.
        waiting: bool,
    },
    Ended(FollowError),
}

impl Events {
    pub(crate) fn new(endpoints: Arc<Endpoints>, follow: FollowOptions) -> Self {
        let time = match &follow.start {
            Start::After(position) => position.time,
            Start::Since(time) => *time,
            Start::Latest | Start::Earliest => Timestamp::default(),
        };
        let endpoint = endpoints.in_use();
        let state = ConnectionState::Connecting {
            endpoint: endpoints.name(endpoint),
        };
        Self {
            start: follow.start.clone(),
            time,
            endpoint,
            ring: Rotation::new(endpoints.count()),
            backoff: retry::BACKOFF,
            accept_gap: false,
            phase: Phase::Idle,
            error_said: false,
            state: watch::Sender::new(state),
            endpoints,
            follow,
        }
    }

    /// The next event, however long it takes. An error is final: every further call returns it again. Cancel-safe.
    pub async fn next(&mut self) -> Result<Event, FollowError> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// Waits for one event, then takes what is there already, `max` at most. Cancel-safe.
    pub async fn next_ready(&mut self, max: usize) -> Result<Vec<Event>, FollowError> {
        let mut events = vec![self.next().await?];
        while events.len() < max {
            match self.next().now_or_never() {
                Some(Ok(event)) => events.push(event),
                // An error is kept, and comes out next time.
                Some(Err(_)) | None => break,
            }
        }
        Ok(events)
    }

    /// Whether a stream is open now.
    pub fn connected(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// How it goes, also for those who do not hold the [`Events`]. Moves only while events are asked for.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, FollowError>> {
        loop {
            match &mut self.phase {
                Phase::Ended(error) => return Poll::Ready(Err(error.clone())),
                Phase::Idle => self.open(),
                Phase::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(context));
                    self.endpoint = self.ring.after_wait(self.endpoint, Instant::now());
                    self.phase = Phase::Idle;
                }
                Phase::Opening(opening) => match ready!(opening.as_mut().poll(context)) {
                    Ok(stream) => {
                        self.endpoints.use_now(self.endpoint);
                        self.phase = Phase::Open {
                            stream: Box::new(stream),
                            silence: Box::pin(tokio::time::sleep(IDLE_TIMEOUT)),
                            waiting: false,
                        };
                        let endpoint = self.endpoints.name(self.endpoint);
                        self.notify(&ClientEvent::Connected { endpoint: &endpoint });
                        self.state.send_replace(ConnectionState::Connected { endpoint });
                    }
                    Err(status) => self.failed(Failure::from(&status)),
                },
                Phase::Open {
                    stream,
                    silence,
                    waiting,
                } => match Pin::new(stream.as_mut()).poll_next(context) {
                    Poll::Ready(Some(Ok(response))) => {
                        *waiting = false;
                        if let Some(event) = self.take(response) {
                            return Poll::Ready(Ok(event));
                        }
                    }
                    Poll::Ready(Some(Err(status))) => self.failed(Failure::from(&status)),
                    Poll::Ready(None) => self.failed(Failure::own(Code::Ok, "the stream ended without a status")),
                    Poll::Pending => {
                        if !*waiting {
                            silence.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                            *waiting = true;
                        }
                        ready!(silence.as_mut().poll(context));
                        let text = format!("no event or heartbeat arrived for {} s", IDLE_TIMEOUT.as_secs());
                        self.failed(Failure::own(Code::DeadlineExceeded, text));
                    }
                },
            }
        }
    }

    /// One attempt: borrows where to start, owns nothing of it.
    fn open(&mut self) {
        let request = request(
            &self.follow,
            &self.start,
            self.asks_for_gap(),
            &self.endpoints.client_name,
        );
        let service = self.endpoints.only(self.endpoint);
        let mut client = KillmailServiceClient::new(service).max_decoding_message_size(MAX_MESSAGE);
        self.phase = Phase::Opening(Box::pin(async move {
            client.stream_killmails(request).await.map(tonic::Response::into_inner)
        }));
        let endpoint = self.endpoints.name(self.endpoint);
        self.notify(&ClientEvent::Connecting { endpoint: &endpoint });
        self.state.send_replace(ConnectionState::Connecting { endpoint });
    }

    fn notify(&self, moment: &ClientEvent<'_>) {
        self.endpoints.observer.notify(moment);
    }

    /// With several endpoints a gap is accepted only when all of them have been asked for the events themselves.
    fn asks_for_gap(&self) -> bool {
        let exact = matches!(self.start, Start::After(_)) && self.endpoints.count() > 1;
        self.follow.on_expired_continue && (self.accept_gap || !exact)
            // After a change of logs there is no telling what the new one has: rather a gap than an end.
            || matches!((&self.start, &self.follow.start), (Start::Since(_), start) if *start != self.start)
    }

    fn take(&mut self, response: StreamKillmailsResponse) -> Option<Event> {
        // Only something delivered shows that the worst is over.
        self.backoff.reset();
        self.ring.reset();
        self.accept_gap = false;
        let event = response.event?;
        self.time = time_after(self.time, &event);
        let position = Position {
            cursor: response.cursor,
            time: self.time,
        };
        self.start = Start::After(position.clone());
        let what = match event {
            stream_killmails_response::Event::Killmail(killmail) => {
                let seen = self.follow.seen.as_ref();
                let (killmail_id, revision) = (killmail.killmail_id, killmail.revision);
                if seen.is_some_and(|seen| seen(killmail_id, revision)) {
                    self.notify(&ClientEvent::Duplicate { killmail_id, revision });
                    return None;
                }
                EventKind::Killmail(Box::new(killmail))
            }
            stream_killmails_response::Event::Progress(progress) => EventKind::Progress(progress),
            stream_killmails_response::Event::Gap(gap) => EventKind::Gap(gap),
        };
        let event = Event { position, kind: what };
        self.notify(&ClientEvent::Event { event: &event });
        Some(event)
    }

    fn failed(&mut self, failure: Failure) {
        let now = Instant::now();
        let endpoint = self.endpoints.name(self.endpoint);
        self.ring.mark_failed(self.endpoint, now);
        self.ring.refuses(self.endpoint, failure.is_refusal());
        let situation = RetryContext {
            others_left: self.ring.untried(self.endpoint, now).is_some(),
            all_refuse: self.ring.all_refuse(),
            at_cursor: matches!(self.start, Start::After(_)),
            may_continue: self.follow.on_expired_continue && !self.asks_for_gap(),
        };
        self.phase = Phase::Idle;
        self.notify(&ClientEvent::Failed {
            endpoint: &endpoint,
            code: failure.code,
            message: &failure.message,
        });
        match retry::next(&failure, &endpoint, situation) {
            RetryAction::ResumeByTime => {
                self.notify(&ClientEvent::LogChanged { endpoint: &endpoint });
                let seconds = self.time.seconds.saturating_sub(OVERLAP_SECONDS).max(0);
                self.start = Start::Since(Timestamp { seconds, nanos: 0 });
            }
            RetryAction::AcceptGap => self.accept_gap = true,
            RetryAction::End(error) => {
                self.notify(&ClientEvent::Ended { error: &error });
                self.phase = Phase::Ended(error.clone());
                self.state.send_replace(ConnectionState::Ended(error));
            }
            RetryAction::Retry { leave_alone } => {
                self.ring.mark_failed(self.endpoint, now + leave_alone);
                if let Some(other) = self.ring.untried(self.endpoint, now) {
                    self.endpoint = other;
                    return;
                }
                let asked = self.ring.soonest(now).saturating_duration_since(now);
                let wait = asked + self.backoff.next_delay();
                self.ring.start_round();
                let failed_rounds = self.backoff.failures();
                self.notify(&ClientEvent::Waiting { wait, failed_rounds });
                self.phase = Phase::Waiting(Box::pin(tokio::time::sleep(wait)));
                self.state.send_replace(ConnectionState::Waiting {
                    endpoint,
                    why: failure.message,
                    wait,
                    failed_rounds,
                });
            }
        }
    }
}

impl Stream for Events {
    type Item = Result<Event, FollowError>;

    /// Ends only with an error, and after it.
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.error_said {
            return Poll::Ready(None);
        }
        let item = ready!(this.poll_event(context));
        this.error_said = item.is_err();
        Poll::Ready(Some(item))
    }
}

fn request(follow: &FollowOptions, start: &Start, accept_gap: bool, client_name: &str) -> StreamKillmailsRequest {
    let on_expired = if accept_gap {
        OnExpired::Continue
    } else {
        OnExpired::Fail
    };
    StreamKillmailsRequest {
        filter: follow.filter.clone(),
        start: Some(match start {
            Start::Latest => stream_killmails_request::Start::Position(v1::Position::Latest.into()),
            Start::Earliest => stream_killmails_request::Start::Position(v1::Position::Earliest.into()),
            Start::After(position) => stream_killmails_request::Start::AfterCursor(position.cursor.clone()),
            Start::Since(time) => stream_killmails_request::Start::Since(*time),
        }),
        on_expired: on_expired.into(),
        include_updates: follow.include_updates,
        client_name: client_name.to_owned(),
    }
}

/// The time that goes with the cursor of `event`. Never later than what the log held when the cursor was made: only a
/// Progress at the head speaks of now; one in the middle of a long scan says where the scan is, not when.
fn time_after(before: Timestamp, event: &stream_killmails_response::Event) -> Timestamp {
    match event {
        stream_killmails_response::Event::Killmail(killmail) => killmail.ingested_time,
        stream_killmails_response::Event::Progress(progress) if progress.caught_up => progress.server_time,
        stream_killmails_response::Event::Progress(_) => None,
        stream_killmails_response::Event::Gap(gap) if before == Timestamp::default() => gap.from_time,
        stream_killmails_response::Event::Gap(_) => None,
    }
    .unwrap_or(before)
}
