//! The real service and the real client's channels on turmoil's network.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt as _, Stream, stream};
use hyper_util::rt::TokioIo;
use killfeed::{
    filter::{CompileOutcome, Compiled, LANGUAGE_VERSION},
    v1::{Entity, EntityKind, Filter, FilterFlag, FilterNode, KillmailFlag, filter_node::Node},
};
use killfeed_ingestor::{
    grpc::{GrpcSettings, UniverseApi, killmail_service},
    health,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
    transport::{Channel, Endpoint, Server, server::Connected},
};
use turmoil::net::{TcpListener, TcpStream};

use super::{
    log::MemoryLog,
    rng::{self, Own, drawn},
};

const PORT: u16 = 50_051;
/// The same value as in the client library.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn server(n: usize) -> String {
    format!("server-{n}")
}

pub(crate) fn client(n: usize) -> String {
    format!("client-{n}")
}

/// Runs a server until it is killed.
///
/// The server listens after `pause`. Until then its machine refuses connections.
pub(crate) async fn serve(log: Arc<MemoryLog>, seed: u64, pause: Duration) -> turmoil::Result {
    tokio::time::sleep(pause).await;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let (_feed, report) = health::channel();
    let settings = GrpcSettings {
        // A short maximum age makes streams end and restart often.
        max_stream_age: Some(Duration::from_secs(40)),
        ..GrpcSettings::default()
    };
    let service = killmail_service(&settings, log, Arc::new(OneFilter), report, CancellationToken::new());
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(Seeded { inner: service, seed })
        .serve_with_incoming(connections(listener))
        .await?;
    Ok(())
}

fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<Socket>> {
    stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await;
        let socket = accepted.map(|(stream, peer)| Socket { stream, peer });
        Some((socket, listener))
    })
}

/// Returns a channel to server `n`.
pub(crate) fn channel(n: usize) -> Channel {
    let connector = tower::service_fn(move |_: http::Uri| async move {
        let stream = TcpStream::connect((server(n), PORT)).await?;
        io::Result::Ok(TokioIo::new(stream))
    });
    Endpoint::from_static("http://simulated")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector)
}

struct Socket {
    stream: TcpStream,
    peer: SocketAddr,
}

impl Connected for Socket {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Gives each call its own random numbers.
#[derive(Clone)]
struct Seeded<S> {
    inner: S,
    seed: u64,
}

impl<S, E> Service<http::Request<Body>> for Seeded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = E>,
    S::Future: Send + 'static,
    E: 'static,
{
    type Response = http::Response<Body>;
    type Error = E;
    type Future = BoxFuture<http::Response<Body>, E>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<SocketAddr>().copied();
        let seed = drawn((self.seed, peer, turmoil::sim_elapsed()));
        let answer = Own::new(seed, self.inner.call(request));
        answer.map(move |answer| Ok(rng::answer(seed, answer?))).boxed()
    }
}

impl<S: NamedService> NamedService for Seeded<S> {
    const NAME: &'static str = S::NAME;
}

/// Compiles one filter only: `npc`.
struct OneFilter;

#[async_trait]
impl UniverseApi for OneFilter {
    async fn search(&self, _: &str, _: &[EntityKind], _: usize) -> Vec<Entity> {
        Vec::new()
    }

    async fn uncached_names(&self, _: &str) -> usize {
        0
    }

    async fn compile(&self, text: &str) -> CompileOutcome {
        assert_eq!(text, "npc");
        let flag = FilterFlag {
            flag: KillmailFlag::Npc.into(),
        };
        let node = FilterNode {
            node: Some(Node::Flag(flag)),
        };
        CompileOutcome::Compiled(Compiled {
            filter: Filter {
                language_version: LANGUAGE_VERSION,
                nodes: vec![node],
            },
            canonical: "npc".into(),
            description: "Killmails by NPCs alone.".into(),
            warnings: Vec::new(),
        })
    }
}
