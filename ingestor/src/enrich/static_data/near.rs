//! Distances: straight lines between systems, and stargate jumps.

use std::collections::VecDeque;

use killfeed::id::SystemId;

use super::StaticData;

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
        let away = self.jumps_from(self.systems.position(origin.0)?, jumps);
        let found = self.systems.rows.iter().zip(away);
        Some(found.filter_map(|(row, away)| away.map(|_| SystemId(row.id))).collect())
    }

    /// From `origin` to each of `systems`, in their order: light years and stargate jumps, each `None` where it is not known
    /// or there is no route. `None` if `origin` is not known.
    pub fn distances(&self, origin: SystemId, systems: &[u32]) -> Option<Vec<(Option<f64>, Option<u32>)>> {
        let start = self.systems.position(origin.0)?;
        let jumps = self.jumps_from(start, u32::MAX);
        let from = self.systems.rows[start].data.position;
        let away = systems.iter().map(|&system| {
            let Some(place) = self.systems.position(system) else {
                return (None, None);
            };
            let straight = distance(from, self.systems.rows[place].data.position);
            (Some(straight / LIGHT_YEAR_METRES), jumps[place])
        });
        Some(away.collect())
    }

    /// How many jumps each system is away, `max` at most, as positions in the table; `None` = farther, or no route.
    fn jumps_from(&self, start: usize, max: u32) -> Vec<Option<u32>> {
        let mut away = vec![None; self.systems.rows.len()];
        let mut queue = VecDeque::from([(start, 0)]);
        away[start] = Some(0);
        while let Some((system, jumps)) = queue.pop_front() {
            if jumps == max {
                continue;
            }
            for next in self.gates.of(system) {
                if away[next].is_none() {
                    away[next] = Some(jumps + 1);
                    queue.push_back((next, jumps + 1));
                }
            }
        }
        away
    }
}

/// Metres between two places, metres themselves.
pub(super) fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    let [x, y, z] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    (x * x + y * y + z * z).sqrt()
}
