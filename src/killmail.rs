//! Lookup of names by id within a killmail.

use crate::v1::{EntityKind, Killmail};

impl Killmail {
    /// Returns the name of an id that occurs in this killmail.
    ///
    /// An id is unique only within its kind. Returns `None` if the id is not in the killmail, or if its name was unknown
    /// when the killmail was ingested; show the id instead.
    ///
    /// ```
    /// use killfeed::v1::{Entity, EntityKind, Killmail};
    ///
    /// let rifter = Entity { kind: EntityKind::Type.into(), id: 587, name: "Rifter".into(), ..Default::default() };
    /// let killmail = Killmail { entities: vec![rifter], ..Default::default() };
    /// assert_eq!(killmail.name(EntityKind::Type, 587_u32), Some("Rifter"));
    /// assert_eq!(killmail.name(EntityKind::Group, 587_u32), None);
    /// ```
    pub fn name(&self, kind: EntityKind, id: impl Into<u64>) -> Option<&str> {
        let id = id.into();
        let place = self.location.as_ref().and_then(|place| match kind {
            EntityKind::System => Some((place.system_id, &place.system_name)),
            EntityKind::Constellation => Some((place.constellation_id, &place.constellation_name)),
            EntityKind::Region => Some((place.region_id, &place.region_name)),
            _ => None,
        });
        let of_place = place.filter(|(place, _)| u64::from(*place) == id).map(|(_, name)| name);
        let entity = || {
            self.entities
                .iter()
                .find(|entity| entity.id == id && entity.kind() == kind)
        };
        let name = of_place.or_else(|| entity().map(|entity| &entity.name))?;
        (id != 0 && !name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Entity, Location};

    #[test]
    fn name_depends_on_kind_and_covers_the_location() {
        let entity = |kind: EntityKind, id, name: &str| Entity {
            kind: kind.into(),
            id,
            name: name.into(),
            ticker: String::new(),
        };
        let killmail = Killmail {
            location: Some(Location {
                system_id: 30_002_086,
                system_name: "Turnur".into(),
                ..Location::default()
            }),
            entities: vec![
                entity(EntityKind::Type, 485, "a type"),
                entity(EntityKind::Group, 485, "Dreadnought"),
                entity(EntityKind::Character, 7, ""),
            ],
            ..Killmail::default()
        };
        assert_eq!(killmail.name(EntityKind::Group, 485_u32), Some("Dreadnought"));
        assert_eq!(killmail.name(EntityKind::Type, 485_u64), Some("a type"));
        assert_eq!(killmail.name(EntityKind::System, 30_002_086_u32), Some("Turnur"));
        assert_eq!(killmail.name(EntityKind::System, 30_000_142_u32), None);
        assert_eq!(killmail.name(EntityKind::Region, 0_u32), None, "0 means none");
        assert_eq!(
            killmail.name(EntityKind::Character, 7_u64),
            None,
            "an empty name counts as unknown"
        );
    }
}
