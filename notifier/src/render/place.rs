//! Where it happened beside system and region: at which stargate, and how far from what somebody watches.

use killfeed::{filter::Distance, v1::Location};

use super::text::{escaped, plain};

/// Names of systems are shorter.
const NAME: usize = 80;

/// `gate to Perimeter`; nothing where it happened elsewhere, or that is not known.
pub(super) fn gate(location: &Location) -> Option<String> {
    let name = named(&location.gate_to_system_name, location.gate_to_system_id.into());
    (location.gate_to_system_id != 0).then(|| format!("gate to {name}"))
}

/// `2.14 ly, 3 jumps from Turnur`, a line for each of the nearest `max` origins.
pub(super) fn distances(distances: &[Distance], max: usize) -> Vec<String> {
    let line = |distance: &Distance| {
        let light_years = f64::from(distance.milli_light_years) / 1_000.0;
        let jumps = match distance.jumps {
            Some(1) => ", 1 jump".to_owned(),
            Some(jumps) => format!(", {jumps} jumps"),
            // Wormholes and Pochven have no stargates to the rest.
            None => String::new(),
        };
        let origin = named(&distance.origin_name, distance.origin);
        format!("{light_years:.2} ly{jumps} from {origin}")
    };
    distances.iter().take(max).map(line).collect()
}

fn named(name: &str, id: u64) -> String {
    let name = plain(name, NAME);
    if name.is_empty() {
        format!("system {id}")
    } else {
        escaped(&name, NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_read_as_people_say_them() {
        let from = |name: &str, milli_light_years, jumps| Distance {
            milli_light_years,
            jumps,
            origin: 30_000_001,
            origin_name: name.to_owned(),
        };
        let all = [
            from("Turnur", 2_144, Some(3)),
            from("*New* Caldari", 6_996, Some(1)),
            from("", 10_000, None),
            from("Amarr", 0, Some(12)),
        ];
        let lines = distances(&all, 3);
        assert_eq!(
            lines,
            [
                "2.14 ly, 3 jumps from Turnur",
                r"7.00 ly, 1 jump from \*New\* Caldari",
                "10.00 ly from system 30000001",
            ]
        );
        assert!(distances(&[], 3).is_empty());
    }

    #[test]
    fn a_gate_is_named_where_it_is_known() {
        let mut location = Location::default();
        assert_eq!(gate(&location), None);
        location.gate_to_system_id = 30_000_144;
        assert_eq!(gate(&location).as_deref(), Some("gate to system 30000144"));
        location.gate_to_system_name = "Perimeter".to_owned();
        assert_eq!(gate(&location).as_deref(), Some("gate to Perimeter"));
    }
}
