//! What static data says of a killmail's ids: places, groups, categories, and the dictionary of names. Pure.

use killfeed::{
    id::{SystemId, TypeId},
    v1::{Entity, EntityKind, Item, Killmail, Location, Position3d},
};

use super::static_data::StaticData;

/// What an id stands for, wherever that is known from.
pub trait EntityLookup {
    /// Group and category of a type; 0 = not known.
    fn group_and_category(&self, id: TypeId) -> (u32, u32);
    /// Where a system is, without celestial and position.
    fn location(&self, id: SystemId) -> Option<Location>;
    /// Where the stargate leads at which this place in a system is; `None` = at none, or not known.
    fn gate_at(&self, id: SystemId, place: &Position3d) -> Option<(SystemId, String)>;
    /// Name and ticker.
    fn name(&self, kind: EntityKind, id: u64) -> Option<(String, String)>;
}

impl EntityLookup for StaticData {
    fn group_and_category(&self, id: TypeId) -> (u32, u32) {
        let known = self.type_of(id);
        known.map_or((0, 0), |known| {
            (known.group.0, known.category.map_or(0, |category| category.0))
        })
    }

    fn location(&self, id: SystemId) -> Option<Location> {
        self.system(id).map(|system| system.location())
    }

    fn gate_at(&self, id: SystemId, place: &Position3d) -> Option<(SystemId, String)> {
        let to = StaticData::gate_at(self, id, [place.x, place.y, place.z])?;
        Some((to, self.system(to)?.name.to_owned()))
    }

    fn name(&self, kind: EntityKind, id: u64) -> Option<(String, String)> {
        StaticData::name(self, kind, id).map(|name| (name.to_owned(), String::new()))
    }
}

/// Fills in where it happened and what everything is of. What is not known stays 0 and UNSPECIFIED.
pub fn fill_places_and_types(known: &impl EntityLookup, killmail: &mut Killmail) {
    if let Some(location) = &mut killmail.location
        && let Some(id) = SystemId::new(location.system_id)
        && let Some(place) = known.location(id)
    {
        let gate = location.position.and_then(|position| known.gate_at(id, &position));
        let (gate_to_system_id, gate_to_system_name) = gate.map_or_else(Default::default, |(to, name)| (to.0, name));
        *location = Location {
            celestial_id: location.celestial_id,
            position: location.position,
            gate_to_system_id,
            gate_to_system_name,
            ..place
        };
    }
    let look_up = |id: u32| TypeId::new(id).map_or((0, 0), |id| known.group_and_category(id));
    if let Some(victim) = &mut killmail.victim {
        (victim.ship_group_id, victim.ship_category_id) = look_up(victim.ship_type_id);
        fill_items(&mut victim.items, &look_up);
    }
    for attacker in &mut killmail.attackers {
        (attacker.ship_group_id, attacker.ship_category_id) = look_up(attacker.ship_type_id);
        (attacker.weapon_group_id, _) = look_up(attacker.weapon_type_id);
    }
}

/// Nested containers too: the parser bounds how deep they go.
fn fill_items(items: &mut [Item], look_up: &impl Fn(u32) -> (u32, u32)) {
    for item in items {
        (item.group_id, _) = look_up(item.type_id);
        fill_items(&mut item.items, look_up);
    }
}

/// Every id of the killmail with its kind, each once, ascending.
pub fn ids(killmail: &Killmail) -> Vec<(EntityKind, u64)> {
    // An attacker has up to nine ids, most of them shared with others.
    let mut ids = IdCollector(Vec::with_capacity(32 + 9 * killmail.attackers.len()));
    if let Some(location) = &killmail.location {
        ids.add(EntityKind::System, location.system_id);
        ids.add(EntityKind::System, location.gate_to_system_id);
        ids.add(EntityKind::Constellation, location.constellation_id);
        ids.add(EntityKind::Region, location.region_id);
    }
    if let Some(victim) = &killmail.victim {
        ids.add(EntityKind::Character, victim.character_id);
        ids.add(EntityKind::Corporation, victim.corporation_id);
        ids.add(EntityKind::Alliance, victim.alliance_id);
        ids.add(EntityKind::Faction, victim.faction_id);
        ids.add(EntityKind::Type, victim.ship_type_id);
        ids.add(EntityKind::Group, victim.ship_group_id);
        ids.add(EntityKind::Category, victim.ship_category_id);
        ids.add_items(&victim.items);
    }
    for attacker in &killmail.attackers {
        ids.add(EntityKind::Character, attacker.character_id);
        ids.add(EntityKind::Corporation, attacker.corporation_id);
        ids.add(EntityKind::Alliance, attacker.alliance_id);
        ids.add(EntityKind::Faction, attacker.faction_id);
        ids.add(EntityKind::Type, attacker.ship_type_id);
        ids.add(EntityKind::Group, attacker.ship_group_id);
        ids.add(EntityKind::Category, attacker.ship_category_id);
        ids.add(EntityKind::Type, attacker.weapon_type_id);
        ids.add(EntityKind::Group, attacker.weapon_group_id);
    }
    ids.0.sort_unstable();
    ids.0.dedup();
    ids.0
}

struct IdCollector(Vec<(EntityKind, u64)>);

impl IdCollector {
    fn add(&mut self, kind: EntityKind, id: impl Into<u64>) {
        let id = id.into();
        if id != 0 {
            self.0.push((kind, id));
        }
    }

    fn add_items(&mut self, items: &[Item]) {
        for item in items {
            self.add(EntityKind::Type, item.type_id);
            self.add(EntityKind::Group, item.group_id);
            self.add_items(&item.items);
        }
    }
}

/// The dictionary: those of `ids` that have a name, in their order.
pub fn entities(known: &impl EntityLookup, ids: &[(EntityKind, u64)]) -> Vec<Entity> {
    let named = ids.iter().filter_map(|&(kind, id)| {
        let (name, ticker) = known.name(kind, id)?;
        Some(Entity {
            kind: kind.into(),
            id,
            name,
            ticker,
        })
    });
    named.collect()
}
