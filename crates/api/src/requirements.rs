//! `InstanceRequirements` from the wire. Two services have the structure, each with shapes of its own, so the reading is written once over
//! the names of its members.

use puffer_core::ec2::requirements::Choice;

/// Why requirements cannot be judged.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The catalogue of types knows nothing about this member.
    Unknown(&'static str),
    /// This member makes no sense.
    Value(String),
}

/// `included`, `excluded`, `required`.
pub(crate) fn choice(given: Option<&String>, name: &str) -> Result<Option<Choice>, Unfit> {
    given
        .map(|text| {
            Choice::parse(text).ok_or_else(|| {
                Unfit::Value(format!("{name} must be included, excluded or required, but is {text}."))
            })
        })
        .transpose()
}

/// A percentage or a count that is not negative.
pub(crate) fn natural(given: Option<i32>, name: &str) -> Result<Option<u32>, Unfit> {
    given
        .map(|n| {
            u32::try_from(n).map_err(|_| Unfit::Value(format!("{name} must not be negative, but is {n}.")))
        })
        .transpose()
}

/// Reads `$given`, a reference to either service's shape: `Result<Requirements, Unfit>`.
macro_rules! read_requirements {
    ($given:expr) => {{
        use puffer_core::ec2::requirements::{Range, Requirements};
        use $crate::requirements::{Unfit, choice, natural};
        let given = $given;
        let read = || -> Result<Requirements, Unfit> {
            if given.baseline_ebs_bandwidth_mbps.is_some() {
                return Err(Unfit::Unknown("BaselineEbsBandwidthMbps"));
            }
            if given.baseline_performance_factors.is_some() {
                return Err(Unfit::Unknown("BaselinePerformanceFactors"));
            }
            macro_rules! range {
                ($member:ident) => {
                    given.$member.as_ref().map(|r| Range { min: r.min.map(f64::from), max: r.max.map(f64::from) })
                };
            }
            let needed = |range: Option<Range>, name: &str| match range {
                Some(range) if range.min.is_some() => Ok(range),
                _ => Err(Unfit::Value(format!("InstanceRequirements must have {name} with a Min."))),
            };
            let list = |given: &Option<Vec<String>>| given.clone().unwrap_or_default();
            let read = Requirements {
                vcpus: needed(range!(vcpu_count), "VCpuCount")?,
                memory_mib: needed(range!(memory_mib), "MemoryMiB")?,
                manufacturers: list(&given.cpu_manufacturers),
                memory_gib_per_vcpu: range!(memory_gib_per_vcpu),
                excluded: list(&given.excluded_instance_types),
                allowed: list(&given.allowed_instance_types),
                generations: list(&given.instance_generations),
                spot_over_lowest: natural(
                    given.spot_max_price_percentage_over_lowest_price,
                    "SpotMaxPricePercentageOverLowestPrice",
                )?,
                spot_of_on_demand: natural(
                    given.max_spot_price_as_percentage_of_optimal_on_demand_price,
                    "MaxSpotPriceAsPercentageOfOptimalOnDemandPrice",
                )?,
                on_demand_over_lowest: natural(
                    given.on_demand_max_price_percentage_over_lowest_price,
                    "OnDemandMaxPricePercentageOverLowestPrice",
                )?,
                bare_metal: choice(given.bare_metal.as_ref(), "BareMetal")?,
                burstable: choice(given.burstable_performance.as_ref(), "BurstablePerformance")?,
                hibernate: given.require_hibernate_support,
                network_interfaces: range!(network_interface_count),
                local_storage: choice(given.local_storage.as_ref(), "LocalStorage")?,
                local_storage_types: list(&given.local_storage_types),
                local_storage_gb: range!(total_local_storage_gb),
                accelerator_types: list(&given.accelerator_types),
                accelerator_count: range!(accelerator_count),
                accelerator_manufacturers: list(&given.accelerator_manufacturers),
                accelerator_names: list(&given.accelerator_names),
                accelerator_memory_mib: range!(accelerator_total_memory_mib),
                network_gbps: range!(network_bandwidth_gbps),
            };
            if !(read.excluded.is_empty() || read.allowed.is_empty()) {
                return Err(Unfit::Value(
                    "AllowedInstanceTypes and ExcludedInstanceTypes cannot be given together.".to_owned(),
                ));
            }
            if read.spot_over_lowest.is_some() && read.spot_of_on_demand.is_some() {
                return Err(Unfit::Value(
                    "SpotMaxPricePercentageOverLowestPrice and MaxSpotPriceAsPercentageOfOptimalOnDemandPrice cannot \
                     be given together."
                        .to_owned(),
                ));
            }
            Ok(read)
        };
        read()
    }};
}
pub(crate) use read_requirements;
