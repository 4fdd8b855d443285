//! Everything known at one moment, for one batch of killmails.

use std::sync::Arc;

use killfeed::{
    id::{SystemId, TypeId},
    v1::{EntityKind, Item, Killmail, Location, Position3d},
};

use super::{
    esi_fallback::{self, MissingId},
    fill::EntityLookup,
    names::{NameDirectory, is_dynamic},
    static_data::StaticData,
};

/// Static data first; what it does not know from ESI; names of pilots and their like from the cache.
pub(super) struct BatchLookup<'a> {
    pub(super) data: Option<&'a StaticData>,
    pub(super) extra: Arc<esi_fallback::FallbackData>,
    pub(super) names: &'a NameDirectory,
}

impl EntityLookup for BatchLookup<'_> {
    fn group_and_category(&self, id: TypeId) -> (u32, u32) {
        let known = self.data.and_then(|data| data.type_of(id));
        match known {
            Some(known) => (known.group.0, known.category.map_or(0, |category| category.0)),
            None => self.extra.group_and_category(id.0, self.data).unwrap_or((0, 0)),
        }
    }

    fn location(&self, id: SystemId) -> Option<Location> {
        let known = self.data.and_then(|data| data.system(id));
        known
            .map(|system| system.location())
            .or_else(|| self.extra.location(id.0).cloned())
    }

    fn gate_at(&self, id: SystemId, place: &Position3d) -> Option<(SystemId, String)> {
        self.data.and_then(|data| EntityLookup::gate_at(data, id, place))
    }

    fn name(&self, kind: EntityKind, id: u64) -> Option<(String, String)> {
        if is_dynamic(kind) {
            let named = self.names.get((kind, id)).filter(|named| !named.name.is_empty())?;
            return Some((named.name.to_string(), named.ticker.to_string()));
        }
        let known = self.data.and_then(|data| data.name(kind, id));
        let name = known.or_else(|| self.extra.name(kind, id))?;
        Some((name.to_owned(), String::new()))
    }
}

impl BatchLookup<'_> {
    /// Types and systems of the killmail that are known nowhere.
    pub(super) fn unknown(&self, killmail: &Killmail) -> Vec<MissingId> {
        let mut unknown = Vec::new();
        if let Some(location) = &killmail.location
            && location.region_id == 0
            && location.system_id != 0
        {
            unknown.push(MissingId::System(location.system_id));
        }
        let mut look_at = |type_id: u32, group_id: u32| {
            // A type whose group is 0 may be known all the same: that is a group too.
            let lacks =
                |id| self.group_and_category(id) == (0, 0) && self.name(EntityKind::Type, id.0.into()).is_none();
            if group_id == 0 && TypeId::new(type_id).is_some_and(lacks) {
                unknown.push(MissingId::Type(type_id));
            }
        };
        if let Some(victim) = &killmail.victim {
            look_at(victim.ship_type_id, victim.ship_group_id);
            look_at_items(&victim.items, &mut look_at);
        }
        for attacker in &killmail.attackers {
            look_at(attacker.ship_type_id, attacker.ship_group_id);
            look_at(attacker.weapon_type_id, attacker.weapon_group_id);
        }
        unknown
    }
}

fn look_at_items(items: &[Item], look_at: &mut impl FnMut(u32, u32)) {
    for item in items {
        look_at(item.type_id, item.group_id);
        look_at_items(&item.items, look_at);
    }
}
