//! The text that the demo prints around the posts.

use std::io::IsTerminal as _;

use crate::timed_sink::Tally;

/// The first id of the fictional channels.
pub(crate) const FIRST_CHANNEL: u64 = 11;

/// The width of the posts of the console sink.
const WIDTH: usize = 88;

const BOLD: &str = "1";
const DIM: &str = "2";
const BLUE: &str = "38;5;39";
const ORANGE: &str = "38;5;208";

pub(crate) fn intro(what: &str) {
    println!();
    println!(
        "  {}  {}",
        paint(BOLD, "killfeed"),
        paint(DIM, "zKillboard ▸ ingestor ▸ gRPC ▸ notifier ▸ Discord")
    );
    println!("  {}", paint(DIM, what));
    println!();
}

/// Prints a line about a part of the system that is ready.
pub(crate) fn part(name: &str, kind: &str, address: &str, note: &str) {
    println!(
        "  {} {} {} {}",
        paint(BOLD, &format!("{name:<11}")),
        paint(DIM, &format!("{kind:<13}")),
        paint(BLUE, &format!("{address:<24}")),
        note
    );
}

pub(crate) fn subscriptions(rows: &[(&str, &str)]) {
    println!();
    for (index, (name, filter)) in rows.iter().enumerate() {
        let channel = format!("channel {}", FIRST_CHANNEL + index as u64);
        let filter = if filter.is_empty() { "everything" } else { filter };
        println!("  {}  {}", paint(DIM, &channel), paint(BOLD, name));
        println!("              {}", paint(ORANGE, filter));
    }
    println!();
    rule();
}

/// Prints how to follow the same stream with another client.
pub(crate) fn join(grpc: &str) {
    let state = "--state /tmp/killfeed-demo.json";
    println!(
        "  {}",
        paint(
            DIM,
            &format!(
                "Press Ctrl-C to stop. Follow along with any gRPC client on {grpc}, or run:\n  python examples/python/follow.py {state}"
            )
        )
    );
    rule();
}

pub(crate) fn summary(fed: usize, logged: u64, tally: &Tally) {
    let number = |number: &dyn std::fmt::Display| paint(BOLD, &format!("{number:>6}"));
    rule();
    println!(
        "  {} documents published, with a placeholder and a repeated killmail among them",
        number(&fed)
    );
    println!("  {} killmails in the ingestor's log, each one once", number(&logged));
    println!("  {} of them matched a subscription", number(&tally.matched));
    println!("  {} posts in {} channels", number(&tally.posts), tally.channels);
    if let Some((median, longest)) = tally.latency {
        let milliseconds = |time: std::time::Duration| time.as_millis();
        println!(
            "  {} ms from zKillboard's upload to the post (median; longest {} ms)",
            number(&milliseconds(median)),
            milliseconds(longest)
        );
    }
    println!();
}

pub(crate) fn next() {
    println!("  Next:");
    for (command, what) in [
        ("cargo demo --follow", "keeps running, open to other clients"),
        (
            "cargo run --release --example demo -- --live --contact YOU@EXAMPLE.COM",
            "the real zKillboard",
        ),
        ("README.md", "run both services yourself; filters, settings, clients"),
    ] {
        println!("    {}  {}", paint(BLUE, command), paint(DIM, what));
    }
    println!();
}

fn rule() {
    println!("{}", paint(DIM, &"─".repeat(WIDTH)));
    println!();
}

/// Colors text if the output is a terminal and `NO_COLOR` is unset.
fn paint(code: &str, text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || !std::io::stdout().is_terminal();
    if plain {
        text.to_owned()
    } else {
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
