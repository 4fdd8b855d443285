//! Real nats-server processes on loopback: one, or a cluster of three.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::process::{eventually, free_address};

/// How long a server may take to listen.
const READY: Duration = Duration::from_secs(30);

/// Servers with JetStream. Dropping it kills them.
#[derive(Debug)]
pub struct Nats {
    program: String,
    config: String,
    folder: TempDir,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    address: String,
    cluster: String,
    process: Option<Child>,
}

/// `KILLFEED_TEST_NATS_SERVER`, else `nats-server`, if there is one.
async fn program() -> Option<String> {
    let named = std::env::var("KILLFEED_TEST_NATS_SERVER").ok();
    for program in named
        .as_deref()
        .map_or(vec!["nats-server", "/usr/sbin/nats-server"], |named| vec![named])
    {
        let mut probe = Command::new(program);
        probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        if probe.status().await.is_ok_and(|status| status.success()) {
            return Some(program.to_owned());
        }
    }
    eprintln!(
        "note: there is no nats-server (Debian: apt-get install nats-server); set KILLFEED_TEST_NATS_SERVER to one: not tested"
    );
    None
}

impl Nats {
    /// One server; `None`, said loudly, where nats-server is not installed.
    pub async fn single() -> Option<Self> {
        Self::start(1, "").await
    }

    /// One server with more in its configuration.
    pub async fn single_with(config: &str) -> Option<Self> {
        Self::start(1, config).await
    }

    /// A cluster of three.
    pub async fn cluster() -> Option<Self> {
        Self::start(3, "").await
    }

    async fn start(servers: usize, config: &str) -> Option<Self> {
        let program = program().await?;
        let servers = (0..servers).map(|_| Server {
            address: free_address(),
            cluster: free_address(),
            process: None,
        });
        let mut nats = Self {
            program,
            config: config.to_owned(),
            folder: tempfile::tempdir().expect("a scratch folder"),
            servers: servers.collect(),
        };
        for n in 0..nats.servers.len() {
            nats.begin(n).await;
        }
        Some(nats)
    }

    /// For `INGESTOR_LOG`.
    pub fn url(&self) -> String {
        let addresses: Vec<&str> = self.servers.iter().map(|server| server.address.as_str()).collect();
        format!("nats://{}", addresses.join(","))
    }

    /// Each server's own URL.
    pub fn urls(&self) -> Vec<String> {
        self.servers
            .iter()
            .map(|server| format!("nats://{}", server.address))
            .collect()
    }

    /// How the n-th server calls itself.
    pub fn name(n: usize) -> String {
        format!("n{n}")
    }

    /// Starts the n-th server (again), on the data that it has.
    ///
    /// # Panics
    /// If it does not listen within half a minute.
    pub async fn begin(&mut self, n: usize) {
        let config = self.configure(n);
        let server = &mut self.servers[n];
        let process = Command::new(&self.program)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        server.process = Some(process.expect("nats-server can be run"));
        let address = server.address.clone();
        eventually("nats-server listens", READY, async || {
            TcpStream::connect(&address).await.is_ok()
        })
        .await;
    }

    /// kill -9 of the n-th server.
    pub async fn kill(&mut self, n: usize) {
        let mut process = self.servers[n].process.take().expect("it runs");
        process.kill().await.expect("a child of ours");
    }

    /// Every server.
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.servers.len()
    }

    /// Waits until every server holds all of a stream again, as the stream's leader sees it.
    ///
    /// # Panics
    /// If that takes longer than a minute.
    pub async fn is_whole(&self, stream: &str) {
        let client = async_nats::connect(self.urls()).await.expect("a server listens");
        let context = async_nats::jetstream::new(client);
        let others = self.servers.len() - 1;
        eventually("every server holds the stream", 2 * READY, async || {
            let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(2), context.get_stream(stream)).await else {
                return false;
            };
            let cluster = stream.cached_info().cluster.as_ref();
            cluster.is_some_and(|cluster| {
                cluster.leader.is_some()
                    && cluster
                        .replicas
                        .iter()
                        .filter(|replica| replica.current && !replica.offline)
                        .count()
                        == others
            })
        })
        .await;
    }

    fn configure(&self, n: usize) -> PathBuf {
        let server = &self.servers[n];
        let store = self.folder.path().join(Self::name(n));
        let mut text = format!(
            "server_name: {}\nlisten: \"{}\"\njetstream {{ store_dir: {:?}, max_memory_store: 256MB, max_file_store: 2GB }}\n",
            Self::name(n),
            server.address,
            store.display().to_string(),
        );
        if self.servers.len() > 1 {
            let routes: Vec<String> = self
                .servers
                .iter()
                .map(|server| format!("\"nats-route://{}\"", server.cluster))
                .collect();
            text += &format!(
                "cluster {{ name: killfeed, listen: \"{}\", routes: [{}] }}\n",
                server.cluster,
                routes.join(", ")
            );
        }
        text += &self.config;
        let path = self.folder.path().join(format!("{}.conf", Self::name(n)));
        std::fs::write(&path, text).expect("a scratch file");
        path
    }
}
