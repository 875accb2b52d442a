use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp};

/// Lifecycle states of an instance in a group (`LifecycleState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum LifecycleState {
    Pending,
    PendingWait,
    PendingProceed,
    InService,
    Terminating,
    TerminatingWait,
    TerminatingProceed,
    Terminated,
    EnteringStandby,
    Standby,
    Detaching,
    Detached,
}

impl LifecycleState {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            LifecycleState::Pending => "Pending",
            LifecycleState::PendingWait => "Pending:Wait",
            LifecycleState::PendingProceed => "Pending:Proceed",
            LifecycleState::InService => "InService",
            LifecycleState::Terminating => "Terminating",
            LifecycleState::TerminatingWait => "Terminating:Wait",
            LifecycleState::TerminatingProceed => "Terminating:Proceed",
            LifecycleState::Terminated => "Terminated",
            LifecycleState::EnteringStandby => "EnteringStandby",
            LifecycleState::Standby => "Standby",
            LifecycleState::Detaching => "Detaching",
            LifecycleState::Detached => "Detached",
        }
    }

    /// Counts towards the group's size (what `desired` is compared with).
    pub fn counts(self) -> bool {
        matches!(
            self,
            LifecycleState::Pending
                | LifecycleState::PendingWait
                | LifecycleState::PendingProceed
                | LifecycleState::InService
        )
    }
}

/// Health of a member (`HealthStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub enum HealthStatus {
    #[default]
    Healthy,
    Unhealthy,
}

/// What made a member unhealthy: chooses the activity's text and whether grace applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnhealthyCause {
    /// The instance does not run.
    Ec2NotRunning,
    /// A status check is impaired.
    Ec2StatusCheck,
    /// An attached load balancer says so.
    Elb,
    /// `SetInstanceHealth`.
    User,
}

/// An instance's membership in a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// `i-…`; an instance is in one group at most.
    pub instance_id: String,
    /// The group's name.
    pub group: String,
    /// Zone at launch.
    pub zone: String,
    /// Instance type at launch.
    pub instance_type: String,
    /// Lifecycle.
    pub state: LifecycleState,
    /// When it entered `state`.
    pub state_since: Timestamp,
    /// When it first came into service; grace and warm-up count from here.
    pub in_service_at: Option<Timestamp>,
    /// When it was added (launched or attached).
    pub added_at: Timestamp,
    /// Health.
    pub health: HealthStatus,
    /// Why it is unhealthy.
    pub unhealthy_cause: Option<UnhealthyCause>,
    /// `ProtectedFromScaleIn`.
    pub protected: bool,
    /// Made from this launch configuration (name).
    pub launch_configuration: Option<String>,
    /// Made from this launch template: id, name, resolved version.
    pub launch_template: Option<crate::ec2::LaunchTemplateSource>,
    /// Activity that is launching or terminating it.
    pub activity_id: Option<String>,
}

impl Record for Member {
    const COLLECTION: &'static str = "autoscaling-members";
    const INDEXES: &'static [&'static str] = &["group"];

    fn key(&self) -> String {
        self.instance_id.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("group", &self.group);
    }
}
