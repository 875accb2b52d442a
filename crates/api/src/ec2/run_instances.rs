//! `RunInstances`: from the wire to a launch request.

use std::sync::Arc;

use puffer_core::ec2::{
    BlockDeviceSpec, InterfaceSpec, LaunchTemplateData, MetadataOptionsSpec, SpotSpec, TagSpecification,
};
use puffer_inventory::launch::{self, ClientToken, LaunchRequest, TemplateRef};
use puffer_shapes::ec2 as shapes;

use super::error::{combination, dry_run, invalid_value, missing, unsupported};
use super::instance_view;
use super::instances::account;
use super::parts::{read_tag_specifications, refuse, required};
use crate::{ApiError, Ctx};

pub(super) async fn run(
    cx: Arc<Ctx>,
    input: shapes::RunInstancesInput,
) -> Result<shapes::RunInstancesOutput, ApiError> {
    let count = |n: Option<i32>, name: &str| match n {
        None => Err(missing(name)),
        Some(n) => u32::try_from(n)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| invalid_value(format!("Value ({n}) for parameter {name} is invalid."))),
    };
    let (min_count, max_count) = (count(input.min_count, "MinCount")?, count(input.max_count, "MaxCount")?);
    let client_token = input.client_token.clone().filter(|t| !t.is_empty());
    let dry = input.dry_run == Some(true);
    let subnet_id = input.subnet_id.clone().filter(|s| !s.is_empty());
    let private_ip = match &input.private_ip_address {
        None => None,
        Some(ip) => Some(ip.parse().map_err(|_| invalid_value(format!("Invalid IPv4 address: '{ip}'")))?),
    };
    let template = input.launch_template.as_ref().map(template_ref).transpose()?;
    let data = data_of(input)?;
    if !data.network_interfaces.is_empty() && (subnet_id.is_some() || private_ip.is_some()) {
        return Err(combination(
            "Network interfaces and an instance-level subnet ID or private IP address may not be specified on the same request",
        ));
    }
    let token = client_token
        .map(|token| {
            let asked = (min_count, max_count, &template, &subnet_id, &private_ip, &data);
            ClientToken::new(token, &asked).map_err(|e| ApiError::internal(&e))
        })
        .transpose()?;
    let now = cx.clock.now();
    cx.store
        .transact::<_, ApiError>(|tx| {
            // What a template says by now is nothing to a request that was served already.
            let before =
                token.as_ref().map(|token| launch::launched_before(tx, token)).transpose()?.flatten();
            let made = match before {
                Some(made) => made,
                None => {
                    let base = match &template {
                        Some(template) => launch::resolve_template(&tx.reader(), template, &data)?,
                        None => launch::request_from_data(&tx.reader(), &data)?,
                    };
                    let request = LaunchRequest {
                        min_count,
                        max_count,
                        subnet_id: subnet_id.or(base.subnet_id),
                        private_ip: private_ip.or(base.private_ip),
                        client_token: token,
                        ..base
                    };
                    launch::run_instances(tx, &request, now, &mut **cx.rng.lock())?
                }
            };
            if dry {
                return Err(dry_run());
            }
            let reader = tx.reader();
            let account = account(&reader)?;
            let id = made.first().map(|i| i.reservation_id.clone()).unwrap_or_default();
            Ok(instance_view::reservation(&reader, &account, &id, made.iter().map(|i| &**i)))
        })
        .await
}

/// A template as a request names it: by id or by name, not both.
fn template_ref(t: &shapes::LaunchTemplateSpecification) -> Result<TemplateRef, ApiError> {
    let given = |s: &Option<String>| s.clone().filter(|s| !s.is_empty());
    let (id, name) = (given(&t.launch_template_id), given(&t.launch_template_name));
    if id.is_some() == name.is_some() {
        return Err(combination(
            "Either launchTemplateId or launchTemplateName must be given, but not both.",
        ));
    }
    Ok(TemplateRef { id, name, version: given(&t.version) })
}

fn data_of(input: shapes::RunInstancesInput) -> Result<LaunchTemplateData, ApiError> {
    refuse!(input;
        elastic_gpu_specification => "Elastic Graphics",
        elastic_inference_accelerators => "Elastic Inference",
        cpu_options => "Choosing CPU options",
        license_specifications => "License configurations",
        network_performance_options => "Choosing network performance",
        secondary_interfaces => "A secondary interface",
        kernel_id => "Choosing a kernel",
        ramdisk_id => "Choosing a RAM disk",
        ipv6_address_count => "IPv6",
        operator => "Operator-managed instances",
        additional_info => "Additional information",
    );
    if input.ipv6_addresses.as_ref().is_some_and(|a| !a.is_empty()) || input.enable_primary_ipv6 == Some(true)
    {
        return Err(unsupported("IPv6"));
    }
    if input.hibernation_options.as_ref().is_some_and(|h| h.configured == Some(true)) {
        return Err(unsupported("Hibernation"));
    }
    if input.enclave_options.as_ref().is_some_and(|e| e.enabled == Some(true)) {
        return Err(unsupported("Enclaves"));
    }
    if let Some(c) = &input.capacity_reservation_specification {
        let preference = c.capacity_reservation_preference.as_deref();
        check_reservations(preference, c.capacity_reservation_target.is_some())?;
    }
    if let Some(dns) = &input.private_dns_name_options {
        let kind = dns.hostname_type.as_deref();
        check_dns(kind, dns.enable_resource_name_dns_a_record, dns.enable_resource_name_dns_aaaa_record)?;
    }
    check_recovery(input.maintenance_options.as_ref().and_then(|m| m.auto_recovery.as_deref()))?;
    if let Some(monitoring) = &input.monitoring {
        refuse!(monitoring; metric_category_ids => "Choosing categories of metrics");
    }
    let placement = input.placement.unwrap_or_default();
    check_placement(&PlacementParts {
        has_host: placement.host_id.is_some() || placement.host_resource_group_arn.is_some(),
        is_grouped: placement.group_id.is_some()
            || placement.partition_number.is_some()
            || placement.spread_domain.is_some(),
        tenancy: placement.tenancy.clone(),
        affinity: placement.affinity,
        group_name: placement.group_name,
    })?;
    let profile = input.iam_instance_profile.unwrap_or_default();
    let tags = read_tag_specifications(input.tag_specifications, TAGGABLE)?;
    let data = LaunchTemplateData {
        image_id: input.image_id.filter(|s| !s.is_empty()),
        instance_type: input.instance_type.filter(|s| !s.is_empty()),
        key_name: input.key_name.filter(|s| !s.is_empty()),
        security_group_ids: input.security_group_ids.unwrap_or_default(),
        security_groups: input.security_groups.unwrap_or_default(),
        user_data: launch::check_user_data(input.user_data)?,
        iam_instance_profile_arn: profile.arn,
        iam_instance_profile_name: profile.name,
        metadata_options: input
            .metadata_options
            .map(|m| {
                check_metadata_ipv6(m.http_protocol_ipv6.as_deref())?;
                metadata_spec(
                    m.http_endpoint,
                    m.http_tokens,
                    m.http_put_response_hop_limit,
                    m.instance_metadata_tags,
                )
            })
            .transpose()?,
        detailed_monitoring: input.monitoring.and_then(|m| m.enabled),
        disable_api_termination: input.disable_api_termination,
        disable_api_stop: input.disable_api_stop,
        shutdown_behavior: check_shutdown(input.instance_initiated_shutdown_behavior)?,
        ebs_optimized: input.ebs_optimized,
        tag_specifications: tags
            .into_iter()
            .map(|(resource_type, tags)| TagSpecification { resource_type, tags })
            .collect(),
        network_interfaces: input
            .network_interfaces
            .unwrap_or_default()
            .into_iter()
            .map(interface)
            .collect::<Result<_, _>>()?,
        block_devices: input
            .block_device_mappings
            .unwrap_or_default()
            .into_iter()
            .filter_map(|m| block_device(m).transpose())
            .collect::<Result<_, _>>()?,
        placement_zone: placement.availability_zone.filter(|z| !z.is_empty()),
        placement_zone_id: placement.availability_zone_id.filter(|z| !z.is_empty()),
        placement_tenancy: placement.tenancy,
        cpu_credits: input.credit_specification.and_then(|c| c.cpu_credits),
        spot: input.instance_market_options.map(market).transpose()?.flatten(),
    };
    check_block_devices(&data.block_devices)?;
    Ok(data)
}

fn market(options: shapes::InstanceMarketOptionsRequest) -> Result<Option<SpotSpec>, ApiError> {
    let spot = options.spot_options.unwrap_or_default();
    market_spec(
        options.market_type.as_deref(),
        spot.max_price.as_deref(),
        spot.spot_instance_type.as_deref(),
        spot.instance_interruption_behavior.as_deref(),
        spot.block_duration_minutes.is_some() || spot.valid_until.is_some(),
    )
}

/// Spot as Puffer sells it: for one instance's life, which an interruption ends.
pub(super) fn market_spec(
    market: Option<&str>,
    max_price: Option<&str>,
    kind: Option<&str>,
    interruption: Option<&str>,
    limited_in_time: bool,
) -> Result<Option<SpotSpec>, ApiError> {
    match market {
        None | Some("") => return Ok(None),
        Some("spot") => {}
        Some(other) => return Err(unsupported(&format!("The market {other}"))),
    }
    match kind {
        None | Some("" | "one-time") => {}
        Some(_) => return Err(unsupported("A persistent Spot request")),
    }
    match interruption {
        None | Some("" | "terminate") => {}
        Some(_) => return Err(unsupported("Stopping or hibernating an interrupted Spot instance")),
    }
    if limited_in_time {
        return Err(unsupported("A Spot request that is limited in time"));
    }
    let max_price = match max_price {
        None | Some("") => None,
        Some(text) => Some(text.parse().map_err(|e| ApiError::sender("InvalidSpotPrice", format!("{e}")))?),
    };
    Ok(Some(SpotSpec { max_price }))
}

/// Kinds of resources that a launch makes and can tag.
pub(super) const TAGGABLE: &[&str] = &["instance", "volume", "network-interface", "spot-instances-request"];

/// What the two shapes of a placement have in common.
pub(super) struct PlacementParts {
    pub(super) tenancy: Option<String>,
    pub(super) affinity: Option<String>,
    /// Host, its group or its resource group.
    pub(super) has_host: bool,
    pub(super) group_name: Option<String>,
    /// Group id, partition or spread domain.
    pub(super) is_grouped: bool,
}

pub(super) fn check_placement(p: &PlacementParts) -> Result<(), ApiError> {
    if p.has_host || !matches!(p.tenancy.as_deref(), None | Some("" | "default")) {
        return Err(unsupported("A tenancy other than default"));
    }
    if !matches!(p.affinity.as_deref(), None | Some("" | "default")) {
        return Err(unsupported("An affinity to a host"));
    }
    match p.group_name.as_deref() {
        None | Some("") if !p.is_grouped => Ok(()),
        _ => Err(unsupported("A placement group")),
    }
}

/// Only reservations that there are could be preferred; none exist.
pub(super) fn check_reservations(preference: Option<&str>, has_target: bool) -> Result<(), ApiError> {
    match preference {
        None | Some("" | "open" | "none") if !has_target => Ok(()),
        _ => Err(unsupported("Capacity reservations")),
    }
}

/// The members that the two shapes of DNS options have in common: names are made of addresses, and resolve to them.
pub(super) fn check_dns(
    kind: Option<&str>,
    a_record: Option<bool>,
    aaaa_record: Option<bool>,
) -> Result<(), ApiError> {
    match kind {
        None | Some("" | "ip-name") if a_record != Some(true) && aaaa_record != Some(true) => Ok(()),
        _ => Err(unsupported("A private DNS name made of the instance's id")),
    }
}

/// Recovery: an instance that is lost is reported as such, which is what `default` comes to without spare hosts.
pub(super) fn check_recovery(recovery: Option<&str>) -> Result<(), ApiError> {
    match recovery {
        None | Some("" | "default") => Ok(()),
        Some(_) => Err(unsupported("Choosing automatic recovery")),
    }
}

pub(super) fn check_shutdown(behavior: Option<String>) -> Result<Option<String>, ApiError> {
    match behavior.as_deref() {
        None | Some("stop" | "terminate") => Ok(behavior),
        Some(other) => Err(invalid_value(format!(
            "Value ({other}) for parameter instanceInitiatedShutdownBehavior is invalid. Expected: 'stop' or 'terminate'."
        ))),
    }
}

/// The metadata service has no address of the sixth version.
pub(super) fn check_metadata_ipv6(choice: Option<&str>) -> Result<(), ApiError> {
    match choice {
        None | Some("" | "disabled") => Ok(()),
        Some(_) => Err(unsupported("IPv6")),
    }
}

pub(super) fn metadata_spec(
    endpoint: Option<String>,
    tokens: Option<String>,
    hops: Option<i32>,
    tags: Option<String>,
) -> Result<MetadataOptionsSpec, ApiError> {
    let choice = |value: Option<String>, yes: &str, no: &str, name: &str| match value.as_deref() {
        None | Some("") => Ok(None),
        Some(v) if v == yes => Ok(Some(true)),
        Some(v) if v == no => Ok(Some(false)),
        Some(v) => Err(invalid_value(format!(
            "Value ({v}) for parameter {name} is invalid. Expected: '{yes}' or '{no}'."
        ))),
    };
    let hop_limit = match hops {
        None => None,
        Some(n) => Some(u8::try_from(n).ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| {
            invalid_value(format!(
                "Value ({n}) for parameter HttpPutResponseHopLimit is invalid. Expected: 1 to 64."
            ))
        })?),
    };
    Ok(MetadataOptionsSpec {
        enabled: choice(endpoint, "enabled", "disabled", "HttpEndpoint")?,
        tokens_required: choice(tokens, "required", "optional", "HttpTokens")?,
        hop_limit,
        tags: choice(tags, "enabled", "disabled", "InstanceMetadataTags")?,
    })
}

fn interface(i: shapes::InstanceNetworkInterfaceSpecification) -> Result<InterfaceSpec, ApiError> {
    refuse!(i;
        network_interface_id => "Attaching an existing network interface",
        secondary_private_ip_address_count => "A secondary address",
        ipv6_address_count => "IPv6",
        ipv4_prefix_count => "A prefix for an interface",
        ipv6_prefix_count => "A prefix for an interface",
        ena_srd_specification => "ENA Express",
        connection_tracking_specification => "Connection tracking settings",
        ena_queue_count => "Choosing queues of an interface",
    );
    check_interface(&InterfaceExtras {
        kind: i.interface_type.as_deref(),
        card: i.network_card_index,
        is_ipv6: i.ipv6_addresses.is_some_and(|a| !a.is_empty()) || i.primary_ipv6 == Some(true),
        has_prefixes: i.ipv4_prefixes.is_some_and(|p| !p.is_empty())
            || i.ipv6_prefixes.is_some_and(|p| !p.is_empty()),
        is_carrier: i.associate_carrier_ip_address == Some(true),
    })?;
    interface_spec(InterfaceParts {
        device_index: i.device_index,
        subnet_id: i.subnet_id,
        groups: i.groups,
        associate_public_ip: i.associate_public_ip_address,
        private_ip: i.private_ip_address,
        private_ips: i.private_ip_addresses,
        delete_on_termination: i.delete_on_termination,
        description: i.description,
    })
}

/// What an interface may ask for that only its default can be had of.
pub(super) struct InterfaceExtras<'a> {
    pub(super) kind: Option<&'a str>,
    pub(super) card: Option<i32>,
    pub(super) is_ipv6: bool,
    pub(super) has_prefixes: bool,
    pub(super) is_carrier: bool,
}

pub(super) fn check_interface(i: &InterfaceExtras<'_>) -> Result<(), ApiError> {
    let refused = match () {
        () if !matches!(i.kind, None | Some("" | "interface")) => "A kind of interface other than interface",
        () if i.card.is_some_and(|card| card != 0) => "A second network card",
        () if i.is_ipv6 => "IPv6",
        () if i.has_prefixes => "A prefix for an interface",
        () if i.is_carrier => "A carrier address",
        () => return Ok(()),
    };
    Err(unsupported(refused))
}

/// The members that the two shapes of an interface have in common.
pub(super) struct InterfaceParts {
    pub(super) device_index: Option<i32>,
    pub(super) subnet_id: Option<String>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) associate_public_ip: Option<bool>,
    pub(super) private_ip: Option<String>,
    pub(super) private_ips: Option<Vec<shapes::PrivateIpAddressSpecification>>,
    pub(super) delete_on_termination: Option<bool>,
    pub(super) description: Option<String>,
}

pub(super) fn interface_spec(i: InterfaceParts) -> Result<InterfaceSpec, ApiError> {
    let mut addresses: Vec<String> = i.private_ip.into_iter().filter(|a| !a.is_empty()).collect();
    addresses.extend(i.private_ips.unwrap_or_default().into_iter().filter_map(|a| a.private_ip_address));
    addresses.dedup();
    if addresses.len() > 1 {
        return Err(unsupported("A secondary address"));
    }
    if i.delete_on_termination == Some(false) {
        return Err(unsupported("Keeping a network interface after its instance"));
    }
    let private_ip = match addresses.pop() {
        None => None,
        Some(a) => Some(a.parse().map_err(|_| invalid_value(format!("Invalid IPv4 address: '{a}'")))?),
    };
    Ok(InterfaceSpec {
        device_index: i.device_index.unwrap_or(0),
        subnet_id: i.subnet_id.filter(|s| !s.is_empty()),
        groups: i.groups.unwrap_or_default(),
        associate_public_ip: i.associate_public_ip,
        private_ip,
        delete_on_termination: i.delete_on_termination,
        description: i.description,
    })
}

/// Operations a second of every `gp3` volume that does not ask for more.
const GP3_IOPS: i32 = 3_000;
/// MiB a second of the same.
const GP3_THROUGHPUT: i32 = 125;

/// `None` for a mapping that says that there shall be no such device.
fn block_device(m: shapes::BlockDeviceMapping) -> Result<Option<BlockDeviceSpec>, ApiError> {
    let device_name = required(m.device_name, "DeviceName")?;
    if m.no_device.is_some() {
        return Ok(None);
    }
    if m.virtual_name.is_some() {
        return Err(unsupported("An instance store volume"));
    }
    let ebs = m.ebs.unwrap_or_default();
    if ebs.kms_key_id.is_some() {
        return Err(unsupported("An encrypted volume"));
    }
    refuse!(ebs;
        snapshot_id => "Choosing a volume's snapshot",
        outpost_arn => "An Outpost",
        availability_zone => "A zone for a volume",
        availability_zone_id => "A zone for a volume",
        volume_initialization_rate => "Choosing how fast a volume is made ready",
        ebs_card_index => "A second card for volumes",
    );
    Ok(Some(BlockDeviceSpec {
        device_name,
        volume_size_gib: ebs.volume_size,
        volume_type: ebs.volume_type,
        iops: ebs.iops,
        throughput: ebs.throughput,
        encrypted: ebs.encrypted,
        delete_on_termination: ebs.delete_on_termination,
        snapshot_id: ebs.snapshot_id,
    }))
}

/// Instances have a root volume and no other, it goes with them, and it is not encrypted.
pub(super) fn check_block_devices(devices: &[BlockDeviceSpec]) -> Result<(), ApiError> {
    for device in devices {
        if !device.is_root() {
            return Err(unsupported("A volume besides the root volume"));
        }
        if device.encrypted == Some(true) {
            return Err(unsupported("An encrypted volume"));
        }
        if device.delete_on_termination == Some(false) {
            return Err(unsupported("Keeping a volume after its instance"));
        }
        // The root's type is shown back; its performance is the machine's, so only that type's own figures can be given.
        if !matches!(device.volume_type.as_deref(), None | Some("" | "gp2" | "gp3")) {
            return Err(unsupported("A volume type other than gp2 and gp3"));
        }
        if device.iops.is_some_and(|n| n != GP3_IOPS)
            || device.throughput.is_some_and(|n| n != GP3_THROUGHPUT)
        {
            return Err(unsupported("Choosing a volume's IOPS or throughput"));
        }
        if device.volume_size_gib.is_some_and(|gib| !(1..=16_384).contains(&gib)) {
            return Err(invalid_value("The volume size must be from 1 to 16384 GiB."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_choices() {
        let spec = metadata_spec(None, Some("optional".into()), Some(64), Some("enabled".into())).unwrap();
        assert_eq!(
            (spec.tokens_required, spec.hop_limit, spec.tags, spec.enabled),
            (Some(false), Some(64), Some(true), None)
        );
        assert!(metadata_spec(None, Some("maybe".into()), None, None).is_err());
        assert!(metadata_spec(None, None, Some(65), None).is_err());
    }
}
