//! The printed tables: a row per hour, the metrics at the end, and the result.

use std::{collections::HashSet, fmt::Write as _};

use killfeed_support::process::{Binary, Service};

use crate::{
    environment::{EVERYTHING, Environment, Witness},
    repeated,
};

pub(crate) const HEAD: &str = "| hour | published | logged | client has | posted | waiting | ingestor, MB | notifier, MB |\n|---|---|---|---|---|---|---|---|";

/// The metrics that are printed at the end.
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

/// Returns the row for the end of an hour.
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

/// Returns the sum of a metric over all labels.
fn value(text: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.lines().filter(of_name);
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Returns the metrics since the last start of each service.
pub(crate) async fn metrics(world: &mut Environment) -> String {
    let mut table = String::from("| metric since the last restart | value |\n|---|---|\n");
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

/// The result: whether killmails were lost, repeated or out of order.
#[derive(Debug, Default)]
pub(crate) struct CheckReport {
    lines: Vec<String>,
    failed: bool,
}

impl CheckReport {
    /// Checks that `found` contains each expected id exactly once and no other id.
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

    /// Checks that the order is equal.
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
        let head = "| | killmails | lost | twice | of unknown origin |\n|---|---|---|---|---|";
        format!("{head}\n{}\n", self.lines.join("\n"))
    }
}
