use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HealthyPercentages;
use crate::{Record, Timestamp};

/// `DefaultCooldown` when a group does not say.
pub const DEFAULT_COOLDOWN_S: u32 = 300;

/// A launch template as a group names it: the version may be symbolic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateRef {
    /// `lt-…`.
    pub id: String,
    /// Name.
    pub name: String,
    /// A number, `$Latest` or `$Default`.
    pub version: String,
}

/// What new instances are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceSource {
    /// Launch configuration by name.
    LaunchConfiguration(String),
    /// Launch template.
    LaunchTemplate(LaunchTemplateRef),
}

/// A suspended process and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendedProcess {
    /// `Launch`, `Terminate`, ….
    pub name: String,
    /// `User suspended at …`.
    pub reason: String,
}

/// A group's own metrics, once enabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct MetricsCollection {
    /// Names such as `GroupInServiceInstances`; empty: collection is off.
    pub metrics: BTreeSet<String>,
}

/// Status of a group on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum GroupStatus {
    /// In use.
    #[default]
    Active,
    /// `Delete in progress`.
    Deleting,
}

/// A tag of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTag {
    /// Value.
    pub value: String,
    /// `PropagateAtLaunch`.
    pub propagate_at_launch: bool,
}

/// An Auto Scaling group: what is wanted. Its instances are [`super::Member`] records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name, unique in the account.
    pub name: String,
    /// UUID in its ARN.
    pub uuid: String,
    /// Full ARN.
    pub arn: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What new instances are made from; with a mixed instances policy, that policy's own template.
    pub source: InstanceSource,
    /// Several types, On-Demand and Spot.
    #[serde(default)]
    pub mixed: Option<super::mixed::MixedPolicy>,
    /// In what the sizes are counted.
    #[serde(default)]
    pub capacity_type: super::mixed::CapacityType,
    /// Lower bound of `desired`.
    pub min: u32,
    /// Upper bound of `desired`.
    pub max: u32,
    /// Wanted number of instances.
    pub desired: u32,
    /// Why `desired` changed since it was last acted on: first sentences of the next activities' causes.
    pub desired_cause: Vec<CauseSentence>,
    /// The numbers behind `desired_cause`, for `puffer explain`.
    #[serde(default)]
    pub desired_reasons: Vec<String>,
    /// The alarms behind `desired_cause`, as the details of activities tell of them.
    #[serde(default)]
    pub desired_alarms: Vec<serde_json::Value>,
    /// Grows with each change of the group; a plan made for another generation is stale.
    pub generation: u64,
    /// Seconds between simple-scaling activities.
    pub default_cooldown_s: u32,
    /// `DefaultInstanceWarmup`; `None`: unset, which is not 0.
    pub default_instance_warmup_s: Option<u32>,
    /// Zones, sorted.
    pub zones: Vec<String>,
    /// Subnets as given (`VPCZoneIdentifier`), in order.
    pub subnets: Vec<String>,
    /// Also `ELB`, beyond the EC2 checks that are always on.
    pub health_check_elb: bool,
    /// `HealthCheckType` as given, without blanks.
    #[serde(default)]
    pub health_checks: Option<String>,
    /// Seconds after InService in which failed checks do not count.
    pub health_check_grace_s: u32,
    /// Attached target groups and classic load balancers, by ARN, in order; a classic load balancer is the target group of its
    /// instances ([`crate::elb::classic`]).
    pub target_groups: Vec<String>,
    /// Termination policies in order; empty: `Default`.
    pub termination_policies: Vec<String>,
    /// `NewInstancesProtectedFromScaleIn`.
    pub new_instances_protected: bool,
    /// Suspended processes, in order of suspension.
    pub suspended: Vec<SuspendedProcess>,
    /// Group metrics.
    pub metrics_collection: MetricsCollection,
    /// Tags by key.
    pub tags: BTreeMap<String, GroupTag>,
    /// Role ARN as given.
    pub service_linked_role_arn: Option<String>,
    /// Status.
    pub status: GroupStatus,
    /// When the last cooldown began (end of the last instance's launch or termination).
    pub cooldown_started_at: Option<Timestamp>,
    /// Length of that cooldown if it follows a simple policy with one of its own; `None`: the group's default.
    #[serde(default)]
    pub cooldown_s: Option<u32>,
    /// The activity that it follows.
    #[serde(default)]
    pub cooldown_after: Option<String>,
    /// The `Cooldown` of the simple policy that wanted the capacity, until the group has it: the length of the cooldown that
    /// follows.
    #[serde(default)]
    pub policy_cooldown_s: Option<u32>,
    /// A policy tracks a high-resolution metric of the instances, so they publish every ten seconds.
    #[serde(default)]
    pub high_resolution: bool,
    /// When a policy last let the group grow.
    #[serde(default)]
    pub policy_grew_at: Option<Timestamp>,
    /// When a policy last let the group shrink.
    #[serde(default)]
    pub policy_shrank_at: Option<Timestamp>,
    /// Back-off after launches that fail whatever the zone: `(failures in a row, not before)`.
    pub launch_backoff: Option<(u32, Timestamp)>,
    /// How often in a row members died by themselves soon after their launch, and when the last one did.
    #[serde(default)]
    pub early_ends: Option<(u32, Timestamp)>,
    /// Back-off by zone after launches for which a zone had no capacity.
    #[serde(default)]
    pub zone_backoff: BTreeMap<String, (u32, Timestamp)>,
    /// With a mixed instances policy: back-off by type and zone ([`super::backoff::pool_key`]) after On-Demand launches for which
    /// the zone had none of the type left, so that the next type can be tried.
    #[serde(default)]
    pub pool_backoff: BTreeMap<String, (u32, Timestamp)>,
    /// `balanced-only`: a zone that fails is tried again rather than another one.
    #[serde(default)]
    pub balanced_only: bool,
    /// `CapacityRebalance`: Spot instances at risk are replaced before they are taken back.
    #[serde(default)]
    pub capacity_rebalance: bool,
    /// `AvailabilityZoneImpairmentPolicy`.
    #[serde(default)]
    pub zone_impairment: ZoneImpairment,
    /// The zone that the group is shifted away from now.
    #[serde(default)]
    pub zonal_shift: Option<ZonalShift>,
    /// Attachments (target group ARNs) that have had a healthy instance: only these count for ELB health.
    #[serde(default)]
    pub traffic_in_service: BTreeSet<String>,
    /// Detached target groups from which instances are still being taken.
    #[serde(default)]
    pub traffic_removing: BTreeSet<String>,
    /// `DeletionProtection`.
    #[serde(default)]
    pub deletion_protection: DeletionProtection,
    /// `Context`, as given.
    #[serde(default)]
    pub context: Option<String>,
    /// Lifecycle hooks by name.
    #[serde(default)]
    pub hooks: BTreeMap<String, super::LifecycleHook>,
    /// `InstanceLifecyclePolicy`: an instance whose termination hook is abandoned stays, out of service.
    #[serde(default)]
    pub retain_on_abandon: bool,
    /// Topics that are told of launches and terminations, and of which types.
    #[serde(default)]
    pub notifications: BTreeMap<String, BTreeSet<String>>,
    /// `InstanceMaintenancePolicy`.
    #[serde(default)]
    pub maintenance: Option<HealthyPercentages>,
    /// `MaxInstanceLifetime`, seconds; 0: instances may grow old.
    #[serde(default)]
    pub max_instance_lifetime_s: u32,
    /// Warm pool.
    #[serde(default)]
    pub warm_pool: Option<super::warm_pool::WarmPool>,
    /// Since when every launch has failed.
    #[serde(default)]
    pub launches_fail_since: Option<Timestamp>,
}

/// `AvailabilityZoneImpairmentPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ZoneImpairment {
    /// `ZonalShiftEnabled`: the group follows zonal shifts.
    pub shift_enabled: bool,
    /// `ImpairedZoneHealthCheckBehavior` = `IgnoreUnhealthy`: during a shift, what is unhealthy in the zone stays.
    pub ignore_unhealthy: bool,
}

/// A zonal shift of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZonalShift {
    /// Away from this zone.
    pub zone: String,
    /// Ends by itself then.
    pub until: Timestamp,
}

/// What `DeleteAutoScalingGroup` refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum DeletionProtection {
    /// Nothing.
    #[default]
    None,
    /// Deletion together with instances.
    PreventForceDeletion,
    /// Any deletion.
    PreventAllDeletion,
}

impl DeletionProtection {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            DeletionProtection::None => "none",
            DeletionProtection::PreventForceDeletion => "prevent-force-deletion",
            DeletionProtection::PreventAllDeletion => "prevent-all-deletion",
        }
    }
}

/// One sentence of an activity's cause: `At <time> <text>.`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseSentence {
    /// When.
    pub at: Timestamp,
    /// Text after the time, without the final stop.
    pub text: String,
}

impl Group {
    /// An empty group with AWS's defaults.
    pub fn new(name: &str, uuid: &str, arn: &str, source: InstanceSource, now: Timestamp) -> Group {
        Group {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            arn: arn.to_owned(),
            created_at: now,
            source,
            mixed: None,
            capacity_type: super::mixed::CapacityType::Units,
            min: 0,
            max: 0,
            desired: 0,
            desired_cause: Vec::new(),
            desired_reasons: Vec::new(),
            desired_alarms: Vec::new(),
            generation: 0,
            default_cooldown_s: DEFAULT_COOLDOWN_S,
            default_instance_warmup_s: None,
            zones: Vec::new(),
            subnets: Vec::new(),
            health_check_elb: false,
            health_checks: None,
            health_check_grace_s: 0,
            target_groups: Vec::new(),
            termination_policies: Vec::new(),
            new_instances_protected: false,
            suspended: Vec::new(),
            metrics_collection: MetricsCollection::default(),
            tags: BTreeMap::new(),
            service_linked_role_arn: None,
            status: GroupStatus::Active,
            cooldown_started_at: None,
            cooldown_s: None,
            cooldown_after: None,
            policy_cooldown_s: None,
            high_resolution: false,
            policy_grew_at: None,
            policy_shrank_at: None,
            launch_backoff: None,
            early_ends: None,
            zone_backoff: BTreeMap::new(),
            pool_backoff: BTreeMap::new(),
            balanced_only: false,
            capacity_rebalance: false,
            zone_impairment: ZoneImpairment::default(),
            zonal_shift: None,
            traffic_in_service: BTreeSet::new(),
            traffic_removing: BTreeSet::new(),
            deletion_protection: DeletionProtection::None,
            context: None,
            hooks: BTreeMap::new(),
            retain_on_abandon: false,
            notifications: BTreeMap::new(),
            maintenance: None,
            max_instance_lifetime_s: 0,
            warm_pool: None,
            launches_fail_since: None,
        }
    }

    /// Whether `process` is suspended.
    pub fn is_suspended(&self, process: &str) -> bool {
        self.suspended.iter().any(|p| p.name == process)
    }

    /// Whether the group is shifted away from `zone`.
    pub fn shifted_from(&self, zone: &str, now: Timestamp) -> bool {
        self.zone_impairment.shift_enabled
            && self.zonal_shift.as_ref().is_some_and(|s| s.zone == zone && now < s.until)
    }

    /// When the running cooldown ends, if one runs.
    pub fn cooldown_ends(&self, now: Timestamp) -> Option<Timestamp> {
        let length = self.cooldown_s.unwrap_or(self.default_cooldown_s);
        let ends = self.cooldown_started_at? + Duration::from_secs(length.into());
        (now < ends).then_some(ends)
    }

    /// Seconds after which a new instance counts as ready where a replacement depends on it.
    pub fn warmup_s(&self) -> u32 {
        self.default_instance_warmup_s.unwrap_or(self.health_check_grace_s)
    }

    /// A tag's value.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(|t| t.value.as_str())
    }
}

impl Record for Group {
    const COLLECTION: &'static str = "autoscaling-groups";
    const INDEXES: &'static [&'static str] = &["launch_configuration", "launch_template", "target_group"];

    fn key(&self) -> String {
        self.name.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        match &self.source {
            InstanceSource::LaunchConfiguration(name) => push("launch_configuration", name),
            InstanceSource::LaunchTemplate(t) => push("launch_template", &t.id),
        }
        for template in self.mixed.iter().flat_map(|m| m.overrides.iter().filter_map(|o| o.template.as_ref()))
        {
            push("launch_template", &template.id);
        }
        for arn in &self.target_groups {
            push("target_group", arn);
        }
    }
}

/// A launch configuration: immutable settings for new instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchConfiguration {
    /// Name, unique in the account.
    pub name: String,
    /// Full ARN.
    pub arn: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// `ami-…`.
    pub image_id: String,
    /// `t2.micro`, ….
    pub instance_type: String,
    /// Key pair's name.
    pub key_name: Option<String>,
    /// Ids or names as given.
    pub security_groups: Vec<String>,
    /// Base64 as received.
    pub user_data: Option<String>,
    /// Instance profile as given.
    pub iam_instance_profile: Option<String>,
    /// `InstanceMonitoring.Enabled` (default true for launch configurations).
    pub detailed_monitoring: bool,
    /// `AssociatePublicIpAddress`.
    pub associate_public_ip: Option<bool>,
    /// Metadata service.
    pub metadata_options: Option<crate::ec2::MetadataOptions>,
    /// `BlockDeviceMappings`: at most one, of the root volume.
    pub block_device_mappings: Vec<crate::ec2::BlockDeviceSpec>,
    /// `EbsOptimized`.
    pub ebs_optimized: bool,
    /// `SpotPrice`.
    pub spot_price: Option<String>,
    /// `PlacementTenancy`.
    pub placement_tenancy: Option<String>,
}

impl Record for LaunchConfiguration {
    const COLLECTION: &'static str = "autoscaling-launch-configurations";
    fn key(&self) -> String {
        self.name.clone()
    }
}
