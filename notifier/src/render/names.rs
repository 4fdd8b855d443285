//! Who and what: ids of a killmail → the names it carries, else what can be said without them.

use killfeed::v1::{Attacker, EntityKind, Killmail, Location, Space, Victim};

use super::text::{escaped, plain, security};

/// Names in the game are at most 50 characters long, those of types somewhat longer.
const NAME: usize = 100;
const TICKER: usize = 10;

/// The names of one killmail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a>(pub(super) &'a Killmail);

impl<'a> Names<'a> {
    fn find(self, kind: EntityKind, id: u64) -> Option<(&'a str, &'a str)> {
        let entities = self.0.entities.iter();
        let mut found = entities.filter(|entity| entity.id == id && entity.kind == i32::from(kind));
        found
            .next()
            .map(|entity| (entity.name.as_str(), entity.ticker.as_str()))
    }

    /// The name of a type without markdown; `fallback` where it is not known.
    pub(super) fn type_plain(self, id: u32, fallback: &str) -> String {
        match self.find(EntityKind::Type, id.into()) {
            Some((name, _)) => plain(name, NAME),
            None if id == 0 => fallback.to_owned(),
            None => format!("type {id}"),
        }
    }

    /// The same for a place that reads markdown.
    pub(super) fn type_escaped(self, id: u32, fallback: &str) -> String {
        escaped(&self.type_plain(id, fallback), NAME)
    }

    /// A name without its ticker; `None` for no id.
    fn name(self, kind: EntityKind, id: u64, what: &str) -> Option<String> {
        let named = || match self.find(kind, id) {
            Some((name, _)) => escaped(name, NAME),
            None => format!("{what} {id}"),
        };
        (id != 0).then(named)
    }

    /// `Name [TICK]`; `None` for no id.
    fn with_ticker(self, kind: EntityKind, id: u64, what: &str) -> Option<String> {
        let name = self.name(kind, id, what)?;
        match self.find(kind, id) {
            Some((_, ticker)) if !ticker.is_empty() => Some(format!("{name} \\[{}\\]", escaped(ticker, TICKER))),
            _ => Some(name),
        }
    }

    /// `[TICK]`, else the name; `None` for no id.
    fn short(self, kind: EntityKind, id: u64, what: &str) -> Option<String> {
        match self.find(kind, id) {
            Some((_, ticker)) if !ticker.is_empty() && id != 0 => Some(format!("\\[{}\\]", escaped(ticker, TICKER))),
            _ => self.name(kind, id, what),
        }
    }

    fn corporation(self, id: u64) -> Option<String> {
        self.with_ticker(EntityKind::Corporation, id, "corporation")
    }

    fn group(self, alliance: u64, faction: u32) -> Option<String> {
        self.with_ticker(EntityKind::Alliance, alliance, "alliance")
            .or_else(|| self.name(EntityKind::Faction, faction.into(), "faction"))
    }

    /// Pilot, corporation, alliance or faction, a line each. Structures have no pilot: their owner comes first.
    pub(super) fn victim(self, victim: &Victim) -> Vec<String> {
        let pilot = self.name(EntityKind::Character, victim.character_id, "pilot");
        let lines = [
            pilot,
            self.corporation(victim.corporation_id),
            self.group(victim.alliance_id, victim.faction_id),
        ];
        bold_first(lines.into_iter().flatten().collect(), "nobody")
    }

    /// The same of the one with the final blow, with the ship; NPCs are called by their ship.
    pub(super) fn attacker(self, attacker: &Attacker) -> Vec<String> {
        let pilot = self.name(EntityKind::Character, attacker.character_id, "pilot");
        let ship = (attacker.ship_type_id != 0).then(|| self.type_escaped(attacker.ship_type_id, ""));
        let (first, ship) = match (pilot, ship) {
            (Some(pilot), Some(ship)) => (Some(pilot), Some(format!("in {}", with_article(&ship)))),
            (None, Some(ship)) => (Some(ship), None),
            (pilot, None) => (pilot, None),
        };
        let lines = [
            first,
            ship,
            self.corporation(attacker.corporation_id),
            self.group(attacker.alliance_id, attacker.faction_id),
        ];
        bold_first(lines.into_iter().flatten().collect(), "somebody")
    }

    /// `Pilot [CORP] [ALLI]` on one line.
    pub(super) fn one_line(self, character: u64, corporation: u64, alliance: u64, ship: u32) -> String {
        let pilot = self
            .name(EntityKind::Character, character, "pilot")
            .or_else(|| (ship != 0).then(|| self.type_escaped(ship, "")));
        let parts = [
            pilot,
            self.short(EntityKind::Corporation, corporation, "corporation"),
            self.short(EntityKind::Alliance, alliance, "alliance"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            "somebody".to_owned()
        } else {
            parts.join(" ")
        }
    }
}

/// `Turnur 0.4 lowsec`; wormholes say their class instead of a security that means nothing there.
pub(super) fn system(location: &Location) -> String {
    let name = if location.system_name.is_empty() {
        format!("system {}", location.system_id)
    } else {
        escaped(&location.system_name, NAME)
    };
    let space = match location.space() {
        Space::Highsec => "highsec",
        Space::Lowsec => "lowsec",
        Space::Nullsec => "nullsec",
        Space::Wormhole => return format!("**{name}** {}", wormhole(location.wormhole_class)),
        Space::Abyssal => return format!("**{name}** abyssal space"),
        Space::Pochven => return format!("**{name}** Pochven"),
        Space::Unspecified => return format!("**{name}**"),
    };
    format!("**{name}** {} {space}", security(location.security_status))
}

/// The region; empty where it is not known.
pub(super) fn region(location: &Location) -> String {
    escaped(&location.region_name, NAME)
}

fn wormhole(class: u32) -> String {
    match class {
        1..=6 => format!("wormhole C{class}"),
        12 => "wormhole (Thera)".to_owned(),
        13 => "shattered wormhole".to_owned(),
        14..=18 => "drifter wormhole".to_owned(),
        _ => "wormhole".to_owned(),
    }
}

fn with_article(ship: &str) -> String {
    let vowel = ship.starts_with(|c: char| "AEIOUaeiou".contains(c));
    format!("{} {ship}", if vowel { "an" } else { "a" })
}

fn bold_first(mut lines: Vec<String>, fallback: &str) -> Vec<String> {
    match lines.first_mut() {
        Some(first) => *first = format!("**{first}**"),
        None => lines.push(fallback.to_owned()),
    }
    lines
}
