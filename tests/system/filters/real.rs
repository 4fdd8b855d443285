//! Random filters over real killmails.
//!
//! A program agrees with an independent reference, canonical text compiles to the same filter, and a filter set agrees
//! with a scan of its filters after any sequence of additions and removals.

use std::collections::BTreeMap;

use fastrand::Rng;
use killfeed::filter::{CompileOutcome, Compiled, FilterSet, Program, compile};
use killfeed::v1::{Filter, Killmail};

use super::{
    dataset::{Dataset, ground},
    random::FilterGenerator,
    reference,
};

/// Each filter runs on every killmail.
const FILTERS: u64 = 160;
/// Killmails with more attackers take a hundred times as long: only every eighth filter runs on them.
const MANY_ATTACKERS: usize = 200;
const SAMPLE_STEP: u64 = 8;

/// Returns the filter for a seed, and its text.
fn written(ground: &Dataset, seed: u64) -> (String, Compiled) {
    let mut writer = FilterGenerator {
        ground,
        random: Rng::with_seed(seed),
    };
    // A text that is too long, or has a wildcard with too many matches, is skipped.
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
    panic!("{seed}: a hundred texts without a valid filter");
}

#[test]
fn program_agrees_with_the_reference() {
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
    // Filters that match nothing or everything would make the test trivial.
    assert!(
        matched > 1_000 && choosy > FILTERS / 3,
        "{matched} matches, {choosy} filters that match some killmails"
    );
}

#[test]
fn canonical_text_compiles_to_the_same_filter() {
    let ground = ground();
    for seed in 0..2_000 {
        let (text, first) = written(ground, seed);
        // A wildcard, list or name can be longer in canonical text than in the original.
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

/// The filter set, and a simple model of it.
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

    /// Checks the set against the model and returns the number of matches.
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
                "filter {id} ({text:?}) on killmail {}: the set matches: {}, the filter matches: {}; {} found, {} expected",
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
fn filter_set_agrees_with_a_scan() {
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
                // Replaces the filter with this id, if there is one.
                _ => both.add(random.u64(0..450), next()),
            }
        }
        // Each round checks another tenth of the killmails, including some of the largest.
        for killmail in ground.killmails.iter().skip(round).step_by(10) {
            matched += both.check(killmail);
        }
    }
    assert!(matched > 2_000, "only {matched} matches, too few for a meaningful test");
    // Later changes do not affect a clone.
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
    // After the removal of all filters the set is empty.
    for id in 0..450 {
        both.remove(id);
    }
    assert!(both.set.is_empty());
    for killmail in ground.killmails.iter().step_by(50) {
        assert_eq!(both.set.matches(killmail), [0; 0]);
    }
}
