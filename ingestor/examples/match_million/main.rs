//! Measures matching against a million subscriptions.
//!
//! Run it with `cargo run --release --example match_million [SUBSCRIPTIONS]`.
//!
//! The program compares the filter set with a linear scan of the same filters, on the real killmails of
//! `../shared/data`, and checks that both match the same. It prints two tables. One is for subscriptions that users
//! would keep. The other is for subscriptions as users first write them, some of which match far too many killmails.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]

mod workload;

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use killfeed::{
    filter::{FilterSet, Program},
    v1::{Filter, Killmail},
};
use workload::Workload;

/// The number of killmails for the linear scan, which would take minutes for all of them.
const SCANNED: usize = 25;
/// The number of posts per day above which the bot warns, so that users do not keep the subscription.
const A_DAY: usize = 500;
/// The number of killmails on a normal day.
const KILLMAILS_A_DAY: usize = 16_000;
/// The batch size for choosing subscriptions. Its memory is small compared with the measured set.
const MAX_BATCH: usize = 20_000;
/// The number of measured changes.
const CHANGES: usize = 2_000;
/// The number of matches per killmail. Their median counts, because other programs use the machine too.
const ROUNDS: usize = 5;

#[derive(Parser)]
struct Arguments {
    /// Subscriptions
    #[arg(default_value_t = 1_000_000)]
    subscriptions: usize,
    /// Print only one of the tables
    #[arg(long)]
    table: Option<Table>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Table {
    /// Subscriptions that users would keep
    Kept,
    /// Subscriptions as users first write them
    Written,
}

fn main() -> anyhow::Result<()> {
    let Arguments { subscriptions, table } = Arguments::parse();
    let Some(table) = table else {
        // Each table gets a process of its own, so that no earlier use affects its memory.
        let program = std::env::current_exe()?;
        for table in ["kept", "written"] {
            let count = subscriptions.to_string();
            let ended = Command::new(&program).args([&count, "--table", table]).status()?;
            anyhow::ensure!(ended.success(), "the table {table} failed: {ended}");
        }
        return Ok(());
    };
    let workload = Workload::open()?;
    match table {
        Table::Kept => {
            println!("Subscriptions with at most {A_DAY} posts per day:\n");
            measure(&workload, &kept(&workload, subscriptions)?)
        }
        Table::Written => {
            println!("\nSubscriptions as users first write them:\n");
            measure(&workload, &workload.subscriptions(subscriptions, 1))
        }
    }
}

/// Returns subscriptions with an acceptable number of posts. Others are replaced with new ones.
fn kept(workload: &Workload, count: usize) -> anyhow::Result<Vec<Filter>> {
    let most = workload.killmails.len() * A_DAY / KILLMAILS_A_DAY;
    let mut kept = Vec::with_capacity(count);
    for seed in 1.. {
        let written = workload.subscriptions(MAX_BATCH.min(count - kept.len()), seed);
        if written.is_empty() {
            break;
        }
        let mut set = FilterSet::new();
        for (id, filter) in (0..).zip(&written) {
            set.add(id, filter)?;
        }
        let mut posts = vec![0_usize; written.len()];
        for id in workload.killmails.iter().flat_map(|killmail| set.matches(killmail)) {
            posts[usize::try_from(id)?] += 1;
        }
        let bearable = written.into_iter().zip(posts).filter(|(_, posts)| *posts <= most);
        kept.extend(bearable.map(|(filter, _)| filter));
    }
    Ok(kept)
}

fn measure(workload: &Workload, filters: &[Filter]) -> anyhow::Result<()> {
    let count = filters.len();
    let trees = resident()?;

    let begun = Instant::now();
    let mut set = FilterSet::new();
    for (id, filter) in (0..).zip(filters) {
        set.add(id, filter)?;
    }
    let built = begun.elapsed();
    let set_bytes = resident()?.saturating_sub(trees) / count as u64;

    let (largest, ordinary): (Vec<&Killmail>, Vec<&Killmail>) = workload
        .killmails
        .iter()
        .partition(|killmail| killmail.attackers.len() > 1_000);
    let mut figures: Vec<Figure> = ordinary.iter().map(|killmail| figure(&set, killmail)).collect();
    figures.sort_unstable_by_key(|figure| figure.time);
    let largest: Vec<(usize, Figure)> = largest
        .iter()
        .map(|killmail| (killmail.attackers.len(), figure(&set, killmail)))
        .collect();

    let (add, remove) = changes(&mut set, workload, count)?;

    let programs: Vec<Program> = filters.iter().map(Program::new).collect::<Result<_, _>>()?;
    let step = (ordinary.len() / SCANNED).max(1);
    let mut scans = Vec::new();
    for killmail in ordinary.iter().step_by(step).take(SCANNED) {
        let begun = Instant::now();
        let scanned: Vec<u64> = (0..)
            .zip(&programs)
            .filter(|(_, program)| program.matches(killmail))
            .map(|(id, _)| id)
            .collect();
        scans.push(begun.elapsed());
        let mut found = set.matches(killmail);
        found.sort_unstable();
        anyhow::ensure!(
            found == scanned,
            "the set and the scan differ on killmail {}",
            killmail.killmail_id
        );
    }
    scans.sort_unstable();

    let row = |what: &str, measured: String, bound: &str| println!("| {what} | {measured} | {bound} |");
    println!(
        "| {count} subscriptions, {} killmails | result | limit |",
        workload.killmails.len()
    );
    println!("|---|---|---|");
    row("time to build the set", format!("{built:.1?}"), "10 s");
    row(
        "memory of the set per filter, without the trees",
        format!("{set_bytes} bytes"),
        "600 bytes",
    );
    let median = &figures[figures.len() / 2];
    let mut matched: Vec<usize> = figures.iter().map(|figure| figure.matched).collect();
    matched.sort_unstable();
    let within = figures
        .iter()
        .filter(|figure| figure.time <= figure.bound(Duration::from_micros(50)))
        .count();
    let mut beyond: Vec<Duration> = figures.iter().map(Figure::beyond_matches).collect();
    beyond.sort_unstable();
    row(
        "normal killmail, median",
        format!("{:.1?} for {} matches", median.time, median.matched),
        &format!("{:.1?}", median.bound(Duration::from_micros(50))),
    );
    row(
        "normal killmail, median of the time minus 30 ns per match",
        format!("{:.1?}", beyond[beyond.len() / 2]),
        "50 µs",
    );
    row(
        "normal killmails within 50 µs + 30 ns per match",
        format!("{within} of {}", figures.len()),
        "half",
    );
    let slow = &figures[figures.len() * 99 / 100];
    row(
        "normal killmail, 99th percentile",
        format!("{:.1?} for {} matches", slow.time, slow.matched),
        "",
    );
    row(
        "matches of a normal killmail, median",
        matched[matched.len() / 2].to_string(),
        "",
    );
    for (attackers, figure) in &largest {
        row(
            &format!("killmail with {attackers} attackers"),
            format!("{:.2?} for {} matches", figure.time, figure.matched),
            &format!("{:.2?}", figure.bound(Duration::from_millis(5))),
        );
    }
    let scan = scans[scans.len() / 2];
    row(
        &format!("linear scan of compiled filters, median of {}", scans.len()),
        format!("{scan:.1?}"),
        "",
    );
    row(
        "linear scan / set, medians",
        format!("{:.0}", scan.as_secs_f64() / median.time.as_secs_f64()),
        "1000",
    );
    for (what, times) in [("add", add), ("remove", remove)] {
        row(
            &format!("{what} while a copy is read: median, 99th percentile, longest of {CHANGES}"),
            format!(
                "{:.1?}, {:.1?}, {:.1?}",
                times[CHANGES / 2],
                times[CHANGES * 99 / 100],
                times[CHANGES - 1]
            ),
            "100 µs",
        );
    }
    Ok(())
}

/// The time to match one killmail with the set.
struct Figure {
    time: Duration,
    matched: usize,
}

impl Figure {
    fn matches(&self) -> Duration {
        Duration::from_nanos(30) * u32::try_from(self.matched).unwrap_or(u32::MAX)
    }

    fn bound(&self, base: Duration) -> Duration {
        base + self.matches()
    }

    fn beyond_matches(&self) -> Duration {
        self.time.saturating_sub(self.matches())
    }
}

fn figure(set: &FilterSet, killmail: &Killmail) -> Figure {
    let mut matched = 0;
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            matched = set.matches(killmail).len();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    Figure {
        time: times[ROUNDS / 2],
        matched,
    }
}

/// Measures changes as a service makes them.
///
/// A service changes a copy, which then replaces the set that others may still read.
fn changes(set: &mut FilterSet, workload: &Workload, count: usize) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for (id, filter) in (count as u64..).zip(workload.subscriptions(CHANGES, 2)) {
        let begun = Instant::now();
        let mut changed = set.clone();
        changed.add(id, &filter)?;
        add.push(begun.elapsed());
        *set = changed;
    }
    for id in (count as u64..).take(CHANGES) {
        let begun = Instant::now();
        let mut changed = set.clone();
        changed.remove(id);
        remove.push(begun.elapsed());
        *set = changed;
    }
    add.sort_unstable();
    remove.sort_unstable();
    Ok((add, remove))
}

/// Returns the resident memory of this process in bytes.
fn resident() -> anyhow::Result<u64> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read memory use from /proc, which needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.split_whitespace().next())
        .context("VmRSS is missing")?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}
