//! The server process: the real log and gRPC server. It appends a killmail on request.

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use killfeed::{
    filter::{self, CompileOutcome, Resolution, Resolve},
    id::KillmailId,
    v1::{self, Entity, EntityKind},
};
use killfeed_ingestor::{
    grpc::{self, GrpcSettings, UniverseApi},
    health,
    log::{
        AppendBatch, EmbeddedLog, Head, JetStreamLog, JetStreamOptions, LogRead, LogWrite, NewBody, NewEvent, Options,
    },
};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
};
use tokio_util::sync::CancellationToken;

/// The unit of CPU times in /proc/PID/stat: USER_HZ, which is 100 on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// A handle to the server process.
pub(crate) struct Process {
    pub(crate) address: String,
    pub(crate) killmail_bytes: usize,
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    told: ChildStdin,
}

impl Process {
    pub(crate) async fn start(folder: &Path, killmails: u64, nats: &[String]) -> Self {
        let shared = nats.iter().flat_map(|server| ["--nats", server]);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--killmails", &killmails.to_string()])
            .args(shared)
            .arg("serve")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let told = child.stdin.take().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = said.next_line().await.unwrap().expect("the server prints its address");
        let (address, bytes) = line.split_once(' ').unwrap();
        Self {
            address: address.to_owned(),
            killmail_bytes: bytes.parse().unwrap(),
            child,
            said,
            told,
        }
    }

    /// Appends a killmail and returns the time at which it was durable.
    pub(crate) async fn append(&mut self) -> Duration {
        self.told.write_all(b"append\n").await.unwrap();
        let line = self.said.next_line().await.unwrap().expect("the server is running");
        Duration::from_nanos(line.parse().unwrap())
    }

    /// Returns the user and system CPU time of the server.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The program's name is in parentheses and can contain any character, so split after the last parenthesis.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|&at| fields[at].parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
    }

    /// Returns the resident memory of the server in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
        kib * 1_024
    }

    fn proc(&self, file: &str) -> String {
        let id = self.child.id().expect("the server is running");
        std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Returns the time since 1970, from the clock that both processes share.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Returns the load average of the last minute.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

/// Runs the server: fills a log, serves it, and appends a killmail for each line on standard input.
pub(crate) async fn serve(folder: &Path, killmails: u64, nats: Vec<String>) {
    let options = Options {
        reserve_bytes: 0,
        ..Options::new(Duration::from_secs(7 * 86_400))
    };
    let (log, writer): (Arc<dyn LogRead>, Arc<dyn LogWrite>);
    // Hold the lease until this function ends, so that this process stays the leader.
    let _leadership;
    if nats.is_empty() {
        let embedded = Arc::new(EmbeddedLog::open(folder, options).unwrap());
        (log, writer) = (embedded.clone(), embedded);
    } else {
        let replicas = nats.len();
        let shared = JetStreamLog::open(JetStreamOptions {
            servers: nats,
            creds_file: None,
            ca: None,
            stream: "fanout".into(),
            replicas,
            retention: options.retention,
            window_bytes: options.window_bytes,
            data_dir: folder.into(),
        });
        let shared = Arc::new(shared.await.unwrap());
        let (_, note) = tokio::sync::watch::channel(String::new());
        let leadership = shared.acquire(note).await;
        (log, writer) = (shared, leadership.writer());
        _leadership = leadership;
    }
    let ids: Vec<u64> = (1..=killmails).collect();
    let mut heads = log.head();
    for batch in ids.chunks(200) {
        let head = append(&*writer, batch).await;
        heads.wait_for(|now| now.offset >= head.offset).await.unwrap();
    }
    let settings = GrpcSettings {
        max_streams: 100_000,
        max_connections: 100_000,
        max_connections_per_address: 100_000,
        ..GrpcSettings::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!(
        "http://{} {}",
        listener.local_addr().unwrap(),
        killmail(1).encoded_len()
    );
    let (_report, feed) = health::channel();
    let build = || "none".to_owned();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(grpc::serve(
        listener,
        settings,
        log.clone(),
        Arc::new(EmptyResolver),
        feed,
        build,
        shutdown.clone(),
    ));
    let mut next = killmails + 1;
    while tokio::task::spawn_blocking(told).await.unwrap() {
        append(&*writer, &[next]).await;
        println!("{}", now().as_nanos());
        next += 1;
    }
    shutdown.cancel();
    served.await.unwrap().unwrap();
}

/// Waits for a line on standard input; returns false when it is closed.
fn told() -> bool {
    std::io::stdin().read_line(&mut String::new()).unwrap() > 0
}

async fn append(log: &dyn LogWrite, ids: &[u64]) -> Head {
    let event = |&id: &u64| NewEvent {
        offset: None,
        ingested_ms: i64::try_from(now().as_millis()).unwrap(),
        body: NewBody::Killmail {
            id: KillmailId(id),
            revision: 0,
            hash: None,
            bytes: killmail(id).encode_to_vec().into(),
        },
    };
    let batch = AppendBatch {
        events: ids.iter().map(event).collect(),
        ..AppendBatch::default()
    };
    log.append(batch).await.unwrap()
}

/// Returns a fictional killmail of the usual size, about 1.2 KB.
fn killmail(id: u64) -> v1::Killmail {
    v1::Killmail {
        killmail_id: id,
        hash: format!("{id:040x}"),
        kill_time: Some(Default::default()),
        location: Some(v1::Location {
            system_id: 30_002_086,
            system_name: "Turnur".into(),
            region_name: "Metropolis".into(),
            security_status: 0.3,
            ..Default::default()
        }),
        victim: Some(v1::Victim {
            character_id: 2_100_000_000 + id,
            corporation_id: 98_000_001,
            ship_type_id: 587,
            items: (0..12)
                .map(|n| v1::Item {
                    type_id: 2_000 + n,
                    flag: 11 + n,
                    quantity_dropped: 1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        attackers: (0..8)
            .map(|n| v1::Attacker {
                character_id: 2_100_100_000 + id * 8 + n,
                corporation_id: 98_000_002,
                alliance_id: 99_000_001,
                ship_type_id: 17_738,
                weapon_type_id: 2_488,
                damage_done: 1_000 + n,
                security_status: -1.2,
                ..Default::default()
            })
            .collect(),
        value: Some(v1::Valuation {
            total: Some(1_234_567_890.0),
            ..Default::default()
        }),
        entities: (0..15)
            .map(|n| v1::Entity {
                kind: EntityKind::Character.into(),
                id: 2_100_100_000 + id * 8 + n,
                name: format!("Pilot number {n} of {id}"),
                ..Default::default()
            })
            .collect(),
        labels: vec!["cat:6".into(), "pvp".into(), "loc:lowsec".into()],
        ..Default::default()
    }
}

/// A resolver without names, because the filters contain none.
struct EmptyResolver;

impl Resolve for EmptyResolver {
    fn exact(&self, _: EntityKind, _: &str) -> Resolution {
        Resolution::Unknown
    }

    fn wildcard(&self, _: EntityKind, _: &str) -> Vec<u64> {
        Vec::new()
    }

    fn similar(&self, _: EntityKind, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn within_light_years(&self, _: u64, _: f64) -> Option<Vec<u32>> {
        None
    }

    fn within_jumps(&self, _: u64, _: u32) -> Option<Vec<u32>> {
        None
    }
}

#[async_trait]
impl UniverseApi for EmptyResolver {
    async fn search(&self, _: &str, _: &[EntityKind], _: usize) -> Vec<Entity> {
        Vec::new()
    }

    async fn uncached_names(&self, _: &str) -> usize {
        0
    }

    async fn compile(&self, text: &str) -> CompileOutcome {
        filter::compile(text, self)
    }
}
