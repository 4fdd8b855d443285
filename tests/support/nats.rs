//! Real nats-server processes on loopback: one server, or a cluster.

mod operator;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::process::{LIMIT, eventually, free_address};
pub use operator::{Operator, Permissions};

/// Servers with JetStream. Dropping it kills them.
#[derive(Debug)]
pub struct Nats {
    launch: Launch,
    folder: TempDir,
    servers: Vec<Server>,
}

#[derive(Debug)]
enum Launch {
    /// A generated configuration, followed by this text.
    Configured(String),
    /// The command of each container, adapted to this machine's hosts, ports and folders.
    Composed(Vec<String>),
}

#[derive(Debug)]
struct Server {
    program: String,
    address: String,
    cluster: String,
    http: String,
    process: Option<Child>,
}

/// Returns `KILLFEED_TEST_NATS_SERVER` or `nats-server`, or `None` with a note if neither runs.
async fn program() -> Option<String> {
    let named = std::env::var("KILLFEED_TEST_NATS_SERVER").ok();
    for program in named
        .as_deref()
        .map_or(vec!["nats-server", "/usr/sbin/nats-server"], |named| vec![named])
    {
        if runs(program).await {
            return Some(program.to_owned());
        }
    }
    eprintln!(
        "note: no nats-server found, skipping the test; install it (Debian: apt-get install nats-server) or set KILLFEED_TEST_NATS_SERVER"
    );
    None
}

/// Returns `KILLFEED_TEST_NATS_SERVER_NEWER`, or `None` with a note if it is not set.
///
/// Tests upgrade servers to this version.
pub async fn newer() -> Option<String> {
    let named = std::env::var("KILLFEED_TEST_NATS_SERVER_NEWER").ok();
    let Some(program) = named else {
        eprintln!(
            "note: skipping the tests of server upgrades; set KILLFEED_TEST_NATS_SERVER_NEWER to a newer nats-server"
        );
        return None;
    };
    assert!(runs(&program).await, "{program} is not a nats-server");
    Some(program)
}

async fn runs(program: &str) -> bool {
    let mut probe = Command::new(program);
    probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().await.is_ok_and(|status| status.success())
}

impl Nats {
    /// Starts one server, or returns `None` with a note if nats-server is not installed.
    pub async fn single() -> Option<Self> {
        Self::start(1, Launch::Configured(String::new()), |_| {}).await
    }

    /// Starts one server over a store that `fill` puts into its folder.
    pub async fn single_over(fill: impl FnOnce(&Path)) -> Option<Self> {
        Self::start(1, Launch::Configured(String::new()), fill).await
    }

    /// Starts one server with additional configuration.
    pub async fn single_with(config: &str) -> Option<Self> {
        Self::start(1, Launch::Configured(config.to_owned()), |_| {}).await
    }

    /// Starts a cluster of three servers.
    pub async fn cluster() -> Option<Self> {
        Self::start(3, Launch::Configured(String::new()), |_| {}).await
    }

    /// Starts servers with the commands of their containers.
    ///
    /// The commands name the hosts `nats-0` and up, the data folder `/data`, the default client port, 6222 for the
    /// cluster and 8222 for monitoring.
    pub async fn composed(commands: Vec<String>) -> Option<Self> {
        Self::start(commands.len(), Launch::Composed(commands), |_| {}).await
    }

    async fn start(servers: usize, launch: Launch, fill: impl FnOnce(&Path)) -> Option<Self> {
        let program = program().await?;
        let servers = (0..servers).map(|_| Server {
            program: program.clone(),
            address: free_address(),
            cluster: free_address(),
            http: free_address(),
            process: None,
        });
        let mut nats = Self {
            launch,
            folder: tempfile::tempdir().expect("a scratch folder"),
            servers: servers.collect(),
        };
        fill(&nats.store(0));
        for n in 0..nats.servers.len() {
            nats.launch(n).await;
        }
        Some(nats)
    }

    /// Returns the value for `INGESTOR_LOG`.
    pub fn url(&self) -> String {
        let addresses: Vec<&str> = self.servers.iter().map(|server| server.address.as_str()).collect();
        format!("nats://{}", addresses.join(","))
    }

    /// Returns the URL of each server.
    pub fn urls(&self) -> Vec<String> {
        self.servers
            .iter()
            .map(|server| format!("nats://{}", server.address))
            .collect()
    }

    /// Returns the name of the n-th server.
    pub fn name(n: usize) -> String {
        format!("n{n}")
    }

    /// Starts the n-th server, with the data of its last run if there is any.
    ///
    /// # Panics
    ///
    /// Panics if the server does not listen within [`LIMIT`].
    pub async fn launch(&mut self, n: usize) {
        let arguments = match &self.launch {
            Launch::Configured(more) => vec!["--config".to_owned(), self.configure(n, more).display().to_string()],
            Launch::Composed(commands) => self.translate(n, &commands[n]),
        };
        let server = &mut self.servers[n];
        let process = Command::new(&server.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        server.process = Some(process.expect("nats-server starts"));
        let address = server.address.clone();
        eventually("nats-server listens", LIMIT, async || {
            TcpStream::connect(&address).await.is_ok()
        })
        .await;
    }

    /// Makes the n-th server run another program from its next start.
    pub fn replace(&mut self, n: usize, program: &str) {
        program.clone_into(&mut self.servers[n].program);
    }

    /// Kills the n-th server with SIGKILL.
    pub async fn kill(&mut self, n: usize) {
        let mut process = self.servers[n].process.take().expect("the server runs");
        process.kill().await.expect("the server is a child process");
    }

    /// Sends SIGTERM to the n-th server and waits until it exits.
    ///
    /// # Panics
    ///
    /// Panics if the server does not exit within [`LIMIT`].
    pub async fn stop(&mut self, n: usize) {
        self.signal(n, "TERM").await;
        let mut process = self.servers[n].process.take().expect("the server runs");
        let ended = tokio::time::timeout(LIMIT, process.wait()).await;
        ended
            .expect("the server exits in time")
            .expect("the server is a child process");
    }

    /// Returns the folder of the n-th server's store.
    pub fn store(&self, n: usize) -> PathBuf {
        self.folder.path().join(Self::name(n))
    }

    /// Sends a signal to the n-th server, by its name without SIG.
    pub async fn signal(&self, n: usize, signal: &str) {
        let process = self.servers[n]
            .process
            .as_ref()
            .and_then(Child::id)
            .expect("the server runs");
        let sent = Command::new("kill")
            .args(["-s", signal, &process.to_string()])
            .status()
            .await;
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {signal} {process}");
    }

    /// Returns the server that leads a stream.
    ///
    /// # Panics
    ///
    /// Panics if the stream has no leader within [`LIMIT`].
    pub async fn leader(&self, stream: &str) -> usize {
        let client = async_nats::connect(self.urls()).await.expect("a server listens");
        let context = async_nats::jetstream::new(client);
        let mut leader = None;
        eventually("the stream has a leader", LIMIT, async || {
            let asked = tokio::time::timeout(Duration::from_secs(2), context.get_stream(stream)).await;
            let name = match asked {
                Ok(Ok(stream)) => stream
                    .cached_info()
                    .cluster
                    .as_ref()
                    .and_then(|cluster| cluster.leader.clone()),
                _ => None,
            };
            leader = name.and_then(|name| self.all().find(|n| Self::name(*n) == name));
            leader.is_some()
        })
        .await;
        leader.expect("the loop found a leader")
    }

    /// Returns the indexes of all servers.
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.servers.len()
    }

    /// Waits until the stream's leader reports every replica as current.
    ///
    /// # Panics
    ///
    /// Panics if that takes longer than [`LIMIT`].
    pub async fn wait_replicated(&self, stream: &str) {
        let client = async_nats::connect(self.urls()).await.expect("a server listens");
        let context = async_nats::jetstream::new(client);
        let others = self.servers.len() - 1;
        eventually("every server holds the stream", LIMIT, async || {
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

    /// Returns the health URL of the n-th server, which responds if its command enables monitoring.
    pub fn health(&self, n: usize) -> String {
        format!("http://{}/healthz", self.servers[n].http)
    }

    fn translate(&self, n: usize, command: &str) -> Vec<String> {
        let server = &self.servers[n];
        let port = |address: &str| address.rsplit(':').next().expect("the address is host:port").to_owned();
        let store = self.folder.path().join(Self::name(n)).display().to_string();
        let mut command = command
            .replace("/data", &store)
            .replace("0.0.0.0:6222", &server.cluster);
        for (m, other) in self.servers.iter().enumerate() {
            command = command.replace(&format!("nats-{m}:6222"), &other.cluster);
        }
        let words = command.split_whitespace().map(|word| match word {
            "8222" => port(&server.http),
            word => word.to_owned(),
        });
        let own = [
            "--addr".to_owned(),
            "127.0.0.1".to_owned(),
            "--port".to_owned(),
            port(&server.address),
        ];
        words.chain(own).collect()
    }

    fn configure(&self, n: usize, more: &str) -> PathBuf {
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
        text += more;
        let path = self.folder.path().join(format!("{}.conf", Self::name(n)));
        std::fs::write(&path, text).expect("a scratch file");
        path
    }
}
