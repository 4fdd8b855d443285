//! Bounds: parse and enrich with warm caches at least 5,000 ordinary documents a second on one core, the 1 MB Keepstar in under
//! 20 ms, and static data read from the archive in well under 2 s. Over `../shared/data`; where that is missing this says so.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that can't be set up measures nothing"
)]

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Json, Router, extract, routing};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use killfeed::v1::{EntityKind, Killmail};
use killfeed_ingestor::{
    enrich::{Enrich, EnrichSettings, fill, names::is_dynamic, sde::read_archive},
    parse::{Parsed, parse},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime, time};

/// The largest known killmail: 3,753 attackers.
const KEEPSTAR: u64 = 131_126_432;
/// What an ordinary killmail has at most.
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

/// An ESI that knows every id of the documents, and static data in the cache: what a warm ingestor has.
async fn warm(documents: &[Vec<u8>], archive: &Path, data_dir: &Path) -> Enrich {
    let mut killmails: Vec<_> = documents.iter().map(|body| killmail(body)).collect();
    let ids = killmails
        .iter()
        .flat_map(fill::ids)
        .filter(|(kind, _)| is_dynamic(*kind));
    let category = |kind| match kind {
        EntityKind::Character => "character",
        EntityKind::Corporation => "corporation",
        _ => "alliance",
    };
    let known: Arc<BTreeMap<u64, Value>> = Arc::new(
        ids.map(|(kind, id)| {
            (
                id,
                json!({"id": id, "name": format!("Name of {id}"), "ticker": "TICK", "category": category(kind)}),
            )
        })
        .collect(),
    );
    let (all, one) = (known.clone(), known);
    let names = move |Json(ids): Json<Vec<u64>>| async move {
        Json(ids.iter().filter_map(|id| all.get(id).cloned()).collect::<Vec<_>>())
    };
    let organisation =
        move |extract::Path((_, id)): extract::Path<(String, u64)>| async move { Json(one.get(&id).cloned()) };
    let router = Router::new()
        .route("/universe/names", routing::post(names))
        .route("/{what}/{id}", routing::get(organisation));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });

    fs::create_dir(data_dir.join("static")).unwrap();
    fs::copy(archive, data_dir.join("static").join(archive.file_name().unwrap())).unwrap();
    let settings = EnrichSettings {
        data_dir: data_dir.to_owned(),
        esi_url: url.clone(),
        static_data_url: url,
        user_agent: "killfeed-bench".to_owned(),
    };
    let enrich = Enrich::open(settings, Default::default()).await.unwrap();
    // Once more for those whose tickers came too late the first time.
    let lacks_ticker = |killmail: &Killmail| {
        let organisations = killmail
            .entities
            .iter()
            .filter(|entity| matches!(entity.kind(), EntityKind::Corporation | EntityKind::Alliance));
        organisations.into_iter().any(|entity| entity.ticker.is_empty())
    };
    loop {
        enrich.enrich(&mut killmails).await;
        if !killmails.iter().any(lacks_ticker) {
            return enrich;
        }
        // Their lane runs on this very thread.
        time::sleep(Duration::from_millis(50)).await;
    }
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
        ("ordinary documents", &ordinary),
        ("the 3,753-attacker keepstar", &keepstar),
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
