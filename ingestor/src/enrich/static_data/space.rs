//! What kind of space a system is in. zKillboard's labels are of no help: they lack Pochven and count 0.0 as low.

use killfeed::{id::RegionId, v1::Space};

/// By region where the region decides, else by true security.
pub(in crate::enrich) fn space(region: RegionId, security: f64) -> Space {
    match region.0 {
        11_000_000..=11_999_999 => Space::Wormhole,
        12_000_000..=14_999_999 => Space::Abyssal,
        10_000_070 => Space::Pochven,
        // 0.45 is what is displayed as 0.5; anything above zero is displayed as at least 0.1.
        _ if security >= 0.45 => Space::Highsec,
        _ if security > 0.0 => Space::Lowsec,
        _ => Space::Nullsec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_decide_before_security() {
        for (region, security, expected) in [
            (10_000_002, 0.945, Space::Highsec),
            (10_000_002, 0.45, Space::Highsec),
            (10_000_002, 0.449_99, Space::Lowsec),
            (10_000_002, 0.000_1, Space::Lowsec),
            (10_000_002, 0.0, Space::Nullsec),
            (10_000_002, -0.3, Space::Nullsec),
            (10_000_070, -1.0, Space::Pochven),
            (10_001_000, -1.0, Space::Nullsec),
            (11_000_031, -0.99, Space::Wormhole),
            (12_000_001, -0.99, Space::Abyssal),
            (14_000_005, -0.99, Space::Abyssal),
            (19_000_001, 0.0, Space::Nullsec),
        ] {
            assert_eq!(space(RegionId(region), security), expected, "{region} {security}");
        }
    }
}
