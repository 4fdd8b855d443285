//! Measures the cost of many streams.
//!
//! Run it with `cargo run --release --example fanout -- --streams 64 --killmails 20000`.
//!
//! The server is a separate process (this program again), so that /proc shows its own time and memory. There are four parts:
//!
//! - the whole log to many streams at the same time, without a filter, with one filter, and with a different one for each
//! - lists
//! - one new killmail to a thousand streams
//! - ten thousand idle streams
//!
//! The output is the table in docs/performance.md.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed measurement should stop with the reason"
)]

mod client;
mod server;

use std::time::Duration;

use clap::{Parser, Subcommand};
use killfeed::v1::{ListKillmailsRequest, killmail_service_client::KillmailServiceClient};
use tokio::time::Instant;

use client::Reader;
use server::{Process, serve};

/// The number of killmails that are appended one by one to measure their delivery.
const NEW_KILLMAILS: usize = 100;
const LIVE_STREAMS: usize = 1_000;

#[derive(Parser)]
struct Arguments {
    /// Streams that read the whole log at the same time
    #[arg(long, default_value_t = 64)]
    streams: usize,
    /// Killmails in the log
    #[arg(long, default_value_t = 20_000)]
    killmails: u64,
    /// Idle streams
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Servers of a shared log (nats://host:port, comma-separated) instead of the embedded log; the stream fanout must not exist
    #[arg(long, value_delimiter = ',')]
    nats: Vec<String>,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Run the server; this program starts it
    #[command(hide = true)]
    Serve { folder: std::path::PathBuf },
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    if let Some(Part::Serve { folder }) = arguments.part {
        return serve(&folder, arguments.killmails, arguments.nats).await;
    }
    // /tmp may be in memory, and this measurement reads from a disk.
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut server = Process::start(folder.path(), arguments.killmails, &arguments.nats).await;
    println!(
        "{} killmails of {} bytes; {} CPUs; load average {} at the start\n",
        arguments.killmails,
        server.killmail_bytes,
        std::thread::available_parallelism().unwrap(),
        server::load_average(),
    );
    println!(
        "| the whole log to {} streams | server CPU per killmail delivered | killmails/s | MB/s |",
        arguments.streams
    );
    println!("|---|---|---|---|");
    for (what, filter) in [
        ("no filter", Filters::None),
        ("one filter, the same for all", Filters::Same),
        ("a different filter for each", Filters::Different),
    ] {
        catch_up(&server, &arguments, what, filter).await;
    }
    println!("\n| lists of the whole log | time | server CPU |\n|---|---|---|");
    lists(&server).await;
    println!("\n| new killmails, one at a time | |\n|---|---|");
    let idle_before = server.resident();
    let mut readers = open(&server, LIVE_STREAMS).await;
    live(&mut server, &mut readers).await;
    readers.extend(open(&server, arguments.idle.saturating_sub(LIVE_STREAMS)).await);
    println!("\n| idle streams, each with its own connection | |\n|---|---|");
    println!("| streams | {} |", readers.len());
    let memory = server.resident().saturating_sub(idle_before) / readers.len() as u64;
    println!("| server memory per stream | {:.1} KB |", memory as f64 / 1_000.0);
    let spread = spread(&mut server, &mut readers).await;
    println!("| one new killmail to all of them | {spread:.0?} |");
    server.stop().await;
}

#[derive(Clone, Copy)]
enum Filters {
    None,
    Same,
    Different,
}

impl Filters {
    /// Returns the filter of a stream. Every filter matches every killmail, so that all streams deliver the same.
    fn of(self, stream: usize) -> String {
        match self {
            Self::None => String::new(),
            Self::Same => "value>=1 NOT npc".into(),
            Self::Different => format!("value>={} NOT npc", stream + 1),
        }
    }
}

async fn catch_up(server: &Process, arguments: &Arguments, what: &str, filters: Filters) {
    let mut readers = Vec::new();
    for stream in 0..arguments.streams {
        readers.push(Reader::open(&server.address, &filters.of(stream), true).await);
    }
    let (cpu, begun) = (server.cpu(), Instant::now());
    let reading = readers.into_iter().map(|mut reader| {
        let killmails = arguments.killmails;
        tokio::spawn(async move { reader.read(killmails).await })
    });
    let bytes: u64 = futures::future::join_all(reading)
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    let (cpu, took) = (server.cpu() - cpu, begun.elapsed());
    let delivered = (arguments.streams as u64 * arguments.killmails) as f64;
    println!(
        "| {what} | {:.2} us | {:.0} | {:.0} |",
        cpu.as_secs_f64() * 1e6 / delivered,
        delivered / took.as_secs_f64(),
        bytes as f64 / took.as_secs_f64() / 1e6,
    );
}

/// Measures lists without matches, which scan the most records per page.
async fn lists(server: &Process) {
    let mut client = KillmailServiceClient::connect(server.address.clone()).await.unwrap();
    for (what, count_only) in [
        ("a page of a filter without matches", false),
        ("the same, counted", true),
    ] {
        let request = ListKillmailsRequest {
            filter: "value>=900t".into(),
            count_only,
            ..Default::default()
        };
        let (cpu, begun) = (server.cpu(), Instant::now());
        let page = client.list_killmails(request).await.unwrap().into_inner();
        assert!(
            page.killmails.is_empty() && page.matched == 0,
            "no killmail is worth that much"
        );
        println!("| {what} | {:.0?} | {:.0?} |", begun.elapsed(), server.cpu() - cpu);
    }
}

/// Opens streams without a filter at the head, each with its own connection.
async fn open(server: &Process, count: usize) -> Vec<Reader> {
    use futures::StreamExt as _;
    let opening = (0..count).map(|_| Reader::open(&server.address, "", false));
    let mut readers: Vec<Reader> = futures::stream::iter(opening).buffer_unordered(64).collect().await;
    // The first event of each stream reports that the stream has caught up, so the stream is open.
    futures::future::join_all(readers.iter_mut().map(Reader::progress)).await;
    readers
}

async fn live(server: &mut Process, readers: &mut [Reader]) {
    let mut spreads = Vec::new();
    for _ in 0..NEW_KILLMAILS {
        spreads.push(spread(server, readers).await);
    }
    spreads.sort_unstable();
    let at = |share: usize| spreads[(spreads.len() * share / 100).min(spreads.len() - 1)];
    println!(
        "| to {} streams: from durable append to last delivery, p50 / p99 of {NEW_KILLMAILS} | {:.1?} / {:.1?} |",
        readers.len(),
        at(50),
        at(99)
    );
}

/// Measures the time from a durable append until the last stream has the killmail.
async fn spread(server: &mut Process, readers: &mut [Reader]) -> Duration {
    let read = async {
        futures::future::join_all(readers.iter_mut().map(|reader| reader.read(1))).await;
        server::now()
    };
    let (durable, last) = tokio::join!(server.append(), read);
    last.saturating_sub(durable)
}
