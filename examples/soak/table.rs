//! What is printed: a line for each hour, the metrics at the end, and whether anything was lost.

use std::{collections::HashSet, fmt::Write as _};

use killfeed_support::process::{Binary, Service};

use crate::{
    environment::{EVERYTHING, Environment, Witness},
    repeated,
};

pub(crate) const HEAD: &str = "| hour | published | logged | client has | posted | waiting | ingestor, MB | notifier, MB |\n|---|---|---|---|---|---|---|---|";

/// Of the metrics, what says how the day was.
const SHOWN: [&str; 14] = [
    "killfeed_feed_lag_seconds",
    "killfeed_feed_health",
    "killfeed_log_head_offset",
    "killfeed_log_killmails",
    "killfeed_log_window_bytes",
    "killfeed_streams",
    "killfeed_stream_lag_events",
    "killfeed_ingestor_esi_silent_seconds",
    "notifier_stream_open",
    "notifier_stream_lag_seconds",
    "notifier_waiting_killmails",
    "notifier_oldest_waiting_seconds",
    "notifier_suspended_destinations",
    "notifier_send_tries_total",
];

/// How it stands at the end of an hour.
pub(crate) async fn hour(number: u32, published: usize, world: &mut Environment, witness: &Witness) -> String {
    let (logged, posted) = (world.logged().await, world.posted(EVERYTHING).len());
    let waiting = value(&world.metrics(Binary::Notifier).await, "notifier_waiting_killmails");
    let memory = |service: &Option<Service>| {
        let bytes = service.as_ref().and_then(Service::resident);
        bytes.map_or("?".to_owned(), |bytes| (bytes / (1 << 20)).to_string())
    };
    format!(
        "| {number} | {published} | {logged} | {} | {posted} | {waiting} | {} | {} |",
        witness.seen().len(),
        memory(&world.ingestor),
        memory(&world.notifier)
    )
}

/// All labels summed.
fn value(text: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.lines().filter(of_name);
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// The metrics since the last starts.
pub(crate) async fn metrics(world: &mut Environment) -> String {
    let mut table = String::from("| metric, since the last kill | value |\n|---|---|\n");
    let (ingestor, notifier) = (
        world.metrics(Binary::Ingestor).await,
        world.metrics(Binary::Notifier).await,
    );
    for name in SHOWN {
        let of = if name.starts_with("killfeed_") {
            &ingestor
        } else {
            &notifier
        };
        writeln!(table, "| `{name}` | {} |", value(of, name)).unwrap();
    }
    table
}

/// Whether anything was lost, came twice or came in another order.
#[derive(Debug, Default)]
pub(crate) struct CheckReport {
    lines: Vec<String>,
    failed: bool,
}

impl CheckReport {
    /// Each of `expected` once, and nothing else.
    pub(crate) fn check(&mut self, what: &str, expected: &HashSet<u64>, found: &[u64]) {
        let distinct: HashSet<u64> = found.iter().copied().collect();
        let (lost, twice) = (expected.difference(&distinct).count(), repeated(found));
        let strange = distinct.difference(expected).count();
        self.failed |= lost + twice + strange > 0;
        self.lines.push(format!(
            "| {what} | {} | {lost} | {twice} | {strange} |",
            expected.len()
        ));
    }

    /// In this order.
    pub(crate) fn order(&mut self, what: &str, expected: &[u64], found: &[u64]) {
        let holds = expected == found;
        self.failed |= !holds;
        let says = if holds { "yes" } else { "NO" };
        self.lines.push(format!("| {what} | {says} | | | |"));
    }

    pub(crate) fn holds(&self) -> bool {
        !self.failed
    }

    pub(crate) fn text(&self) -> String {
        let head = "| | killmails | lost | twice | nobody knows whence |\n|---|---|---|---|---|";
        format!("{head}\n{}\n", self.lines.join("\n"))
    }
}
