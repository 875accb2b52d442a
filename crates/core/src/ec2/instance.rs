use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Record, Tags, Timestamp};

/// Instance states as EC2 names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Recorded, not yet running.
    Pending,
    /// Its init runs.
    Running,
    /// Being terminated.
    ShuttingDown,
    /// Gone; the record stays about an hour, as on AWS.
    Terminated,
    /// Being stopped.
    Stopping,
    /// Its disk exists, nothing runs.
    Stopped,
}

impl InstanceState {
    /// EC2's numeric code (`InstanceState.Code`).
    pub fn code(self) -> i32 {
        match self {
            InstanceState::Pending => 0,
            InstanceState::Running => 16,
            InstanceState::ShuttingDown => 32,
            InstanceState::Terminated => 48,
            InstanceState::Stopping => 64,
            InstanceState::Stopped => 80,
        }
    }

    /// EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
            InstanceState::Stopping => "stopping",
            InstanceState::Stopped => "stopped",
        }
    }

    /// Whether it still holds its address and disk.
    pub fn is_alive(self) -> bool {
        !matches!(self, InstanceState::Terminated)
    }
}

/// What was last asked of an instance. `instance_converge` moves [`Instance::state`] towards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceIntent {
    /// Run (after launch or start).
    Run,
    /// Be stopped, keep the disk.
    Stop,
    /// Be gone.
    Terminate,
}

/// How the instance is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub enum InstanceLifecycle {
    /// Not spot.
    #[default]
    OnDemand,
    /// Spot.
    Spot,
}

/// Why an instance is in its state (`StateReason`), for example `Client.UserInitiatedShutdown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    /// AWS's code.
    pub code: String,
    /// Text for people.
    pub message: String,
}

/// Metadata service settings of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    /// `HttpEndpoint`.
    pub enabled: bool,
    /// `HttpTokens` = `required` (version 2 only).
    pub tokens_required: bool,
    /// `HttpPutResponseHopLimit`, 1–64.
    pub hop_limit: u8,
    /// `InstanceMetadataTags`.
    pub tags: bool,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        MetadataOptions { enabled: true, tokens_required: true, hop_limit: 2, tags: false }
    }
}

/// Where a launch took its settings from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateSource {
    /// `lt-…`.
    pub id: String,
    /// Its name at launch.
    pub name: String,
    /// The resolved version number.
    pub version: u64,
}

/// A status check's result (`InstanceStatus.Status`, `SystemStatus.Status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum StatusCheck {
    /// Not known yet.
    #[default]
    Initializing,
    /// Passed.
    Ok,
    /// Failed.
    Impaired,
    /// Cannot be told.
    InsufficientData,
}

/// An EC2 instance: the record that exists before anything runs and after it has gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// `r-…`.
    pub reservation_id: String,
    /// Position in its launch request.
    pub ami_launch_index: u32,
    /// Idempotency token of the launch (`ClientToken`).
    pub client_token: Option<String>,
    /// Digest of the request that came with it.
    #[serde(default)]
    pub client_digest: Option<String>,
    /// Asked to stop at once: the guest is not given time to shut down.
    #[serde(default)]
    pub stop_hard: bool,
    /// `ami-…`.
    pub image_id: String,
    /// `t2.micro`, ….
    pub instance_type: String,
    /// Zone name, `us-east-1a`.
    pub zone: String,
    /// `vpc-…`.
    pub vpc_id: String,
    /// `subnet-…`.
    pub subnet_id: String,
    /// `eni-…` of its only interface.
    pub network_interface_id: String,
    /// Address in the subnet; kept until termination.
    pub private_ip: Ipv4Addr,
    /// Public (elastic or automatic) address, if any.
    pub public_ip: Option<Ipv4Addr>,
    /// Interface's MAC address.
    pub mac: String,
    /// `sg-…`, in the order of the launch.
    pub security_groups: Vec<String>,
    /// Key pair's name.
    pub key_name: Option<String>,
    /// User data, base64 as received.
    pub user_data: Option<String>,
    /// Instance profile ARN or name as received.
    pub iam_instance_profile: Option<String>,
    /// Metadata service.
    pub metadata_options: MetadataOptions,
    /// Detailed monitoring: one-minute metrics instead of five.
    pub detailed_monitoring: bool,
    /// `DisableApiTermination`.
    pub termination_protected: bool,
    /// `InstanceInitiatedShutdownBehavior` = terminate.
    pub terminate_on_shutdown: bool,
    /// On-Demand or Spot.
    pub lifecycle: InstanceLifecycle,
    /// What it was bought for on the Spot market.
    #[serde(default)]
    pub spot: Option<super::SpotTerms>,
    /// What it is now.
    pub state: InstanceState,
    /// What it shall be.
    pub intent: InstanceIntent,
    /// Counts reboot requests; the converger performs each once.
    pub reboot_requests: u32,
    /// Reboots performed.
    pub reboots_done: u32,
    /// Why it stopped, failed or went.
    pub state_reason: Option<StateReason>,
    /// When it was last launched or started.
    pub launched_at: Timestamp,
    /// When it came to run.
    pub running_at: Option<Timestamp>,
    /// When it was terminated.
    pub terminated_at: Option<Timestamp>,
    /// `StateTransitionReason`: `User initiated (2026-11-21 03:28:00 GMT)`.
    #[serde(default)]
    pub transition_reason: Option<String>,
    /// Its disk was made: when pending it is started again rather than launched.
    #[serde(default)]
    pub has_disk: bool,
    /// `DisableApiStop`.
    #[serde(default)]
    pub stop_protected: bool,
    /// `EbsOptimized` as asked for; shown only.
    #[serde(default)]
    pub ebs_optimized: bool,
    /// `SourceDestCheck` as asked for; shown only.
    #[serde(default = "yes")]
    pub source_dest_check: bool,
    /// Size shown for the root volume, GiB.
    #[serde(default)]
    pub root_volume_gib: u32,
    /// Its root volume is to be replaced.
    #[serde(default)]
    pub root_replacement: Option<super::RootReplacement>,
    /// Number of its root volume: 0 for the one of its launch.
    #[serde(default)]
    pub root_serial: u32,
    /// How many replacements were asked for: each has a number of its own, whatever became of it.
    #[serde(default)]
    pub n_root_replacements: u32,
    /// Since when it has its root volume, if it was replaced.
    #[serde(default)]
    pub root_since: Option<Timestamp>,
    /// Tags of the root volume.
    #[serde(default)]
    pub volume_tags: Tags,
    /// Tags of the interface.
    #[serde(default)]
    pub network_interface_tags: Tags,
    /// Reachability of the guest.
    pub instance_status: StatusCheck,
    /// Health of what carries it.
    pub system_status: StatusCheck,
    /// Launch template it came from.
    pub launch_template: Option<LaunchTemplateSource>,
    /// Auto Scaling group that launched or holds it.
    pub auto_scaling_group: Option<String>,
    /// Tags.
    pub tags: Tags,
}

fn yes() -> bool {
    true
}

impl Instance {
    /// `vol-…` of its root volume. One that replaced another has an id of its own, which follows from its number.
    pub fn root_volume_id(&self) -> String {
        /// Above the digits in which ids made at random tend to agree nowhere: any other place would do.
        const SERIAL_SHIFT: u32 = 24;
        let first = super::sibling_id("vol", &self.id);
        let Some((prefix, digits)) = first.rsplit_once('-').filter(|_| self.root_serial > 0) else {
            return first;
        };
        let number = u128::from_str_radix(digits, 16).unwrap_or_default();
        let number = number.wrapping_add(u128::from(self.root_serial) << SERIAL_SHIFT);
        let width = digits.len();
        let text = format!("{number:0width$x}");
        format!("{prefix}-{}", &text[text.len() - width..])
    }

    /// Since when it has its root volume.
    pub fn root_since(&self) -> Timestamp {
        self.root_since.unwrap_or(self.launched_at)
    }
}

impl Record for Instance {
    const COLLECTION: &'static str = "ec2-instances";
    const INDEXES: &'static [&'static str] = &[
        "address",
        "client_token",
        "group",
        "reservation",
        "security_group",
        "spot_pool",
        "state",
        "subnet",
        "volume",
    ];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        if let Some(group) = &self.auto_scaling_group {
            push("group", group);
        }
        if let Some(token) = &self.client_token {
            push("client_token", token);
        }
        push("reservation", &self.reservation_id);
        push("state", self.state.name());
        if self.state.is_alive() {
            push("address", &self.private_ip.to_string());
            push("subnet", &self.subnet_id);
            if self.root_serial > 0 {
                push("volume", &self.root_volume_id());
            }
            if self.is_spot() {
                push("spot_pool", &super::spot::pool_key(&self.instance_type, &self.zone));
                push("spot_pool", super::spot::EVERY_POOL);
            }
            for group in &self.security_groups {
                push("security_group", group);
            }
        }
    }
}
