//! The checks of the fuzz targets without a fuzzer.
//!
//! The inputs are the corpus, every real document beside the project, and random mutations of both.

use std::{fs, path::PathBuf};

use killfeed_support::corpus;

#[path = "../../fuzz/check.rs"]
mod check;

/// The number of mutations of each seed.
const MUTATIONS: usize = 60;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = corpus::repository().join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).expect("the repository contains the corpus");
    let seeds: Vec<_> = entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(seeds.len() >= 3, "{} has fewer than three seeds", folder.display());
    seeds
}

/// Cuts, repeats, overwrites and flips bytes, as a fuzzer does.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..4) {
        let length = bytes.len();
        if length < 2 {
            bytes.push(random.u8(..));
            continue;
        }
        let at = random.usize(..length);
        match random.u8(..6) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes.truncate(at),
            3 => {
                let end = random.usize(at..length.min(at + 40));
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => drop(bytes.drain(at..random.usize(at..length.min(at + 40)))),
            _ => {
                let tokens: [&[u8]; 8] = [
                    b"null",
                    b"-1",
                    b"1e999",
                    b"[",
                    b"{\"",
                    b"\\u0000",
                    b"18446744073709551616",
                    b"\xFF",
                ];
                bytes.splice(at..at, tokens[random.usize(..tokens.len())].iter().copied());
            }
        }
    }
}

fn run(check: fn(&[u8]), seeds: &[Vec<u8>]) {
    let seed = fastrand::u64(..);
    // A failed check shows the seed, which repeats the run.
    println!("random seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for seed in seeds {
        check(seed);
        if seed.len() > 20_000 {
            continue;
        }
        for _ in 0..MUTATIONS {
            let mut mutated = seed.clone();
            mutate(&mut mutated, &mut random);
            check(&mutated);
        }
    }
}

#[test]
fn document_check_survives_mutated_documents() {
    let mut all = seeds("document");
    all.extend(
        corpus::best()
            .documents
            .iter()
            .step_by(7)
            .map(|document| document.to_string().into_bytes()),
    );
    run(check::document, &all);
    for document in corpus::best().documents {
        check::document(document.to_string().as_bytes());
    }
}

#[test]
fn esi_body_check_survives_mutated_bodies() {
    let mut all = seeds("esi_body");
    all.extend(
        corpus::best()
            .documents
            .iter()
            .step_by(11)
            .map(|document| document["esi"].to_string().into_bytes()),
    );
    run(check::esi_body, &all);
}
