//! CCP's static data in memory: types, groups, places, stargates. Immutable; a new build is a new value that is swapped in.
//!
//! All names lie in one text and all rows in sorted arrays: 60,000 rows take about 10 MB with their index.

mod index;
mod near;
mod space;
#[cfg(test)]
mod tests;

use killfeed::{
    id::{CategoryId, ConstellationId, GroupId, RegionId, SystemId, TypeId},
    v1::{EntityKind, Location, Space},
};

pub use index::{Hit, NameIndex, Place, word_starts};
pub use near::LIGHT_YEAR_METRES;

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
    gates: near::Gates,
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
        let gates = near::Gates::new(&parts.stargates, &systems)?;

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

/// The rows of one build, as they were read.
#[derive(Debug, Default)]
pub struct Parts {
    /// CCP's number of the build.
    pub build: String,
    /// `mapRegions`.
    pub regions: Vec<Part<RegionRow>>,
    /// `mapConstellations`.
    pub constellations: Vec<Part<ConstellationRow>>,
    /// `mapSolarSystems`.
    pub systems: Vec<Part<SystemRow>>,
    /// `mapStargates`: from, to.
    pub stargates: Vec<(SystemId, SystemId)>,
    /// `types`.
    pub types: Vec<Part<TypeRow>>,
    /// `groups`.
    pub groups: Vec<Part<GroupRow>>,
    /// `categories`.
    pub categories: Vec<Part<()>>,
    /// `factions`.
    pub factions: Vec<Part<()>>,
}

/// One row: id, English name, the rest.
pub type Part<T> = (u32, Box<str>, T);

/// What is kept of a region.
#[derive(Debug, Clone, Copy)]
pub struct RegionRow {
    /// `wormholeClassID`.
    pub wormhole_class: Option<u32>,
}

/// What is kept of a constellation.
#[derive(Debug, Clone, Copy)]
pub struct ConstellationRow {
    /// `regionID`.
    pub region: RegionId,
    /// `wormholeClassID`.
    pub wormhole_class: Option<u32>,
}

/// What is kept of a solar system.
#[derive(Debug, Clone, Copy)]
pub struct SystemRow {
    /// `constellationID`.
    pub constellation: ConstellationId,
    /// `regionID`.
    pub region: RegionId,
    /// `securityStatus`.
    pub security: f64,
    /// `wormholeClassID`.
    pub wormhole_class: Option<u32>,
    /// `position`, metres.
    pub position: [f64; 3],
}

/// What is kept of a type.
#[derive(Debug, Clone, Copy)]
pub struct TypeRow {
    /// `groupID`.
    pub group: GroupId,
    /// `published`.
    pub published: bool,
}

/// What is kept of a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupRow {
    /// `categoryID`.
    pub category: CategoryId,
}

/// Why rows do not make up a build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// Nothing in it.
    #[error("{file} has no rows")]
    Empty {
        /// CCP's name of the file.
        file: &'static str,
    },
    /// One id, two rows.
    #[error("{file} has two rows with the id {id}")]
    Twice {
        /// CCP's name of the file.
        file: &'static str,
        /// Which id.
        id: u32,
    },
    /// More names than fit.
    #[error("{file} holds more text than fits: over 4 GiB of names")]
    TooLarge {
        /// CCP's name of the file.
        file: &'static str,
    },
    /// A row names another that is not there.
    #[error("{rows} rows of {file} name a {what} that is not in the archive, the first is {id}")]
    Dangling {
        /// CCP's name of the file.
        file: &'static str,
        /// What is named.
        what: &'static str,
        /// How many rows do.
        rows: usize,
        /// The first row that does.
        id: u32,
    },
}

/// Rows sorted by id.
#[derive(Debug)]
struct Table<T> {
    rows: Box<[Row<T>]>,
}

#[derive(Debug, Clone, Copy)]
struct Row<T> {
    id: u32,
    name: Name,
    data: T,
}

/// Where a name lies in the text of all names.
#[derive(Debug, Clone, Copy)]
struct Name {
    start: u32,
    end: u32,
}

impl<T> Table<T> {
    fn new(file: &'static str, mut parts: Vec<Part<T>>, names: &mut String) -> Result<Self, Incomplete> {
        parts.sort_unstable_by_key(|(id, ..)| *id);
        let mut rows = Vec::<Row<T>>::with_capacity(parts.len());
        for (id, name, data) in parts {
            if rows.last().is_some_and(|last| last.id == id) {
                return Err(Incomplete::Twice { file, id });
            }
            let start = names.len();
            names.push_str(&name);
            let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(names.len())) else {
                return Err(Incomplete::TooLarge { file });
            };
            let name = Name { start, end };
            rows.push(Row { id, name, data });
        }
        if rows.is_empty() {
            return Err(Incomplete::Empty { file });
        }
        Ok(Self { rows: rows.into() })
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.rows.binary_search_by_key(&id, |row| row.id).ok()
    }

    fn get(&self, id: u32) -> Option<&Row<T>> {
        self.position(id).and_then(|at| self.rows.get(at))
    }

    fn name(&self, id: u32) -> Option<Name> {
        self.get(id).map(|row| row.name)
    }
}

/// Every row of `from` names a row of `to`; at most `tolerated` do not.
fn refers<A, B>(
    file: &'static str,
    what: &'static str,
    from: &Table<A>,
    named: impl Fn(&Row<A>) -> u32,
    to: &Table<B>,
    tolerated: usize,
) -> Result<(), Incomplete> {
    let mut dangling = from.rows.iter().filter(|row| to.get(named(row)).is_none());
    let Some(first) = dangling.next() else {
        return Ok(());
    };
    let rows = 1 + dangling.count();
    if rows <= tolerated {
        return Ok(());
    }
    let id = first.id;
    Err(Incomplete::Dangling { file, what, rows, id })
}
