//! Attribute-based instance type selection: which types of the catalogue satisfy `InstanceRequirements`.
//!
//! A requirement on something the catalogue's types do not have (accelerators, disks of their own) is judged by that: a count
//! that includes 0 passes, a wish for one does not. Price protection leaves out types that cost much more than the cheapest
//! current C, M or R type that matches.
//! Source: EC2 Auto Scaling API, `InstanceRequirements`; EC2 guide, "Price protection".

use serde::{Deserialize, Serialize};

use super::Price;
use super::instance_types::{self, InstanceType, NETWORK_INTERFACES};

/// `OnDemandMaxPricePercentageOverLowestPrice` when not given.
pub const ON_DEMAND_OVER_LOWEST: u32 = 20;
/// `SpotMaxPricePercentageOverLowestPrice` when not given.
pub const SPOT_OVER_LOWEST: u32 = 100;
/// A percentage from which price protection is off.
const PROTECTION_OFF: u32 = 999_999;

/// A range; an absent bound does not bind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Range {
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
}

impl Range {
    /// Whether `value` lies in it.
    pub fn holds(&self, value: f64) -> bool {
        self.min.is_none_or(|min| min <= value) && self.max.is_none_or(|max| value <= max)
    }
}

/// `included`, `excluded` or `required`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Choice {
    Included,
    Excluded,
    Required,
}

impl Choice {
    /// By AWS's name.
    pub fn parse(name: &str) -> Option<Choice> {
        match name {
            "included" => Some(Choice::Included),
            "excluded" => Some(Choice::Excluded),
            "required" => Some(Choice::Required),
            _ => None,
        }
    }

    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Included => "included",
            Choice::Excluded => "excluded",
            Choice::Required => "required",
        }
    }

    fn allows(self, has: bool) -> bool {
        match self {
            Choice::Included => true,
            Choice::Excluded => !has,
            Choice::Required => has,
        }
    }
}

/// What a type must be like. What is absent or empty does not restrict, but for the defaults that AWS documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Requirements {
    pub vcpus: Range,
    pub memory_mib: Range,
    /// `intel`, `amd`, ….
    pub manufacturers: Vec<String>,
    pub memory_gib_per_vcpu: Option<Range>,
    /// Types or patterns such as `m5.*`.
    pub excluded: Vec<String>,
    /// Types or patterns; others are left out.
    pub allowed: Vec<String>,
    /// `current`, `previous`.
    pub generations: Vec<String>,
    pub spot_over_lowest: Option<u32>,
    pub spot_of_on_demand: Option<u32>,
    pub on_demand_over_lowest: Option<u32>,
    /// Default: excluded.
    pub bare_metal: Option<Choice>,
    /// Default: excluded.
    pub burstable: Option<Choice>,
    pub hibernate: Option<bool>,
    pub network_interfaces: Option<Range>,
    /// Default: included.
    pub local_storage: Option<Choice>,
    /// `hdd`, `ssd`.
    pub local_storage_types: Vec<String>,
    pub local_storage_gb: Option<Range>,
    pub accelerator_types: Vec<String>,
    pub accelerator_count: Option<Range>,
    pub accelerator_manufacturers: Vec<String>,
    pub accelerator_names: Vec<String>,
    pub accelerator_memory_mib: Option<Range>,
    pub network_gbps: Option<Range>,
}

impl Requirements {
    /// Whether a type has the attributes. Its price is another matter: [`Requirements::affordable`].
    pub fn match_type(&self, t: &InstanceType) -> bool {
        let name = t.name();
        let one_of = |list: &[String], value: &str| list.is_empty() || list.iter().any(|v| v == value);
        let any = |patterns: &[String]| patterns.iter().any(|p| is_like(p, &name));
        let generation = if t.current_generation { "current" } else { "previous" };
        let holds = |range: &Option<Range>, value: f64| range.is_none_or(|r| r.holds(value));
        let gib = f64::from(t.memory_mib) / 1024.0;
        let accelerated = !(self.accelerator_types.is_empty()
            && self.accelerator_manufacturers.is_empty()
            && self.accelerator_names.is_empty());
        self.vcpus.holds(f64::from(t.n_vcpus))
            && self.memory_mib.holds(f64::from(t.memory_mib))
            && one_of(&self.manufacturers, t.manufacturer.name())
            && holds(&self.memory_gib_per_vcpu, gib / f64::from(t.n_vcpus))
            && !any(&self.excluded)
            && (self.allowed.is_empty() || any(&self.allowed))
            && one_of(&self.generations, generation)
            && self.bare_metal.unwrap_or(Choice::Excluded).allows(false)
            && self.burstable.unwrap_or(Choice::Excluded).allows(t.burstable)
            && self.hibernate != Some(true)
            && holds(&self.network_interfaces, f64::from(NETWORK_INTERFACES))
            && self.local_storage.unwrap_or(Choice::Included).allows(false)
            && self.local_storage_types.is_empty()
            && holds(&self.local_storage_gb, 0.0)
            && !accelerated
            && holds(&self.accelerator_count, 0.0)
            && holds(&self.accelerator_memory_mib, 0.0)
            && self
                .network_gbps
                .is_none_or(|r| t.network_mbps.is_some_and(|m| r.holds(f64::from(m) / 1000.0)))
    }

    /// All types with the attributes, cheapest first.
    pub fn select(&self) -> Vec<InstanceType> {
        let mut found: Vec<InstanceType> = instance_types::all().filter(|t| self.match_type(t)).collect();
        found.sort_by_key(|t| (t.on_demand, t.family, t.size));
        found
    }

    /// The highest On-Demand price that price protection allows among types that match.
    pub fn on_demand_limit(&self, matching: &[InstanceType]) -> Option<Price> {
        let percent = self.on_demand_over_lowest.unwrap_or(ON_DEMAND_OVER_LOWEST);
        let (_, lowest) = reference(matching, |t| t.on_demand)?;
        limit(lowest, percent)
    }

    /// The highest Spot price that price protection allows, where `price` gives a type's Spot price.
    pub fn spot_limit(
        &self,
        matching: &[InstanceType],
        price: impl Fn(&InstanceType) -> Price,
    ) -> Option<Price> {
        if let Some(percent) = self.spot_of_on_demand {
            let (cheapest, _) = reference(matching, |t| t.on_demand)?;
            return (percent < PROTECTION_OFF).then(|| cheapest.on_demand.percent(percent.into()));
        }
        let (_, lowest) = reference(matching, price)?;
        limit(lowest, self.spot_over_lowest.unwrap_or(SPOT_OVER_LOWEST))
    }
}

/// `percent` over `lowest`; `None`: no limit.
fn limit(lowest: Price, percent: u32) -> Option<Price> {
    (percent < PROTECTION_OFF).then(|| lowest.percent(100 + u64::from(percent)))
}

/// The cheapest current C, M or R type; else the cheapest current one; else the cheapest.
fn reference(
    matching: &[InstanceType],
    price: impl Fn(&InstanceType) -> Price,
) -> Option<(InstanceType, Price)> {
    let cheapest = |keep: &dyn Fn(&InstanceType) -> bool| {
        matching.iter().filter(|t| keep(t)).map(|t| (*t, price(t))).min_by_key(|(_, p)| *p)
    };
    cheapest(&|t| t.current_generation && t.is_c_m_or_r())
        .or_else(|| cheapest(&|t| t.current_generation))
        .or_else(|| cheapest(&|_| true))
}

/// Whether a name is like a pattern in which `*` stands for anything.
pub fn is_like(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|&i| rest.is_char_boundary(i)).any(|i| is_like(after, &rest[i..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_least(vcpus: f64, memory_mib: f64) -> Requirements {
        let from = |min| Range { min: Some(min), max: None };
        Requirements { vcpus: from(vcpus), memory_mib: from(memory_mib), ..Requirements::default() }
    }

    fn names(r: &Requirements) -> Vec<String> {
        r.select().iter().map(InstanceType::name).collect()
    }

    #[test]
    fn attributes() {
        let mut r = at_least(2.0, 4096.0);
        r.vcpus.max = Some(2.0);
        r.memory_mib.max = Some(8192.0);
        assert_eq!(
            names(&r),
            [
                "c5a.large",
                "c5.large",
                "c6i.large",
                "m5a.large",
                "m5.large",
                "m6i.large",
                "m3.large",
                "m1.large"
            ]
            .map(String::from)
        );
        r.generations = vec!["current".into()];
        r.manufacturers = vec!["amd".into()];
        assert_eq!(names(&r), ["c5a.large", "m5a.large"]);
        r.burstable = Some(Choice::Required);
        assert_eq!(names(&r), ["t3a.medium", "t3a.large"]);
        r.excluded = vec!["t3a.m*".into()];
        assert_eq!(names(&r), ["t3a.large"]);
        r.memory_gib_per_vcpu = Some(Range { min: None, max: Some(3.0) });
        assert!(names(&r).is_empty());
    }

    #[test]
    fn what_no_type_has() {
        let with = |change: &dyn Fn(&mut Requirements)| {
            let mut r = at_least(1.0, 512.0);
            change(&mut r);
            r.select().len()
        };
        assert!(with(&|_| ()) > 0);
        assert!(with(&|r| r.accelerator_count = Some(Range { min: Some(0.0), max: Some(0.0) })) > 0);
        assert_eq!(with(&|r| r.accelerator_count = Some(Range { min: Some(1.0), max: None })), 0);
        assert_eq!(with(&|r| r.accelerator_types = vec!["gpu".into()]), 0);
        assert_eq!(with(&|r| r.local_storage = Some(Choice::Required)), 0);
        assert!(with(&|r| r.local_storage = Some(Choice::Excluded)) > 0);
        assert_eq!(with(&|r| r.bare_metal = Some(Choice::Required)), 0);
        assert_eq!(with(&|r| r.hibernate = Some(true)), 0);
        assert_eq!(with(&|r| r.network_interfaces = Some(Range { min: Some(2.0), max: None })), 0);
    }

    #[test]
    fn price_protection_measures_by_the_cheapest_c_m_or_r() {
        let mut r = at_least(2.0, 4096.0);
        let matching = r.select();
        // c5a.large costs 0.077.
        assert_eq!(r.on_demand_limit(&matching), Some(Price(92_400)));
        r.on_demand_over_lowest = Some(0);
        assert_eq!(r.on_demand_limit(&matching), Some(Price(77_000)));
        r.on_demand_over_lowest = Some(PROTECTION_OFF);
        assert_eq!(r.on_demand_limit(&matching), None);
        let half = |t: &InstanceType| t.on_demand.percent(50);
        assert_eq!(r.spot_limit(&matching, half), Some(Price(77_000)));
        r.spot_of_on_demand = Some(60);
        assert_eq!(r.spot_limit(&matching, half), Some(Price(46_200)));
        // With burstable types alone, the cheapest of those is the measure.
        let mut small = at_least(1.0, 512.0);
        small.burstable = Some(Choice::Required);
        assert_eq!(small.on_demand_limit(&small.select()), Some(Price(5_640)));
    }

    #[test]
    fn patterns() {
        for (pattern, name, like) in [
            ("m5.*", "m5.large", true),
            ("m5.*", "m5a.large", false),
            ("m*.large", "m6i.large", true),
            ("*", "x", true),
            ("t3.micro", "t3.micro", true),
            ("*3*o", "t3.micro", true),
            ("r*", "m5.large", false),
        ] {
            assert_eq!(is_like(pattern, name), like, "{pattern} {name}");
        }
    }
}
