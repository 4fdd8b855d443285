//! Pipes in memory between clients and the real service, which the simulation delays, blocks and cuts.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use killfeed::{
    filter::{Compiled, LANGUAGE_VERSION, Outcome},
    v1::{Entity, EntityKind, Filter, FilterFlag, FilterNode, KillmailFlag, filter_node::Node},
};
use killfeed_ingestor::{
    grpc::{GrpcSettings, Names, killmail_service},
    health,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex, split},
    sync::{mpsc, watch},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};

use super::log::MemoryLog;

const PIPE: usize = 64 * 1024;
/// How long a packet takes while nothing is wrong.
const LATENCY: Duration = Duration::from_millis(5);
/// As the client library's own channels.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// All links, and the servers at their ends.
pub(crate) struct Network {
    logs: [Arc<MemoryLog>; 2],
    /// By client and server.
    links: Vec<[watch::Sender<Link>; 2]>,
    servers: [Mutex<Option<Running>>; 2],
    connections: AtomicUsize,
    crashes: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Link {
    blocked: bool,
    latency: Duration,
}

/// A server that runs.
struct Running {
    incoming: mpsc::Sender<DuplexStream>,
    /// Cancelled: every connection is reset.
    reset: CancellationToken,
    /// Cancelled: nothing passes any more, and nobody is told.
    silent: CancellationToken,
}

impl Network {
    /// With both servers running.
    pub(crate) fn new(logs: [Arc<MemoryLog>; 2], clients: usize) -> Arc<Self> {
        let link = || {
            watch::Sender::new(Link {
                blocked: false,
                latency: LATENCY,
            })
        };
        let network = Arc::new(Self {
            logs,
            links: (0..clients).map(|_| [link(), link()]).collect(),
            servers: [Mutex::default(), Mutex::default()],
            connections: AtomicUsize::new(0),
            crashes: AtomicUsize::new(0),
        });
        network.start(0);
        network.start(1);
        network
    }

    /// Blocks a link: what is under way waits, new connections time out.
    pub(crate) fn partition(&self, client: usize, server: usize, blocked: bool) {
        self.links[client][server].send_modify(|link| link.blocked = blocked);
    }

    pub(crate) fn delay(&self, client: usize, server: usize, latency: Duration) {
        self.links[client][server].send_modify(|link| link.latency = latency);
    }

    /// kill -9; `reset` = the machine is still there and says so, else it has vanished.
    pub(crate) fn crash(&self, server: usize, reset: bool) {
        if let Some(running) = self.servers[server].lock().unwrap().take() {
            self.crashes.fetch_add(1, Ordering::Relaxed);
            if reset {
                running.reset.cancel();
            } else {
                running.silent.cancel();
            }
        }
    }

    /// Starts a server unless it runs. Its log is as it was.
    pub(crate) fn start(&self, server: usize) {
        let mut running = self.servers[server].lock().unwrap();
        if running.is_some() {
            return;
        }
        let (incoming, connections) = mpsc::channel(64);
        let (_feed, report) = health::channel();
        let settings = GrpcSettings {
            // Streams end and begin again all the time.
            max_stream_age: Some(Duration::from_secs(40)),
            ..GrpcSettings::default()
        };
        let log = self.logs[server].clone();
        let service = killmail_service(&settings, log, Arc::new(OneFilter), report, CancellationToken::new());
        let serving = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .add_service(service)
            .serve_with_incoming(ReceiverStream::new(connections).map(Ok::<_, io::Error>));
        tokio::spawn(serving);
        *running = Some(Running {
            incoming,
            reset: CancellationToken::new(),
            silent: CancellationToken::new(),
        });
    }

    /// Everything is well again.
    pub(crate) fn mend(&self) {
        for link in self.links.iter().flatten() {
            link.send_replace(Link {
                blocked: false,
                latency: LATENCY,
            });
        }
        self.start(0);
        self.start(1);
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn crashes(&self) -> usize {
        self.crashes.load(Ordering::Relaxed)
    }

    /// How client `client` reaches `server`.
    pub(crate) fn channel(self: &Arc<Self>, client: usize, server: usize) -> Channel {
        let network = self.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let network = network.clone();
            async move { network.connect(client, server).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://simulated")
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector)
    }

    async fn connect(&self, client: usize, server: usize) -> io::Result<DuplexStream> {
        let mut link = self.links[client][server].subscribe();
        let latency = pass(&mut link).await;
        tokio::time::sleep(latency).await;
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (incoming, reset, silent) = match &*self.servers[server].lock().unwrap() {
            Some(running) => (running.incoming.clone(), running.reset.clone(), running.silent.clone()),
            None => return Err(refused()),
        };
        let (ours, client_end) = duplex(PIPE);
        let (server_end, theirs) = duplex(PIPE);
        incoming.send(theirs).await.map_err(|_| refused())?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let (from_client, to_client) = split(client_end);
            let (from_server, to_server) = split(server_end);
            let carried = async {
                tokio::select! {
                    () = carry(from_client, to_server, link.clone()) => {}
                    () = carry(from_server, to_client, link.clone()) => {}
                }
            };
            tokio::select! {
                biased;
                () = reset.cancelled() => {}
                // Both ends stay open, and each has to find out by itself.
                () = silent.cancelled() => tokio::time::sleep(Duration::from_secs(3_600)).await,
                () = carried => {}
            }
        });
        Ok(ours)
    }
}

/// Waits until the link is not blocked, and says how long a packet takes.
async fn pass(link: &mut watch::Receiver<Link>) -> Duration {
    let latency = link.wait_for(|link| !link.blocked).await.ok().map(|link| link.latency);
    match latency {
        Some(latency) => latency,
        // The world has ended.
        None => std::future::pending().await,
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut link: watch::Receiver<Link>) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let latency = pass(&mut link).await;
        tokio::time::sleep(latency).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Knows one filter: `npc`.
struct OneFilter;

#[async_trait]
impl Names for OneFilter {
    async fn search(&self, _: &str, _: &[EntityKind], _: usize) -> Vec<Entity> {
        Vec::new()
    }

    async fn unseen(&self, _: &str) -> usize {
        0
    }

    async fn compile(&self, text: &str) -> Outcome {
        assert_eq!(text, "npc");
        let flag = FilterFlag {
            flag: KillmailFlag::Npc.into(),
        };
        let node = FilterNode {
            node: Some(Node::Flag(flag)),
        };
        Outcome::Compiled(Compiled {
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
