//! What users write as mixed instances policies: types with weights or without, and how capacity is bought.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::dice::{chance, one_of};

/// Types that users choose from.
pub(crate) const TYPES: [&str; 5] = ["t3.micro", "t3.small", "m5.large", "c5.large", "r5.large"];

/// A mixed instances policy.
#[derive(Debug, Clone)]
pub(crate) struct MixPlan {
    /// Types with their weights: all have one, or none has.
    types: Vec<(&'static str, Option<u32>)>,
    base: u32,
    percent: u32,
    on_demand: &'static str,
    spot: &'static str,
    pools: Option<u32>,
    /// `CapacityRebalance`.
    pub(crate) rebalances: bool,
    /// The tag `puffer:on-demand-fallback`.
    pub(crate) falls_back: bool,
    /// The group names a version of its template rather than the latest.
    pub(crate) pinned: bool,
    /// An image of its own for each type.
    image: Option<&'static str>,
}

impl MixPlan {
    /// Any of them.
    pub(crate) fn random(d: &mut Pcg64) -> MixPlan {
        let weighted = chance(d, 0.5);
        let first = d.random_range(0..TYPES.len());
        let n = d.random_range(1..=3);
        let types = (0..n).map(|i| {
            let name = TYPES[(first + i) % TYPES.len()];
            (name, weighted.then(|| d.random_range(1..=4)))
        });
        let types = types.collect();
        let strategies = [
            "lowest-price",
            "capacity-optimized",
            "capacity-optimized-prioritized",
            "price-capacity-optimized",
        ];
        let spot = one_of(d, &strategies).copied().unwrap_or("lowest-price");
        MixPlan {
            types,
            base: d.random_range(0..3),
            percent: *one_of(d, &[0, 0, 25, 50, 100]).unwrap_or(&0),
            on_demand: one_of(d, &["prioritized", "lowest-price"]).copied().unwrap_or("prioritized"),
            spot,
            pools: (spot == "lowest-price" && chance(d, 0.5)).then(|| d.random_range(1..4)),
            rebalances: chance(d, 0.5),
            falls_back: chance(d, 0.3),
            pinned: chance(d, 0.5),
            image: None,
        }
    }

    /// One that goes with a warm pool: without weights, On-Demand only.
    pub(crate) fn on_demand(d: &mut Pcg64) -> MixPlan {
        let plan = MixPlan::random(d);
        let types = plan.types.iter().map(|(name, _)| (*name, None)).collect();
        MixPlan { types, percent: 100, ..plan }
    }

    /// All types, each from this image.
    pub(crate) fn of_image(d: &mut Pcg64, image: &'static str) -> MixPlan {
        let weighted = chance(d, 0.3);
        let types = TYPES.map(|name| (name, weighted.then(|| d.random_range(1..=4)))).to_vec();
        MixPlan { types, image: Some(image), ..MixPlan::random(d) }
    }

    /// The version of its template that a group names.
    pub(crate) fn version(&self) -> &'static str {
        if self.pinned { "1" } else { "$Latest" }
    }

    /// As parameters of a request; `prefix` is where the policy stands in it.
    pub(crate) fn params(&self, prefix: &str, version: &str) -> Vec<(String, String)> {
        let mut params: Vec<(String, String)> = Vec::new();
        let mut put = |name: String, value: String| params.push((format!("{prefix}.{name}"), value));
        let template = "LaunchTemplate.LaunchTemplateSpecification";
        put(format!("{template}.LaunchTemplateName"), "web".to_owned());
        put(format!("{template}.Version"), version.to_owned());
        for (n, (name, weight)) in self.types.iter().enumerate() {
            let entry = format!("LaunchTemplate.Overrides.member.{}", n + 1);
            put(format!("{entry}.InstanceType"), (*name).to_owned());
            if let Some(weight) = weight {
                put(format!("{entry}.WeightedCapacity"), weight.to_string());
            }
            if let Some(image) = self.image {
                put(format!("{entry}.ImageId"), image.to_owned());
            }
        }
        let mut distribute = |name: &str, value: String| put(format!("InstancesDistribution.{name}"), value);
        distribute("OnDemandBaseCapacity", self.base.to_string());
        distribute("OnDemandPercentageAboveBaseCapacity", self.percent.to_string());
        distribute("OnDemandAllocationStrategy", self.on_demand.to_owned());
        distribute("SpotAllocationStrategy", self.spot.to_owned());
        if let Some(pools) = self.pools {
            distribute("SpotInstancePools", pools.to_string());
        }
        params
    }
}

/// Parameters as a request takes them.
pub(crate) fn borrowed(params: &[(String, String)]) -> Vec<(&str, &str)> {
    params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}
