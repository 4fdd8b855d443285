//! Stargates: which lead where, and at which of them something happened.

use killfeed::id::SystemId;

use super::{Incomplete, StargateRow, StaticData, SystemRow, Table, near::distance};

/// Whoever dies no farther from a stargate than this dies at the gate: 150 km is the shortest distance that a ship can warp,
/// so nothing closer is a place of its own. Arrivals appear within 15 km of a gate and ships land within 100 km of it; what
/// is farther away may be a spot that somebody made to watch the gate from, and nothing is said of it.
const AT_THE_GATE_METRES: f64 = 150_000.0;

/// Which system's stargates lead where, as positions in the table of systems: those of system `i` are
/// `to[start[i]..start[i + 1]]`.
#[derive(Debug)]
pub(super) struct Gates {
    start: Box<[u32]>,
    to: Box<[u32]>,
    /// Those whose place is known, ascending by the system that they are in.
    placed: Box<[Placed]>,
}

/// A stargate and its place.
#[derive(Debug, Clone, Copy)]
struct Placed {
    from: u32,
    to: u32,
    position: [f64; 3],
}

impl StaticData {
    /// Where the stargate leads at which this place (metres in the system) is; `None` = it is at none, or where those of the
    /// system are is not known.
    pub fn gate_at(&self, system: SystemId, place: [f64; 3]) -> Option<SystemId> {
        let system = self.systems.position(system.0)?;
        let here = self.gates.placed_in(system).iter();
        let away = here.map(|gate| (distance(gate.position, place), gate.to));
        let near = away.filter(|(metres, _)| *metres <= AT_THE_GATE_METRES);
        let (_, to) = near.min_by(|a, b| a.0.total_cmp(&b.0))?;
        self.systems.rows.get(to as usize).map(|row| SystemId(row.id))
    }
}

impl Gates {
    pub(super) fn new(rows: &[StargateRow], systems: &Table<SystemRow>) -> Result<Self, Incomplete> {
        let file = "mapStargates";
        if rows.is_empty() {
            return Err(Incomplete::Empty { file });
        }
        let place = |id: SystemId| -> Result<u32, Incomplete> {
            let place = systems.position(id.0).and_then(|at| u32::try_from(at).ok());
            place.ok_or(Incomplete::Dangling {
                file,
                what: "system",
                rows: 1,
                id: id.0,
            })
        };
        let mut edges = Vec::with_capacity(rows.len());
        let mut placed = Vec::new();
        for row in rows {
            let (from, to) = (place(row.from)?, place(row.to)?);
            edges.push((from, to));
            placed.extend(row.position.map(|position| Placed { from, to, position }));
        }
        edges.sort_unstable();
        edges.dedup();
        placed.sort_unstable_by_key(|gate| (gate.from, gate.to));
        let start = (0..=systems.rows.len()).map(|system| {
            // Fewer edges than u32 holds: each is a line of a file that is bounded far below.
            edges.partition_point(|(from, _)| (*from as usize) < system) as u32
        });
        Ok(Self {
            start: start.collect(),
            to: edges.iter().map(|(_, to)| *to).collect(),
            placed: placed.into(),
        })
    }

    /// How many edges there are, each in its one direction.
    pub(super) fn len(&self) -> usize {
        self.to.len()
    }

    /// Where the gates of a system lead.
    pub(super) fn of(&self, system: usize) -> impl Iterator<Item = usize> {
        let range = self.start[system] as usize..self.start[system + 1] as usize;
        self.to[range].iter().map(|to| *to as usize)
    }

    fn placed_in(&self, system: usize) -> &[Placed] {
        let first = self.placed.partition_point(|gate| (gate.from as usize) < system);
        let rest = &self.placed[first..];
        &rest[..rest.partition_point(|gate| gate.from as usize == system)]
    }
}
