//! Measures matching against a million subscriptions.
//!
//! Run it with `cargo bench -p killfeed-ingestor --bench match_set`. `cargo run --release --example match_million`
//! prints the table with the project's limits.

#![expect(clippy::unwrap_used, reason = "a bench without its setup measures nothing")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use killfeed::filter::{FilterSet, Program};
use workload::Workload;

#[path = "../examples/match_million/workload.rs"]
mod workload;

const SUBSCRIPTIONS: usize = 1_000_000;

fn benches(criterion: &mut Criterion) {
    let workload = match Workload::open() {
        Ok(workload) => workload,
        Err(error) => return eprintln!("nothing to measure: {error:#}"),
    };
    let filters = workload.subscriptions(SUBSCRIPTIONS, 1);
    let mut set = FilterSet::new();
    for (id, filter) in (0..).zip(&filters) {
        set.add(id, filter).unwrap();
    }
    let (large, ordinary): (Vec<_>, Vec<_>) = workload
        .killmails
        .iter()
        .partition(|killmail| killmail.attackers.len() > 1_000);
    criterion.bench_function("a normal killmail against a million", |bencher| {
        let mut killmails = ordinary.iter().cycle();
        bencher.iter(|| killmails.next().map(|killmail| black_box(set.matches(killmail))));
    });
    for killmail in large {
        let attackers = killmail.attackers.len();
        criterion.bench_function(&format!("{attackers} attackers against a million"), |bencher| {
            bencher.iter(|| black_box(set.matches(killmail)));
        });
    }
    let more = workload.subscriptions(1_000, 2);
    criterion.bench_function("add and remove one of a million, with a copy", |bencher| {
        let mut at = (0..more.len()).cycle();
        bencher.iter(|| {
            let mut changed = set.clone();
            let filter = &more[at.next().unwrap()];
            changed.add(u64::MAX, filter).unwrap();
            changed.remove(u64::MAX)
        });
    });
    let programs: Vec<Program> = filters.iter().map(|filter| Program::new(filter).unwrap()).collect();
    let mut group = criterion.benchmark_group("linear scan");
    group.sample_size(10);
    group.bench_function("a normal killmail against a million", |bencher| {
        let mut killmails = ordinary.iter().cycle();
        bencher.iter(|| {
            let killmail = killmails.next().unwrap();
            programs.iter().filter(|program| program.matches(killmail)).count()
        });
    });
}

criterion_group!(all, benches);
criterion_main!(all);
