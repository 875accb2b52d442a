//! Instance refresh: every instance of a group is replaced, a portion at a time.
//!
//! [`InstanceRefresh`] is the durable record of one. [`decide`] looks at it and at the group as they are and says what the
//! record becomes and, as [`Replacing`], whom the planner may replace within which bounds; the planner does the rest. Nothing is
//! remembered between two looks but the record, so a refresh goes on after a restart as if nothing had been.
//!
//! A member that was launched for a refresh carries the refresh's id. So it is known, whatever happened in between, who is still to
//! be replaced: whoever does not carry it, and, during a rollback, whoever does.
//!
//! With the strategy `ReplaceRootVolume` nobody is exchanged: [`next_roots`] says who of those that the planner might replace gets
//! another root volume now, within the same lower bound, and who has it carries the refresh's id like one that was launched for it.
//! Nothing is launched ahead, so a group is never above its size for it.
//! Source: EC2 Auto Scaling guide, "Use an instance refresh to update instances".

mod decide;
mod roots;
mod scope;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::mixed::MixedPolicy;
use super::view::Warmup;
use super::{Bounds, HealthyPercentages, InstanceSource};
use crate::{Record, Timestamp};

pub use decide::{Decision, Event, Facts, NO_PROGRESS_MAX, RUN_MAX, decide};
pub use roots::{ROOTS_PER_STEP_MAX, next_roots};

/// `CheckpointDelay` when there are checkpoints and it is not given.
pub const CHECKPOINT_DELAY_S: u32 = 3600;
/// Longest `CheckpointDelay` and `BakeTime`: two days.
pub const WAIT_MAX_S: u32 = 172_800;
/// Alarms of one refresh.
pub const ALARMS_MAX: usize = 10;

/// `Status` of an instance refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum RefreshStatus {
    Pending,
    InProgress,
    Successful,
    Failed,
    Cancelling,
    Cancelled,
    RollbackInProgress,
    RollbackFailed,
    RollbackSuccessful,
    Baking,
}

impl RefreshStatus {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            RefreshStatus::Pending => "Pending",
            RefreshStatus::InProgress => "InProgress",
            RefreshStatus::Successful => "Successful",
            RefreshStatus::Failed => "Failed",
            RefreshStatus::Cancelling => "Cancelling",
            RefreshStatus::Cancelled => "Cancelled",
            RefreshStatus::RollbackInProgress => "RollbackInProgress",
            RefreshStatus::RollbackFailed => "RollbackFailed",
            RefreshStatus::RollbackSuccessful => "RollbackSuccessful",
            RefreshStatus::Baking => "Baking",
        }
    }

    /// Not at its end yet: a second refresh has to wait.
    pub fn is_active(self) -> bool {
        use RefreshStatus as S;
        matches!(self, S::Pending | S::InProgress | S::Cancelling | S::RollbackInProgress | S::Baking)
    }
}

/// `Strategy` of an instance refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum RefreshStrategy {
    /// Instances go and others come.
    #[default]
    Rolling,
    /// Instances stay and get another root volume.
    ReplaceRootVolume,
}

impl RefreshStrategy {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            RefreshStrategy::Rolling => "Rolling",
            RefreshStrategy::ReplaceRootVolume => "ReplaceRootVolume",
        }
    }

    /// From AWS's name.
    pub fn parse(name: &str) -> Option<RefreshStrategy> {
        [RefreshStrategy::Rolling, RefreshStrategy::ReplaceRootVolume].into_iter().find(|s| s.name() == name)
    }
}

/// What to do with instances that are protected from scale-in, or in standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Reserved {
    /// Replace those that are protected; end those in standby.
    Replace,
    /// Leave them as they are.
    Ignore,
    /// Wait until they are free; fail after an hour.
    #[default]
    Wait,
}

/// `Preferences` of a refresh, with the defaults filled in as they were when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshPreferences {
    /// `MinHealthyPercentage`.
    pub min_healthy: u32,
    /// `MaxHealthyPercentage`; `None`: neither given nor in the group's maintenance policy, so instances go and come together.
    pub max_healthy: Option<u32>,
    /// `InstanceWarmup`, seconds.
    pub warmup_s: u32,
    /// `CheckpointPercentages`, ascending.
    pub checkpoints: Vec<u32>,
    /// `CheckpointDelay`, seconds.
    pub checkpoint_delay_s: u32,
    /// `SkipMatching`.
    pub skip_matching: bool,
    /// `AutoRollback`.
    pub auto_rollback: bool,
    /// `ScaleInProtectedInstances`.
    pub protected: Reserved,
    /// `StandbyInstances`.
    pub standby: Reserved,
    /// Names of the alarms that fail the refresh.
    pub alarms: Vec<String>,
    /// `BakeTime`, seconds.
    pub bake_s: u32,
}

impl RefreshPreferences {
    /// The bounds for a group of this size, whose heaviest instance has so many units.
    pub fn bounds(&self, desired: u32, unit: u32) -> Bounds {
        match self.max_healthy {
            Some(max) => Bounds::of(HealthyPercentages { min: self.min_healthy, max }, desired, unit),
            None => Bounds::together(self.min_healthy, desired, unit),
        }
    }
}

/// `RollbackDetails`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Why.
    pub reason: String,
    /// Since when.
    pub started_at: Timestamp,
    /// Where the refresh stood then.
    pub progress: Progress,
    /// Where it stood with the warm pool.
    #[serde(default)]
    pub warm_progress: Progress,
}

/// How far a refresh is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Progress {
    /// Instances that it is about, so far as it is known.
    pub n_total: u32,
    /// Of these, those whose successor is not ready yet.
    pub n_left: u32,
}

impl Progress {
    /// `PercentageComplete`.
    pub fn percent(self) -> u32 {
        let done = u64::from(self.n_total.saturating_sub(self.n_left));
        match self.n_total {
            0 => 100,
            total => u32::try_from(done * 100 / u64::from(total)).unwrap_or(100),
        }
    }
}

/// `DesiredConfiguration`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredConfiguration {
    /// What instances are made from.
    pub source: InstanceSource,
    /// With a mixed instances policy; `source` is its template.
    pub mixed: Option<MixedPolicy>,
}

/// An instance refresh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRefresh {
    /// UUID.
    pub id: String,
    /// The group's name.
    pub group: String,
    /// The group's ARN: the name may be used again.
    pub group_arn: String,
    /// Status.
    pub status: RefreshStatus,
    /// Why it is there, or what it waits for.
    pub reason: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it came to its end.
    pub ended_at: Option<Timestamp>,
    /// Whether instances are exchanged or their root volumes.
    #[serde(default)]
    pub strategy: RefreshStrategy,
    /// How.
    pub preferences: RefreshPreferences,
    /// `DesiredConfiguration`: what instances are launched from meanwhile, and the group's own once all went well.
    pub desired: Option<DesiredConfiguration>,
    /// When it, or its rollback, began to replace.
    pub phase_started_at: Timestamp,
    /// How far it, or its rollback, is.
    pub progress: Progress,
    /// How far it is with the instances of the warm pool.
    #[serde(default)]
    pub warm_progress: Progress,
    /// When it last came nearer to its end.
    pub progressed_at: Timestamp,
    /// Since when the process is suspended.
    pub paused_at: Option<Timestamp>,
    /// The last checkpoint that it reached, percent.
    pub checkpoint: u32,
    /// End of the wait at that checkpoint.
    pub checkpoint_until: Option<Timestamp>,
    /// End of the bake time.
    pub bake_until: Option<Timestamp>,
    /// Its rollback.
    pub rollback: Option<Rollback>,
}

impl InstanceRefresh {
    /// A refresh that was asked for and has not begun.
    pub fn new(
        id: &str,
        group: &super::Group,
        preferences: RefreshPreferences,
        now: Timestamp,
    ) -> InstanceRefresh {
        InstanceRefresh {
            id: id.to_owned(),
            group: group.name.clone(),
            group_arn: group.arn.clone(),
            status: RefreshStatus::Pending,
            reason: None,
            created_at: now,
            started_at: None,
            ended_at: None,
            strategy: RefreshStrategy::Rolling,
            preferences,
            desired: None,
            phase_started_at: now,
            progress: Progress::default(),
            warm_progress: Progress::default(),
            progressed_at: now,
            paused_at: None,
            checkpoint: 0,
            checkpoint_until: None,
            bake_until: None,
            rollback: None,
        }
    }

    /// Whether launches are made for it: from its desired configuration, marked with its id. A rollback goes back to the group's.
    pub fn launches(&self) -> bool {
        use RefreshStatus as S;
        self.rollback.is_none() && matches!(self.status, S::InProgress | S::Cancelling | S::Baking)
    }

    /// The warm-up of those that came since it, or its rollback, began. Who served before is as ready as it will be.
    pub fn warmup(&self) -> Warmup {
        Warmup { s: self.preferences.warmup_s, since: self.phase_started_at }
    }

    /// Turns back: what it launched is replaced from what the group had before.
    pub fn roll_back(&mut self, reason: impl Into<String>, now: Timestamp) {
        let (progress, warm_progress) = (self.progress, self.warm_progress);
        self.rollback = Some(Rollback { reason: reason.into(), started_at: now, progress, warm_progress });
        self.status = RefreshStatus::RollbackInProgress;
        self.reason = None;
        (self.progress, self.warm_progress) = (Progress::default(), Progress::default());
        (self.phase_started_at, self.progressed_at) = (now, now);
        (self.checkpoint_until, self.bake_until, self.paused_at) = (None, None, None);
    }

    /// Comes to its end.
    pub fn end(&mut self, status: RefreshStatus, reason: Option<String>, now: Timestamp) {
        (self.status, self.reason, self.ended_at) = (status, reason, Some(now));
        (self.checkpoint_until, self.bake_until, self.paused_at) = (None, None, None);
    }
}

impl Record for InstanceRefresh {
    const COLLECTION: &'static str = "autoscaling-instance-refreshes";
    const INDEXES: &'static [&'static str] = &["group", "active"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("group", &self.group);
        if self.status.is_active() {
            push("active", &self.group);
        }
    }
}

/// How a refresh goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At most so many replacements more may begin.
    Go(u32),
    /// None may begin; those that began are brought to their end.
    Finish,
    /// Nothing moves.
    Hold,
}

/// What the planner is told of a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacing {
    /// Places in the view's members of those that may be replaced.
    pub candidates: Vec<usize>,
    /// Of those that go without a successor: ended in standby, or launched for what is being rolled back.
    pub end: Vec<usize>,
    /// How it goes on.
    pub pace: Pace,
    /// How far below and above the group's size.
    pub bounds: Bounds,
    /// When a newcomer is ready.
    pub warmup: Warmup,
    /// Where it stands, for explanations.
    pub stand: String,
}
