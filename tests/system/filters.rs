//! Tests of the filter language with CCP's real names and real killmails.

mod dataset;
mod random;
mod real;
/// A second implementation of the rules, which the library's own tests run against invented killmails.
#[path = "../../src/filter/tests/reference.rs"]
mod reference;

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read as _},
    time::Instant,
};

use flate2::read::GzDecoder;
use killfeed::{
    filter::{CompileOutcome, Compiled, Program, Resolution, Resolve, compile, fold},
    v1::{EntityKind, Killmail},
};
use killfeed_ingestor::parse::{Parsed, parse};
use killfeed_support::corpus;
use serde_json::Value;

const SDE: &str = "../shared/data/sde/eve-online-static-data-3475087-jsonl.zip";
const KILLMAILS: &str = "../shared/data/killmails/r2z2-open.jsonl.gz";

const KINDS: [(EntityKind, &str, &str); 7] = [
    (EntityKind::Type, "types", "ship"),
    (EntityKind::Group, "groups", "group"),
    (EntityKind::Category, "categories", "victim.category"),
    (EntityKind::Faction, "factions", "faction"),
    (EntityKind::System, "mapSolarSystems", "system"),
    (EntityKind::Constellation, "mapConstellations", "constellation"),
    (EntityKind::Region, "mapRegions", "region"),
];

/// All static names, loaded without the ingestor's code.
struct StaticNames {
    proper: HashMap<(EntityKind, u64), String>,
    folded: HashMap<(EntityKind, String), Vec<u64>>,
}

fn names() -> Option<StaticNames> {
    let file = File::open(corpus::repository().join(SDE)).ok()?;
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut names = StaticNames {
        proper: HashMap::new(),
        folded: HashMap::new(),
    };
    for (kind, member, _) in KINDS {
        let member = BufReader::new(archive.by_name(&format!("{member}.jsonl")).unwrap());
        for line in member.lines() {
            let row: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let id = row["_key"].as_u64().unwrap();
            let Some(name) = row["name"]["en"]
                .as_str()
                .filter(|name| !fold(name).is_empty() && id != 0)
            else {
                continue;
            };
            names.proper.insert((kind, id), name.to_owned());
            names.folded.entry((kind, fold(name))).or_default().push(id);
        }
    }
    Some(names)
}

impl Resolve for StaticNames {
    fn exact(&self, kind: EntityKind, name: &str) -> Resolution {
        match self.folded.get(&(kind, fold(name))) {
            Some(ids) => Resolution::Found {
                name: self.proper[&(kind, ids[0])].clone(),
                ids: ids.clone(),
            },
            None => Resolution::Unknown,
        }
    }

    /// The filters in this file have wildcards only for names that contain a `*`.
    fn wildcard(&self, kind: EntityKind, pattern: &str) -> Vec<u64> {
        self.folded.get(&(kind, fold(pattern))).cloned().unwrap_or_default()
    }

    fn similar(&self, _: EntityKind, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn within_light_years(&self, _: u64, _: f64) -> Option<Vec<u32>> {
        None
    }

    fn within_jumps(&self, _: u64, _: u32) -> Option<Vec<u32>> {
        None
    }
}

fn compiled(text: &str, names: &StaticNames) -> Compiled {
    match compile(text, names) {
        CompileOutcome::Compiled(compiled) => compiled,
        other => panic!("{text}: {other:?}"),
    }
}

/// Quotes a name as a user writes it in a filter.
fn quoted(name: &str) -> String {
    let mut quoted = String::from("\"");
    for c in name.chars() {
        if matches!(c, '"' | '\\' | '“' | '”') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

#[test]
fn every_static_name_compiles_in_quotes() {
    let Some(names) = names() else {
        return eprintln!("note: skipping this test: {SDE} does not exist");
    };
    for ((kind, id), name) in &names.proper {
        let (_, _, field) = KINDS.iter().find(|(known, _, _)| known == kind).unwrap();
        let first = compiled(&format!("{field}:{}", quoted(name)), &names);
        let again = compiled(&first.canonical, &names);
        assert_eq!(again.filter, first.filter, "{name}: {}", first.canonical);
        let tree = format!("{:?}", first.filter);
        assert!(
            tree.contains(&id.to_string()),
            "{name} does not compile to {id}: {tree}"
        );
    }
    assert!(names.proper.len() > 50_000, "{}", names.proper.len());
}

/// Returns conditions that a killmail meets, and conditions that it does not meet.
fn conditions(killmail: &Killmail) -> (Vec<String>, Vec<String>) {
    let (mut holds, mut fails) = (Vec::new(), Vec::new());
    let mut id = |field: &str, id: u64| match id {
        0 => fails.push(format!("{field}:1")),
        id => {
            holds.push(format!("{field}:{id}"));
            fails.push(format!("-{field}:(1 OR {id})"));
        }
    };
    let victim = killmail.victim.as_ref().unwrap();
    for prefix in ["", "any.", "victim."] {
        id(&format!("{prefix}ship"), victim.ship_type_id.into());
    }
    id("victim.character", victim.character_id);
    id("victim.corporation", victim.corporation_id);
    id("victim.alliance", victim.alliance_id);
    for item in &victim.items {
        id("item", item.type_id.into());
        item.items.iter().for_each(|inside| id("item", inside.type_id.into()));
    }
    if let Some(last) = killmail.attackers.iter().find(|attacker| attacker.final_blow) {
        id("final.ship", last.ship_type_id.into());
        id("final.corporation", last.corporation_id);
    }
    for attacker in killmail
        .attackers
        .iter()
        .filter(|attacker| attacker.ship_type_id != 0 && attacker.corporation_id != 0)
    {
        let both = format!("ship:{} corporation:{}", attacker.ship_type_id, attacker.corporation_id);
        holds.push(format!("attacker({both})"));
        fails.push(format!("attacker({both} NOT ({both}))"));
    }
    let pilots = killmail
        .attackers
        .iter()
        .filter(|attacker| attacker.character_id != 0)
        .count();
    holds.push(format!(
        "attackers={} pilots={pilots} damage={}",
        killmail.attackers.len(),
        victim.damage_taken
    ));
    fails.push(format!("pilots>{pilots}"));
    match killmail.value.as_ref().and_then(|value| value.total) {
        Some(total) => holds.push(format!("value={total} value>={total} -value<{total}")),
        None => fails.push("value>=0".into()),
    }
    let hour = killmail.kill_time.unwrap().seconds.rem_euclid(86_400) / 3_600;
    holds.push(format!("hour:{hour}-{hour} -hour!={hour}"));
    // Before enrichment a killmail has no place.
    fails.push(format!("system:{}", killmail.location.as_ref().unwrap().system_id));
    holds.extend(killmail.labels.iter().map(|label| format!("label:{}", quoted(label))));
    for (flag, is) in [
        ("npc", killmail.npc),
        ("solo", killmail.solo),
        ("awox", killmail.awox),
        ("war", killmail.war_id != 0),
    ] {
        holds.push(if is { flag.into() } else { format!("-{flag}") });
    }
    (holds, fails)
}

#[test]
fn real_killmails_match_their_own_properties() {
    let names = StaticNames {
        proper: HashMap::new(),
        folded: HashMap::new(),
    };
    let Ok(file) = File::open(corpus::repository().join(KILLMAILS)) else {
        return eprintln!("note: skipping this test: {KILLMAILS} does not exist");
    };
    let mut lines = String::new();
    GzDecoder::new(file).read_to_string(&mut lines).unwrap();
    let mut killmails = Vec::new();
    for line in lines.lines() {
        if let Parsed::Killmail(document) = parse(line.as_bytes()).unwrap() {
            killmails.push(document.killmail);
        }
    }
    assert_eq!(killmails.len(), 1_540);
    let mut checked = 0_u32;
    for killmail in &killmails {
        let (holds, fails) = conditions(killmail);
        let expected = holds
            .iter()
            .map(|text| (text, true))
            .chain(fails.iter().map(|text| (text, false)));
        // The largest killmails have tens of thousands of conditions. The first hundred are enough.
        for (text, expected) in expected.take(100) {
            let program = Program::new(&compiled(text, &names).filter).unwrap();
            assert_eq!(
                program.matches(killmail),
                expected,
                "{text} on {}",
                killmail.killmail_id
            );
            checked += 1;
        }
    }
    // The test prints this time but sets no limit, because the time depends on the machine.
    let ids: Vec<String> = (1..=200).map(|id| id.to_string()).collect();
    let lists = format!("attacker.ship:({}) OR victim.character:1", ids.join(" OR "));
    let program = Program::new(&compiled(&lists, &names).filter).unwrap();
    let start = Instant::now();
    let matched = killmails.iter().filter(|killmail| program.matches(killmail)).count();
    eprintln!(
        "checked {checked} conditions; a list of 200 ids against {} killmails ({matched} match): {:?}",
        killmails.len(),
        start.elapsed()
    );
}
