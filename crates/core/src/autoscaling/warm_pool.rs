//! Warm pools: instances made ready beforehand, beside the group. They are never counted as capacity; a group that grows takes
//! them before it launches anything, and one that shrinks may give its instances back to the pool. A pool holds On-Demand
//! instances only: Spot Instances cannot be stopped and started by their owner.
//!
//! At most [`WarmPool::wanted`] instances are warm, beyond `desired`; so a group and its pool together hold no more than the
//! greater of `desired` + `MinSize` and the prepared capacity (the maximum if it is not set).
//! Source: EC2 Auto Scaling guide, "Decrease latency for applications with long boot times using warm pools".

use serde::{Deserialize, Serialize};

use super::Group;
use super::mixed::CapacityType;

/// Why what a group launches cannot wait in a warm pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Its mixed instances policy gives types weights, or the group counts in their virtual CPUs or memory.
    Weights,
    /// Its mixed instances policy launches Spot Instances, which cannot be stopped.
    Spot,
}

/// Whether a group's mixed instances policy, if it has one, goes with a warm pool.
/// Source: EC2 Auto Scaling guide, "Limitations" of warm pools.
pub fn check_mixed(group: &Group) -> Result<(), Unfit> {
    let Some(policy) = &group.mixed else { return Ok(()) };
    if policy.overrides.iter().any(|o| o.weight.is_some()) || group.capacity_type != CapacityType::Units {
        return Err(Unfit::Weights);
    }
    // A base alone does not do: above it the policy would buy Spot.
    if policy.distribution.on_demand_percent < 100 {
        return Err(Unfit::Spot);
    }
    Ok(())
}

/// In what state warm instances wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum PoolState {
    /// Stopped: they cost no processor and no memory.
    #[default]
    Stopped,
    /// Running: they are the quickest to come.
    Running,
}

impl PoolState {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            PoolState::Stopped => "Stopped",
            PoolState::Running => "Running",
        }
    }
}

/// A group's warm pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct WarmPool {
    /// `MinSize`.
    pub min_size: u32,
    /// `MaxGroupPreparedCapacity`; `None`: the group's maximum.
    pub max_prepared: Option<u32>,
    /// `PoolState`.
    pub state: PoolState,
    /// `ReuseOnScaleIn`.
    pub reuse_on_scale_in: bool,
    /// `PendingDelete`: it goes once its instances have gone.
    pub deleting: bool,
}

impl WarmPool {
    /// How many instances shall be warm beside a group of this size.
    pub fn wanted(&self, desired: u32, max: u32) -> u32 {
        match self.deleting {
            true => 0,
            false => self.max_prepared.unwrap_or(max).saturating_sub(desired).max(self.min_size),
        }
    }
}

/// The way that a member is on, or came: from where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Way {
    /// From EC2 into the group, and back.
    #[default]
    Direct,
    /// From EC2 into the pool.
    IntoPool,
    /// From the pool into the group.
    FromPool,
    /// From the group back into the pool.
    BackToPool,
}

#[cfg(test)]
mod tests {
    use super::super::mixed::{Distribution, MixedPolicy, Override};
    use super::super::view::fixtures::group;
    use super::*;

    #[test]
    fn policies_without_weights_and_spot_go_with_a_pool() {
        let of = |weight, percent, capacity_type| {
            let mut g = group(0, 3, 1);
            let super::super::InstanceSource::LaunchTemplate(template) = g.source.clone() else { panic!() };
            let entry = Override { instance_type: Some("m5.large".into()), weight, ..Override::default() };
            let distribution = Distribution { on_demand_percent: percent, ..Distribution::default() };
            g.mixed = Some(MixedPolicy { template, overrides: vec![entry], distribution });
            g.capacity_type = capacity_type;
            check_mixed(&g)
        };
        assert_eq!(check_mixed(&group(0, 3, 1)), Ok(()));
        let table = [
            (None, 100, CapacityType::Units, Ok(())),
            (Some(1), 100, CapacityType::Units, Err(Unfit::Weights)),
            (None, 100, CapacityType::Vcpu, Err(Unfit::Weights)),
            (None, 99, CapacityType::Units, Err(Unfit::Spot)),
            (Some(2), 0, CapacityType::Units, Err(Unfit::Weights)),
        ];
        for (weight, percent, capacity_type, want) in table {
            assert_eq!(of(weight, percent, capacity_type), want, "{weight:?} {percent} {capacity_type:?}");
        }
    }

    #[test]
    fn pools_make_up_the_difference() {
        // (MinSize, prepared, desired, max) → wanted
        let table = [
            (0, None, 2, 10, 8),
            (0, None, 10, 10, 0),
            (3, None, 9, 10, 3),
            (0, Some(5), 2, 10, 3),
            (2, Some(5), 4, 10, 2),
            (0, Some(5), 8, 10, 0),
            (1, Some(20), 2, 10, 18),
        ];
        for (min_size, max_prepared, desired, max, want) in table {
            let pool = WarmPool { min_size, max_prepared, ..WarmPool::default() };
            assert_eq!(pool.wanted(desired, max), want, "{pool:?} {desired} {max}");
            assert_eq!(WarmPool { deleting: true, ..pool }.wanted(desired, max), 0);
        }
    }
}
