use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::MetadataOptions;
use crate::{Record, Tags, Timestamp};

/// Metadata settings as asked for; what is `None` takes the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct MetadataOptionsSpec {
    pub enabled: Option<bool>,
    pub tokens_required: Option<bool>,
    pub hop_limit: Option<u8>,
    pub tags: Option<bool>,
}

impl MetadataOptionsSpec {
    /// `self` where it says something, else `base`.
    pub fn over(&self, base: &MetadataOptions) -> MetadataOptions {
        MetadataOptions {
            enabled: self.enabled.unwrap_or(base.enabled),
            tokens_required: self.tokens_required.unwrap_or(base.tokens_required),
            hop_limit: self.hop_limit.unwrap_or(base.hop_limit),
            tags: self.tags.unwrap_or(base.tags),
        }
    }
}

/// Tags for what a launch makes, by kind of resource (`instance`, `volume`, `network-interface`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagSpecification {
    /// `ResourceType`.
    pub resource_type: String,
    /// The tags.
    pub tags: Tags,
}

/// The one interface of an instance, when a request spells it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct InterfaceSpec {
    /// `DeviceIndex`, always 0 here.
    pub device_index: i32,
    /// `subnet-…`.
    pub subnet_id: Option<String>,
    /// `sg-…`.
    pub groups: Vec<String>,
    /// `AssociatePublicIpAddress`.
    pub associate_public_ip: Option<bool>,
    /// Wanted address.
    pub private_ip: Option<Ipv4Addr>,
    /// `DeleteOnTermination`.
    pub delete_on_termination: Option<bool>,
    /// Text for people.
    pub description: Option<String>,
}

/// A block device as asked for. The root's size is shown; Puffer's disks are copy-on-write roots without a quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub struct BlockDeviceSpec {
    pub device_name: String,
    pub volume_size_gib: Option<i32>,
    pub volume_type: Option<String>,
    pub iops: Option<i32>,
    pub throughput: Option<i32>,
    pub encrypted: Option<bool>,
    pub delete_on_termination: Option<bool>,
    pub snapshot_id: Option<String>,
}

/// Names of the root device: what images of AWS call it.
const ROOT_DEVICES: [&str; 3] = ["/dev/xvda", "/dev/sda1", "/dev/sda"];

impl BlockDeviceSpec {
    /// Whether it means the root volume.
    pub fn is_root(&self) -> bool {
        ROOT_DEVICES.contains(&self.device_name.as_str())
    }
}

/// `InstanceMarketOptions` with the market `spot`: one-time, terminated when interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SpotSpec {
    /// `MaxPrice`; `None`: the On-Demand price.
    pub max_price: Option<super::Price>,
}

/// What a launch template version says. Everything optional; a launch needs an image and a type in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
#[allow(missing_docs)]
pub struct LaunchTemplateData {
    /// `ami-…` or `resolve:ssm:<parameter>`.
    pub image_id: Option<String>,
    pub instance_type: Option<String>,
    pub key_name: Option<String>,
    pub security_group_ids: Vec<String>,
    pub security_groups: Vec<String>,
    /// Base64 as received.
    pub user_data: Option<String>,
    pub iam_instance_profile_arn: Option<String>,
    pub iam_instance_profile_name: Option<String>,
    pub metadata_options: Option<MetadataOptionsSpec>,
    pub detailed_monitoring: Option<bool>,
    pub disable_api_termination: Option<bool>,
    pub disable_api_stop: Option<bool>,
    /// `stop` or `terminate`.
    pub shutdown_behavior: Option<String>,
    pub ebs_optimized: Option<bool>,
    pub tag_specifications: Vec<TagSpecification>,
    pub network_interfaces: Vec<InterfaceSpec>,
    pub block_devices: Vec<BlockDeviceSpec>,
    pub placement_zone: Option<String>,
    /// The same by its id.
    pub placement_zone_id: Option<String>,
    pub placement_tenancy: Option<String>,
    /// Bought on the Spot market.
    pub spot: Option<SpotSpec>,
    /// `standard` or `unlimited`; shown only, CPU is not rationed by credits.
    pub cpu_credits: Option<String>,
}

impl LaunchTemplateData {
    /// `self` with everything that `newer` says put over it, as `CreateLaunchTemplateVersion` with a source version does.
    #[must_use]
    pub fn overlaid(&self, newer: &LaunchTemplateData) -> LaunchTemplateData {
        fn either<T: Clone>(newer: &Option<T>, older: &Option<T>) -> Option<T> {
            newer.as_ref().or(older.as_ref()).cloned()
        }
        fn list<T: Clone>(newer: &[T], older: &[T]) -> Vec<T> {
            if newer.is_empty() { older.to_vec() } else { newer.to_vec() }
        }
        let (n, o) = (newer, self);
        // A name and an ARN for the profile exclude each other, so they are replaced together.
        let profile_said = n.iam_instance_profile_arn.is_some() || n.iam_instance_profile_name.is_some();
        let profile = if profile_said { n } else { o };
        // So do a zone's name and its id.
        let placement = if n.placement_zone.is_some() || n.placement_zone_id.is_some() { n } else { o };
        LaunchTemplateData {
            image_id: either(&n.image_id, &o.image_id),
            instance_type: either(&n.instance_type, &o.instance_type),
            key_name: either(&n.key_name, &o.key_name),
            security_group_ids: list(&n.security_group_ids, &o.security_group_ids),
            security_groups: list(&n.security_groups, &o.security_groups),
            user_data: either(&n.user_data, &o.user_data),
            iam_instance_profile_arn: profile.iam_instance_profile_arn.clone(),
            iam_instance_profile_name: profile.iam_instance_profile_name.clone(),
            metadata_options: either(&n.metadata_options, &o.metadata_options),
            detailed_monitoring: either(&n.detailed_monitoring, &o.detailed_monitoring),
            disable_api_termination: either(&n.disable_api_termination, &o.disable_api_termination),
            disable_api_stop: either(&n.disable_api_stop, &o.disable_api_stop),
            shutdown_behavior: either(&n.shutdown_behavior, &o.shutdown_behavior),
            ebs_optimized: either(&n.ebs_optimized, &o.ebs_optimized),
            tag_specifications: list(&n.tag_specifications, &o.tag_specifications),
            network_interfaces: list(&n.network_interfaces, &o.network_interfaces),
            block_devices: list(&n.block_devices, &o.block_devices),
            placement_zone: placement.placement_zone.clone(),
            placement_zone_id: placement.placement_zone_id.clone(),
            placement_tenancy: either(&n.placement_tenancy, &o.placement_tenancy),
            spot: either(&n.spot, &o.spot),
            cpu_credits: either(&n.cpu_credits, &o.cpu_credits),
        }
    }

    /// The tags for one kind of resource.
    pub fn tags_for(&self, resource_type: &str) -> Tags {
        self.tag_specifications
            .iter()
            .filter(|s| s.resource_type == resource_type)
            .flat_map(|s| s.tags.clone())
            .collect()
    }
}

/// A launch template: a name for numbered versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// `lt-…`.
    pub id: String,
    /// Name, unique in the account.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Version that `$Default` means.
    pub default_version: u64,
    /// Highest number given so far; `$Latest` means the highest that still exists.
    pub latest_version: u64,
    /// Idempotency token of its creation.
    pub client_token: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Record for LaunchTemplate {
    const COLLECTION: &'static str = "ec2-launch-templates";
    const INDEXES: &'static [&'static str] = &["name"];
    fn key(&self) -> String {
        self.id.clone()
    }
    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("name", &self.name);
    }
}

/// A version of a launch template. Immutable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchTemplateVersion {
    /// `lt-…`.
    pub template_id: String,
    /// Number, from 1.
    pub version: u64,
    /// `VersionDescription`.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it says.
    pub data: LaunchTemplateData,
    /// Token of the request that made it.
    #[serde(default)]
    pub client_token: Option<String>,
}

impl LaunchTemplateVersion {
    /// Key: versions of a template sort by number.
    pub fn key_of(template_id: &str, version: u64) -> String {
        format!("{template_id}|{version:010}")
    }
}

impl Record for LaunchTemplateVersion {
    const COLLECTION: &'static str = "ec2-launch-template-versions";
    const INDEXES: &'static [&'static str] = &["template"];
    fn key(&self) -> String {
        LaunchTemplateVersion::key_of(&self.template_id, self.version)
    }
    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("template", &self.template_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_data_wins_and_lists_are_replaced_whole() {
        let older = LaunchTemplateData {
            image_id: Some("ami-1".into()),
            instance_type: Some("t2.micro".into()),
            security_group_ids: vec!["sg-1".into(), "sg-2".into()],
            iam_instance_profile_arn: Some("arn".into()),
            ..Default::default()
        };
        let newer = LaunchTemplateData {
            instance_type: Some("t3.micro".into()),
            security_group_ids: vec!["sg-3".into()],
            iam_instance_profile_name: Some("name".into()),
            ..Default::default()
        };
        let merged = older.overlaid(&newer);
        assert_eq!(merged.image_id.as_deref(), Some("ami-1"));
        assert_eq!(merged.instance_type.as_deref(), Some("t3.micro"));
        assert_eq!(merged.security_group_ids, ["sg-3"]);
        assert_eq!(
            (merged.iam_instance_profile_arn, merged.iam_instance_profile_name),
            (None, Some("name".into()))
        );
        assert_eq!(older.overlaid(&LaunchTemplateData::default()), older);
    }
}
