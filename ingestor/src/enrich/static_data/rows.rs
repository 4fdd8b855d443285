//! The rows of a build: as they are read, and as they are kept.

use killfeed::id::{CategoryId, ConstellationId, GroupId, RegionId, SystemId};

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
    /// `mapStargates`.
    pub stargates: Vec<StargateRow>,
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

/// What is kept of a stargate.
#[derive(Debug, Clone, Copy)]
pub struct StargateRow {
    /// `solarSystemID`.
    pub from: SystemId,
    /// `destination.solarSystemID`.
    pub to: SystemId,
    /// `position`, metres; `None` = the archive does not say.
    pub position: Option<[f64; 3]>,
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
    #[error("{file} is too large: it has more than 4 GiB of names")]
    TooLarge {
        /// CCP's name of the file.
        file: &'static str,
    },
    /// A row names another that is not there.
    #[error("{rows} rows of {file} refer to a {what} that is not in the archive, for example {id}")]
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
pub(super) struct Table<T> {
    pub(super) rows: Box<[Row<T>]>,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<T> {
    pub(super) id: u32,
    pub(super) name: Name,
    pub(super) data: T,
}

/// Where a name lies in the text of all names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl<T> Table<T> {
    pub(super) fn new(file: &'static str, mut parts: Vec<Part<T>>, names: &mut String) -> Result<Self, Incomplete> {
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

    pub(super) fn position(&self, id: u32) -> Option<usize> {
        self.rows.binary_search_by_key(&id, |row| row.id).ok()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Row<T>> {
        self.position(id).and_then(|at| self.rows.get(at))
    }

    pub(super) fn name(&self, id: u32) -> Option<Name> {
        self.get(id).map(|row| row.name)
    }
}

/// Every row of `from` names a row of `to`; at most `tolerated` do not.
pub(super) fn refers<A, B>(
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
