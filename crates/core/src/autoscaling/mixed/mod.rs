//! Mixed instances: several types, On-Demand and Spot, in one group.
//!
//! [`MixedPolicy`] is what the user wrote. [`Mix`] is what it means now: the types that may be launched, with their weights and
//! the market's offers. [`Mix::target`] says how much of a capacity is On-Demand, [`pick`] which type a launch takes.
//! Source: EC2 Auto Scaling guide, "Auto Scaling groups with multiple instance types and purchase options".

mod pick;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::LaunchTemplateRef;
use crate::ec2::requirements::Requirements;
use crate::ec2::spot::Quote;
use crate::ec2::{InstanceLifecycle, Price};

pub use pick::{Floor, Planned, misfit, pick, pick_any};

/// Overrides of a policy (AWS's quota).
pub const OVERRIDES_MAX: usize = 40;
/// Largest `WeightedCapacity`.
pub const WEIGHT_MAX: u32 = 999;
/// Launch templates of a policy (AWS's quota).
pub const TEMPLATES_MAX: usize = 20;
/// Overrides with `InstanceRequirements` (AWS's quota).
pub const REQUIREMENTS_MAX: usize = 4;
/// `SpotInstancePools` when not given.
pub const SPOT_POOLS_DEFAULT: u32 = 2;
/// Most `SpotInstancePools`.
pub const SPOT_POOLS_MAX: u32 = 20;
/// Tag of a group that takes On-Demand instances while no Spot pool has capacity.
pub const TAG_ON_DEMAND_FALLBACK: &str = "puffer:on-demand-fallback";

/// What a user wrote as `MixedInstancesPolicy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MixedPolicy {
    /// The template of overrides that name none.
    pub template: LaunchTemplateRef,
    /// Types, best first.
    pub overrides: Vec<Override>,
    /// On-Demand or Spot.
    pub distribution: Distribution,
}

/// One entry of `Overrides`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Override {
    /// A type, …
    pub instance_type: Option<String>,
    /// … or what types must be like.
    pub requirements: Option<Requirements>,
    /// `WeightedCapacity`.
    pub weight: Option<u32>,
    /// A template of its own.
    pub template: Option<LaunchTemplateRef>,
    /// An image of its own.
    #[serde(default)]
    pub image_id: Option<String>,
}

/// `InstancesDistribution`. What the user did not say has AWS's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// This much is On-Demand first.
    pub on_demand_base: u32,
    /// Beyond the base, this share is On-Demand, in percent.
    pub on_demand_percent: u32,
    /// Which type of On-Demand instances.
    pub on_demand_strategy: OnDemandStrategy,
    /// Which pool of Spot instances.
    pub spot_strategy: SpotStrategy,
    /// Pools of `lowest-price`.
    pub spot_pools: Option<u32>,
    /// Highest Spot price as given; `None`: the On-Demand price.
    pub spot_max_price: Option<String>,
}

/// `OnDemandAllocationStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum OnDemandStrategy {
    Prioritized,
    LowestPrice,
}

/// `SpotAllocationStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum SpotStrategy {
    LowestPrice,
    CapacityOptimized,
    CapacityOptimizedPrioritized,
    PriceCapacityOptimized,
}

impl OnDemandStrategy {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            OnDemandStrategy::Prioritized => "prioritized",
            OnDemandStrategy::LowestPrice => "lowest-price",
        }
    }

    /// By AWS's name.
    pub fn parse(name: &str) -> Option<Self> {
        [OnDemandStrategy::Prioritized, OnDemandStrategy::LowestPrice].into_iter().find(|s| s.name() == name)
    }
}

impl SpotStrategy {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            SpotStrategy::LowestPrice => "lowest-price",
            SpotStrategy::CapacityOptimized => "capacity-optimized",
            SpotStrategy::CapacityOptimizedPrioritized => "capacity-optimized-prioritized",
            SpotStrategy::PriceCapacityOptimized => "price-capacity-optimized",
        }
    }

    /// By AWS's name.
    pub fn parse(name: &str) -> Option<Self> {
        use SpotStrategy as S;
        [S::LowestPrice, S::CapacityOptimized, S::CapacityOptimizedPrioritized, S::PriceCapacityOptimized]
            .into_iter()
            .find(|s| s.name() == name)
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Distribution {
            on_demand_base: 0,
            on_demand_percent: 100,
            on_demand_strategy: OnDemandStrategy::Prioritized,
            spot_strategy: SpotStrategy::LowestPrice,
            spot_pools: None,
            spot_max_price: None,
        }
    }
}

impl Distribution {
    /// How much of a capacity shall be On-Demand; the rest is Spot.
    pub fn on_demand_of(&self, capacity: u32) -> u32 {
        let base = capacity.min(self.on_demand_base);
        let above = u64::from(capacity - base) * u64::from(self.on_demand_percent.min(100));
        base + u32::try_from(above.div_ceil(100)).unwrap_or(capacity - base)
    }
}

impl MixedPolicy {
    /// All templates that launches may come from: the policy's own, then those of overrides.
    pub fn templates(&self) -> impl Iterator<Item = &LaunchTemplateRef> {
        std::iter::once(&self.template).chain(self.overrides.iter().filter_map(|o| o.template.as_ref()))
    }
}

/// In what `desired`, `min` and `max` are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum CapacityType {
    /// Instances, or weights.
    #[default]
    Units,
    /// Virtual CPUs.
    Vcpu,
    /// MiB of memory.
    MemoryMib,
}

impl CapacityType {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            CapacityType::Units => "units",
            CapacityType::Vcpu => "vcpu",
            CapacityType::MemoryMib => "memory-mib",
        }
    }

    /// By AWS's name.
    pub fn parse(name: &str) -> Option<Self> {
        [CapacityType::Units, CapacityType::Vcpu, CapacityType::MemoryMib]
            .into_iter()
            .find(|t| t.name() == name)
    }
}

/// What a launch takes: a type, its weight, and how it is bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Instance type.
    pub instance_type: String,
    /// Units it counts for.
    pub weight: u32,
    /// On-Demand or Spot.
    pub lifecycle: InstanceLifecycle,
    /// The override it comes from; `None`: the template's own type.
    pub of_override: Option<usize>,
    /// Spot was wanted and could not be had.
    pub fallback: bool,
}

/// A policy as of now.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// How capacity is bought.
    pub distribution: Distribution,
    /// Types that may be launched, by priority.
    pub offers: Vec<Offer>,
    /// [`TAG_ON_DEMAND_FALLBACK`] is set.
    pub fallback: bool,
    /// Ids of the policy's templates.
    pub templates: Vec<String>,
}

/// A type that may be launched.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Instance type.
    pub instance_type: String,
    /// Units it counts for.
    pub weight: u32,
    /// The override it comes from; `None`: the template's own type.
    pub of_override: Option<usize>,
    /// On-Demand price.
    pub on_demand: Price,
    /// Price protection lets it be launched On-Demand.
    pub on_demand_allowed: bool,
    /// The market's offer in each zone.
    pub spot: Vec<ZoneOffer>,
}

/// A Spot pool.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneOffer {
    /// Zone.
    pub zone: String,
    /// Price and capacity.
    pub quote: Quote,
    /// Below the maximum price and within price protection.
    pub allowed: bool,
    /// So near the maximum price that instances there are advised to move.
    pub risky: bool,
}

impl Offer {
    /// The market's offer in `zone`.
    pub fn in_zone(&self, zone: &str) -> Option<&ZoneOffer> {
        self.spot.iter().find(|o| o.zone == zone)
    }
}

impl Mix {
    /// How much of `capacity` is to be On-Demand, and how much Spot.
    pub fn target(&self, capacity: u32) -> (u32, u32) {
        let on_demand = self.distribution.on_demand_of(capacity);
        (on_demand, capacity - on_demand)
    }

    /// The largest weight.
    pub fn weight_max(&self) -> u32 {
        self.offers.iter().map(|o| o.weight).max().unwrap_or(1)
    }
}
