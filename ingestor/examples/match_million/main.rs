//! How long a killmail takes against a million subscriptions: `cargo run --release --example match_million [SUBSCRIPTIONS]`.
//!
//! Prints two tables: the set beside a linear scan of the same filters, over the real killmails of `../shared/data`, in one run; and checks
//! that both say the same. First for subscriptions that people would keep, then for such as they first write them, firehoses and all.
//! The bounds are those of the project.

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

/// Killmails that the linear scan is measured on; all of them would take minutes.
const SCANNED: usize = 25;
/// The bot warns of a subscription that would have more posts than this, so nobody keeps one.
const A_DAY: usize = 500;
/// An ordinary day of zKillboard's.
const KILLMAILS_A_DAY: usize = 16_000;
/// So many are tried at a time: what that takes of memory is nothing beside the set that is measured.
const MAX_BATCH: usize = 20_000;
/// Changes that are measured.
const CHANGES: usize = 2_000;
/// Every killmail is matched so often; the median counts, because others use the machine too.
const ROUNDS: usize = 5;

#[derive(Parser)]
struct Arguments {
    /// Subscriptions
    #[arg(default_value_t = 1_000_000)]
    subscriptions: usize,
    /// One of the tables alone
    #[arg(long)]
    table: Option<Table>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Table {
    /// Of subscriptions that people would keep
    Kept,
    /// Of subscriptions as they are first written
    Written,
}

fn main() -> anyhow::Result<()> {
    let Arguments { subscriptions, table } = Arguments::parse();
    let Some(table) = table else {
        // Each in a process of its own, whose memory nothing else has used before.
        let program = std::env::current_exe()?;
        for table in ["kept", "written"] {
            let count = subscriptions.to_string();
            let ended = Command::new(&program).args([&count, "--table", table]).status()?;
            anyhow::ensure!(ended.success(), "the table {table} could not be made: {ended}");
        }
        return Ok(());
    };
    let workload = Workload::open()?;
    match table {
        Table::Kept => {
            println!("None with more than {A_DAY} posts a day:\n");
            measure(&workload, &kept(&workload, subscriptions)?)
        }
        Table::Written => {
            println!("\nAs they are first written:\n");
            measure(&workload, &workload.subscriptions(subscriptions, 1))
        }
    }
}

/// So many subscriptions of which none has more posts than a channel bears: of those that have, others are written instead.
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
        "| {count} subscriptions, {} killmails | measured | bound |",
        workload.killmails.len()
    );
    println!("|---|---|---|");
    row("build of the set", format!("{built:.1?}"), "10 s");
    row(
        "memory of the set beyond the trees, per filter",
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
        "ordinary killmail, median",
        format!("{:.1?} for {} matches", median.time, median.matched),
        &format!("{:.1?}", median.bound(Duration::from_micros(50))),
    );
    row(
        "ordinary killmail, median of the time less 30 ns a match",
        format!("{:.1?}", beyond[beyond.len() / 2]),
        "50 µs",
    );
    row(
        "ordinary killmails within 50 µs + 30 ns a match",
        format!("{within} of {}", figures.len()),
        "half",
    );
    let slow = &figures[figures.len() * 99 / 100];
    row(
        "ordinary killmail, 99th percentile",
        format!("{:.1?} for {} matches", slow.time, slow.matched),
        "",
    );
    row(
        "matches of an ordinary killmail, median",
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
            &format!("{what}, while a copy is being read: median, 99th percentile, longest of {CHANGES}"),
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

/// One killmail against the set.
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

/// As a service changes its set: a copy is changed and takes the place of the one that others may still read.
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

/// Bytes of memory that this process holds.
fn resident() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("memory is read from /proc, so on Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.split_whitespace().next())
        .context("VmRSS is missing")?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}
