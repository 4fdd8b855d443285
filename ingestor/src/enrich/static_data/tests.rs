//! Against CCP's real static data in `../shared/data/sde`; where that is missing the tests say so and pass.

use std::fmt::Write as _;

use killfeed::{
    id::{GroupId, SystemId, TypeId},
    v1::EntityKind,
};

use super::{Counts, StaticData};
use crate::enrich::sde::test_data;

fn system_named(data: &StaticData, name: &str) -> SystemId {
    let ids = data.index().exact(EntityKind::System, name);
    assert_eq!(ids.len(), 1, "{name}");
    SystemId(ids[0])
}

#[test]
fn places_of_every_kind_of_space() {
    let Some(data) = test_data::real() else { return };
    let mut text = String::new();
    for name in [
        "Jita",
        "Turnur",
        "Hek",
        "Iosantin",
        "Neziel",
        "Egbinger",
        "Kino",
        "Niarja",
        "Zarzakh",
        "Thera",
        "J104809",
        "J100033",
        "AD001",
        "Sentinel MZ",
        "V-001",
    ] {
        let ids = data.index().exact(EntityKind::System, name);
        let Some(system) = ids.first().and_then(|id| data.system(SystemId(*id))) else {
            writeln!(text, "{name}: not there").unwrap();
            continue;
        };
        let (space, class) = (system.space, system.wormhole_class);
        writeln!(
            text,
            "{name} ({}), {} < {}: {space:?}, class {class}, security {}",
            system.id, system.constellation_name, system.region_name, system.security
        )
        .unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn types_have_groups_and_groups_categories() {
    let Some(data) = test_data::real() else { return };
    let keepstar = data.type_of(TypeId(35834)).unwrap();
    assert_eq!((keepstar.name, keepstar.group), ("Keepstar", GroupId(1657)));
    let group = data.group(keepstar.group).unwrap();
    assert_eq!((group.name, Some(group.category)), ("Citadel", keepstar.category));
    assert_eq!(
        data.name(EntityKind::Category, group.category.0.into()),
        Some("Structure")
    );
    assert_eq!(data.name(EntityKind::Faction, 500_026), Some("Triglavian Collective"));
    assert_eq!(data.type_of(TypeId(4_000_000_000)), None);
    assert_eq!(data.name(EntityKind::Type, u64::MAX), None);
    assert_eq!(data.name(EntityKind::Character, 35834), None);
    let counts = Counts {
        regions: 114,
        constellations: 1_184,
        systems: 8_490,
        stargates: 13_970,
        types: 50_966,
        groups: 1_605,
        categories: 48,
        factions: 27,
    };
    assert_eq!(data.counts(), counts);
}

#[test]
fn distances() {
    let Some(data) = test_data::real() else { return };
    let [jita, perimeter, turnur] = ["Jita", "Perimeter", "Turnur"].map(|name| system_named(&data, name));
    assert_eq!(data.within_jumps(jita, 0), Some(vec![jita]));
    let near = data.within_jumps(jita, 1).unwrap();
    assert_eq!(near.len(), 8);
    assert!(near.contains(&perimeter) && near.is_sorted());
    assert_eq!(data.within_light_years(jita, 0.0), Some(vec![jita]));
    let between = data.light_years_between(jita, turnur).unwrap();
    assert!((10.132..10.133).contains(&between), "{between}");
    assert!(data.within_light_years(jita, between).unwrap().contains(&turnur));
    assert!(
        !data
            .within_light_years(jita, between - 0.001)
            .unwrap()
            .contains(&turnur)
    );
    let everywhere = data.within_jumps(jita, u32::MAX).unwrap();
    assert!(
        everywhere.len() > 5_000 && everywhere.len() < 8_490,
        "{}",
        everywhere.len()
    );
    let away = data
        .distances(jita, &[jita.0, perimeter.0, turnur.0, 31_000_005, 1])
        .unwrap();
    let (straight, jumps): (Vec<_>, Vec<_>) = away.into_iter().unzip();
    assert_eq!(jumps[..2], [Some(0), Some(1)]);
    assert!(jumps[2].is_some_and(|jumps| data.within_jumps(jita, jumps).unwrap().contains(&turnur)));
    assert_eq!(jumps[3..], [None, None], "no stargate leads to Thera");
    assert_eq!(
        (straight[0], straight[2], straight[4]),
        (Some(0.0), Some(between), None)
    );
    assert_eq!(data.distances(SystemId(1), &[jita.0]), None);
    assert_eq!(data.within_jumps(SystemId(1), 3), None);
    assert_eq!(data.within_light_years(SystemId(1), 3.0), None);
}
