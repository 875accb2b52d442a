//! Instances as describe calls show them.

use puffer_core::ec2::{
    Account, Image, Instance, InstanceLifecycle, InstanceState, MetadataOptions, SecurityGroup,
    instance_types, private_dns_name, profile_arn, sibling_id,
};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::parts::{s, show_tags, time};

/// Where the root volume seems to be attached.
pub(super) const ROOT_DEVICE: &str = "/dev/xvda";

pub(super) fn state(state: InstanceState) -> Option<shapes::InstanceState> {
    Some(shapes::InstanceState { code: Some(state.code()), name: s(state.name()) })
}

pub(super) fn groups(reader: &Reader<'_>, ids: &[String]) -> Vec<shapes::GroupIdentifier> {
    let one = |id: &String| shapes::GroupIdentifier {
        group_id: s(id),
        group_name: reader.get::<SecurityGroup>(id).map(|g| g.name.clone()),
    };
    ids.iter().map(one).collect()
}

pub(super) fn metadata_options(
    options: &MetadataOptions,
    applied: bool,
) -> shapes::InstanceMetadataOptionsResponse {
    let on_off = |on: bool| s(if on { "enabled" } else { "disabled" });
    shapes::InstanceMetadataOptionsResponse {
        state: s(if applied { "applied" } else { "pending" }),
        http_tokens: s(if options.tokens_required { "required" } else { "optional" }),
        http_put_response_hop_limit: Some(i32::from(options.hop_limit)),
        http_endpoint: on_off(options.enabled),
        http_protocol_ipv6: on_off(false),
        instance_metadata_tags: on_off(options.tags),
    }
}

fn interface(
    reader: &Reader<'_>,
    account: &Account,
    i: &Instance,
    public: Option<&String>,
) -> shapes::InstanceNetworkInterface {
    let dns = private_dns_name(i.private_ip, &account.region);
    let association = public.map(|ip| shapes::InstanceNetworkInterfaceAssociation {
        ip_owner_id: s("amazon"),
        public_dns_name: s(&dns),
        public_ip: s(ip),
        ..Default::default()
    });
    let address = i.private_ip.to_string();
    shapes::InstanceNetworkInterface {
        attachment: Some(shapes::InstanceNetworkInterfaceAttachment {
            attach_time: time(i.launched_at),
            attachment_id: s(sibling_id("eni-attach", &i.id)),
            delete_on_termination: Some(true),
            device_index: Some(0),
            status: s(if i.state == InstanceState::Pending { "attaching" } else { "attached" }),
            network_card_index: Some(0),
            ..Default::default()
        }),
        description: s(""),
        groups: Some(groups(reader, &i.security_groups)),
        mac_address: s(&i.mac),
        network_interface_id: s(&i.network_interface_id),
        owner_id: s(&account.id),
        private_dns_name: s(&dns),
        private_ip_address: s(&address),
        private_ip_addresses: Some(vec![shapes::InstancePrivateIpAddress {
            association: association.clone(),
            primary: Some(true),
            private_dns_name: s(&dns),
            private_ip_address: s(&address),
        }]),
        association,
        source_dest_check: Some(i.source_dest_check),
        status: s("in-use"),
        subnet_id: s(&i.subnet_id),
        vpc_id: s(&i.vpc_id),
        interface_type: s("interface"),
        ..Default::default()
    }
}

/// The address by which the instance is reached from outside, while it has one.
pub(super) fn public_ip(i: &Instance) -> Option<String> {
    matches!(i.state, InstanceState::Pending | InstanceState::Running | InstanceState::ShuttingDown)
        .then(|| i.public_ip.map(|ip| ip.to_string()))
        .flatten()
}

/// An instance.
pub(super) fn instance(reader: &Reader<'_>, account: &Account, i: &Instance) -> shapes::Instance {
    let alive = i.state.is_alive();
    let when_alive = |text: String| alive.then_some(text);
    let public = public_ip(i);
    let dns = private_dns_name(i.private_ip, &account.region);
    let size = instance_types::find(&i.instance_type);
    let architecture =
        reader.get::<Image>(&i.image_id).map_or_else(|| "x86_64".into(), |m| m.architecture.clone());
    let root = shapes::InstanceBlockDeviceMapping {
        device_name: s(ROOT_DEVICE),
        ebs: Some(shapes::EbsInstanceBlockDevice {
            attach_time: time(i.root_since()),
            delete_on_termination: Some(true),
            status: s("attached"),
            volume_id: s(i.root_volume_id()),
            ..Default::default()
        }),
    };
    let tags = show_tags(&i.tags);
    shapes::Instance {
        instance_id: s(&i.id),
        image_id: s(&i.image_id),
        state: state(i.state),
        private_dns_name: Some(when_alive(dns.clone()).unwrap_or_default()),
        public_dns_name: Some(public.as_ref().map(|_| dns).unwrap_or_default()),
        state_transition_reason: Some(i.transition_reason.clone().unwrap_or_default()),
        state_reason: i
            .state_reason
            .as_ref()
            .map(|r| shapes::StateReason { code: s(&r.code), message: s(&r.message) }),
        key_name: i.key_name.clone(),
        ami_launch_index: i32::try_from(i.ami_launch_index).ok(),
        product_codes: Some(Vec::new()),
        instance_type: s(&i.instance_type),
        launch_time: time(i.launched_at),
        placement: Some(shapes::Placement {
            availability_zone: s(&i.zone),
            availability_zone_id: s(account.zone_id(&i.zone)),
            group_name: s(""),
            tenancy: s("default"),
            ..Default::default()
        }),
        monitoring: Some(shapes::Monitoring {
            state: s(if i.detailed_monitoring { "enabled" } else { "disabled" }),
            ..Default::default()
        }),
        subnet_id: when_alive(i.subnet_id.clone()),
        vpc_id: when_alive(i.vpc_id.clone()),
        private_ip_address: when_alive(i.private_ip.to_string()),
        public_ip_address: public.clone(),
        architecture: s(architecture),
        block_device_mappings: Some(if alive { vec![root] } else { Vec::new() }),
        client_token: Some(i.client_token.clone().unwrap_or_default()),
        ebs_optimized: Some(i.ebs_optimized),
        ena_support: Some(true),
        hypervisor: s("xen"),
        iam_instance_profile: i.iam_instance_profile.as_ref().map(|profile| shapes::IamInstanceProfile {
            arn: s(profile_arn(&account.id, profile)),
            ..Default::default()
        }),
        spot_instance_request_id: i.spot_request_id(),
        instance_lifecycle: (i.lifecycle == InstanceLifecycle::Spot).then(|| "spot".to_owned()),
        network_interfaces: Some(if alive {
            vec![interface(reader, account, i, public.as_ref())]
        } else {
            Vec::new()
        }),
        root_device_name: s(ROOT_DEVICE),
        root_device_type: s("ebs"),
        security_groups: Some(if alive { groups(reader, &i.security_groups) } else { Vec::new() }),
        source_dest_check: Some(i.source_dest_check),
        tags,
        virtualization_type: s("hvm"),
        cpu_options: size.map(|size| shapes::CpuOptions {
            core_count: i32::try_from(size.n_vcpus).ok(),
            threads_per_core: Some(1),
            ..Default::default()
        }),
        capacity_reservation_specification: Some(shapes::CapacityReservationSpecificationResponse {
            capacity_reservation_preference: s("open"),
            ..Default::default()
        }),
        hibernation_options: Some(shapes::HibernationOptions { configured: Some(false) }),
        metadata_options: Some(metadata_options(&i.metadata_options, i.state != InstanceState::Pending)),
        enclave_options: Some(shapes::EnclaveOptions { enabled: Some(false) }),
        platform_details: s("Linux/UNIX"),
        usage_operation: s("RunInstances"),
        private_dns_name_options: alive.then(|| shapes::PrivateDnsNameOptionsResponse {
            hostname_type: s("ip-name"),
            enable_resource_name_dns_a_record: Some(false),
            enable_resource_name_dns_aaaa_record: Some(false),
        }),
        maintenance_options: Some(shapes::InstanceMaintenanceOptions {
            auto_recovery: s("default"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A reservation with these of its instances.
pub(super) fn reservation<'a>(
    reader: &Reader<'_>,
    account: &Account,
    id: &str,
    instances: impl Iterator<Item = &'a Instance>,
) -> shapes::Reservation {
    shapes::Reservation {
        reservation_id: s(id),
        owner_id: s(&account.id),
        groups: Some(Vec::new()),
        instances: Some(instances.map(|i| instance(reader, account, i)).collect()),
        ..Default::default()
    }
}
