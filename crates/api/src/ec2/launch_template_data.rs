//! What a launch template version says: from the wire and back. What Puffer does not do is refused when it is asked for, so
//! that a template never promises what its launches would not keep.

use puffer_core::ec2::{
    BlockDeviceSpec, InterfaceSpec, LaunchTemplateData, MetadataOptionsSpec, SpotSpec, TagSpecification,
};
use puffer_inventory::launch;
use puffer_shapes::ec2 as shapes;

use super::error::{invalid_value, unsupported};
use super::parts::{read_tags, refuse, required, s, show_tags};
use super::run_instances::{
    InterfaceExtras, InterfaceParts, PlacementParts, TAGGABLE, check_block_devices, check_dns,
    check_interface, check_metadata_ipv6, check_placement, check_recovery, check_reservations,
    check_shutdown, interface_spec, market_spec, metadata_spec,
};
use crate::ApiError;

pub(super) fn read(data: shapes::RequestLaunchTemplateData) -> Result<LaunchTemplateData, ApiError> {
    refuse!(data;
        kernel_id => "Choosing a kernel",
        ram_disk_id => "Choosing a RAM disk",
        elastic_gpu_specifications => "Elastic Graphics",
        elastic_inference_accelerators => "Elastic Inference",
        cpu_options => "Choosing CPU options",
        license_specifications => "License configurations",
        instance_requirements => "Choosing instance types by attributes",
        network_performance_options => "Choosing network performance",
        secondary_interfaces => "A secondary interface",
        operator => "Operator-managed instances",
    );
    if data.hibernation_options.as_ref().is_some_and(|h| h.configured == Some(true)) {
        return Err(unsupported("Hibernation"));
    }
    if data.enclave_options.as_ref().is_some_and(|e| e.enabled == Some(true)) {
        return Err(unsupported("Enclaves"));
    }
    if let Some(c) = &data.capacity_reservation_specification {
        let preference = c.capacity_reservation_preference.as_deref();
        check_reservations(preference, c.capacity_reservation_target.is_some())?;
    }
    if let Some(dns) = &data.private_dns_name_options {
        let kind = dns.hostname_type.as_deref();
        check_dns(kind, dns.enable_resource_name_dns_a_record, dns.enable_resource_name_dns_aaaa_record)?;
    }
    check_recovery(data.maintenance_options.as_ref().and_then(|m| m.auto_recovery.as_deref()))?;
    if let Some(monitoring) = &data.monitoring {
        refuse!(monitoring; metric_category_ids => "Choosing categories of metrics");
    }
    let placement = data.placement.unwrap_or_default();
    check_placement(&PlacementParts {
        has_host: placement.host_id.is_some() || placement.host_resource_group_arn.is_some(),
        is_grouped: placement.group_id.is_some()
            || placement.partition_number.is_some()
            || placement.spread_domain.is_some(),
        tenancy: placement.tenancy.clone(),
        affinity: placement.affinity,
        group_name: placement.group_name,
    })?;
    let profile = data.iam_instance_profile.unwrap_or_default();
    let read = LaunchTemplateData {
        image_id: data.image_id.filter(|v| !v.is_empty()),
        instance_type: data.instance_type.filter(|v| !v.is_empty()),
        key_name: data.key_name.filter(|v| !v.is_empty()),
        security_group_ids: data.security_group_ids.unwrap_or_default(),
        security_groups: data.security_groups.unwrap_or_default(),
        user_data: launch::check_user_data(data.user_data)?,
        iam_instance_profile_arn: profile.arn.filter(|v| !v.is_empty()),
        iam_instance_profile_name: profile.name.filter(|v| !v.is_empty()),
        metadata_options: data
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
        detailed_monitoring: data.monitoring.and_then(|m| m.enabled),
        disable_api_termination: data.disable_api_termination,
        disable_api_stop: data.disable_api_stop,
        shutdown_behavior: check_shutdown(
            data.instance_initiated_shutdown_behavior.filter(|v| !v.is_empty()),
        )?,
        ebs_optimized: data.ebs_optimized,
        tag_specifications: data
            .tag_specifications
            .unwrap_or_default()
            .into_iter()
            .map(tag_specification)
            .collect::<Result<_, _>>()?,
        network_interfaces: data
            .network_interfaces
            .unwrap_or_default()
            .into_iter()
            .map(interface)
            .collect::<Result<_, _>>()?,
        block_devices: data
            .block_device_mappings
            .unwrap_or_default()
            .into_iter()
            .filter_map(|m| block_device(m).transpose())
            .collect::<Result<_, _>>()?,
        placement_zone: placement.availability_zone.filter(|v| !v.is_empty()),
        placement_zone_id: placement.availability_zone_id.filter(|v| !v.is_empty()),
        placement_tenancy: placement.tenancy.filter(|v| !v.is_empty()),
        cpu_credits: data.credit_specification.and_then(|c| c.cpu_credits),
        spot: data.instance_market_options.map(market).transpose()?.flatten(),
    };
    check_block_devices(&read.block_devices)?;
    Ok(read)
}

fn market(options: shapes::LaunchTemplateInstanceMarketOptionsRequest) -> Result<Option<SpotSpec>, ApiError> {
    let spot = options.spot_options.unwrap_or_default();
    market_spec(
        options.market_type.as_deref(),
        spot.max_price.as_deref(),
        spot.spot_instance_type.as_deref(),
        spot.instance_interruption_behavior.as_deref(),
        spot.block_duration_minutes.is_some() || spot.valid_until.is_some(),
    )
}

fn show_market(spot: &SpotSpec) -> shapes::LaunchTemplateInstanceMarketOptions {
    shapes::LaunchTemplateInstanceMarketOptions {
        market_type: s("spot"),
        spot_options: spot.max_price.map(|price| shapes::LaunchTemplateSpotMarketOptions {
            max_price: s(price.to_string()),
            ..Default::default()
        }),
    }
}

fn tag_specification(t: shapes::LaunchTemplateTagSpecificationRequest) -> Result<TagSpecification, ApiError> {
    let resource_type = required(t.resource_type, "ResourceType")?;
    if !TAGGABLE.contains(&resource_type.as_str()) {
        return Err(invalid_value(format!("'{resource_type}' is not a valid taggable resource type.")));
    }
    Ok(TagSpecification { resource_type, tags: read_tags(t.tags)? })
}

fn interface(
    i: shapes::LaunchTemplateInstanceNetworkInterfaceSpecificationRequest,
) -> Result<InterfaceSpec, ApiError> {
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

fn block_device(
    m: shapes::LaunchTemplateBlockDeviceMappingRequest,
) -> Result<Option<BlockDeviceSpec>, ApiError> {
    let device_name = required(m.device_name, "DeviceName")?;
    if m.no_device.is_some() {
        return Ok(None);
    }
    if m.virtual_name.is_some() {
        return Err(unsupported("An instance store volume"));
    }
    let ebs = m.ebs.unwrap_or_default();
    if ebs.kms_key_id.as_ref().is_some_and(|k| !k.is_empty()) {
        return Err(unsupported("An encrypted volume"));
    }
    refuse!(ebs;
        snapshot_id => "Choosing a volume's snapshot",
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

fn list<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

pub(super) fn show(d: &LaunchTemplateData) -> shapes::ResponseLaunchTemplateData {
    let profile =
        (d.iam_instance_profile_arn.is_some() || d.iam_instance_profile_name.is_some()).then(|| {
            shapes::LaunchTemplateIamInstanceProfileSpecification {
                arn: d.iam_instance_profile_arn.clone(),
                name: d.iam_instance_profile_name.clone(),
            }
        });
    let is_placed =
        d.placement_zone.is_some() || d.placement_zone_id.is_some() || d.placement_tenancy.is_some();
    let placement = is_placed.then(|| shapes::LaunchTemplatePlacement {
        availability_zone: d.placement_zone.clone(),
        availability_zone_id: d.placement_zone_id.clone(),
        tenancy: d.placement_tenancy.clone(),
        ..Default::default()
    });
    let show_tag = |t: &TagSpecification| shapes::LaunchTemplateTagSpecification {
        resource_type: s(&t.resource_type),
        tags: show_tags(&t.tags),
    };
    shapes::ResponseLaunchTemplateData {
        ebs_optimized: d.ebs_optimized,
        iam_instance_profile: profile,
        block_device_mappings: list(d.block_devices.iter().map(show_block_device).collect()),
        network_interfaces: list(d.network_interfaces.iter().map(show_interface).collect()),
        image_id: d.image_id.clone(),
        instance_type: d.instance_type.clone(),
        key_name: d.key_name.clone(),
        monitoring: d
            .detailed_monitoring
            .map(|on| shapes::LaunchTemplatesMonitoring { enabled: Some(on), ..Default::default() }),
        placement,
        disable_api_termination: d.disable_api_termination,
        instance_initiated_shutdown_behavior: d.shutdown_behavior.clone(),
        user_data: d.user_data.clone(),
        tag_specifications: list(d.tag_specifications.iter().map(show_tag).collect()),
        security_group_ids: list(d.security_group_ids.clone()),
        security_groups: list(d.security_groups.clone()),
        credit_specification: d
            .cpu_credits
            .as_ref()
            .map(|c| shapes::CreditSpecification { cpu_credits: s(c) }),
        metadata_options: d.metadata_options.as_ref().map(show_metadata),
        disable_api_stop: d.disable_api_stop,
        instance_market_options: d.spot.as_ref().map(show_market),
        ..Default::default()
    }
}

fn show_metadata(m: &MetadataOptionsSpec) -> shapes::LaunchTemplateInstanceMetadataOptions {
    let choice =
        |v: Option<bool>, yes: &str, no: &str| v.map(|v| if v { yes.to_owned() } else { no.to_owned() });
    shapes::LaunchTemplateInstanceMetadataOptions {
        http_tokens: choice(m.tokens_required, "required", "optional"),
        http_put_response_hop_limit: m.hop_limit.map(i32::from),
        http_endpoint: choice(m.enabled, "enabled", "disabled"),
        instance_metadata_tags: choice(m.tags, "enabled", "disabled"),
        ..Default::default()
    }
}

fn show_interface(i: &InterfaceSpec) -> shapes::LaunchTemplateInstanceNetworkInterfaceSpecification {
    shapes::LaunchTemplateInstanceNetworkInterfaceSpecification {
        associate_public_ip_address: i.associate_public_ip,
        delete_on_termination: i.delete_on_termination,
        description: i.description.clone(),
        device_index: Some(i.device_index),
        groups: list(i.groups.clone()),
        private_ip_address: i.private_ip.map(|ip| ip.to_string()),
        subnet_id: i.subnet_id.clone(),
        ..Default::default()
    }
}

fn show_block_device(d: &BlockDeviceSpec) -> shapes::LaunchTemplateBlockDeviceMapping {
    shapes::LaunchTemplateBlockDeviceMapping {
        device_name: s(&d.device_name),
        ebs: Some(shapes::LaunchTemplateEbsBlockDevice {
            encrypted: d.encrypted,
            delete_on_termination: d.delete_on_termination,
            iops: d.iops,
            snapshot_id: d.snapshot_id.clone(),
            volume_size: d.volume_size_gib,
            volume_type: d.volume_type.clone(),
            throughput: d.throughput,
            ..Default::default()
        }),
        ..Default::default()
    }
}
