//! A small New Eden for the tests.

use super::super::{Resolution, Resolve, fold};
use crate::v1::{EntityKind as Kind, Location, Space};

pub(super) struct Universe;

/// Everything that has a name: kind, id and name.
pub(super) const NAMES: [(Kind, u64, &str); 38] = [
    (Kind::Character, 90_000_001, "Chribba"),
    (Kind::Character, 90_000_002, "Mynxee O'Neill"),
    (Kind::Corporation, 98_000_001, "Dreddit"),
    (Kind::Corporation, 98_000_002, "GoonWaffe"),
    (Kind::Corporation, 98_000_003, "Space (Group) Ltd."),
    (Kind::Corporation, 98_000_004, "Star*Dust"),
    (Kind::Alliance, 1_354_830_081, "Goonswarm Federation"),
    (Kind::Alliance, 498_125_261, "Test Alliance Please Ignore"),
    (Kind::Alliance, 99_003_581, "Fraternity."),
    (Kind::Faction, 500_001, "Caldari State"),
    (Kind::Faction, 500_003, "Amarr Empire"),
    (Kind::Type, 670, "Capsule"),
    (Kind::Type, 16_229, "Brutix"),
    (Kind::Type, 33_151, "Brutix Navy Issue"),
    (Kind::Type, 23_913, "Nyx"),
    (Kind::Type, 35_834, "Keepstar"),
    (Kind::Type, 44_992, "PLEX"),
    (Kind::Type, 3_520, "Siege Module I"),
    (Kind::Type, 40_001, "Two Of A Name"),
    (Kind::Type, 40_002, "Two Of A Name"),
    (Kind::Type, 40_003, "Mordu’s Special Warfare Unit Operative"),
    (Kind::Type, 40_004, "Fall of “Hoth”"),
    (Kind::Group, 29, "Capsule"),
    (Kind::Group, 30, "Titan"),
    (Kind::Group, 55, "Projectile Weapon"),
    (Kind::Group, 485, "Dreadnought"),
    (Kind::Group, 547, "Carrier"),
    (Kind::Group, 659, "Supercarrier"),
    (Kind::Group, 900, "Marauder"),
    (Kind::Category, 6, "Ship"),
    (Kind::Category, 65, "Structure"),
    (Kind::Constellation, 20_000_020, "Kimotoro"),
    (Kind::Constellation, 20_000_322, "Throne Worlds"),
    (Kind::Region, 10_000_002, "The Forge"),
    (Kind::Region, 10_000_036, "Devoid"),
    (Kind::Region, 10_000_042, "Metropolis"),
    (Kind::Region, 10_000_043, "Domain"),
    (Kind::Region, 10_000_009, "Insmother"),
];

/// The systems: id, name, constellation, region, security, space and wormhole class.
const SYSTEMS: [(u32, &str, u32, u32, f64, Space, u32); 7] = [
    (30_000_142, "Jita", 20_000_020, 10_000_002, 0.945_9, Space::Highsec, 7),
    (
        30_000_145,
        "New Caldari",
        20_000_020,
        10_000_002,
        0.96,
        Space::Highsec,
        7,
    ),
    (30_002_187, "Amarr", 20_000_322, 10_000_043, 1.0, Space::Highsec, 7),
    (30_002_086, "Turnur", 20_000_302, 10_000_042, 0.36, Space::Lowsec, 8),
    (30_000_839, "C-J6MT", 20_000_110, 10_000_009, -0.2, Space::Nullsec, 9),
    (30_045_345, "Oicx", 20_000_302, 10_000_036, 0.04, Space::Lowsec, 8),
    (31_002_238, "J123456", 21_000_200, 11_000_020, -0.99, Space::Wormhole, 5),
];

/// The tickers with their alliances.
const TICKERS: [(&str, &str); 2] = [
    ("CONDI", "Goonswarm Federation"),
    ("TEST", "Test Alliance Please Ignore"),
];

pub(super) fn location(system: u32) -> Option<Location> {
    let &(system_id, _, constellation_id, region_id, security_status, space, wormhole_class) =
        SYSTEMS.iter().find(|row| row.0 == system)?;
    Some(Location {
        system_id,
        constellation_id,
        region_id,
        security_status,
        space: space.into(),
        wormhole_class,
        ..Location::default()
    })
}

fn all(kind: Kind) -> Vec<(u64, &'static str)> {
    if kind == Kind::System {
        return SYSTEMS.iter().map(|row| (u64::from(row.0), row.1)).collect();
    }
    NAMES
        .iter()
        .filter(|row| row.0 == kind)
        .map(|row| (row.1, row.2))
        .collect()
}

impl Resolve for Universe {
    fn exact(&self, kind: Kind, name: &str) -> Resolution {
        if name == "Away" {
            return Resolution::Unavailable;
        }
        let found: Vec<_> = all(kind)
            .into_iter()
            .filter(|(_, known)| fold(known) == fold(name))
            .collect();
        match found.first() {
            Some((_, name)) => Resolution::Found {
                name: (*name).to_owned(),
                ids: found.iter().map(|(id, _)| *id).collect(),
            },
            None => Resolution::Unknown,
        }
    }

    fn wildcard(&self, kind: Kind, pattern: &str) -> Vec<u64> {
        if kind == Kind::Type && pattern == "**" {
            return (1..=5_000).collect();
        }
        if kind == Kind::Type && pattern == "***" {
            return (1..=5_001).collect();
        }
        let pattern = fold(pattern);
        let parts: Vec<&str> = pattern.split('*').collect();
        let mut ids: Vec<u64> = all(kind)
            .into_iter()
            .filter(|(_, name)| {
                let name = fold(name);
                let (first, last) = (parts[0], parts[parts.len() - 1]);
                let mut rest = name.as_str();
                name.starts_with(first)
                    && name.ends_with(last)
                    && parts.iter().all(|part| match rest.find(part) {
                        Some(at) => {
                            rest = &rest[at + part.len()..];
                            true
                        }
                        None => false,
                    })
            })
            .map(|(id, _)| id)
            .collect();
        ids.sort_unstable();
        ids
    }

    fn similar(&self, kind: Kind, name: &str) -> Vec<String> {
        let mut names: Vec<(usize, &str)> = all(kind)
            .into_iter()
            .map(|(_, known)| (strsim::damerau_levenshtein(&fold(known), &fold(name)), known))
            .filter(|(distance, _)| *distance <= 3)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|(_, name)| name.to_owned()).collect()
    }

    fn within_light_years(&self, system: u64, light_years: f64) -> Option<Vec<u32>> {
        let origin = u32::try_from(system).ok().filter(|&id| location(id).is_some())?;
        Some(if light_years < 5.0 {
            vec![origin]
        } else {
            vec![30_002_086, 30_045_345, origin]
        })
    }

    fn within_jumps(&self, system: u64, jumps: u32) -> Option<Vec<u32>> {
        self.within_light_years(system, f64::from(jumps))
    }

    fn by_ticker(&self, kind: Kind, ticker: &str) -> Vec<String> {
        TICKERS
            .iter()
            .filter(|row| kind == Kind::Alliance && row.0.eq_ignore_ascii_case(ticker))
            .map(|row| row.1.to_owned())
            .collect()
    }

    fn location(&self, system: u32) -> Option<Location> {
        location(system)
    }
}
