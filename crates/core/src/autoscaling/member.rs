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
    ReplacingRootVolume,
    ReplacingRootVolumeWait,
    ReplacingRootVolumeProceed,
    RootVolumeReplaced,
    Terminating,
    TerminatingWait,
    TerminatingProceed,
    TerminatingRetained,
    Terminated,
    EnteringStandby,
    Standby,
    Detaching,
    Detached,
    WarmedPending,
    WarmedPendingWait,
    WarmedPendingProceed,
    WarmedPendingRetained,
    WarmedTerminating,
    WarmedTerminatingWait,
    WarmedTerminatingProceed,
    WarmedTerminatingRetained,
    WarmedStopped,
    WarmedRunning,
}

impl LifecycleState {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            LifecycleState::Pending => "Pending",
            LifecycleState::PendingWait => "Pending:Wait",
            LifecycleState::PendingProceed => "Pending:Proceed",
            LifecycleState::InService => "InService",
            LifecycleState::ReplacingRootVolume => "ReplacingRootVolume",
            LifecycleState::ReplacingRootVolumeWait => "ReplacingRootVolume:Wait",
            LifecycleState::ReplacingRootVolumeProceed => "ReplacingRootVolume:Proceed",
            LifecycleState::RootVolumeReplaced => "RootVolumeReplaced",
            LifecycleState::Terminating => "Terminating",
            LifecycleState::TerminatingWait => "Terminating:Wait",
            LifecycleState::TerminatingProceed => "Terminating:Proceed",
            LifecycleState::TerminatingRetained => "Terminating:Retained",
            LifecycleState::Terminated => "Terminated",
            LifecycleState::EnteringStandby => "EnteringStandby",
            LifecycleState::Standby => "Standby",
            LifecycleState::Detaching => "Detaching",
            LifecycleState::Detached => "Detached",
            LifecycleState::WarmedPending => "Warmed:Pending",
            LifecycleState::WarmedPendingWait => "Warmed:Pending:Wait",
            LifecycleState::WarmedPendingProceed => "Warmed:Pending:Proceed",
            LifecycleState::WarmedPendingRetained => "Warmed:Pending:Retained",
            LifecycleState::WarmedTerminating => "Warmed:Terminating",
            LifecycleState::WarmedTerminatingWait => "Warmed:Terminating:Wait",
            LifecycleState::WarmedTerminatingProceed => "Warmed:Terminating:Proceed",
            LifecycleState::WarmedTerminatingRetained => "Warmed:Terminating:Retained",
            LifecycleState::WarmedStopped => "Warmed:Stopped",
            LifecycleState::WarmedRunning => "Warmed:Running",
        }
    }

    /// The state of waiting for hooks on the same way.
    pub fn waiting(self) -> LifecycleState {
        use LifecycleState as S;
        match self {
            S::Pending => S::PendingWait,
            S::ReplacingRootVolume => S::ReplacingRootVolumeWait,
            S::Terminating => S::TerminatingWait,
            S::WarmedPending => S::WarmedPendingWait,
            S::WarmedTerminating => S::WarmedTerminatingWait,
            other => other,
        }
    }

    /// The state after that wait.
    pub fn proceeding(self) -> LifecycleState {
        use LifecycleState as S;
        match self {
            S::PendingWait => S::PendingProceed,
            S::TerminatingWait => S::TerminatingProceed,
            S::WarmedPendingWait => S::WarmedPendingProceed,
            S::WarmedTerminatingWait => S::WarmedTerminatingProceed,
            other => other,
        }
    }

    /// The state of being kept after that wait, because a termination hook was abandoned.
    pub fn retained(self) -> LifecycleState {
        use LifecycleState as S;
        match self {
            S::WarmedPendingWait => S::WarmedPendingRetained,
            S::WarmedTerminatingWait => S::WarmedTerminatingRetained,
            _ => S::TerminatingRetained,
        }
    }

    /// Kept out of service until somebody ends it.
    pub fn is_retained(self) -> bool {
        use LifecycleState as S;
        matches!(self, S::TerminatingRetained | S::WarmedPendingRetained | S::WarmedTerminatingRetained)
    }

    /// Belongs to the warm pool, also on its way into or out of it.
    pub fn is_of_pool(self) -> bool {
        use LifecycleState as S;
        self.is_coming_to_pool()
            || matches!(
                self,
                S::WarmedStopped
                    | S::WarmedRunning
                    | S::WarmedPendingRetained
                    | S::WarmedTerminating
                    | S::WarmedTerminatingWait
                    | S::WarmedTerminatingProceed
                    | S::WarmedTerminatingRetained
            )
    }

    /// On its way into the warm pool.
    pub fn is_coming_to_pool(self) -> bool {
        use LifecycleState as S;
        matches!(self, S::WarmedPending | S::WarmedPendingWait | S::WarmedPendingProceed)
    }

    /// Keeps its place in the group while its instance gets another root volume.
    pub fn is_replacing_root(self) -> bool {
        use LifecycleState as S;
        matches!(
            self,
            S::ReplacingRootVolume
                | S::ReplacingRootVolumeWait
                | S::ReplacingRootVolumeProceed
                | S::RootVolumeReplaced
        )
    }

    /// Counts towards the group's size (what `desired` is compared with).
    pub fn counts(self) -> bool {
        use LifecycleState as S;
        matches!(self, S::Pending | S::PendingWait | S::PendingProceed | S::InService)
            || self.is_replacing_root()
    }
}

/// What a member's root volume is replaced by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootTarget {
    /// `ami-…`.
    pub image_id: String,
    /// `replacevol-…`, once it was asked for.
    pub task_id: Option<String>,
    /// The new volume's number; means nothing before.
    pub serial: u32,
    /// How the task ended, once it did.
    #[serde(default)]
    pub outcome: Option<crate::ec2::RootTaskState>,
}

impl RootTarget {
    /// A volume from this image, by its number, that nobody has been asked for.
    pub fn of(image_id: String, serial: u32) -> RootTarget {
        RootTarget { image_id, task_id: None, serial, outcome: None }
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
    /// Activity that is launching, terminating or moving it.
    pub activity_id: Option<String>,
    /// Attached target groups that were dealt with: registered, or left out because `AddToLoadBalancer` was suspended. So
    /// each is registered once, and one that a user deregisters by hand stays away.
    #[serde(default)]
    pub traffic_sources: Vec<String>,
    /// Launched beyond `desired` to take another's place once it is in service (zone rebalancing); counts from then on.
    #[serde(default)]
    pub surplus: bool,
    /// Launched beyond `desired`, ahead of the one it will replace; counts once it has taken a place.
    #[serde(default)]
    pub spare: bool,
    /// The instance refresh that it was launched for.
    #[serde(default)]
    pub refreshed_by: Option<String>,
    /// Since when a status check has been impaired.
    #[serde(default)]
    pub impaired_since: Option<Timestamp>,
    /// Units of capacity it counts for.
    #[serde(default = "one")]
    pub weight: u32,
    /// On-Demand or Spot.
    #[serde(default)]
    pub lifecycle: crate::ec2::InstanceLifecycle,
    /// When the launched instance's own clock hour began, for `ClosestToNextInstanceHour`.
    #[serde(default)]
    pub launched_at: Timestamp,
    /// Where it stands with the lifecycle hooks of the transition it is in.
    #[serde(default)]
    pub hooks: super::hook::HookStand,
    /// The way it is on, or came.
    #[serde(default)]
    pub way: super::warm_pool::Way,
    /// It is on its way out because its group shrank, and for no other reason.
    #[serde(default)]
    pub scaled_in: bool,
    /// Until it is in service again: what its root volume is replaced by.
    #[serde(default)]
    pub root_target: Option<RootTarget>,
}

fn one() -> u32 {
    1
}

impl Member {
    /// Units that count towards the group's size: its weight, or nothing.
    pub fn units(&self) -> u32 {
        if self.counts() { self.weight } else { 0 }
    }

    /// Counts towards the group's size (what `desired` is compared with).
    pub fn counts(&self) -> bool {
        self.state.counts() && !self.spare && !(self.surplus && self.state != LifecycleState::InService)
    }

    /// On its way into service.
    pub fn is_pending(&self) -> bool {
        use LifecycleState as S;
        matches!(self.state, S::Pending | S::PendingWait | S::PendingProceed)
    }

    /// On its way out for good. One that is retained goes nowhere until somebody ends it.
    pub fn is_terminating(&self) -> bool {
        use LifecycleState as S;
        matches!(
            self.state,
            S::Terminating
                | S::TerminatingWait
                | S::TerminatingProceed
                | S::WarmedTerminating
                | S::WarmedTerminatingWait
                | S::WarmedTerminatingProceed
        )
    }

    /// On its way out of the group: to its end, or back into the warm pool. What the pool itself lets go has left the group before.
    pub fn is_leaving(&self) -> bool {
        use LifecycleState as S;
        match self.state {
            S::Terminating | S::TerminatingWait | S::TerminatingProceed => true,
            state => self.way == super::warm_pool::Way::BackToPool && state.is_coming_to_pool(),
        }
    }

    /// Coming, going or getting another root volume: an activity of its group is under way.
    pub fn is_under_way(&self) -> bool {
        self.is_pending() || self.is_leaving() || self.state.is_replacing_root()
    }

    /// The cooldown after its group's activity cannot begin yet: it is coming, launch hooks included, or it is going and not yet
    /// through with draining (or, where no hook follows that, not gone). Termination hooks are not waited for.
    /// Source: EC2 Auto Scaling guide, "Scaling cooldowns".
    pub fn holds_cooldown(&self) -> bool {
        use LifecycleState as S;
        self.is_pending() || (self.is_leaving() && matches!(self.state, S::Terminating | S::WarmedPending))
    }

    /// Counts towards the size of the warm pool.
    pub fn is_warm(&self) -> bool {
        use LifecycleState as S;
        self.state.is_coming_to_pool() || matches!(self.state, S::WarmedStopped | S::WarmedRunning)
    }
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
