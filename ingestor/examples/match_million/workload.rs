//! The workload: a million subscriptions as players write them, and killmails to match with them.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::Context as _;
use killfeed::{
    filter::{CompileOutcome, Resolution, Resolve, compile},
    id::SystemId,
    v1::{Attacker, EntityKind, Filter, FilterValue, Killmail, filter_node::Node},
};
use killfeed_ingestor::{
    enrich::{fill, sde::read_archive, static_data::StaticData},
    parse::{Parsed, parse},
};

const KILLMAILS: &str = "../../shared/data/killmails/r2z2-open.jsonl.gz";
const STATIC_DATA: &str = "../../shared/data/sde/eve-online-static-data-3475087-jsonl.zip";
const BUILD: &str = "3475087";

/// The shapes of subscriptions, with their frequency per thousand.
///
/// Each subscription replaces the capital letters: A, B and D with alliances, C with a corporation, P with a pilot, S with a
/// system, K with a constellation, R with a region, T with a ship type, G and H with groups, I with an item type, and V with
/// an amount of ISK.
const SHAPES: [(u32, &str); 42] = [
    // Half of them are about participants.
    (120, "alliance:A"),
    (80, "corporation:C"),
    (60, "character:P"),
    (45, "victim.alliance:A"),
    (30, "victim.corporation:C"),
    (30, "attacker.alliance:A"),
    (25, "attacker.corporation:C"),
    (35, "alliance:A value>=V"),
    (20, "corporation:C -npc"),
    (20, "alliance:(A OR B OR D)"),
    (15, "(alliance:A OR corporation:C) value>=V"),
    (10, "alliance:A -victim.group:29"),
    (10, "final.corporation:C solo"),
    // A third of them are about the place.
    (80, "system:S"),
    (30, "constellation:K"),
    (20, "region:R"),
    (50, "region:R value>=V"),
    (20, "region:R victim.category:6 -victim.group:29"),
    (20, "region:R group:(G OR H)"),
    (15, "system:S value>=V -npc"),
    (20, "near(S, 5j)"),
    (30, "near(S, 7ly) group:(G OR H)"),
    (20, "near(S, 7ly) value>=V"),
    (10, "near(S, 6ly) attacker(group:G alliance:A)"),
    (10, "space:wormhole class:(5 OR 6) value>=V"),
    (8, "region:R space:lowsec attackers<=5 value>=V"),
    // The rest is about ships, values and combinations.
    (30, "ship:T"),
    (20, "victim.ship:T"),
    (20, "group:G"),
    (15, "victim.group:(G OR H) value>=V"),
    (15, "value>=V"),
    (10, "space:(lowsec OR nullsec) value>=V attackers<=5"),
    (8, "solo value>=V -space:highsec"),
    (4, "attackers>=50"),
    (6, "item:I"),
    (8, "attacker(alliance:A group:G)"),
    (10, "attacker.alliance:A -victim.alliance:A region:R"),
    (6, "hour:17-23 region:R value>=V"),
    (5, "ship:T OR (group:G region:R)"),
    (5, "value>=V attackers>=10 attackers<100 space:nullsec"),
    (3, "label:\"#:10+\" region:R"),
    (2, "ganked value>=V"),
];

/// The amounts of ISK. Repeated ones are more frequent.
const AMOUNTS: [f64; 16] = [
    1e8, 1e8, 2.5e8, 5e8, 5e8, 1e9, 1e9, 1e9, 1e9, 2e9, 5e9, 5e9, 1e10, 2e10, 5e10, 1e11,
];

/// The placeholder ids for the letters in compiled shapes.
const LETTERS: [(&str, u64); 12] = [
    ("A", 9_000_000_001),
    ("B", 9_000_000_002),
    ("D", 9_000_000_003),
    ("C", 9_000_000_004),
    ("P", 9_000_000_005),
    ("S", 9_000_006),
    ("K", 9_000_000_007),
    ("R", 9_000_000_008),
    ("T", 9_000_000_009),
    ("G", 9_000_000_010),
    ("H", 9_000_000_011),
    ("I", 9_000_000_012),
];
const AMOUNT: f64 = 1.0;

/// The real killmails with locations and groups, and the data for subscriptions.
pub(crate) struct Workload {
    /// The killmails in feed order.
    pub(crate) killmails: Vec<Killmail>,
    data: StaticData,
    systems: Vec<u32>,
    shapes: Vec<(u32, Filter)>,
}

impl Workload {
    /// Loads the workload from `../shared/data`.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let data = read_archive(&here.join(STATIC_DATA), BUILD)?;
        let file = File::open(here.join(KILLMAILS)).with_context(|| format!("{KILLMAILS} is needed"))?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
        let mut killmails = Vec::new();
        for line in text.lines() {
            if let Ok(Parsed::Killmail(document)) = parse(line.as_bytes()) {
                let mut killmail = document.killmail;
                fill::fill_places_and_types(&data, &mut killmail);
                killmail.ingested_time = killmail.published_time;
                killmails.push(killmail);
            }
        }
        let systems = data.index().of_kind(EntityKind::System).map(|(_, id)| id).collect();
        let shapes = SHAPES.iter().map(|(weight, text)| anyhow::Ok((*weight, shape(text)?)));
        Ok(Self {
            shapes: shapes.collect::<Result<_, _>>()?,
            killmails,
            data,
            systems,
        })
    }

    /// Returns `count` subscriptions. The same seed gives the same ones.
    pub(crate) fn subscriptions(&self, count: usize, seed: u64) -> Vec<Filter> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..count).map(|_| self.subscription(&mut random)).collect()
    }

    fn subscription(&self, random: &mut fastrand::Rng) -> Filter {
        let all: u32 = self.shapes.iter().map(|(weight, _)| weight).sum();
        let mut at = random.u32(0..all);
        let chosen = self.shapes.iter().find(|(weight, _)| match at.checked_sub(*weight) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        let mut filter = chosen.map(|(_, filter)| filter.clone()).unwrap_or_default();
        let names = LetterIds::new(self, random);
        let amount = AMOUNTS[random.usize(0..AMOUNTS.len())];
        for node in filter.nodes.iter_mut().filter_map(|node| node.node.as_mut()) {
            match node {
                Node::Participant(participant) => names.put(&mut participant.values),
                Node::Item(item) => names.put(&mut item.values),
                Node::Place(place) => names.put(&mut place.values),
                Node::Number(number) if number.value == AMOUNT => number.value = amount,
                Node::Near(near) => {
                    let system = names.ids[5];
                    near.origin = Some(value(system));
                    let reach = near.reach;
                    near.system_ids = self.near(system, reach);
                    near.distances = None;
                }
                _ => {}
            }
        }
        filter
    }

    fn near(&self, system: u64, reach: Option<killfeed::v1::filter_near::Reach>) -> Vec<u32> {
        use killfeed::v1::filter_near::Reach;
        let system = SystemId(u32::try_from(system).unwrap_or_default());
        let within = match reach {
            Some(Reach::LightYears(distance)) => self.data.within_light_years(system, distance),
            Some(Reach::Jumps(jumps)) => self.data.within_jumps(system, jumps),
            None => None,
        };
        let mut systems: Vec<u32> = within.unwrap_or_default().into_iter().map(|id| id.0).collect();
        if systems.is_empty() {
            systems.push(system.0);
        }
        systems
    }
}

/// The ids for the letters of one subscription.
struct LetterIds {
    ids: [u64; LETTERS.len()],
}

impl LetterIds {
    /// Chooses the ids of a subscription.
    ///
    /// Half of the ids come from a random killmail, so that frequent participants and places also have more subscriptions.
    /// The others come from the rest of New Eden.
    fn new(workload: &Workload, random: &mut fastrand::Rng) -> Self {
        let killmail = &workload.killmails[random.usize(0..workload.killmails.len())];
        let attacker = |random: &mut fastrand::Rng| -> Attacker {
            let victim = killmail.victim.clone().unwrap_or_default();
            match random.usize(0..=killmail.attackers.len()) {
                0 => Attacker {
                    character_id: victim.character_id,
                    corporation_id: victim.corporation_id,
                    alliance_id: victim.alliance_id,
                    ship_type_id: victim.ship_type_id,
                    ship_group_id: victim.ship_group_id,
                    ..Attacker::default()
                },
                at => killmail.attackers[at - 1],
            }
        };
        let someone = attacker(random);
        let mut or = |known: u64, others: std::ops::Range<u64>| match random.bool() && known != 0 {
            true => known,
            false => random.u64(others),
        };
        let alliances = 99_000_000..99_014_000;
        let mut ids = [0; LETTERS.len()];
        ids[0] = or(someone.alliance_id, alliances.clone());
        ids[1] = or(0, alliances.clone());
        ids[2] = or(0, alliances);
        ids[3] = or(someone.corporation_id, 98_000_000..98_800_000);
        ids[4] = or(someone.character_id, 2_112_000_000..2_124_000_000);
        let place = killmail.location.clone().unwrap_or_default();
        let elsewhere = workload.systems[random.usize(0..workload.systems.len())];
        let place = match random.bool() {
            true => place,
            false => match workload.data.system(SystemId(elsewhere)) {
                Some(system) => system.location(),
                None => place,
            },
        };
        ids[5] = place.system_id.into();
        ids[6] = place.constellation_id.into();
        ids[7] = place.region_id.into();
        ids[8] = u64::from(someone.ship_type_id).max(1);
        ids[9] = u64::from(someone.ship_group_id).max(1);
        ids[10] = [30, 485, 659, 547, 883, 900][random.usize(0..6)];
        let items = killmail.victim.as_ref().map_or(&[][..], |victim| &victim.items);
        ids[11] = random.choice(items).map_or(1, |item| u64::from(item.type_id).max(1));
        Self { ids }
    }

    fn put(&self, values: &mut [FilterValue]) {
        for value in values {
            for id in &mut value.ids {
                if let Some(at) = LETTERS.iter().position(|(_, letter)| letter == id) {
                    *id = self.ids[at];
                }
            }
        }
    }
}

fn value(id: u64) -> FilterValue {
    FilterValue {
        text: String::new(),
        ids: vec![id],
    }
}

/// Compiles a shape with placeholder ids for its letters.
fn shape(text: &str) -> anyhow::Result<Filter> {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
    let mut written = String::new();
    let characters: Vec<char> = text.chars().collect();
    for (at, c) in characters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| characters.get(before)).copied();
        let alone = !is_part(before) && !is_part(characters.get(at + 1).copied());
        let letter = LETTERS.iter().find(|(letter, _)| alone && letter.starts_with(*c));
        match letter {
            Some((_, id)) => written.push_str(&id.to_string()),
            None if alone && *c == 'V' => written.push('1'),
            None => written.push(*c),
        }
    }
    match compile(&written, &EmptyResolver) {
        CompileOutcome::Compiled(compiled) => Ok(compiled.filter),
        other => anyhow::bail!("{text}: {other:?}"),
    }
}

/// A resolver without names, because the shapes contain only ids.
struct EmptyResolver;

impl Resolve for EmptyResolver {
    fn exact(&self, _: EntityKind, _: &str) -> Resolution {
        Resolution::Unknown
    }
    fn wildcard(&self, _: EntityKind, _: &str) -> Vec<u64> {
        Vec::new()
    }
    fn similar(&self, _: EntityKind, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn within_light_years(&self, system: u64, _: f64) -> Option<Vec<u32>> {
        u32::try_from(system).ok().map(|system| vec![system])
    }
    fn within_jumps(&self, system: u64, _: u32) -> Option<Vec<u32>> {
        u32::try_from(system).ok().map(|system| vec![system])
    }
}
