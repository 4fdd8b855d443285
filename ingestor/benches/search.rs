//! Measures the name searches of autocomplete.
//!
//! Run it with `cargo bench -p killfeed-ingestor --bench search [NAMES]`.
//!
//! The bench types names letter by letter and prints a table. It searches all names of the static data in `../shared/data`, and
//! a million names of pilots, corporations and alliances in a `names.redb` on disk, as an ingestor has it. The limit is 20 ms
//! for 99 of 100 searches. The bench sends no requests to ESI, which have a timeout of their own.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![expect(clippy::unwrap_used, reason = "a bench without its setup measures nothing")]

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use killfeed::v1::EntityKind;
use killfeed_ingestor::{
    enrich::{
        EnrichSettings, Enricher,
        cache::{EntityKey, NameEntry, NameStore},
    },
    universe::Universe,
};

const STATIC_DATA: &str = "../../shared/data/sde/eve-online-static-data-3475087-jsonl.zip";
const NAMES: usize = 1_000_000;
/// The number of entries per transaction.
const MAX_BATCH: usize = 50_000;
/// The number of names typed for each row of the table.
const TYPED: usize = 300;
/// The number of letters typed of each name. More letters do not find more.
const LETTERS: usize = 8;
const BOUND: Duration = Duration::from_millis(20);

fn main() {
    // Ignore `--bench`, which cargo adds.
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let count: usize = count.unwrap_or(NAMES);
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(STATIC_DATA);
    if !archive.exists() {
        return eprintln!("{} is missing: nothing to measure", archive.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(count, &archive));
}

async fn measure(count: usize, archive: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let begun = Instant::now();
    let mut seen = Vec::new();
    {
        let store = NameStore::open(dir.path()).unwrap();
        while seen.len() < count {
            let some: Vec<(EntityKey, Arc<NameEntry>)> = (0..MAX_BATCH.min(count - seen.len()))
                .map(|at| entry(seen.len() + at, &mut random))
                .collect();
            store.put(&some);
            seen.extend(
                some.into_iter()
                    .map(|((kind, _), named)| (kind, named.name.to_string())),
            );
        }
    }
    let written = begun.elapsed();
    fs::create_dir(dir.path().join("static")).unwrap();
    fs::copy(archive, dir.path().join("static").join(archive.file_name().unwrap())).unwrap();
    let nobody = "http://127.0.0.1:9".to_owned();
    let settings = EnrichSettings {
        data_dir: dir.path().to_owned(),
        esi_url: nobody.clone(),
        static_data_url: nobody,
        user_agent: "killfeed-bench".to_owned(),
    };
    let enrich = Enricher::open(settings, Default::default()).await.unwrap();
    enrich.wait_ready().await;
    let universe = Universe::new(enrich.universe());
    let data = enrich.universe().static_data().unwrap();
    let fixed = |kind: EntityKind| -> Vec<(EntityKind, String)> {
        let names = data.index().of_kind(kind);
        names.map(|(name, _)| (kind, name.to_owned())).collect()
    };
    let of = |kind: EntityKind| -> Vec<(EntityKind, String)> {
        seen.iter().filter(|(of, _)| *of == kind).cloned().collect()
    };

    let counts = data.counts();
    let places = counts.systems + counts.constellations + counts.regions;
    let known = places + counts.types + counts.groups + counts.categories + counts.factions;
    println!(
        "| {count} cached names (written in {written:.1?}), {known} in the static data | searches | found | median | 99 % | slowest | limit |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut all = Vec::new();
    for (what, names, kinds) in [
        ("pilots", of(EntityKind::Character), &[EntityKind::Character][..]),
        ("corporations", of(EntityKind::Corporation), &[EntityKind::Corporation]),
        ("alliances", of(EntityKind::Alliance), &[EntityKind::Alliance]),
        ("ships and items", fixed(EntityKind::Type), &[EntityKind::Type]),
        ("systems", fixed(EntityKind::System), &[EntityKind::System]),
        ("pilots, searched in all kinds", of(EntityKind::Character), &[]),
    ] {
        let (mut times, mut found) = (Vec::new(), 0);
        for _ in 0..TYPED {
            let (kind, name) = random.choice(&names).unwrap();
            let characters = name.chars().count();
            for letters in 1..=LETTERS.min(characters) {
                let typed: String = name.chars().take(letters).collect();
                let begun = Instant::now();
                let entities = universe.search(&typed, kinds, 25).await;
                times.push(begun.elapsed());
                if letters == LETTERS.min(characters) {
                    found += usize::from(
                        entities
                            .iter()
                            .any(|one| one.kind() == *kind && one.name.eq_ignore_ascii_case(name)),
                    );
                }
            }
        }
        row(what, &mut times, &format!("{found} of {TYPED} after {LETTERS} letters"));
        all.append(&mut times);
    }
    row("all searches", &mut all, "");
}

fn row(what: &str, times: &mut [Duration], found: &str) {
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .or(times.last())
            .copied()
            .unwrap_or_default()
    };
    println!(
        "| {what} | {} | {found} | {:.2?} | {:.2?} | {:.2?} | {BOUND:?} at 99 % |",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

/// Returns a fictional name. Nine in ten are pilots, and many names start with the same syllables.
fn entry(at: usize, random: &mut fastrand::Rng) -> (EntityKey, Arc<NameEntry>) {
    const SYLLABLES: [&str; 40] = [
        "ka", "ri", "to", "na", "mi", "shi", "ro", "an", "el", "dar", "vel", "mor", "gan", "thi", "us", "or", "xa",
        "zen", "lu", "pe", "bra", "cor", "dre", "fen", "gor", "hal", "jin", "kor", "lan", "mar", "nor", "os", "pra",
        "qui", "ras", "sol", "tar", "ul", "vor", "wyn",
    ];
    const LAST: [&str; 12] = [
        "Corporation",
        "Industries",
        "Fleet",
        "Holdings",
        "Syndicate",
        "Federation",
        "Alliance",
        "Mining",
        "Navy",
        "Wolves",
        "Legion",
        "Trading",
    ];
    let word = |random: &mut fastrand::Rng, max: usize| {
        let word: String = (0..random.usize(1..=max))
            .map(|_| SYLLABLES[random.usize(0..SYLLABLES.len())])
            .collect();
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    let id = at as u64;
    let (kind, id, name) = match at % 100 {
        0 | 1 => (
            EntityKind::Alliance,
            99_000_000 + id,
            format!("{} {}", word(random, 3), LAST[random.usize(0..LAST.len())]),
        ),
        2..=9 => (
            EntityKind::Corporation,
            98_000_000 + id,
            format!("{} {}", word(random, 3), LAST[random.usize(0..LAST.len())]),
        ),
        _ => (
            EntityKind::Character,
            2_112_000_000 + id,
            format!("{} {}", word(random, 3), word(random, 3)),
        ),
    };
    let ticker = match kind {
        EntityKind::Character => String::new(),
        _ => (0..4).map(|_| random.uppercase()).collect(),
    };
    let named = NameEntry {
        name: name.into(),
        ticker: ticker.into(),
        name_at: 1,
        ticker_at: 1,
    };
    ((kind, id), Arc::new(named))
}
