//! Generates random filters about real killmails. Most of them match some killmails and not others.

use fastrand::Rng;
use killfeed::{
    filter::names_of,
    v1::{Attacker, EntityKind, Killmail, Location},
};

use super::dataset::Dataset;

/// Generates filter texts.
pub(super) struct FilterGenerator<'a> {
    pub(super) ground: &'a Dataset,
    pub(super) random: Rng,
}

/// The fields of a participant.
const FIELDS: [&str; 9] = [
    "character",
    "corporation",
    "alliance",
    "faction",
    "ship",
    "group",
    "category",
    "weapon",
    "weapon_group",
];
/// The number of leading `FIELDS` that a victim has.
const OF_VICTIM: usize = 7;

impl FilterGenerator<'_> {
    /// Returns a complete filter.
    pub(super) fn filter(&mut self) -> String {
        let depth = self.random.u8(0..4);
        self.terms(depth)
    }

    fn terms(&mut self, depth: u8) -> String {
        let mut text = self.term(depth);
        for _ in 0..self.random.usize(0..3) {
            let between = self.one(&[" ", " ", " AND ", " OR "]);
            text = format!("{text}{between}{}", self.term(depth));
        }
        text
    }

    fn term(&mut self, depth: u8) -> String {
        if depth > 0 && self.random.u8(0..3) == 0 {
            let inner = self.terms(depth - 1);
            return match self.random.u8(0..3) {
                0 => format!("({inner})"),
                1 => format!("-({inner})"),
                _ => format!("NOT ({inner})"),
            };
        }
        let not = self.one(&["", "", "", "-", "NOT "]);
        format!("{not}{}", self.condition())
    }

    fn condition(&mut self) -> String {
        match self.random.u8(0..16) {
            0..=4 => self.participant(),
            5 | 6 => self.group(),
            7 => self.item(),
            8 | 9 => self.place(),
            10 => self.near(),
            11 | 12 => self.number(),
            13 => self.flag(),
            14 => self.label(),
            _ => self.time(),
        }
    }

    fn participant(&mut self) -> String {
        let role = self.one(&["", "", "any.", "victim.", "attacker.", "final."]);
        let fields = if role == "victim." { OF_VICTIM } else { FIELDS.len() };
        let (field, kind) = field(&mut self.random, fields);
        let sign = self.one(&[":", ":", ":", "=", "!="]);
        let count = match self.random.u8(0..10) {
            // The list has more values than the filter set indexes one by one.
            0 => self.random.usize(9..40),
            1..=3 => self.random.usize(2..5),
            _ => 1,
        };
        let values: Vec<String> = (0..count)
            .map(|_| {
                let (killmail, attacker) = self.someone();
                let id = match role {
                    "victim." => of_victim(killmail, field),
                    _ => of_attacker(attacker, field),
                };
                self.value(kind, id)
            })
            .collect();
        match values.as_slice() {
            [one] => format!("{role}{field}{sign}{one}"),
            several => format!("{role}{field}{sign}({})", several.join(" OR ")),
        }
    }

    /// Returns terms about one participant, who usually exists.
    fn group(&mut self) -> String {
        let (killmail, attacker) = self.someone();
        let victim = self.random.bool();
        let fields = if victim { OF_VICTIM } else { FIELDS.len() };
        let terms = self.random.usize(1..4);
        let mut text = String::new();
        for at in 0..terms {
            let (field, kind) = field(&mut self.random, fields);
            let id = if victim {
                of_victim(killmail, field)
            } else {
                of_attacker(attacker, field)
            };
            let (not, sign) = (self.one(&["", "", "", "-"]), self.one(&[":", ":", "!="]));
            let value = self.value(kind, id);
            let between = if at == 0 {
                ""
            } else {
                self.one(&[" ", " ", " OR ", " AND "])
            };
            text = format!("{text}{between}{not}{field}{sign}{value}");
        }
        if terms > 1 && self.random.u8(0..4) == 0 {
            text = format!("-({text})");
        }
        format!("{}({text})", if victim { "victim" } else { "attacker" })
    }

    fn item(&mut self) -> String {
        let killmail = self.killmail();
        let items = killmail.victim.as_ref().map_or(&[][..], |victim| &victim.items);
        let item = self.random.choice(items);
        // Every second time, use an item inside a container.
        let item = item.map(|item| item.items.first().filter(|_| self.random.bool()).unwrap_or(item));
        let (type_id, group_id) = item.map_or((34, 18), |item| (item.type_id, item.group_id));
        match self.random.u8(0..3) {
            0 => format!("item_group:{}", self.value(EntityKind::Group, group_id.into())),
            1 => self.wildcard(type_id.into()),
            _ => format!("item:{}", self.value(EntityKind::Type, type_id.into())),
        }
    }

    fn wildcard(&mut self, type_id: u64) -> String {
        let name = self.ground.name(EntityKind::Type, type_id).unwrap_or("Navy");
        let longest = name.split(|c: char| !c.is_alphanumeric()).max_by_key(|word| word.len());
        // A short word is in more names than a filter may match.
        match longest.filter(|word| word.chars().count() >= 5) {
            Some(word) => format!("item:*{word}*"),
            None => format!("item:{type_id}"),
        }
    }

    fn place(&mut self) -> String {
        let place = self.location();
        match self.random.u8(0..6) {
            0 => format!("system:{}", self.value(EntityKind::System, place.system_id.into())),
            1 => format!(
                "constellation:{}",
                self.value(EntityKind::Constellation, place.constellation_id.into())
            ),
            2 => format!("region:{}", self.value(EntityKind::Region, place.region_id.into())),
            3 => {
                let spaces = ["highsec", "lowsec", "nullsec", "wormhole", "abyssal", "pochven"];
                let (one, other) = (self.one(&spaces), self.one(&spaces));
                format!("space:({one} OR {other})")
            }
            4 => {
                let sign = self.sign();
                format!("class{sign}{}", self.random.u8(1..26))
            }
            _ => {
                let sign = self.sign();
                let shown = (place.security_status * 10.0 + 0.5).floor() / 10.0;
                let other = f64::from(self.random.i32(-10..11)) / 10.0;
                format!("security{sign}{:.1}", if self.random.bool() { shown } else { other })
            }
        }
    }

    fn near(&mut self) -> String {
        // A system that is not on the map has no neighbors.
        let (system, name) = loop {
            let system = self.location().system_id.into();
            if let Some(name) = self.ground.name(EntityKind::System, system) {
                break (system, super::quoted(name));
            }
        };
        let system = if self.random.bool() { name } else { system.to_string() };
        match self.random.bool() {
            true => format!("near({system}, {}j)", self.random.u8(0..12)),
            false => format!("near({system}, {}.{}ly)", self.random.u8(0..12), self.random.u8(0..10)),
        }
    }

    /// Often compares with the exact value of a killmail, where `<` and `<=` differ.
    fn number(&mut self) -> String {
        let killmail = self.killmail();
        let value = killmail.value.unwrap_or_default();
        let sign = self.sign();
        let isk = |number: Option<f64>| number.unwrap_or(1e9);
        let pilots = killmail.attackers.iter().filter(|attacker| attacker.character_id != 0);
        match self.random.u8(0..8) {
            0 => format!("value{sign}{}", isk(value.total)),
            1 => format!("dropped{sign}{}", isk(value.dropped)),
            2 => format!("destroyed{sign}{}", isk(value.destroyed)),
            3 => format!("fitted{sign}{}", isk(value.fitted)),
            4 => format!("attackers{sign}{}", killmail.attackers.len()),
            5 => format!("pilots{sign}{}", pilots.count()),
            6 => format!(
                "damage{sign}{}",
                killmail.victim.as_ref().map_or(0, |victim| victim.damage_taken)
            ),
            _ => format!("points{sign}{}", killmail.points.unwrap_or(1)),
        }
    }

    fn flag(&mut self) -> String {
        self.one(&["npc", "solo", "awox", "war", "ganked"]).to_owned()
    }

    fn label(&mut self) -> String {
        let killmail = self.killmail();
        let label = self.random.choice(&killmail.labels).map_or("pvp", String::as_str);
        let label = if self.random.bool() {
            label.to_uppercase()
        } else {
            label.to_owned()
        };
        format!("label:{}", super::quoted(&label))
    }

    fn time(&mut self) -> String {
        match self.random.u8(0..3) {
            0 => {
                let (sign, unit) = (self.one(&["<", "<=", ">", ">="]), self.one(&["m", "h", "d"]));
                format!("age{sign}{}{unit}", self.random.u16(0..1_000))
            }
            _ => format!("hour:{}-{}", self.random.u8(0..24), self.random.u8(0..24)),
        }
    }

    fn sign(&mut self) -> &'static str {
        self.one(&["<", "<=", ">", ">=", "=", "!="])
    }

    /// Returns an id or, every second time, its name; occasionally an id that does not exist.
    fn value(&mut self, kind: EntityKind, id: u64) -> String {
        if id == 0 || self.random.u8(0..12) == 0 {
            return self.random.u32(1..3_000).to_string();
        }
        match self.ground.name(kind, id).filter(|_| self.random.bool()) {
            Some(name) => super::quoted(name),
            None => id.to_string(),
        }
    }

    fn killmail(&mut self) -> &'static Killmail {
        let killmails = &super::dataset::ground().killmails;
        &killmails[self.random.usize(0..killmails.len())]
    }

    fn someone(&mut self) -> (&'static Killmail, &'static Attacker) {
        static NOBODY: Attacker = Attacker {
            character_id: 0,
            corporation_id: 0,
            alliance_id: 0,
            faction_id: 0,
            ship_type_id: 0,
            ship_group_id: 0,
            ship_category_id: 0,
            weapon_type_id: 0,
            weapon_group_id: 0,
            damage_done: 0,
            final_blow: false,
            security_status: 0.0,
        };
        let killmail = self.killmail();
        (killmail, self.random.choice(&killmail.attackers).unwrap_or(&NOBODY))
    }

    fn location(&mut self) -> Location {
        self.killmail().location.clone().unwrap_or_default()
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.random.usize(0..of.len())]
    }
}

/// Returns one of the first `of` fields and the kind of its values.
fn field(random: &mut Rng, of: usize) -> (&'static str, EntityKind) {
    let field = FIELDS[random.usize(0..of)];
    (field, names_of(field).unwrap())
}

fn of_attacker(attacker: &Attacker, field: &str) -> u64 {
    match field {
        "character" => attacker.character_id,
        "corporation" => attacker.corporation_id,
        "alliance" => attacker.alliance_id,
        "faction" => attacker.faction_id.into(),
        "ship" => attacker.ship_type_id.into(),
        "group" => attacker.ship_group_id.into(),
        "category" => attacker.ship_category_id.into(),
        "weapon" => attacker.weapon_type_id.into(),
        _ => attacker.weapon_group_id.into(),
    }
}

fn of_victim(killmail: &Killmail, field: &str) -> u64 {
    let Some(victim) = &killmail.victim else { return 0 };
    match field {
        "character" => victim.character_id,
        "corporation" => victim.corporation_id,
        "alliance" => victim.alliance_id,
        "faction" => victim.faction_id.into(),
        "ship" => victim.ship_type_id.into(),
        "group" => victim.ship_group_id.into(),
        "category" => victim.ship_category_id.into(),
        _ => 0,
    }
}
