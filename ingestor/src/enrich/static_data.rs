//! CCP's static data in memory: types, groups, places, stargates. Immutable; a new build is a new value that is swapped in.
//!
//! All names lie in one text and all rows in sorted arrays: 60,000 rows take about 10 MB with their index.

mod gates;
mod index;
mod near;
mod rows;
mod space;

use killfeed::{
    id::{CategoryId, ConstellationId, GroupId, RegionId, SystemId, TypeId},
    v1::{EntityKind, Location, Space},
};

pub use index::{Hit, MatchKind, NameIndex, word_starts};
pub use near::LIGHT_YEAR_METRES;
pub use rows::{ConstellationRow, GroupRow, Incomplete, Part, Parts, RegionRow, StargateRow, SystemRow, TypeRow};
use rows::{Name, Row, Table, refers};
pub(super) use space::space as space_of;

/// Everything the ingestor knows of New Eden, of one build.
#[derive(Debug)]
pub struct StaticData {
    build: Box<str>,
    names: Box<str>,
    regions: Table<RegionRow>,
    constellations: Table<ConstellationRow>,
    systems: Table<SystemRow>,
    types: Table<TypeRow>,
    groups: Table<GroupRow>,
    categories: Table<()>,
    factions: Table<()>,
    gates: gates::Gates,
    index: NameIndex,
}

/// A solar system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct System<'a> {
    /// Its id.
    pub id: SystemId,
    /// English.
    pub name: &'a str,
    /// The constellation it is in.
    pub constellation: ConstellationId,
    /// The constellation's English name.
    pub constellation_name: &'a str,
    /// The region it is in.
    pub region: RegionId,
    /// The region's English name.
    pub region_name: &'a str,
    /// True security status, not rounded.
    pub security: f64,
    /// Derived from region and security.
    pub space: Space,
    /// Its own, else its constellation's, else its region's; 0 = none.
    pub wormhole_class: u32,
    /// Metres.
    pub position: [f64; 3],
}

impl System<'_> {
    /// As a killmail says it, without celestial and position.
    pub fn location(&self) -> Location {
        Location {
            system_id: self.id.0,
            system_name: self.name.to_owned(),
            constellation_id: self.constellation.0,
            constellation_name: self.constellation_name.to_owned(),
            region_id: self.region.0,
            region_name: self.region_name.to_owned(),
            security_status: self.security,
            space: self.space.into(),
            wormhole_class: self.wormhole_class,
            ..Location::default()
        }
    }
}

/// A type: ship, module, structure, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type<'a> {
    /// Its id.
    pub id: TypeId,
    /// English.
    pub name: &'a str,
    /// Its group.
    pub group: GroupId,
    /// The group's category; `None` if the group is not known.
    pub category: Option<CategoryId>,
    /// Whether players can meet it in the market or the game's own search.
    pub published: bool,
}

/// A group of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    /// Its id.
    pub id: GroupId,
    /// English.
    pub name: &'a str,
    /// Its category.
    pub category: CategoryId,
}

/// How many rows there are of each kind: what tells a whole archive from half of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Regions.
    pub regions: usize,
    /// Constellations.
    pub constellations: usize,
    /// Solar systems.
    pub systems: usize,
    /// Directed stargate edges.
    pub stargates: usize,
    /// Types.
    pub types: usize,
    /// Groups.
    pub groups: usize,
    /// Categories.
    pub categories: usize,
    /// Factions.
    pub factions: usize,
}

impl Counts {
    /// Each count with the name of CCP's file.
    pub fn by_file(&self) -> [(&'static str, usize); 8] {
        [
            ("mapRegions", self.regions),
            ("mapConstellations", self.constellations),
            ("mapSolarSystems", self.systems),
            ("mapStargates", self.stargates),
            ("types", self.types),
            ("groups", self.groups),
            ("categories", self.categories),
            ("factions", self.factions),
        ]
    }
}

impl StaticData {
    /// Puts the rows of one build together, if they are complete: nothing may name what is not there.
    pub fn assemble(parts: Parts) -> Result<Self, Incomplete> {
        let mut names = String::new();
        let regions = Table::new("mapRegions", parts.regions, &mut names)?;
        let constellations = Table::new("mapConstellations", parts.constellations, &mut names)?;
        let systems = Table::new("mapSolarSystems", parts.systems, &mut names)?;
        let types = Table::new("types", parts.types, &mut names)?;
        let groups = Table::new("groups", parts.groups, &mut names)?;
        let categories = Table::new("categories", parts.categories, &mut names)?;
        let factions = Table::new("factions", parts.factions, &mut names)?;

        let region_of = |row: &Row<ConstellationRow>| row.data.region.0;
        refers("mapConstellations", "region", &constellations, region_of, &regions, 0)?;
        let constellation_of = |row: &Row<SystemRow>| row.data.constellation.0;
        refers(
            "mapSolarSystems",
            "constellation",
            &systems,
            constellation_of,
            &constellations,
            0,
        )?;
        refers(
            "mapSolarSystems",
            "region",
            &systems,
            |row| row.data.region.0,
            &regions,
            0,
        )?;
        // A single type ahead of its group happens in dumps and costs that type its group; half a file does not pass.
        refers(
            "types",
            "group",
            &types,
            |row| row.data.group.0,
            &groups,
            types.rows.len() / 100,
        )?;
        refers("groups", "category", &groups, |row| row.data.category.0, &categories, 0)?;
        let gates = gates::Gates::new(&parts.stargates, &systems)?;

        let mut data = Self {
            build: parts.build.into(),
            names: names.into(),
            regions,
            constellations,
            systems,
            types,
            groups,
            categories,
            factions,
            gates,
            index: NameIndex::default(),
        };
        data.index = NameIndex::new(&data);
        Ok(data)
    }

    /// CCP's number of this build.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// A solar system.
    pub fn system(&self, id: SystemId) -> Option<System<'_>> {
        let row = self.systems.get(id.0)?;
        let constellation = self.constellations.get(row.data.constellation.0)?;
        let region = self.regions.get(row.data.region.0)?;
        let class = [
            row.data.wormhole_class,
            constellation.data.wormhole_class,
            region.data.wormhole_class,
        ];
        Some(System {
            id,
            name: self.text(row.name),
            constellation: row.data.constellation,
            constellation_name: self.text(constellation.name),
            region: row.data.region,
            region_name: self.text(region.name),
            security: row.data.security,
            space: space::space(row.data.region, row.data.security),
            wormhole_class: class.into_iter().flatten().next().unwrap_or(0),
            position: row.data.position,
        })
    }

    /// Where a system would be that this build does not know, from a constellation that it does.
    pub(super) fn located(
        &self,
        id: u32,
        name: &str,
        constellation: ConstellationId,
        security: f64,
    ) -> Option<Location> {
        let row = self.constellations.get(constellation.0)?;
        let region = self.regions.get(row.data.region.0)?;
        let class = row.data.wormhole_class.or(region.data.wormhole_class);
        Some(Location {
            system_id: id,
            system_name: name.to_owned(),
            constellation_id: constellation.0,
            constellation_name: self.text(row.name).to_owned(),
            region_id: row.data.region.0,
            region_name: self.text(region.name).to_owned(),
            security_status: security,
            space: space::space(row.data.region, security).into(),
            wormhole_class: class.unwrap_or(0),
            ..Location::default()
        })
    }

    /// A type.
    pub fn type_of(&self, id: TypeId) -> Option<Type<'_>> {
        let row = self.types.get(id.0)?;
        Some(Type {
            id,
            name: self.text(row.name),
            group: row.data.group,
            category: self.groups.get(row.data.group.0).map(|group| group.data.category),
            published: row.data.published,
        })
    }

    /// A group of types.
    pub fn group(&self, id: GroupId) -> Option<Group<'_>> {
        self.groups.get(id.0).map(|row| Group {
            id,
            name: self.text(row.name),
            category: row.data.category,
        })
    }

    /// The English name of anything static; `None` for kinds that are not, and for what this build does not know.
    pub fn name(&self, kind: EntityKind, id: u64) -> Option<&str> {
        let id = u32::try_from(id).ok()?;
        let name = match kind {
            EntityKind::Faction => self.factions.name(id),
            EntityKind::Type => self.types.name(id),
            EntityKind::Group => self.groups.name(id),
            EntityKind::Category => self.categories.name(id),
            EntityKind::System => self.systems.name(id),
            EntityKind::Constellation => self.constellations.name(id),
            EntityKind::Region => self.regions.name(id),
            EntityKind::Unspecified | EntityKind::Character | EntityKind::Corporation | EntityKind::Alliance => None,
        };
        Some(self.text(name?)).filter(|name| !name.is_empty())
    }

    /// Names → what bears them.
    pub fn index(&self) -> &NameIndex {
        &self.index
    }

    /// How many rows there are.
    pub fn counts(&self) -> Counts {
        Counts {
            regions: self.regions.rows.len(),
            constellations: self.constellations.rows.len(),
            systems: self.systems.rows.len(),
            stargates: self.gates.len(),
            types: self.types.rows.len(),
            groups: self.groups.rows.len(),
            categories: self.categories.rows.len(),
            factions: self.factions.rows.len(),
        }
    }

    fn text(&self, name: Name) -> &str {
        // Spans are made by `Table::new` over the very text they are used with.
        self.names.get(name.start as usize..name.end as usize).unwrap_or("")
    }

    /// Everything that has a name: kind, id, name, and whether it ranks with what players can meet.
    fn named(&self) -> impl Iterator<Item = (EntityKind, u32, &str, bool)> {
        fn rows<'a, T>(
            data: &'a StaticData,
            kind: EntityKind,
            table: &'a Table<T>,
        ) -> impl Iterator<Item = (EntityKind, u32, &'a str, bool)> {
            table
                .rows
                .iter()
                .map(move |row| (kind, row.id, data.text(row.name), true))
        }
        let types = self.types.rows.iter();
        let types = types.map(|row| (EntityKind::Type, row.id, self.text(row.name), row.data.published));
        rows(self, EntityKind::Faction, &self.factions)
            .chain(types)
            .chain(rows(self, EntityKind::Group, &self.groups))
            .chain(rows(self, EntityKind::Category, &self.categories))
            .chain(rows(self, EntityKind::System, &self.systems))
            .chain(rows(self, EntityKind::Constellation, &self.constellations))
            .chain(rows(self, EntityKind::Region, &self.regions))
            .filter(|(_, _, name, _)| !name.is_empty())
    }
}

#[cfg(test)]
mod tests;
