//! Measures the parsing of documents: `cargo bench -p killfeed-ingestor --bench parse`.
//!
//! The project's limits for parsing and enriching together are 5,000 normal documents per second on one core (200 us each),
//! and less than 20 ms for the largest known killmail (1 MB, 3,753 attackers).

use std::{hint::black_box, io::Read as _, path::Path};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use killfeed_ingestor::parse::parse;

/// A fictional document, used if the real documents are missing.
const SAMPLE: &str = r##"{"killmail_id":130000001,"hash":"00112233445566778899aabbccddeeff00112233","esi":{"attackers":[
{"alliance_id":99000001,"character_id":2110000001,"corporation_id":98000001,"damage_done":2673,"final_blow":true,
"security_status":-0.6,"ship_type_id":35683,"weapon_type_id":3178}],"killmail_id":130000001,
"killmail_time":"2026-09-20T23:35:51Z","solar_system_id":30003284,"victim":{"character_id":2110000002,
"corporation_id":98000002,"damage_taken":4654,"items":[{"flag":5,"item_type_id":3297,"quantity_dropped":1,"singleton":0}],
"position":{"x":2826489315549.089,"y":534847375330.2261,"z":-3395545869878.7812},"ship_type_id":16242}},
"zkb":{"hash":"00112233445566778899aabbccddeeff00112233","fittedValue":1.0,"droppedValue":2.0,"destroyedValue":3.0,
"totalValue":5.0,"points":1,"npc":false,"solo":true,"awox":false,"labels":["cat:6","solo","pvp"],"attackerCount":1,
"href":"https://esi.evetech.net/killmails/130000001/00112233445566778899aabbccddeeff00112233/"},
"uploaded_at":1787227200,"sequence_id":97500000}"##;

fn documents() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/killmails/r2z2-open.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("{} is missing: measuring a fictional document", path.display());
        return vec![SAMPLE.to_owned()];
    };
    let mut text = String::new();
    if let Err(error) = flate2::read::GzDecoder::new(file).read_to_string(&mut text) {
        eprintln!("{}: {error}: measuring a fictional document", path.display());
        return vec![SAMPLE.to_owned()];
    }
    text.lines().map(str::to_owned).collect()
}

fn bench(criterion: &mut Criterion) {
    let documents = documents();
    let (largest, ordinary): (Vec<_>, Vec<_>) = documents.iter().partition(|text| text.len() > 500_000);
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(ordinary.len() as u64));
    group.bench_function("normal documents", |bencher| {
        bencher.iter(|| {
            for text in &ordinary {
                let _ = black_box(parse(black_box(text.as_bytes())));
            }
        });
    });
    if let Some(keepstar) = largest.first() {
        group.throughput(Throughput::Bytes(keepstar.len() as u64));
        group.bench_function("keepstar", |bencher| {
            bencher.iter(|| black_box(parse(black_box(keepstar.as_bytes()))));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
