//! `MixedInstancesPolicy`: read, checked against what exists, shown.

use std::collections::BTreeSet;

use puffer_core::autoscaling::mixed::{
    CapacityType, Distribution, MixedPolicy, OVERRIDES_MAX, OnDemandStrategy, Override, REQUIREMENTS_MAX,
    SPOT_POOLS_DEFAULT, SPOT_POOLS_MAX, SpotStrategy, TEMPLATES_MAX, WEIGHT_MAX,
};
use puffer_core::autoscaling::{Group, InstanceSource, LaunchTemplateRef, Member};
use puffer_core::ec2::requirements::{Range, Requirements};
use puffer_core::ec2::{LaunchTemplateData, Price, instance_types};
use puffer_inventory::launch::{TemplateRef, resolve_template};
use puffer_inventory::mix;
use puffer_shapes::autoscaling as shape;
use puffer_store::{Reader, Transaction};

use super::describe_groups::signed;
use super::error::{launch, natural, unsupported};
use super::source;
use crate::ApiError;
use crate::requirements::{Unfit, read_requirements};

/// The policy that a new group begins with.
pub(super) fn of_create(
    r: &Reader<'_>,
    given: &shape::MixedInstancesPolicy,
) -> Result<MixedPolicy, ApiError> {
    let template = given.launch_template.as_ref();
    let named = template.and_then(|t| t.launch_template_specification.as_ref()).ok_or_else(|| {
        ApiError::validation(
            "The MixedInstancesPolicy must have a LaunchTemplate with a LaunchTemplateSpecification.",
        )
    })?;
    let mut policy = MixedPolicy {
        template: template_ref(r, named)?,
        overrides: Vec::new(),
        distribution: Distribution::default(),
    };
    let base = policy.template.clone();
    merge(r, &mut policy, given, base)?;
    Ok(policy)
}

/// Puts an update over the group's policy, or begins one. What the update does not say stays.
pub(super) fn update(
    r: &Reader<'_>,
    group: &mut Group,
    given: &shape::MixedInstancesPolicy,
) -> Result<(), ApiError> {
    let policy = match group.mixed.take() {
        None => of_create(r, given)?,
        Some(mut policy) => {
            let named = given.launch_template.as_ref().and_then(|t| t.launch_template_specification.as_ref());
            let template = match named {
                Some(named) => template_ref(r, named)?,
                None => policy.template.clone(),
            };
            merge(r, &mut policy, given, template)?;
            policy
        }
    };
    set(group, policy);
    Ok(())
}

/// Makes `policy` what the group launches from.
pub(super) fn set(group: &mut Group, policy: MixedPolicy) {
    group.source = InstanceSource::LaunchTemplate(policy.template.clone());
    group.mixed = Some(policy);
}

/// Members count by the weights that the group's policy gives their types now.
pub(super) fn reweigh(tx: &mut Transaction<'_>, group: &Group) {
    for member in tx.list_by::<Member>("group", &group.name) {
        let weight = mix::weight_in(group, &member.instance_type);
        if member.weight != weight {
            tx.update::<Member>(&member.instance_id, |m| m.weight = weight);
        }
    }
}

/// `DesiredCapacityType`, which goes with attributes.
pub(super) fn set_capacity_type(group: &mut Group, given: Option<&str>) -> Result<(), ApiError> {
    if let Some(name) = given {
        group.capacity_type = CapacityType::parse(name).ok_or_else(|| {
            ApiError::validation(format!(
                "DesiredCapacityType must be units, vcpu or memory-mib, but is {name}."
            ))
        })?;
    }
    let by_attributes =
        group.mixed.as_ref().is_some_and(|m| m.overrides.iter().any(|o| o.requirements.is_some()));
    if group.capacity_type != CapacityType::Units && !by_attributes {
        return Err(ApiError::validation(
            "DesiredCapacityType vcpu or memory-mib needs a MixedInstancesPolicy with InstanceRequirements.",
        ));
    }
    Ok(())
}

fn merge(
    r: &Reader<'_>,
    policy: &mut MixedPolicy,
    given: &shape::MixedInstancesPolicy,
    template: LaunchTemplateRef,
) -> Result<(), ApiError> {
    policy.template = template;
    if let Some(overrides) = given.launch_template.as_ref().and_then(|t| t.overrides.as_ref()) {
        policy.overrides = overrides.iter().map(|o| read_override(r, o)).collect::<Result<_, _>>()?;
    }
    check_overrides(&policy.overrides)?;
    let by_attributes = policy.overrides.iter().any(|o| o.requirements.is_some());
    distribution(&mut policy.distribution, given.instances_distribution.as_ref(), by_attributes)?;
    check_templates(r, policy)
}

/// A template by id or name, as a reference; whether it launches something is checked with the types.
fn template_ref(
    r: &Reader<'_>,
    given: &shape::LaunchTemplateSpecification,
) -> Result<LaunchTemplateRef, ApiError> {
    match source::launch_template(r, given)? {
        InstanceSource::LaunchTemplate(template) => Ok(template),
        InstanceSource::LaunchConfiguration(_) => {
            Err(ApiError::internal(&"a template became a configuration"))
        }
    }
}

fn read_override(r: &Reader<'_>, o: &shape::LaunchTemplateOverrides) -> Result<Override, ApiError> {
    let requirements = o.instance_requirements.as_ref().map(requirements).transpose()?;
    if o.instance_type.is_some() == requirements.is_some() {
        return Err(ApiError::validation(
            "An override must have either InstanceType or InstanceRequirements, and not both.",
        ));
    }
    if let Some(name) = &o.instance_type
        && instance_types::find(name).is_none()
    {
        return Err(ApiError::validation(format!("Invalid value '{name}' for InstanceType.")));
    }
    if let Some(requirements) = &requirements
        && requirements.select().is_empty()
    {
        return Err(ApiError::validation("No instance type satisfies the InstanceRequirements."));
    }
    let weight = o.weighted_capacity.as_ref().map(|w| weight(w)).transpose()?;
    Ok(Override {
        instance_type: o.instance_type.clone(),
        requirements,
        weight,
        template: o.launch_template_specification.as_ref().map(|t| template_ref(r, t)).transpose()?,
        image_id: o.image_id.clone(),
    })
}

fn weight(text: &str) -> Result<u32, ApiError> {
    text.parse::<u32>().ok().filter(|w| (1..=WEIGHT_MAX).contains(w)).ok_or_else(|| {
        ApiError::validation(format!(
            "WeightedCapacity must be a whole number from 1 to {WEIGHT_MAX}, but is {text}."
        ))
    })
}

/// Requirements of a group's override.
pub(super) fn requirements(given: &shape::InstanceRequirements) -> Result<Requirements, ApiError> {
    read_requirements!(given).map_err(|unfit| match unfit {
        Unfit::Unknown(name) => unsupported(&format!("InstanceRequirements with {name}")),
        Unfit::Value(text) => ApiError::validation(text),
    })
}

fn check_overrides(overrides: &[Override]) -> Result<(), ApiError> {
    let refuse = |text: String| Err(ApiError::validation(text));
    if overrides.len() > OVERRIDES_MAX {
        return refuse(format!("A MixedInstancesPolicy has at most {OVERRIDES_MAX} overrides."));
    }
    if overrides.iter().filter(|o| o.requirements.is_some()).count() > REQUIREMENTS_MAX {
        return refuse(format!(
            "A MixedInstancesPolicy has at most {REQUIREMENTS_MAX} InstanceRequirements."
        ));
    }
    let templates: BTreeSet<&str> =
        overrides.iter().filter_map(|o| o.template.as_ref()).map(|t| t.id.as_str()).collect();
    if templates.len() > TEMPLATES_MAX {
        return refuse(format!("A MixedInstancesPolicy names at most {TEMPLATES_MAX} launch templates."));
    }
    let mut types = BTreeSet::new();
    for name in overrides.iter().filter_map(|o| o.instance_type.as_deref()) {
        if !types.insert(name) {
            return refuse(format!("The instance type {name} is in more than one override."));
        }
    }
    let weighted = overrides.iter().filter(|o| o.weight.is_some()).count();
    if weighted != 0 && weighted != overrides.len() {
        return refuse("Either all overrides have a WeightedCapacity or none.".to_owned());
    }
    Ok(())
}

fn distribution(
    d: &mut Distribution,
    given: Option<&shape::InstancesDistribution>,
    by_attributes: bool,
) -> Result<(), ApiError> {
    if by_attributes {
        // With attributes there is no order of types to go by.
        d.on_demand_strategy = OnDemandStrategy::LowestPrice;
    }
    if let Some(given) = given {
        if given.distribution_segments.as_ref().is_some_and(|s| !s.is_empty()) {
            return Err(unsupported("InstancesDistribution with DistributionSegments"));
        }
        if let Some(name) = &given.on_demand_allocation_strategy {
            d.on_demand_strategy = OnDemandStrategy::parse(name).ok_or_else(|| {
                ApiError::validation(format!(
                    "OnDemandAllocationStrategy must be prioritized or lowest-price, but is {name}."
                ))
            })?;
        }
        if let Some(base) = given.on_demand_base_capacity {
            d.on_demand_base = natural(base, "OnDemandBaseCapacity")?;
        }
        if let Some(percent) = given.on_demand_percentage_above_base_capacity {
            d.on_demand_percent = u32::try_from(percent).ok().filter(|p| *p <= 100).ok_or_else(|| {
                ApiError::validation(format!(
                    "OnDemandPercentageAboveBaseCapacity must be from 0 to 100, but is {percent}."
                ))
            })?;
        }
        if let Some(name) = &given.spot_allocation_strategy {
            d.spot_strategy = SpotStrategy::parse(name).ok_or_else(|| {
                ApiError::validation(format!("SpotAllocationStrategy {name} is not known."))
            })?;
            if given.spot_instance_pools.is_none() && d.spot_strategy != SpotStrategy::LowestPrice {
                d.spot_pools = None;
            }
        }
        if let Some(pools) = given.spot_instance_pools {
            d.spot_pools = Some(
                u32::try_from(pools).ok().filter(|p| (1..=SPOT_POOLS_MAX).contains(p)).ok_or_else(|| {
                    ApiError::validation(format!(
                        "SpotInstancePools must be from 1 to {SPOT_POOLS_MAX}, but is {pools}."
                    ))
                })?,
            );
        }
        match given.spot_max_price.as_deref() {
            None => {}
            // An empty text takes the limit away.
            Some("") => d.spot_max_price = None,
            Some(text) => {
                let price: Price =
                    text.parse().map_err(|e| ApiError::validation(format!("SpotMaxPrice: {e}.")))?;
                if price == Price(0) {
                    return Err(ApiError::validation("SpotMaxPrice must be above 0."));
                }
                d.spot_max_price = Some(text.to_owned());
            }
        }
    }
    if d.spot_pools.is_some() && d.spot_strategy != SpotStrategy::LowestPrice {
        return Err(ApiError::validation(
            "SpotInstancePools goes with the SpotAllocationStrategy lowest-price only.",
        ));
    }
    if by_attributes && d.on_demand_strategy == OnDemandStrategy::Prioritized {
        return Err(ApiError::validation(
            "The OnDemandAllocationStrategy prioritized cannot be used with InstanceRequirements.",
        ));
    }
    if by_attributes && d.spot_strategy == SpotStrategy::CapacityOptimizedPrioritized {
        return Err(ApiError::validation(
            "The SpotAllocationStrategy capacity-optimized-prioritized cannot be used with InstanceRequirements.",
        ));
    }
    Ok(())
}

/// Each template must launch something, On-Demand or Spot as the policy says rather than the template.
fn check_templates(r: &Reader<'_>, policy: &MixedPolicy) -> Result<(), ApiError> {
    for template in policy.templates() {
        let request = resolve_template(r, &TemplateRef::from(template), &LaunchTemplateData::default())
            .map_err(|e| launch(&e))?;
        if request.spot.is_some() {
            return Err(ApiError::validation(format!(
                "Launch template {} asks for Spot instances by itself; with a MixedInstancesPolicy the \
                 InstancesDistribution decides.",
                template.id
            )));
        }
    }
    Ok(())
}

/// A policy as the API shows it, with AWS's defaults spelled out.
pub(super) fn show(policy: &MixedPolicy) -> shape::MixedInstancesPolicy {
    let d = &policy.distribution;
    let pools = (d.spot_strategy == SpotStrategy::LowestPrice)
        .then(|| signed(d.spot_pools.unwrap_or(SPOT_POOLS_DEFAULT)));
    shape::MixedInstancesPolicy {
        launch_template: Some(shape::LaunchTemplate {
            launch_template_specification: Some(show_template(&policy.template)),
            overrides: Some(policy.overrides.iter().map(show_override).collect()),
        }),
        instances_distribution: Some(shape::InstancesDistribution {
            on_demand_allocation_strategy: Some(d.on_demand_strategy.name().to_owned()),
            on_demand_base_capacity: Some(signed(d.on_demand_base)),
            on_demand_percentage_above_base_capacity: Some(signed(d.on_demand_percent)),
            spot_allocation_strategy: Some(d.spot_strategy.name().to_owned()),
            spot_instance_pools: pools,
            spot_max_price: d.spot_max_price.clone(),
            distribution_segments: None,
        }),
    }
}

fn show_template(t: &LaunchTemplateRef) -> shape::LaunchTemplateSpecification {
    shape::LaunchTemplateSpecification {
        launch_template_id: Some(t.id.clone()),
        launch_template_name: Some(t.name.clone()),
        version: Some(t.version.clone()),
    }
}

fn show_override(o: &Override) -> shape::LaunchTemplateOverrides {
    shape::LaunchTemplateOverrides {
        instance_type: o.instance_type.clone(),
        weighted_capacity: o.weight.map(|w| w.to_string()),
        launch_template_specification: o.template.as_ref().map(show_template),
        instance_requirements: o.requirements.as_ref().map(show_requirements),
        image_id: o.image_id.clone(),
    }
}

/// Whole bounds; they were read from whole numbers.
fn whole(bound: Option<f64>) -> Option<i32> {
    bound.map(|n| n as i32)
}

fn show_requirements(q: &Requirements) -> shape::InstanceRequirements {
    let list = |l: &Vec<String>| (!l.is_empty()).then(|| l.clone());
    macro_rules! whole_range {
        ($shape:ident, $range:expr) => {
            $range.as_ref().map(|r: &Range| shape::$shape { min: whole(r.min), max: whole(r.max) })
        };
    }
    macro_rules! real_range {
        ($shape:ident, $range:expr) => {
            $range.as_ref().map(|r: &Range| shape::$shape { min: r.min, max: r.max })
        };
    }
    shape::InstanceRequirements {
        vcpu_count: whole_range!(VCpuCountRequest, Some(q.vcpus)),
        memory_mib: whole_range!(MemoryMiBRequest, Some(q.memory_mib)),
        cpu_manufacturers: list(&q.manufacturers),
        memory_gib_per_vcpu: real_range!(MemoryGiBPerVCpuRequest, q.memory_gib_per_vcpu),
        excluded_instance_types: list(&q.excluded),
        allowed_instance_types: list(&q.allowed),
        instance_generations: list(&q.generations),
        spot_max_price_percentage_over_lowest_price: q.spot_over_lowest.map(signed),
        max_spot_price_as_percentage_of_optimal_on_demand_price: q.spot_of_on_demand.map(signed),
        on_demand_max_price_percentage_over_lowest_price: q.on_demand_over_lowest.map(signed),
        bare_metal: q.bare_metal.map(|c| c.name().to_owned()),
        burstable_performance: q.burstable.map(|c| c.name().to_owned()),
        require_hibernate_support: q.hibernate,
        network_interface_count: whole_range!(NetworkInterfaceCountRequest, q.network_interfaces),
        local_storage: q.local_storage.map(|c| c.name().to_owned()),
        local_storage_types: list(&q.local_storage_types),
        total_local_storage_gb: real_range!(TotalLocalStorageGBRequest, q.local_storage_gb),
        accelerator_types: list(&q.accelerator_types),
        accelerator_count: whole_range!(AcceleratorCountRequest, q.accelerator_count),
        accelerator_manufacturers: list(&q.accelerator_manufacturers),
        accelerator_names: list(&q.accelerator_names),
        accelerator_total_memory_mib: whole_range!(
            AcceleratorTotalMemoryMiBRequest,
            q.accelerator_memory_mib
        ),
        network_bandwidth_gbps: real_range!(NetworkBandwidthGbpsRequest, q.network_gbps),
        ..Default::default()
    }
}

/// The weight of a member as the API shows it: only where the policy has weights.
pub(super) fn show_weight(group: &Group, member: &Member) -> Option<String> {
    let weighted = group.mixed.as_ref().is_some_and(|m| m.overrides.iter().any(|o| o.weight.is_some()));
    (weighted || group.capacity_type != CapacityType::Units).then(|| member.weight.to_string())
}
