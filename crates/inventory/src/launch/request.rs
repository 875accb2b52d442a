use std::net::Ipv4Addr;

use puffer_core::Tags;
use puffer_core::autoscaling;
use puffer_core::ec2::{
    Account, LaunchTemplate, LaunchTemplateData, LaunchTemplateSource, LaunchTemplateVersion,
    MetadataOptions, Price,
};
use puffer_store::Reader;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::LaunchError;
use crate::images;

/// All that a launch needs to know, with nothing symbolic left but the subnet's choice.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchRequest {
    /// `ami-…`.
    pub image_id: String,
    /// `t2.micro`, ….
    pub instance_type: String,
    /// Launch at least this many or none.
    pub min_count: u32,
    /// Launch up to this many.
    pub max_count: u32,
    /// `subnet-…`; without one, a default subnet.
    pub subnet_id: Option<String>,
    /// Zone of the default subnet, or a check on the given one.
    pub zone: Option<String>,
    /// `sg-…`. With [`LaunchRequest::security_groups`] empty too: the VPC's default group.
    pub security_group_ids: Vec<String>,
    /// Groups by id (`sg-…`) or by name in the VPC of the launch.
    pub security_groups: Vec<String>,
    /// Key pair's name.
    pub key_name: Option<String>,
    /// Base64 as received.
    pub user_data: Option<String>,
    /// Instance profile, ARN or name.
    pub iam_instance_profile: Option<String>,
    /// Wanted address, for a single instance.
    pub private_ip: Option<Ipv4Addr>,
    /// `AssociatePublicIpAddress`; `None`: as the subnet has it.
    pub associate_public_ip: Option<bool>,
    /// Metadata service.
    pub metadata_options: MetadataOptions,
    /// Detailed monitoring.
    pub detailed_monitoring: bool,
    /// `DisableApiTermination`.
    pub termination_protected: bool,
    /// `DisableApiStop`.
    pub stop_protected: bool,
    /// `InstanceInitiatedShutdownBehavior` = terminate.
    pub terminate_on_shutdown: bool,
    /// `EbsOptimized`.
    pub ebs_optimized: bool,
    /// Size shown for the root volume; `None`: the image's.
    pub root_volume_gib: Option<u32>,
    /// Bought on the Spot market; `None`: On-Demand.
    pub spot: Option<SpotPurchase>,
    /// Where the settings come from.
    pub launch_template: Option<LaunchTemplateSource>,
    /// The group on whose behalf it is launched.
    pub auto_scaling_group: Option<String>,
    /// Makes the launch happen once.
    pub client_token: Option<ClientToken>,
    /// The instances' tags.
    pub tags: Tags,
    /// Their root volumes' tags.
    pub volume_tags: Tags,
    /// Their interfaces' tags.
    pub network_interface_tags: Tags,
}

/// An idempotency token, and a digest of what was asked with it: the same request again gets the same instances, another one with
/// the same token is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientToken {
    /// `ClientToken`.
    pub token: String,
    /// SHA-256 of the request's parameters, in hexadecimal digits.
    pub digest: String,
}

impl ClientToken {
    /// Of a request with these parameters.
    pub fn new(token: String, asked: &impl Serialize) -> serde_json::Result<ClientToken> {
        let digest = Sha256::digest(serde_json::to_vec(asked)?);
        Ok(ClientToken { token, digest: digest.iter().map(|byte| format!("{byte:02x}")).collect() })
    }
}

/// How a Spot instance is bought. It is one-time and is terminated when it is interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpotPurchase {
    /// Highest price; `None`: the On-Demand price.
    pub max_price: Option<Price>,
    /// Tags of the Spot request.
    pub request_tags: Tags,
}

impl LaunchRequest {
    /// One instance of that type from that image, everything else as EC2 has it by default.
    pub fn new(image_id: impl Into<String>, instance_type: impl Into<String>) -> LaunchRequest {
        LaunchRequest {
            image_id: image_id.into(),
            instance_type: instance_type.into(),
            min_count: 1,
            max_count: 1,
            subnet_id: None,
            zone: None,
            security_group_ids: Vec::new(),
            security_groups: Vec::new(),
            key_name: None,
            user_data: None,
            iam_instance_profile: None,
            private_ip: None,
            associate_public_ip: None,
            metadata_options: MetadataOptions::default(),
            detailed_monitoring: false,
            termination_protected: false,
            stop_protected: false,
            terminate_on_shutdown: false,
            ebs_optimized: false,
            root_volume_gib: None,
            spot: None,
            launch_template: None,
            auto_scaling_group: None,
            client_token: None,
            tags: Tags::new(),
            volume_tags: Tags::new(),
            network_interface_tags: Tags::new(),
        }
    }
}

/// A launch template as a request names it: by id or name, with a version that may be symbolic or absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TemplateRef {
    /// `lt-…`.
    pub id: Option<String>,
    /// Name, used if there is no id.
    pub name: Option<String>,
    /// A number, `$Latest` or `$Default` (also if absent).
    pub version: Option<String>,
}

impl From<&autoscaling::LaunchTemplateRef> for TemplateRef {
    fn from(t: &autoscaling::LaunchTemplateRef) -> Self {
        let some = |s: &String| (!s.is_empty()).then(|| s.clone());
        TemplateRef { id: some(&t.id), name: some(&t.name), version: some(&t.version) }
    }
}

/// Settings for one instance from a version of a template, with `overrides` put over what the version says. Callers then set counts,
/// subnet, tags and what else they decide.
pub fn resolve_template(
    reader: &Reader<'_>,
    template: &TemplateRef,
    overrides: &LaunchTemplateData,
) -> Result<LaunchRequest, LaunchError> {
    let (found, version) = crate::launch_templates::find_version(reader, template)?;
    let mut request = request_from_data(reader, &version.data.overlaid(overrides))?;
    request.launch_template = Some(source_of(&found, &version));
    Ok(request)
}

fn source_of(template: &LaunchTemplate, version: &LaunchTemplateVersion) -> LaunchTemplateSource {
    LaunchTemplateSource { id: template.id.clone(), name: template.name.clone(), version: version.version }
}

/// EC2's type when a launch names none.
const DEFAULT_INSTANCE_TYPE: &str = "m1.small";

/// The zone that the data names, by name or by id.
fn zone_of(reader: &Reader<'_>, data: &LaunchTemplateData) -> Result<Option<String>, LaunchError> {
    let Some(id) = &data.placement_zone_id else { return Ok(data.placement_zone.clone()) };
    let account = reader.get::<Account>(Account::KEY).ok_or(LaunchError::NoDefaultVpc)?;
    let named = account.zones.iter().find(|zone| account.zone_id(zone) == *id).cloned();
    let named = named.ok_or_else(|| LaunchError::Zone(id.clone()))?;
    match data.placement_zone.as_ref().filter(|zone| **zone != named) {
        Some(zone) => Err(LaunchError::Combination(format!("The zone {zone} does not have the id {id}."))),
        None => Ok(Some(named)),
    }
}

/// Settings for one instance from template data alone.
pub fn request_from_data(
    reader: &Reader<'_>,
    data: &LaunchTemplateData,
) -> Result<LaunchRequest, LaunchError> {
    let image = data.image_id.as_deref().ok_or(LaunchError::Missing("ImageId"))?;
    let image_id = images::resolve(reader, image).ok_or_else(|| {
        LaunchError::ImageParameter(image.trim_start_matches(images::RESOLVE_PREFIX).to_owned())
    })?;
    if data.network_interfaces.len() > 1 || data.network_interfaces.iter().any(|n| n.device_index != 0) {
        return Err(LaunchError::Unsupported(
            "Puffer's instances have one network interface, with device index 0.".into(),
        ));
    }
    let interface = data.network_interfaces.first();
    if interface.is_some() && !(data.security_group_ids.is_empty() && data.security_groups.is_empty()) {
        return Err(LaunchError::Combination(
            "Network interfaces and an instance-level security groups may not be specified on the same request".into(),
        ));
    }
    if !(data.security_group_ids.is_empty() || data.security_groups.is_empty()) {
        return Err(LaunchError::Combination(
            "The parameters SecurityGroupIds and SecurityGroups may not be used together".into(),
        ));
    }
    let spot = data.spot.as_ref().map(|options| SpotPurchase {
        max_price: options.max_price,
        request_tags: data.tags_for("spot-instances-request"),
    });
    let root = data.block_devices.iter().find(|d| d.volume_size_gib.is_some());
    Ok(LaunchRequest {
        subnet_id: interface.and_then(|i| i.subnet_id.clone()),
        zone: zone_of(reader, data)?,
        security_group_ids: interface.map_or_else(|| data.security_group_ids.clone(), |i| i.groups.clone()),
        security_groups: data.security_groups.clone(),
        key_name: data.key_name.clone(),
        user_data: data.user_data.clone().filter(|d| !d.is_empty()),
        iam_instance_profile: data
            .iam_instance_profile_arn
            .clone()
            .or_else(|| data.iam_instance_profile_name.clone()),
        private_ip: interface.and_then(|i| i.private_ip),
        associate_public_ip: interface.and_then(|i| i.associate_public_ip),
        metadata_options: data.metadata_options.clone().unwrap_or_default().over(&MetadataOptions::default()),
        detailed_monitoring: data.detailed_monitoring.unwrap_or(false),
        termination_protected: data.disable_api_termination.unwrap_or(false),
        stop_protected: data.disable_api_stop.unwrap_or(false),
        terminate_on_shutdown: data.shutdown_behavior.as_deref() == Some("terminate"),
        ebs_optimized: data.ebs_optimized.unwrap_or(false),
        spot,
        root_volume_gib: root.and_then(|d| u32::try_from(d.volume_size_gib?).ok()),
        tags: data.tags_for("instance"),
        volume_tags: data.tags_for("volume"),
        network_interface_tags: data.tags_for("network-interface"),
        ..LaunchRequest::new(image_id, data.instance_type.as_deref().unwrap_or(DEFAULT_INSTANCE_TYPE))
    })
}
