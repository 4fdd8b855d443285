//! Plays a day of killmails in half an hour.
//!
//! Run it with `cargo run --release --example soak`, or with `... soak -- --hours 2 --speed 200`.
//!
//! The services run as real processes against the fakes on loopback, fifty times faster than real time. Every fault that
//! occurs in practice occurs here, and both services are killed repeatedly. A client follows the stream all day.
//!
//! Each published killmail must be in the log once, reach the client once and each channel once, in the order of the log.
//! Violations are printed and make the program fail. The output is the table in `docs/performance.md`.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed measurement should stop with the reason"
)]

mod faults;
mod table;
mod environment;

use std::{
    collections::{HashMap, HashSet},
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use killfeed_support::{corpus, process::eventually};
use serde_json::Value;

use environment::{EVERYTHING, Environment, LOWSEC};

/// Simulates a day of killmails with faults
#[derive(Debug, Parser)]
struct Arguments {
    /// Hours of the day to play
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// How many times faster than real time
    #[arg(long, default_value_t = 50)]
    speed: u32,
    /// Killmails per day; zKillboard publishes 14,000 to 18,000
    #[arg(long, default_value_t = 16_000)]
    killmails: u32,
    /// Chooses the faults and kills; the same seed gives the same day
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const HOUR: Duration = Duration::from_secs(3_600);
/// The timeout for delayed killmails after the end of the day.
const AFTER: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let corpus = corpus::best();
    println!(
        "{} hours at {}x, {} killmails per day, {}, seed {}",
        arguments.hours,
        arguments.speed,
        arguments.killmails,
        if corpus.real {
            "real ones"
        } else {
            "of the bundled sample"
        },
        arguments.seed
    );
    let mut world = Environment::start(arguments.speed).await;
    let mut faults = faults::Faults::new(arguments.seed);
    let witness = world.witness();
    let hour = HOUR / arguments.speed;
    let each = hour * 24 / arguments.killmails.max(1);
    let begun = Instant::now();
    let mut published: Vec<u64> = Vec::new();
    println!("{}", table::HEAD);
    for number in 0..arguments.hours {
        let ends = hour * (number + 1);
        let mut plan = faults.hour();
        while begun.elapsed() < ends {
            let into = begun.elapsed().saturating_sub(hour * number);
            while let Some(fault) = plan.due(into.div_f64(hour.as_secs_f64()).as_secs_f64()) {
                fault.strike(&mut world, hour).await;
            }
            // Publish every document that is due, so that kills and a slow machine only delay documents.
            let due = begun.elapsed().as_secs_f64() / each.as_secs_f64();
            while (published.len() as f64) < due && published.len() < (ends.as_secs_f64() / each.as_secs_f64()) as usize
            {
                let document = document(&corpus.documents, published.len());
                published.push(document["killmail_id"].as_u64().unwrap());
                world.publish(document, &mut faults);
            }
            tokio::time::sleep(each.min(Duration::from_millis(50))).await;
        }
        // Cause the faults that were due during another fault, because the counts include them.
        while let Some(fault) = plan.due(1.0) {
            fault.strike(&mut world, hour).await;
        }
        println!(
            "{}",
            table::hour(number + 1, published.len(), &mut world, &witness).await
        );
    }
    world.heal().await;
    let all = published.len() as u64;
    let held = AFTER.max(hour);
    eventually("the log has all killmails", held, async || world.logged().await >= all).await;
    let expected = world.log().await;
    let low = world.matching("space:lowsec").await;
    eventually("all killmails are posted", held, async || {
        world.posted(EVERYTHING).len() >= expected.len() && world.posted(LOWSEC).len() >= low.len()
    })
    .await;
    eventually("the client has all killmails", held, async || {
        witness.seen().len() >= expected.len()
    })
    .await;

    let published: HashSet<u64> = published.into_iter().collect();
    let mut verdict = table::CheckReport::default();
    verdict.check("published, in the log", &published, &expected);
    verdict.check(
        "in the log, received by the client",
        &expected.iter().copied().collect(),
        &witness.seen(),
    );
    verdict.check(
        "in the log, posted to the channel for all killmails",
        &expected.iter().copied().collect(),
        &world.posted(EVERYTHING),
    );
    verdict.check(
        "in lowsec, posted to the lowsec channel",
        &low.iter().copied().collect(),
        &world.posted(LOWSEC),
    );
    verdict.order("the client has the order of the log", &expected, &witness.seen());
    verdict.order(
        "the channel has the order of the log",
        &expected,
        &world.posted(EVERYTHING),
    );
    println!("\n{}", faults.told());
    println!("{}", table::metrics(&mut world).await);
    println!("{}", verdict.text());
    world.stop().await;
    if cfg!(debug_assertions) {
        println!("This is a debug build, so memory and times are not meaningful.");
    }
    if verdict.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the killmail with this number, with current times. The corpus repeats under new ids.
fn document(documents: &[Value], number: usize) -> Value {
    let mut document = documents[number % documents.len()].clone();
    let round = (number / documents.len()) as u64;
    let id = document["killmail_id"].as_u64().unwrap() + round * 1_000_000_000;
    document["killmail_id"] = id.into();
    document["esi"]["killmail_id"] = id.into();
    let now = SystemTime::now();
    corpus::set_times(&mut document, now - Duration::from_secs(30), now);
    document
}

/// Counts the ids that occur more than once.
fn repeated(ids: &[u64]) -> usize {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for id in ids {
        *counts.entry(*id).or_default() += 1;
    }
    counts.values().filter(|count| **count > 1).count()
}
