//! The edge over loopback, and sessions under paused time. The log here is a small one in memory, so that a test can trim it and
//! break it at will; the whole system over the real log is tested in `tests/`.

mod drain;
mod unary;
mod fake_log;
mod hostile;
mod list;
mod timing;
mod real_log;
mod secure;
mod statuses;
mod streams;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use killfeed::{
    cursor::{Cursor, Offset},
    filter::{CompileOutcome, Compiled, LANGUAGE_VERSION},
    v1::{
        Diagnostic, Entity, EntityKind, Filter, FilterFlag, FilterNode, KillmailFlag, StreamKillmailsRequest,
        StreamKillmailsResponse, filter_node::Node, killmail_service_client::KillmailServiceClient,
        stream_killmails_request::Start, stream_killmails_response::Event,
    },
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Streaming, transport::Channel};

use super::{GrpcSettings, ServeError, ServiceState, UniverseApi, serve_edge};
use crate::health::{self, FeedReport};

/// The time that a test waits for an event before it fails as a hang.
const LIMIT: Duration = Duration::from_secs(300);
pub(super) use fake_log::FakeLog;

/// Knows one filter: `npc`. `bad` has an error, `esi` needs a name that cannot be had.
struct OneFilter;

#[async_trait]
impl UniverseApi for OneFilter {
    async fn search(&self, query: &str, kinds: &[EntityKind], limit: usize) -> Vec<Entity> {
        let kind = kinds.first().copied().unwrap_or(EntityKind::System);
        let entity = |id| Entity {
            kind: kind.into(),
            id,
            name: query.to_owned(),
            ticker: String::new(),
        };
        (1..=limit as u64).map(entity).collect()
    }

    async fn uncached_names(&self, text: &str) -> usize {
        // As many as it has words in quotes.
        text.matches('"').count() / 2
    }

    async fn compile(&self, text: &str) -> CompileOutcome {
        match text {
            "npc" => CompileOutcome::Compiled(Compiled {
                filter: npc(),
                canonical: "npc".into(),
                description: "Killmails by NPCs alone.".into(),
                warnings: Vec::new(),
            }),
            "esi" => CompileOutcome::Unavailable(vec![(EntityKind::Character, "Somebody New".into())]),
            other => CompileOutcome::Invalid(vec![Diagnostic {
                message: format!("{other:?} is no field"),
                start: 0,
                end: 3,
                suggestions: vec!["npc".into()],
            }]),
        }
    }
}

pub(super) fn npc() -> Filter {
    let flag = FilterFlag {
        flag: KillmailFlag::Npc.into(),
    };
    Filter {
        language_version: LANGUAGE_VERSION,
        nodes: vec![FilterNode {
            node: Some(Node::Flag(flag)),
        }],
    }
}

/// An edge that serves on loopback.
struct Harness {
    addr: SocketAddr,
    log: Arc<FakeLog>,
    feed: watch::Sender<FeedReport>,
    edge: Arc<ServiceState>,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Harness {
    async fn start(settings: GrpcSettings, log: Arc<FakeLog>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_at(listener, settings, log)
    }

    fn start_at(listener: TcpListener, settings: GrpcSettings, log: Arc<FakeLog>) -> Self {
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (feed, report) = health::channel();
        let build = Box::new(|| "3475087".to_owned());
        let edge = ServiceState::new(
            &settings,
            log.clone(),
            Arc::new(OneFilter),
            report,
            build,
            shutdown.clone(),
        );
        let edge = Arc::new(edge);
        let served = tokio::spawn(serve_edge(listener, settings, edge.clone()));
        Self {
            addr,
            log,
            feed,
            edge,
            shutdown,
            served,
        }
    }

    async fn channel(&self) -> Channel {
        let uri = format!("http://{}", self.addr);
        Channel::from_shared(uri).unwrap().connect().await.unwrap()
    }

    async fn client(&self) -> KillmailServiceClient<Channel> {
        KillmailServiceClient::new(self.channel().await)
    }

    async fn stream(&self, request: StreamKillmailsRequest) -> Streaming<StreamKillmailsResponse> {
        self.client()
            .await
            .stream_killmails(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Waits until `holds` returns true, for actions of the server after its client has gone.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let patience = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, patience).await;
        waited.unwrap_or_else(|_| panic!("the condition does not hold: {what}"));
    }
}

fn from(start: Start) -> StreamKillmailsRequest {
    StreamKillmailsRequest {
        start: Some(start),
        ..StreamKillmailsRequest::default()
    }
}

fn earliest() -> StreamKillmailsRequest {
    from(Start::Position(killfeed::v1::Position::Earliest.into()))
}

fn after(log: &FakeLog, offset: u64) -> StreamKillmailsRequest {
    from(Start::AfterCursor(cursor(log, offset)))
}

fn cursor(log: &FakeLog, offset: u64) -> String {
    use crate::log::LogRead as _;
    let offset = Offset(offset);
    Cursor { log: log.id(), offset }.to_string()
}

/// An event in a word: `k7` a killmail, `k7.1` its first update, `gap`, `cursor expired`, `progress`.
fn word(response: &StreamKillmailsResponse) -> String {
    match response.event.as_ref().unwrap() {
        Event::Killmail(killmail) if killmail.revision == 0 => format!("k{}", killmail.killmail_id),
        Event::Killmail(killmail) => format!("k{}.{}", killmail.killmail_id, killmail.revision),
        Event::Gap(gap) if gap.reason() == killfeed::v1::GapReason::CursorExpired => "cursor expired".into(),
        Event::Gap(_) => "gap".into(),
        Event::Progress(_) => "progress".into(),
    }
}

/// Events up to and with the first Progress.
async fn until_caught_up(stream: &mut Streaming<StreamKillmailsResponse>) -> Vec<StreamKillmailsResponse> {
    let mut responses = Vec::new();
    loop {
        let response = stream.message().await.unwrap().unwrap();
        let caught_up = matches!(response.event, Some(Event::Progress(_)));
        responses.push(response);
        if caught_up {
            return responses;
        }
    }
}

fn words(responses: &[StreamKillmailsResponse]) -> String {
    responses.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn details(status: &tonic::Status) -> (Option<String>, HashMap<String, String>, Option<Duration>) {
    use tonic_types::StatusExt as _;
    let details = status.get_error_details();
    let info = details.error_info();
    (
        info.map(|info| info.reason.clone()),
        info.map(|info| info.metadata.clone()).unwrap_or_default(),
        details.retry_info().and_then(|retry| retry.retry_delay),
    )
}
