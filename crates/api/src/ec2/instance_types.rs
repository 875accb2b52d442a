//! The catalogue of instance types and where they are offered: everywhere.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::ec2::instance_types::{self, InstanceType, Manufacturer};
use puffer_shapes::ec2 as shapes;

use super::error::{dry_run, invalid_value, unsupported};
use super::filter::{Field, Filters, wildcard};
use super::instances::account;
use super::page::Page;
use super::parts::s;
use crate::requirements::{Unfit, read_requirements};
use crate::{ApiError, Ctx};

const FILTERS: &[&str] = &[
    "bare-metal",
    "burstable-performance-supported",
    "current-generation",
    "free-tier-eligible",
    "hypervisor",
    "instance-storage-supported",
    "instance-type",
    "memory-info.size-in-mib",
    "processor-info.supported-architecture",
    "supported-root-device-type",
    "supported-usage-class",
    "supported-virtualization-type",
    "vcpu-info.default-cores",
    "vcpu-info.default-vcpus",
];

/// Types that new AWS accounts have for free.
const FREE: &[&str] = &["t2.micro", "t3.micro"];

fn field(t: &InstanceType, name: &str) -> Field {
    match name {
        "bare-metal" | "instance-storage-supported" => false.into(),
        "burstable-performance-supported" => t.burstable.into(),
        "current-generation" => t.current_generation.into(),
        "free-tier-eligible" => FREE.contains(&t.name().as_str()).into(),
        "hypervisor" => "xen".into(),
        "instance-type" => t.name().into(),
        "memory-info.size-in-mib" => t.memory_mib.to_string().into(),
        "processor-info.supported-architecture" => "x86_64".into(),
        "supported-root-device-type" => "ebs".into(),
        "supported-usage-class" => vec!["on-demand".to_owned(), "spot".to_owned()].into(),
        "supported-virtualization-type" => "hvm".into(),
        "vcpu-info.default-cores" | "vcpu-info.default-vcpus" => t.n_vcpus.to_string().into(),
        _ => Field::Many(Vec::new()),
    }
}

fn show(t: &InstanceType) -> shapes::InstanceTypeInfo {
    let n_vcpus = i32::try_from(t.n_vcpus).unwrap_or(i32::MAX);
    shapes::InstanceTypeInfo {
        free_tier_eligible: Some(FREE.contains(&t.name().as_str())),
        instance_type: s(t.name()),
        current_generation: Some(t.current_generation),
        supported_usage_classes: Some(vec!["on-demand".into(), "spot".into()]),
        supported_root_device_types: Some(vec!["ebs".into()]),
        supported_virtualization_types: Some(vec!["hvm".into()]),
        bare_metal: Some(false),
        hypervisor: s("xen"),
        processor_info: Some(shapes::ProcessorInfo {
            supported_architectures: Some(vec!["x86_64".into()]),
            manufacturer: s(match t.manufacturer {
                Manufacturer::Intel => "Intel",
                Manufacturer::Amd => "AMD",
            }),
            ..Default::default()
        }),
        vcpu_info: Some(shapes::VCpuInfo {
            default_vcpus: Some(n_vcpus),
            default_cores: Some(n_vcpus),
            default_threads_per_core: Some(1),
            ..Default::default()
        }),
        memory_info: Some(shapes::MemoryInfo { size_in_mib: Some(i64::from(t.memory_mib)) }),
        instance_storage_supported: Some(false),
        network_info: Some(shapes::NetworkInfo {
            maximum_network_interfaces: Some(1),
            maximum_network_cards: Some(1),
            default_network_card_index: Some(0),
            network_performance: t.network_mbps.map(|m| format!("Up to {} Gigabit", f64::from(m) / 1000.0)),
            ipv4_addresses_per_interface: Some(1),
            ipv6_addresses_per_interface: Some(0),
            ipv6_supported: Some(false),
            ena_support: s("supported"),
            efa_supported: Some(false),
            ..Default::default()
        }),
        placement_group_info: Some(shapes::PlacementGroupInfo { supported_strategies: Some(Vec::new()) }),
        hibernation_supported: Some(false),
        burstable_performance_supported: Some(t.burstable),
        dedicated_hosts_supported: Some(false),
        auto_recovery_supported: Some(false),
        supported_boot_modes: Some(vec!["legacy-bios".into()]),
        ..Default::default()
    }
}

fn by_name() -> Vec<(String, InstanceType)> {
    let mut all: Vec<(String, InstanceType)> = instance_types::all().map(|t| (t.name(), t)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

pub(super) async fn describe(
    _: Arc<Ctx>,
    input: shapes::DescribeInstanceTypesInput,
) -> Result<shapes::DescribeInstanceTypesOutput, ApiError> {
    let wanted = input.instance_types.unwrap_or_default();
    let unknown: Vec<&str> = wanted
        .iter()
        .map(String::as_str)
        .filter(|n| !n.contains('*') && instance_types::find(n).is_none())
        .collect();
    if !unknown.is_empty() {
        return Err(ApiError::sender(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{}]", unknown.join(", ")),
        ));
    }
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    let no_tags = Tags::new();
    let matching = by_name().into_iter().filter(|(name, t)| {
        (wanted.is_empty() || wanted.iter().any(|w| wildcard(w, name)))
            && filters.matches(&no_tags, |name| field(t, name))
    });
    let (found, next_token) = page.cut(matching, |(name, _)| name);
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    Ok(shapes::DescribeInstanceTypesOutput {
        instance_types: Some(found.iter().map(|(_, t)| show(t)).collect()),
        next_token,
    })
}

pub(super) async fn describe_offerings(
    cx: Arc<Ctx>,
    input: shapes::DescribeInstanceTypeOfferingsInput,
) -> Result<shapes::DescribeInstanceTypeOfferingsOutput, ApiError> {
    let filters = Filters::parse(input.filters, &["instance-type", "location"])?;
    let page = Page::parse(input.max_results, input.next_token)?;
    let account = cx.store.read(account)?;
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let location_type = input.location_type.unwrap_or_else(|| "region".into());
    let locations: Vec<String> = match location_type.as_str() {
        "region" => vec![account.region.clone()],
        "availability-zone" => account.zones.clone(),
        "availability-zone-id" => account.zones.iter().map(|z| account.zone_id(z)).collect(),
        other => {
            return Err(invalid_value(format!("Value ({other}) for parameter locationType is invalid.")));
        }
    };
    let no_tags = Tags::new();
    let mut offered: Vec<(String, String, String)> = Vec::new();
    for (name, _) in by_name() {
        for location in &locations {
            let field = |filter: &str| match filter {
                "instance-type" => Field::from(name.as_str()),
                _ => Field::from(location.as_str()),
            };
            if filters.matches(&no_tags, field) {
                offered.push((format!("{name}|{location}"), name.clone(), location.clone()));
            }
        }
    }
    offered.sort();
    let (found, next_token) = page.cut(offered.into_iter(), |(key, ..)| key);
    let show = |(_, name, location): (String, String, String)| shapes::InstanceTypeOffering {
        instance_type: s(name),
        location_type: s(&location_type),
        location: s(location),
    };
    Ok(shapes::DescribeInstanceTypeOfferingsOutput {
        instance_type_offerings: Some(found.into_iter().map(show).collect()),
        next_token,
    })
}

/// The types that a request's attributes describe, for those who want to see before they launch.
pub(super) async fn of_requirements(
    _: Arc<Ctx>,
    input: shapes::GetInstanceTypesFromInstanceRequirementsInput,
) -> Result<shapes::GetInstanceTypesFromInstanceRequirementsOutput, ApiError> {
    if input.context.is_some() {
        return Err(unsupported("A context"));
    }
    let given = input.instance_requirements.unwrap_or_default();
    if given.require_encryption_in_transit == Some(true) {
        return Err(unsupported("InstanceRequirements with RequireEncryptionInTransit"));
    }
    let requirements = read_requirements!(&given).map_err(|unfit| match unfit {
        Unfit::Unknown(name) => unsupported(&format!("InstanceRequirements with {name}")),
        Unfit::Value(text) => invalid_value(text),
    })?;
    let has =
        |list: &Option<Vec<String>>, value: &str| list.as_ref().is_none_or(|l| l.iter().any(|v| v == value));
    let offered = has(&input.architecture_types, "x86_64") && has(&input.virtualization_types, "hvm");
    let page = Page::parse(input.max_results, input.next_token)?;
    let matching = by_name().into_iter().filter(|(_, t)| offered && requirements.match_type(t));
    let (found, next_token) = page.cut(matching, |(name, _)| name);
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let show = |(name, _): (String, InstanceType)| shapes::InstanceTypeInfoFromInstanceRequirements {
        instance_type: s(name),
    };
    Ok(shapes::GetInstanceTypesFromInstanceRequirementsOutput {
        instance_types: Some(found.into_iter().map(show).collect()),
        next_token,
    })
}
