//! Distances: straight lines between systems, and stargate jumps.

use std::collections::VecDeque;

use killfeed::id::SystemId;

use super::{Incomplete, StaticData, SystemRow, Table};

/// One light year as the game counts it for jump ranges: exactly this many metres, not the astronomers'.
pub const LIGHT_YEAR_METRES: f64 = 9.46e15;

impl StaticData {
    /// Systems within a straight line of so many light years, `origin` included, ascending. `None` if it is not known.
    pub fn within_light_years(&self, origin: SystemId, light_years: f64) -> Option<Vec<SystemId>> {
        let from = self.systems.get(origin.0)?.data.position;
        let limit = light_years * LIGHT_YEAR_METRES;
        let near = self.systems.rows.iter().filter(|row| {
            // The place itself counts, whatever the limit.
            row.id == origin.0 || distance(from, row.data.position) <= limit
        });
        Some(near.map(|row| SystemId(row.id)).collect())
    }

    /// The straight line between two systems in light years. `None` if one is not known.
    pub fn light_years_between(&self, a: SystemId, b: SystemId) -> Option<f64> {
        let (a, b) = (self.systems.get(a.0)?, self.systems.get(b.0)?);
        Some(distance(a.data.position, b.data.position) / LIGHT_YEAR_METRES)
    }

    /// Systems within so many stargate jumps, `origin` included, ascending. `None` if it is not known.
    pub fn within_jumps(&self, origin: SystemId, jumps: u32) -> Option<Vec<SystemId>> {
        let start = self.systems.position(origin.0)?;
        let mut seen = vec![false; self.systems.rows.len()];
        let mut queue = VecDeque::from([(start, 0)]);
        seen[start] = true;
        while let Some((system, distance)) = queue.pop_front() {
            if distance == jumps {
                continue;
            }
            for next in self.gates.of(system) {
                if !std::mem::replace(&mut seen[next], true) {
                    queue.push_back((next, distance + 1));
                }
            }
        }
        let found = self.systems.rows.iter().zip(&seen).filter(|(_, seen)| **seen);
        Some(found.map(|(row, _)| SystemId(row.id)).collect())
    }
}

/// Which system's stargates lead where, as positions in the table of systems: those of system `i` are
/// `to[start[i]..start[i + 1]]`.
#[derive(Debug)]
pub(super) struct Gates {
    start: Box<[u32]>,
    to: Box<[u32]>,
}

impl Gates {
    pub(super) fn new(edges: &[(SystemId, SystemId)], systems: &Table<SystemRow>) -> Result<Self, Incomplete> {
        let file = "mapStargates";
        if edges.is_empty() {
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
        let edges = edges.iter().map(|(from, to)| Ok((place(*from)?, place(*to)?)));
        let mut edges = edges.collect::<Result<Vec<_>, _>>()?;
        edges.sort_unstable();
        edges.dedup();
        let start = (0..=systems.rows.len()).map(|system| {
            // Fewer edges than u32 holds: each is a line of a file that is bounded far below.
            edges.partition_point(|(from, _)| (*from as usize) < system) as u32
        });
        Ok(Self {
            start: start.collect(),
            to: edges.iter().map(|(_, to)| *to).collect(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.to.len()
    }

    fn of(&self, system: usize) -> impl Iterator<Item = usize> {
        let range = self.start[system] as usize..self.start[system + 1] as usize;
        self.to[range].iter().map(|to| *to as usize)
    }
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    let [x, y, z] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    (x * x + y * y + z * z).sqrt()
}
