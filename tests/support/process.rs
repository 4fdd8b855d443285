//! The two services as processes: built once, started with settings, observed, stopped or killed.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
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

pub use killfeed_fakes::address::free_address;

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `killfeed-ingestor`
    Ingestor,
    /// `killfeed-notifier`
    Notifier,
}

impl Binary {
    /// Returns the name of the package and of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingestor => "killfeed-ingestor",
            Self::Notifier => "killfeed-notifier",
        }
    }

    /// Returns the path of the program, after building it if necessary.
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
    /// Returns the path of the program, after building it if necessary.
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

/// The time that a test waits for an event before it fails as a hang.
///
/// No test measures with it: the longest wait on a loaded machine is below a tenth of it.
pub const LIMIT: Duration = Duration::from_secs(300);

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
    /// Starts a service with these settings (environment variables) and none of the caller's.
    ///
    /// The settings must include `..._HTTP_ADDR`, which [`Service::ready`] polls.
    pub async fn start(binary: Binary, settings: &[(&str, String)]) -> Self {
        let http = settings.iter().find(|(variable, _)| variable.ends_with("_HTTP_ADDR"));
        let http = http.map(|(_, address)| address.clone()).unwrap_or_default();
        let mut command = command(binary).await;
        command.envs(settings.iter().map(|(variable, value)| (*variable, value)));
        Self::spawn(binary.name(), command, http)
    }

    /// Starts a service with command line arguments, for `--help`, invalid settings and subcommands.
    pub async fn start_with_arguments(binary: Binary, settings: &[(&str, String)], arguments: &[&str]) -> Self {
        let mut command = command(binary).await;
        command.envs(settings.iter().map(|(variable, value)| (*variable, value)));
        command.args(arguments);
        Self::spawn(binary.name(), command, String::new())
    }

    fn spawn(name: &'static str, mut command: Command, http: String) -> Self {
        let mut child = command.spawn().expect("the program exists after the build");
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

    /// Waits until `/readyz` returns 200.
    ///
    /// # Panics
    ///
    /// Panics with the service's output if the service exits first or is not ready within [`LIMIT`].
    pub async fn ready(&mut self) {
        let client = reqwest::Client::new();
        let url = format!("http://{}/readyz", self.http);
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("the service is a child process") {
                self.drain().await;
                panic!(
                    "{} exited with {status} before it was ready:\n{}",
                    self.name,
                    self.stderr.text()
                );
            }
            let asked = client.get(&url).timeout(Duration::from_secs(2)).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            if Instant::now() > deadline {
                panic!("{} was not ready after {LIMIT:?}:\n{}", self.name, self.stderr.text());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the service with SIGKILL and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the service is a child process");
        self.drain().await;
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Sends a signal, by its name without SIG: `HUP`, `STOP`, `CONT`, ...
    pub async fn signal(&self, signal: &str) {
        let process = self.id().to_string();
        // kill(1) avoids `unsafe` and one more dependency.
        let sent = Command::new("kill").args(["-s", signal, &process]).status().await;
        assert!(sent.expect("kill(1) exists").success(), "cannot signal {}", self.name);
    }

    /// Waits until the service exits and returns its exit status.
    ///
    /// # Panics
    ///
    /// Panics with the service's output if that takes longer than [`LIMIT`].
    pub async fn end(&mut self) -> ExitStatus {
        match timeout(LIMIT, self.child.wait()).await {
            Ok(status) => {
                self.drain().await;
                status.expect("the service is a child process")
            }
            Err(_) => panic!("{} did not exit within {LIMIT:?}:\n{}", self.name, self.stderr.text()),
        }
    }

    /// Sends SIGTERM, waits until the service exits and returns its exit status.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate().await;
        self.end().await
    }

    /// Returns the output on stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns the output on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Returns a handle to stdout that outlives the service.
    pub fn stdout_lines(&self) -> Lines {
        self.stdout.clone()
    }

    /// Returns the process id.
    ///
    /// # Panics
    ///
    /// Panics if the service has exited.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the service runs")
    }

    /// Returns the resident memory in bytes, or `None` on systems other than Linux.
    pub fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// Waits until all output of the exited process has been read.
    async fn drain(&mut self) {
        for reader in self.readers.drain(..) {
            reader.await.expect("reading a pipe");
        }
    }
}

/// The output of a process, collected line by line.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<String>>);

impl Lines {
    /// Returns all lines so far.
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

/// Waits until `condition` returns true.
///
/// # Panics
///
/// Panics with `what` if the condition does not hold within `limit`.
pub async fn eventually(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the command without the settings of the caller's environment.
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

/// Builds both programs with the caller's profile and takes their paths from cargo's messages.
async fn build() -> HashMap<String, PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::corpus::repository());
    // A test or an example among the targets makes cargo unify features as it does for the caller, so that nothing is
    // compiled twice. The release profile names an example, because measurements should not wait for optimized tests.
    cargo.args(["build", "--bins", "--message-format=json"]);
    if cfg!(debug_assertions) {
        cargo.args(["--test", "system", "--example", "follow"]);
    } else {
        cargo.args(["--release", "--example", "footprint"]);
    }
    // Cargo sets these variables for the tests that it runs. Build scripts that watch them, such as ring's, would run
    // again and recompile all dependents, in this build and in the next `cargo test`.
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
    let output = cargo.stderr(Stdio::piped()).output().await.expect("cargo starts");
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
