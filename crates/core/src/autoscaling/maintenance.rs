//! How far a group may go below and above its size while instances are replaced.
//!
//! Percentages are of `desired` and rounded up to whole instances. Ready is who serves: in service, healthy, warmed up.
//! Source: EC2 Auto Scaling guide, "Instance maintenance policies".

use serde::{Deserialize, Serialize};

/// The largest `MaxHealthyPercentage`.
pub const MAX_HEALTHY_PERCENT_MAX: u32 = 200;
/// The largest difference between the two percentages.
pub const HEALTHY_RANGE_MAX: u32 = 100;
/// `MinHealthyPercentage` of an instance refresh when neither it nor the group says.
pub const REFRESH_MIN_HEALTHY_PERCENT: u32 = 90;

/// `MinHealthyPercentage` and `MaxHealthyPercentage`, as an instance maintenance policy has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthyPercentages {
    /// 0 to 100.
    pub min: u32,
    /// 100 to 200.
    pub max: u32,
}

/// The same in instances (with weights: in units), for one value of `desired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Nobody who is ready is taken out if fewer than this would be left.
    pub ready_min: u32,
    /// Most that may be pending and in service together: `ceil(max % of desired)`, and one more than `desired` if the minimum
    /// leaves no other way (with weights: the heaviest instance on top of what the last launch brought too much, so less than twice
    /// the largest weight).
    pub total_max: u32,
}

impl Bounds {
    /// Both percentages are given. Where they leave no room at all (90 to 100 of four instances, say), one is launched first.
    /// `unit` is the largest weight of an instance: 1 without weights.
    pub fn of(percent: HealthyPercentages, desired: u32, unit: u32) -> Bounds {
        let ready_min = share(percent.min, desired);
        let total_max = share(percent.max.max(100), desired);
        let with_one_more = desired.saturating_add(unit.saturating_mul(2).saturating_sub(1));
        let no_room = ready_min.saturating_add(unit) > desired && total_max < with_one_more;
        Bounds { ready_min, total_max: if no_room { with_one_more } else { total_max } }
    }

    /// Only the minimum is given: an instance goes while its successor comes, one at least.
    pub fn together(min_percent: u32, desired: u32, unit: u32) -> Bounds {
        let ready_min = share(min_percent, desired).min(desired.saturating_sub(unit));
        Bounds { ready_min, total_max: desired }
    }
}

/// `percent` of `n`, rounded up.
pub fn share(percent: u32, n: u32) -> u32 {
    u32::try_from((u64::from(percent) * u64::from(n)).div_ceil(100)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_in_instances() {
        // (min %, max %, desired) → (at least ready, at most in all)
        let table = [
            (90, 120, 10, 9, 12),
            (100, 110, 10, 10, 11),
            (100, 110, 4, 4, 5),
            (90, 100, 10, 9, 10),
            (90, 100, 4, 4, 5),
            (100, 100, 4, 4, 5),
            (0, 100, 4, 0, 4),
            (50, 150, 3, 2, 5),
            (100, 200, 7, 7, 14),
            (90, 110, 1, 1, 2),
        ];
        for (min, max, desired, ready_min, total_max) in table {
            let got = Bounds::of(HealthyPercentages { min, max }, desired, 1);
            assert_eq!(got, Bounds { ready_min, total_max }, "{min} to {max} of {desired}");
        }
        // An instance of four units needs room for four, and up to three may be too many already.
        let percent = HealthyPercentages { min: 100, max: 110 };
        assert_eq!(Bounds::of(percent, 10, 4), Bounds { ready_min: 10, total_max: 17 });
        assert_eq!(Bounds::together(90, 10, 4), Bounds { ready_min: 6, total_max: 10 });
        for (min, desired, ready_min) in
            [(90, 10, 9), (90, 4, 3), (100, 1, 0), (100, 10, 9), (50, 4, 2), (90, 0, 0)]
        {
            assert_eq!(
                Bounds::together(min, desired, 1),
                Bounds { ready_min, total_max: desired },
                "{min} of {desired}"
            );
        }
    }
}
