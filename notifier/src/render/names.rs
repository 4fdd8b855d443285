//! Who and what: ids of a killmail → the names it carries, else what can be said without them.

use killfeed::v1::{Attacker, EntityKind, Killmail, Location, Space, Victim};

use super::text::{cut, escaped, grouped, label, link, plain, security};

/// Names of people in the game are at most 50 characters long.
const NAME: usize = 60;
/// Those of types and places somewhat longer.
const LONG_NAME: usize = 80;
const TICKER: usize = 10;
/// A name that takes more than this in a URL is none of the game's: it goes without a link.
const IN_URL: usize = 100;

/// The names of one killmail.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameFormatter<'a> {
    killmail: &'a Killmail,
    linked: bool,
}

impl<'a> NameFormatter<'a> {
    /// Names that are text only.
    pub(super) fn plain(killmail: &'a Killmail) -> Self {
        Self {
            killmail,
            linked: false,
        }
    }

    /// Names that lead to their pages, if `linked`.
    pub(super) fn new(killmail: &'a Killmail, linked: bool) -> Self {
        Self { killmail, linked }
    }

    fn find(self, kind: EntityKind, id: u64) -> Option<(&'a str, &'a str)> {
        let entities = self.killmail.entities.iter();
        let mut found = entities.filter(|entity| entity.id == id && entity.kind == i32::from(kind));
        found
            .next()
            .map(|entity| (entity.name.as_str(), entity.ticker.as_str()))
    }

    /// The name as it is, cleaned; `what` and the id where there is none; `None` for no id.
    fn bare(self, kind: EntityKind, id: u64, what: &str, limit: usize) -> Option<String> {
        let named = || match self.find(kind, id).map(|(name, _)| plain(name, limit)) {
            Some(name) if !name.is_empty() => name,
            _ => format!("{what} {id}"),
        };
        (id != 0).then(named)
    }

    fn name(self, kind: EntityKind, id: u64, what: &str) -> Option<String> {
        let name = self.bare(kind, id, what, NAME)?;
        let page = match kind {
            EntityKind::Character => "character",
            EntityKind::Corporation => "corporation",
            EntityKind::Alliance => "alliance",
            EntityKind::Faction => "faction",
            _ => return Some(escaped(&name, NAME)),
        };
        Some(if self.linked {
            link(&label(&name, NAME), &format!("https://zkillboard.com/{page}/{id}/"))
        } else {
            escaped(&name, NAME)
        })
    }

    fn ticker(self, kind: EntityKind, id: u64) -> Option<String> {
        let ticker = self.find(kind, id).map(|(_, ticker)| plain(ticker, TICKER))?;
        (id != 0 && !ticker.is_empty()).then(|| format!("\\[{}\\]", escaped(&ticker, TICKER)))
    }

    fn with_ticker(self, kind: EntityKind, id: u64, what: &str) -> Option<String> {
        let name = self.name(kind, id, what)?;
        Some(match self.ticker(kind, id) {
            Some(ticker) => format!("{name} {ticker}"),
            None => name,
        })
    }

    /// A type, for a place that reads markdown; `fallback` for no id.
    pub(super) fn ship(self, id: u32, fallback: &str) -> String {
        let name = self.bare(EntityKind::Type, id.into(), "type", LONG_NAME);
        name.map_or_else(|| fallback.to_owned(), |name| escaped(&name, LONG_NAME))
    }

    /// A type, for the text of a link.
    pub(super) fn ship_label(self, id: u32, fallback: &str) -> String {
        let name = self.bare(EntityKind::Type, id.into(), "type", LONG_NAME);
        name.map_or_else(|| fallback.to_owned(), |name| label(&name, LONG_NAME))
    }

    /// A group of types; `None` for no id.
    pub(super) fn ship_group(self, id: u32) -> Option<String> {
        let name = self.bare(EntityKind::Group, id.into(), "group", NAME)?;
        Some(escaped(&name, NAME))
    }

    /// `Name [TICK]` of those who fly together: alliance, else corporation, else faction.
    pub(super) fn party(self, alliance: u64, corporation: u64, faction: u32) -> Option<String> {
        self.with_ticker(EntityKind::Alliance, alliance, "alliance")
            .or_else(|| self.with_ticker(EntityKind::Corporation, corporation, "corporation"))
            .or_else(|| self.name(EntityKind::Faction, faction.into(), "faction"))
    }

    fn allegiance(self, corporation: u64, alliance: u64, faction: u32) -> [Option<String>; 2] {
        [
            self.with_ticker(EntityKind::Corporation, corporation, "corporation"),
            self.with_ticker(EntityKind::Alliance, alliance, "alliance")
                .or_else(|| self.name(EntityKind::Faction, faction.into(), "faction")),
        ]
    }

    /// Pilot, corporation, alliance or faction, a line each. Structures have no pilot: their owner comes first.
    pub(super) fn victim(self, victim: &Victim) -> Vec<String> {
        let pilot = self.name(EntityKind::Character, victim.character_id, "pilot");
        let [corporation, alliance] = self.allegiance(victim.corporation_id, victim.alliance_id, victim.faction_id);
        bold_first([pilot, corporation, alliance].into_iter().flatten().collect(), "nobody")
    }

    /// The same of the one with the final blow, with the ship; NPCs are called by their ship.
    pub(super) fn attacker(self, attacker: &Attacker) -> Vec<String> {
        let pilot = self.name(EntityKind::Character, attacker.character_id, "pilot");
        let ship = (attacker.ship_type_id != 0).then(|| self.ship(attacker.ship_type_id, ""));
        let first = match (pilot, ship) {
            (Some(pilot), Some(ship)) => Some(format!("**{pilot}** in {}", with_article(&ship))),
            (pilot, ship) => pilot.or(ship).map(|name| format!("**{name}**")),
        };
        let [corporation, alliance] =
            self.allegiance(attacker.corporation_id, attacker.alliance_id, attacker.faction_id);
        bold_first(
            [first, corporation, alliance].into_iter().flatten().collect(),
            "somebody",
        )
    }

    /// `Ama Vey [WATCH]`: the pilot and whose side, in as few words as it takes. `None` if nothing is known.
    pub(super) fn brief_victim(self, victim: &Victim) -> Option<String> {
        let pilot = self.name(EntityKind::Character, victim.character_id, "pilot");
        self.brief(pilot, victim.corporation_id, victim.alliance_id, victim.faction_id)
    }

    /// The same of an attacker; NPCs and structures are called by their type.
    pub(super) fn brief_attacker(self, attacker: &Attacker) -> Option<String> {
        let pilot = self
            .name(EntityKind::Character, attacker.character_id, "pilot")
            .or_else(|| (attacker.ship_type_id != 0).then(|| self.ship(attacker.ship_type_id, "")));
        self.brief(
            pilot,
            attacker.corporation_id,
            attacker.alliance_id,
            attacker.faction_id,
        )
    }

    fn brief(self, pilot: Option<String>, corporation: u64, alliance: u64, faction: u32) -> Option<String> {
        let Some(pilot) = pilot else {
            return self
                .with_ticker(EntityKind::Corporation, corporation, "corporation")
                .or_else(|| self.party(alliance, 0, faction));
        };
        let ticker = self
            .ticker(EntityKind::Alliance, alliance)
            .or_else(|| self.ticker(EntityKind::Corporation, corporation));
        Some(match ticker {
            Some(ticker) => format!("{pilot} {ticker}"),
            None => pilot,
        })
    }
}

/// `Turnur 0.4 lowsec`; where a security means nothing, what kind of place it is.
pub(super) fn system(location: &Location, linked: bool) -> String {
    let name = system_name(location);
    let shown = match dotlan(location) {
        Some(url) if linked => link(&label(&name, LONG_NAME), &url),
        _ => escaped(&name, LONG_NAME),
    };
    match kind(location) {
        Some(kind) if kind != name => format!("**{shown}** {kind}"),
        _ => format!("**{shown}**"),
    }
}

/// The system's name without markdown.
pub(super) fn system_name(location: &Location) -> String {
    let name = plain(&location.system_name, LONG_NAME);
    if name.is_empty() {
        format!("system {}", location.system_id)
    } else {
        name
    }
}

/// Security and space as the game shows them; `None` where nothing is known.
fn kind(location: &Location) -> Option<String> {
    let space = match location.space() {
        Space::Highsec => "highsec",
        Space::Lowsec => "lowsec",
        Space::Nullsec => "nullsec",
        Space::Wormhole => return Some(wormhole(location.wormhole_class)),
        Space::Abyssal => return Some("Abyssal".to_owned()),
        Space::Pochven => return Some("Pochven".to_owned()),
        Space::Unspecified => return None,
    };
    Some(format!("{} {space}", security(location.security_status)))
}

/// The region; empty where it is not known.
pub(super) fn region(location: &Location, linked: bool) -> String {
    let name = plain(&location.region_name, LONG_NAME);
    match in_url(&name) {
        Some(path) if linked && location.space() != Space::Abyssal => link(
            &label(&name, LONG_NAME),
            &format!("https://evemaps.dotlan.net/region/{path}"),
        ),
        _ => escaped(&name, LONG_NAME),
    }
}

/// Dotlan's page of the system; abyssal ones have none.
pub(super) fn dotlan(location: &Location) -> Option<String> {
    let path = in_url(&plain(&location.system_name, LONG_NAME))?;
    (location.space() != Space::Abyssal).then(|| format!("https://evemaps.dotlan.net/system/{path}"))
}

/// A name as a part of a URL: spaces are `_`, everything unusual is written in hexadecimal.
fn in_url(name: &str) -> Option<String> {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b' ' => path.push('_'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    (!path.is_empty() && path.len() <= IN_URL).then_some(path)
}

fn wormhole(class: u32) -> String {
    match class {
        1..=6 => format!("C{class}"),
        12 => "Thera".to_owned(),
        13 => "Shattered".to_owned(),
        14..=18 => "Drifter".to_owned(),
        _ => "wormhole".to_owned(),
    }
}

pub(super) fn with_article(ship: &str) -> String {
    let vowel = ship.starts_with(|c: char| "AEIOUaeiou".contains(c));
    format!("{} {ship}", if vowel { "an" } else { "a" })
}

fn bold_first(mut lines: Vec<String>, fallback: &str) -> Vec<String> {
    match lines.first_mut() {
        // Escaped names begin with no star of their own.
        Some(first) if first.starts_with("**") => {}
        Some(first) => *first = format!("**{first}**"),
        None => lines.push(fallback.to_owned()),
    }
    lines
}

/// These as one line, and how many there are besides: `12 Dreadnought · 3 Carrier · 2 more`.
pub(super) fn counted(counts: impl Iterator<Item = (String, u64)>, rest: u64, limit: usize) -> String {
    let mut parts: Vec<String> = counts
        .map(|(name, count)| format!("{} {name}", grouped(count)))
        .collect();
    if rest > 0 {
        parts.push(format!("{} more", grouped(rest)));
    }
    cut(&parts.join(" · "), limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_the_game_shows_them() {
        let at = |space: Space, security_status, wormhole_class| Location {
            system_name: "X-1".into(),
            space: space.into(),
            security_status,
            wormhole_class,
            ..Default::default()
        };
        for (location, expected) in [
            (at(Space::Highsec, 0.945, 7), "**X-1** 0.9 highsec"),
            (at(Space::Lowsec, 0.01, 8), "**X-1** 0.1 lowsec"),
            (at(Space::Nullsec, -0.04, 9), "**X-1** 0.0 nullsec"),
            (at(Space::Wormhole, -1.0, 5), "**X-1** C5"),
            (at(Space::Wormhole, -1.0, 12), "**X-1** Thera"),
            (at(Space::Wormhole, -1.0, 13), "**X-1** Shattered"),
            (at(Space::Wormhole, -1.0, 16), "**X-1** Drifter"),
            (at(Space::Wormhole, -1.0, 0), "**X-1** wormhole"),
            (at(Space::Pochven, -1.0, 25), "**X-1** Pochven"),
            (at(Space::Abyssal, 0.0, 19), "**X-1** Abyssal"),
            (at(Space::Unspecified, 0.0, 0), "**X-1**"),
        ] {
            assert_eq!(system(&location, false), expected);
        }
        let thera = Location {
            system_name: "Thera".into(),
            ..at(Space::Wormhole, -1.0, 12)
        };
        assert_eq!(
            system(&thera, true),
            "**[Thera](https://evemaps.dotlan.net/system/Thera)**"
        );
        assert_eq!(
            in_url("Vale of the Silent/?#").as_deref(),
            Some("Vale_of_the_Silent%2F%3F%23")
        );
        assert_eq!(in_url(&"ö".repeat(50)), None);
    }
}
