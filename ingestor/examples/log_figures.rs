//! Measures the embedded log.
//!
//! Run it with `cargo run --release -p killfeed-ingestor --example log_figures [RECORDS]`.
//!
//! The program appends fictional killmails of the usual size one by one and in batches, reads them from disk and from memory,
//! and opens the file again.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use killfeed::{cursor::Offset, id::KillmailId, v1};
use killfeed_ingestor::log::{
    AppendBatch, EmbeddedLog, FILE_NAME, LogRead as _, LogWrite as _, NewBody, NewEvent, Options, ReadLimit,
};
use prost::Message as _;

const CHUNK: ReadLimit = ReadLimit {
    records: 256,
    bytes: 1 << 20,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let records: u64 = match std::env::args().nth(1) {
        Some(count) => count.parse().context("expected the number of records")?,
        None => 20_000,
    };
    // /tmp may be in memory, and this measures the disk.
    let dir = std::env::current_dir()?.join(format!("log-figures-{}", std::process::id()));
    let result = measure(&dir, records).await;
    std::fs::remove_dir_all(&dir)?;
    result
}

async fn measure(dir: &Path, records: u64) -> anyhow::Result<()> {
    let log = EmbeddedLog::open(dir, Options::new(Duration::from_secs(86_400)))?;
    let now_ms = i64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_millis(),
    )?;
    let event = |id: u64| NewEvent {
        offset: None,
        ingested_ms: now_ms,
        body: NewBody::Killmail {
            id: KillmailId(id),
            revision: 0,
            hash: None,
            bytes: killmail(id).encode_to_vec().into(),
        },
    };
    println!("one killmail: {} bytes", killmail(1).encoded_len());

    let singles = records / 20;
    let mut slowest = Duration::ZERO;
    let started = Instant::now();
    for id in 1..=singles {
        let one = Instant::now();
        let events = vec![event(id)];
        log.append(AppendBatch {
            events,
            ..Default::default()
        })
        .await?;
        slowest = slowest.max(one.elapsed());
    }
    rate("append, one by one", singles, started);
    println!("{:<28} {slowest:?}", "slowest append");

    let started = Instant::now();
    for first in (singles + 1..=records).step_by(50) {
        let events = (first..(first + 50).min(records + 1)).map(event).collect();
        log.append(AppendBatch {
            events,
            ..Default::default()
        })
        .await?;
    }
    rate("append in batches of 50", records - singles, started);

    let started = Instant::now();
    let mut after = Offset(0);
    while let Some(last) = log.read(after, CHUNK).await?.last() {
        after = last.offset;
    }
    rate("read everything", records, started);

    let recent = Offset(records.saturating_sub(1000));
    let started = Instant::now();
    for _ in 0..100 {
        let limit = ReadLimit {
            records: 1000,
            bytes: usize::MAX,
        };
        log.read(recent, limit).await?;
    }
    rate("read from memory", 100_000, started);

    let newest = log
        .read(
            Offset(0),
            ReadLimit {
                records: 5000,
                bytes: 64 << 20,
            },
        )
        .await?;
    let (encoded, before) = (
        newest.iter().map(|record| record.bytes.len()).sum::<usize>(),
        resident()?,
    );
    let started = Instant::now();
    let decoded = newest.iter().filter(|record| record.killmail().is_some()).count();
    rate("decode", decoded as u64, started);
    println!(
        "{:<28} {:.1} times the encoded bytes",
        "memory of decoded records",
        (resident()?.saturating_sub(before)) as f64 / encoded as f64
    );
    drop(newest);

    let started = Instant::now();
    drop(log);
    println!("{:<28} {:?}", "close", started.elapsed());
    let size = std::fs::metadata(dir.join(FILE_NAME))?.len();
    println!("{:<28} {} MiB", "file", size >> 20);
    for (what, check_up_to) in [("open with a check", u64::MAX), ("open without a check", 0)] {
        let started = Instant::now();
        let options = Options {
            check_up_to,
            ..Options::new(Duration::from_secs(86_400))
        };
        let log = EmbeddedLog::open(dir, options)?;
        println!("{what:<28} {:?}", started.elapsed());
        drop(log);
    }
    println!("{:<28} {} MiB", "resident memory", resident()? >> 20);
    Ok(())
}

/// Returns a fictional killmail of the usual size: eleven attackers, a dozen items, and names.
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
                    type_id: 2000 + n,
                    flag: 11 + n,
                    quantity_dropped: 1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        attackers: (0..11)
            .map(|n| v1::Attacker {
                character_id: 2_100_100_000 + id * 11 + n,
                corporation_id: 98_000_002,
                alliance_id: 99_000_001,
                ship_type_id: 17_738,
                weapon_type_id: 2488,
                damage_done: 1000 + n,
                security_status: -1.2,
                ..Default::default()
            })
            .collect(),
        entities: (0..30)
            .map(|n| v1::Entity {
                kind: 1,
                id: 2_100_100_000 + id * 11 + n,
                name: format!("Pilot number {n} of {id}"),
                ..Default::default()
            })
            .collect(),
        labels: vec!["cat:6".into(), "pvp".into(), "loc:lowsec".into()],
        ..Default::default()
    }
}

fn rate(what: &str, count: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what:<28} {:>10.0} records/s", count as f64 / seconds);
}

/// Returns the resident memory of this process in bytes.
fn resident() -> anyhow::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: usize = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmRSS in /proc/self/status")?
        .parse()?;
    Ok(kib * 1024)
}
