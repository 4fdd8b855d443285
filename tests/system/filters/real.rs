//! Random filters over real killmails: the program says what a reference written apart from it says, canonical text means the same, and
//! the set says what a scan of all its filters says, whatever is added and removed in between.

use std::collections::BTreeMap;

use fastrand::Rng;
use killfeed::filter::{CompileOutcome, Compiled, FilterSet, Program, compile};
use killfeed::v1::{Filter, Killmail};

use super::{
    dataset::{Dataset, ground},
    random::FilterGenerator,
    reference,
};

/// Each against every killmail.
const FILTERS: u64 = 160;
/// A killmail with more attackers takes as long as a hundred others: only every eighth filter is tried on it.
const MANY_ATTACKERS: usize = 200;
const SAMPLE_STEP: u64 = 8;

/// A filter that its own text says; the seed finds it again.
fn written(ground: &Dataset, seed: u64) -> (String, Compiled) {
    let mut writer = FilterGenerator {
        ground,
        random: Rng::with_seed(seed),
    };
    // A text can be too long, or a wildcard of too many ids: then the next one.
    for _ in 0..100 {
        let text = writer.filter();
        match compile(&text, ground) {
            CompileOutcome::Compiled(compiled) => return (text, compiled),
            CompileOutcome::Invalid(diagnostics) => {
                let message = &diagnostics[0].message;
                assert!(message.contains("at most"), "{seed}: {text}: {message}");
            }
            CompileOutcome::Unavailable(names) => panic!("{seed}: {text}: {names:?}"),
        }
    }
    panic!("{seed}: no filter in a hundred texts");
}

#[test]
fn the_program_says_what_the_reference_says() {
    let ground = ground();
    let (mut matched, mut choosy) = (0_usize, 0_u64);
    for seed in 0..FILTERS {
        let (text, Compiled { filter, .. }) = written(ground, seed);
        let program = Program::new(&filter).unwrap();
        let tried = |killmail: &&Killmail| killmail.attackers.len() <= MANY_ATTACKERS || seed % SAMPLE_STEP == 0;
        let mut found = 0;
        for killmail in ground.killmails.iter().filter(tried) {
            let says = program.matches(killmail);
            assert_eq!(
                says,
                reference::matches(&filter, killmail),
                "{seed}: {text} on killmail {}",
                killmail.killmail_id
            );
            found += usize::from(says);
        }
        matched += found;
        choosy += u64::from(found > 0 && found < ground.killmails.len());
    }
    // Filters that match nothing, or everything, would agree too easily.
    assert!(
        matched > 1_000 && choosy > FILTERS / 3,
        "{matched} matches, {choosy} filters that choose"
    );
}

#[test]
fn canonical_text_is_the_same_filter() {
    let ground = ground();
    for seed in 0..2_000 {
        let (text, first) = written(ground, seed);
        // In full a wildcard, a list or a name can be longer than it was written.
        if first.canonical.chars().count() > 2_000 {
            continue;
        }
        match compile(&first.canonical, ground) {
            CompileOutcome::Compiled(again) => {
                assert_eq!(again.filter, first.filter, "{seed}: {text} = {}", first.canonical);
                assert_eq!(again.canonical, first.canonical, "{seed}: {text}");
                assert_eq!(again.description, first.description, "{seed}: {text}");
            }
            other => panic!("{seed}: {text} = {}: {other:?}", first.canonical),
        }
    }
}

/// The set, and what it should be.
#[derive(Clone, Default)]
struct Both {
    set: FilterSet,
    model: BTreeMap<u64, (Filter, Program)>,
}

impl Both {
    fn add(&mut self, id: u64, filter: Filter) {
        self.set.add(id, &filter).unwrap();
        let program = Program::new(&filter).unwrap();
        self.model.insert(id, (filter, program));
    }

    fn remove(&mut self, id: u64) {
        assert_eq!(self.set.remove(id), self.model.remove(&id).is_some());
    }

    /// How many match.
    fn check(&self, killmail: &Killmail) -> usize {
        let mut found = self.set.matches(killmail);
        found.sort_unstable();
        let scan = self.model.iter().filter(|(_, (_, program))| program.matches(killmail));
        let scanned: Vec<u64> = scan.map(|(id, _)| *id).collect();
        if found != scanned {
            let wrong = found
                .iter()
                .chain(&scanned)
                .find(|id| found.contains(id) != scanned.contains(id));
            let id = wrong.copied().unwrap_or_default();
            let text = self
                .model
                .get(&id)
                .map(|(filter, _)| killfeed::filter::canonical(filter));
            panic!(
                "filter {id} ({text:?}) on killmail {}: in the set {}, alone {}; {} found, {} expected",
                killmail.killmail_id,
                found.contains(&id),
                scanned.contains(&id),
                found.len(),
                scanned.len()
            );
        }
        found.len()
    }
}

#[test]
fn the_set_says_what_a_scan_says() {
    let ground = ground();
    let mut random = Rng::with_seed(7);
    let mut both = Both::default();
    let mut seeds = 1_000_000..;
    let mut next = || written(ground, seeds.next().unwrap()).1.filter;
    for id in 0..400 {
        both.add(id, next());
    }
    let mut copies = Vec::new();
    let mut matched = 0;
    for round in 0..10 {
        copies.push(both.clone());
        for _ in 0..30 {
            match random.u8(0..3) {
                0 => both.remove(random.u64(0..450)),
                // In the place of what had this id, if there was something.
                _ => both.add(random.u64(0..450), next()),
            }
        }
        // Every tenth killmail, each round others: the largest ones among them.
        for killmail in ground.killmails.iter().skip(round).step_by(10) {
            matched += both.check(killmail);
        }
    }
    assert!(matched > 2_000, "only {matched} matches: this tests little");
    // Copies are as they were when they were made.
    for (round, copy) in copies.iter().enumerate() {
        for killmail in ground.killmails.iter().skip(round).step_by(90) {
            copy.check(killmail);
        }
    }
    if ground.real {
        assert_eq!(ground.killmails.len(), 1_540);
        let largest = ground.killmails.iter().map(|killmail| killmail.attackers.len()).max();
        assert_eq!(largest, Some(3_753));
    }
    // And nothing is left when all are gone.
    for id in 0..450 {
        both.remove(id);
    }
    assert!(both.set.is_empty());
    for killmail in ground.killmails.iter().step_by(50) {
        assert_eq!(both.set.matches(killmail), [0; 0]);
    }
}
