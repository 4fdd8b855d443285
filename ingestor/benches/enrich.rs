//! Measures parsing and enriching with warm caches, on the documents of `../shared/data`.
//!
//! The limits are at least 5,000 normal documents per second on one core, the 1 MB Keepstar in less than 20 ms, and static
//! data from the archive in well under 2 s. Without `../shared/data` the bench measures nothing and says so.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench without its setup measures nothing"
)]

use std::{
    collections::BTreeSet,
    fs,
    hint::black_box,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use killfeed::v1::{EntityKind, Killmail};
use killfeed_ingestor::{
    enrich::{
        EnrichSettings, Enricher,
        cache::{NameEntry, NameStore},
        fill,
        names::is_dynamic,
        sde::read_archive,
    },
    parse::{Parsed, parse},
};
use tokio::runtime;

/// The largest known killmail, with 3,753 attackers.
const KEEPSTAR: u64 = 131_126_432;
/// The maximum number of attackers of a normal killmail.
const ORDINARY_ATTACKERS: usize = 50;

fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("{} is missing: nothing to measure", path.display());
    None
}

fn killmail(body: &[u8]) -> Killmail {
    match parse(body) {
        Ok(Parsed::Killmail(document)) => document.killmail,
        other => panic!("not a killmail: {other:?}"),
    }
}

/// Prepares an enricher with static data and every name of the documents in its cache. ESI is unavailable.
async fn warm(documents: &[Vec<u8>], archive: &Path, data_dir: &Path) -> Enricher {
    let mut killmails: Vec<_> = documents.iter().map(|body| killmail(body)).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let ids: BTreeSet<_> = killmails.iter().flat_map(fill::ids).collect();
    let known = |(kind, id)| {
        let has_ticker = kind != EntityKind::Character;
        let named = NameEntry {
            name: format!("Name of {id}").into(),
            ticker: if has_ticker { "TICK" } else { "" }.into(),
            name_at: now,
            ticker_at: if has_ticker { now } else { 0 },
        };
        ((kind, id), Arc::new(named))
    };
    let entries: Vec<_> = ids
        .into_iter()
        .filter(|(kind, _)| is_dynamic(*kind))
        .map(known)
        .collect();
    NameStore::open(data_dir).unwrap().put(&entries);

    fs::create_dir(data_dir.join("static")).unwrap();
    fs::copy(archive, data_dir.join("static").join(archive.file_name().unwrap())).unwrap();
    let nowhere = "http://127.0.0.1:9".to_owned();
    let settings = EnrichSettings {
        data_dir: data_dir.to_owned(),
        esi_url: nowhere.clone(),
        static_data_url: nowhere,
        user_agent: "killfeed-bench".to_owned(),
    };
    let enrich = Enricher::open(settings, Default::default()).await.unwrap();
    // The first killmail with a name loads it from the disk into memory.
    enrich.enrich(&mut killmails).await;
    let named = killmails
        .iter()
        .flat_map(|killmail| &killmail.entities)
        .filter(|entity| {
            !entity.name.is_empty() && (entity.kind() == EntityKind::Character || !entity.ticker.is_empty())
        });
    assert!(named.count() >= entries.len(), "the cache is not warm");
    enrich
}

fn benches(criterion: &mut Criterion) {
    let (Some(killmails), Some(archive)) = (
        shared("killmails/r2z2-open.jsonl.gz"),
        shared("sde/eve-online-static-data-3475087-jsonl.zip"),
    ) else {
        return;
    };
    let mut group = criterion.benchmark_group("static data");
    group.sample_size(10).bench_function("from the archive", |bencher| {
        bencher.iter(|| read_archive(&archive, "3475087").unwrap());
    });
    group.finish();

    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(killmails).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let documents: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
    let data_dir = tempfile::tempdir().unwrap();
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let enrich = runtime.block_on(warm(&documents, &archive, data_dir.path()));

    let (mut ordinary, mut keepstar) = (Vec::new(), Vec::new());
    for body in documents {
        let parsed = killmail(&body);
        if parsed.killmail_id == KEEPSTAR {
            keepstar.push(body);
        } else if parsed.attackers.len() <= ORDINARY_ATTACKERS {
            ordinary.push(body);
        }
    }
    for (name, bodies) in [
        ("normal documents", &ordinary),
        ("the Keepstar with 3,753 attackers", &keepstar),
    ] {
        let mut group = criterion.benchmark_group(name);
        group
            .throughput(Throughput::Elements(bodies.len() as u64))
            .sample_size(20);
        let each = |bencher: &mut criterion::Bencher<'_>, work: &dyn Fn(&[u8]) -> Killmail| {
            bencher.iter(|| bodies.iter().for_each(|body| drop(black_box(work(body)))));
        };
        group.bench_function("parse and enrich", |bencher| {
            each(bencher, &|body| {
                let mut one = [killmail(body)];
                runtime.block_on(enrich.enrich(&mut one));
                let [killmail] = one;
                killmail
            });
        });
        let parsed: Vec<_> = bodies.iter().map(|body| killmail(body)).collect();
        group.bench_function("enrich", |bencher| {
            let clone = || parsed.clone();
            bencher.iter_batched(
                clone,
                |mut killmails| {
                    for killmail in &mut killmails {
                        runtime.block_on(enrich.enrich(std::slice::from_mut(killmail)));
                    }
                    killmails
                },
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(all, benches);
criterion_main!(all);
