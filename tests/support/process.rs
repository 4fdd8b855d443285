//! The two real binaries as processes: built once, run with settings, watched, asked to end or killed.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::OnceCell,
    task::JoinHandle,
    time::{Instant, timeout},
};

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `killfeed-ingestor`
    Ingestor,
    /// `killfeed-notifier`
    Notifier,
}

impl Binary {
    /// The package's and the program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingestor => "killfeed-ingestor",
            Self::Notifier => "killfeed-notifier",
        }
    }

    /// Where it is, after building it if that has not happened yet.
    pub async fn path(self) -> PathBuf {
        built(self.name()).await
    }
}

/// An example program that tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Example {
    /// `examples/follow.rs`
    Follow,
}

impl Example {
    /// Where it is, after building it if that has not happened yet.
    pub async fn path(self) -> PathBuf {
        match self {
            Self::Follow => built("follow").await,
        }
    }
}

async fn built(name: &str) -> PathBuf {
    static BUILT: OnceCell<HashMap<String, PathBuf>> = OnceCell::const_new();
    BUILT.get_or_init(build).await[name].clone()
}

/// How long a service may take until it is ready, on a busy machine in a debug build.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a service may take to end after it was asked to.
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A running service. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    child: Child,
    http: String,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Service {
    /// Starts a service with these settings (environment variables) and none of the caller's own.
    ///
    /// `..._HTTP_ADDR` must be among them: [`Service::ready`] asks there.
    pub async fn start(binary: Binary, settings: &[(&str, String)]) -> Self {
        let http = settings.iter().find(|(variable, _)| variable.ends_with("_HTTP_ADDR"));
        let http = http.map(|(_, address)| address.clone()).unwrap_or_default();
        let mut command = command(binary).await;
        command.envs(settings.iter().map(|(variable, value)| (*variable, value)));
        Self::spawn(binary.name(), command, http)
    }

    /// Starts a service with command line arguments: for `--help`, bad settings, subcommands.
    pub async fn start_with_arguments(binary: Binary, settings: &[(&str, String)], arguments: &[&str]) -> Self {
        let mut command = command(binary).await;
        command.envs(settings.iter().map(|(variable, value)| (*variable, value)));
        command.args(arguments);
        Self::spawn(binary.name(), command, String::new())
    }

    fn spawn(name: &'static str, mut command: Command, http: String) -> Self {
        let mut child = command.spawn().expect("the program was just built");
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![
            stdout.follow(child.stdout.take().expect("piped")),
            stderr.follow(child.stderr.take().expect("piped")),
        ];
        Self {
            name,
            child,
            http,
            stdout,
            stderr,
            readers,
        }
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Panics
    /// If the service ends before, or takes longer than a minute; with what it wrote.
    pub async fn ready(&mut self) {
        let client = reqwest::Client::new();
        let url = format!("http://{}/readyz", self.http);
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                self.drain().await;
                panic!(
                    "{} ended with {status} before it was ready:\n{}",
                    self.name,
                    self.stderr.text()
                );
            }
            let asked = client.get(&url).timeout(Duration::from_secs(2)).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            if Instant::now() > deadline {
                panic!(
                    "{} was not ready after {READY_TIMEOUT:?}:\n{}",
                    self.name,
                    self.stderr.text()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("a child of ours");
        self.drain().await;
    }

    /// SIGTERM.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Any signal, by its name without SIG: `HUP`, `STOP`, `CONT`, ...
    pub async fn signal(&self, signal: &str) {
        let process = self.id().to_string();
        // Through kill(1): sending a signal from Rust takes `unsafe` or one more crate.
        let sent = Command::new("kill").args(["-s", signal, &process]).status().await;
        assert!(sent.expect("kill(1) is there").success(), "cannot signal {}", self.name);
    }

    /// Waits for its end, and gives the exit status.
    ///
    /// # Panics
    /// If it takes longer than half a minute; with what it wrote.
    pub async fn end(&mut self) -> ExitStatus {
        match timeout(EXIT_TIMEOUT, self.child.wait()).await {
            Ok(status) => {
                self.drain().await;
                status.expect("a child of ours")
            }
            Err(_) => panic!(
                "{} did not end within {EXIT_TIMEOUT:?}:\n{}",
                self.name,
                self.stderr.text()
            ),
        }
    }

    /// SIGTERM, then its end.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate().await;
        self.end().await
    }

    /// What it wrote on stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// A handle on what it writes on stdout, which outlives it.
    pub fn stdout_lines(&self) -> Lines {
        self.stdout.clone()
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it has ended.
    pub fn id(&self) -> u32 {
        self.child.id().expect("still running")
    }

    /// Resident memory in bytes, as Linux counts it; `None` elsewhere.
    pub fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// Everything that it wrote before its end has been read afterwards.
    async fn drain(&mut self) {
        for reader in self.readers.drain(..) {
            reader.await.expect("reading a pipe");
        }
    }
}

/// Lines that a process writes, as they come.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<String>>);

impl Lines {
    /// All of them so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn follow(&self, pipe: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let text = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        })
    }
}

/// Ports below those that the kernel gives to connections and to whoever asks for any port: nobody takes one of them between the
/// moment it is found free and the moment a program listens there.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A loopback address that nothing listens on now, given once in this process.
///
/// # Panics
/// If all of them are taken.
pub fn free_address() -> String {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    // Tests of another process that runs at the same time begin elsewhere.
    let next = NEXT.get_or_init(|| AtomicU64::new(RandomState::new().build_hasher().finish() >> 1));
    let ports = PORTS.end - PORTS.start;
    PORTS
        .map(|_| {
            let index = next.fetch_add(1, Ordering::Relaxed) % u64::from(ports);
            format!("127.0.0.1:{}", u64::from(PORTS.start) + index)
        })
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a free loopback port")
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within `limit`; says what was waited for.
pub async fn eventually(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The program, with an environment free of settings.
async fn command(binary: Binary) -> Command {
    let mut command = Command::new(binary.path().await);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("INGESTOR_") || name.starts_with("NOTIFIER_") || name.starts_with("OTEL_") {
            command.env_remove(&variable);
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Builds both programs as the caller was built, and takes their paths from cargo's own messages.
async fn build() -> HashMap<String, PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::corpus::repository());
    // With a test or an example among the targets cargo unifies features as for those: nothing is compiled twice. Whoever
    // asks for release is an example, and should not have to wait for optimized tests.
    cargo.args(["build", "--workspace", "--bins", "--message-format=json"]);
    if cfg!(debug_assertions) {
        cargo.args(["--test", "system", "--example", "follow"]);
    } else {
        cargo.args(["--release", "--example", "footprint"]);
    }
    // What cargo sets for a test it runs makes build scripts that watch these variables run again: ring's, and then
    // everything that stands on ring is compiled again, in this build and in the next `cargo test`.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
            "OUT_DIR",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        {
            cargo.env_remove(&variable);
        }
    }
    let output = cargo.stderr(Stdio::piped()).output().await.expect("cargo is there");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo build of the services failed:\n{complaint}"
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let path = message["executable"].as_str()?;
            let kind = &message["target"]["kind"][0];
            let is_program = (kind == "bin" || kind == "example") && message["profile"]["test"] == false;
            let name = message["target"]["name"].as_str()?;
            is_program.then(|| (name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}
