//! What a scaling policy makes of a metric: the wanted capacity, or why it stays.
//!
//! The safest action rule: while in doubt (no metric, everything still warming up, the policies disagree) capacity stays;
//! what scales out wins over what scales in; the largest result wins.

mod adjustment;
mod alarms;
mod cooldowns;
mod freshness;
mod reaction;
mod step;
mod target;
#[cfg(test)]
mod tests;

use std::fmt;

pub use adjustment::adjusted;
pub use alarms::{
    AlarmNames, HIGH_RESOLUTION_PERIOD_S, balancer_needs, follows_balancer, has_short_periods, high_alarm_of,
    is_low_alarm, low_ratio, metric_of, rewrite_alarms, target_tracking_alarms, wants_high_resolution,
};
pub use cooldowns::{COOLDOWN_S_MAX, Cooldowns, TAG_SCALE_IN_COOLDOWN, TAG_SCALE_OUT_COOLDOWN};
pub use freshness::{is_quick, leaving, unchanged_since};
pub use reaction::{
    DATAPOINTS_MAX, PERIOD_S_MAX, Reaction, TAG_METRIC_PERIOD, TAG_SCALE_IN_DATAPOINTS,
    TAG_SCALE_OUT_DATAPOINTS,
};
pub use step::{STEPS_MAX, aggregate, decide_step, step_for, validate_steps};
pub use target::{SCALE_IN_SHARE_MAX, Side, decide_target};

use super::policy::{AdjustmentType, ScalingPolicy};
use super::view::{GroupView, sum, warmth};
use super::{Group, LifecycleState, PolicyKind};
use crate::{Mutation, Timestamp};

/// A group's capacity as policies see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Lower bound.
    pub min: u32,
    /// Upper bound.
    pub max: u32,
    /// Wanted now.
    pub desired: u32,
    /// In service and warmed up.
    pub warmed: u32,
    /// Wanted and not warmed up yet, launched or not.
    pub warming: u32,
    /// Units that an average over the group is over: all in service, also those beyond what is wanted.
    pub metered: u32,
}

impl Capacity {
    /// The capacity of a group for a policy with this warm-up.
    ///
    /// Members beyond `desired` are about to go, those missing are about to be launched and so count as warming.
    pub fn of(view: &GroupView<'_>, warmup_s: u32) -> Capacity {
        let group = view.group;
        let (warmed, coming) = warmth(&view.members, warmup_s, view.now);
        let warmed = warmed.min(group.desired);
        let unlaunched = group.desired.saturating_sub(warmed + coming);
        let serving = view.members.iter().filter(|m| m.member.state == LifecycleState::InService);
        Capacity {
            min: group.min,
            max: group.max,
            desired: group.desired,
            warmed,
            warming: coming.min(group.desired - warmed) + unlaunched,
            metered: sum(serving.map(|m| m.member.weight)),
        }
    }

    /// Within the bounds.
    pub fn clamp(&self, to: i64) -> u32 {
        let max = if Mutation::IgnoreMax.is_on() { i64::from(u32::MAX) } else { i64::from(self.max) };
        u32::try_from(to.clamp(i64::from(self.min).min(max), max)).unwrap_or(self.max)
    }
}

/// The policy's warm-up, seconds: its own, else the group's default warm-up, else the default cooldown.
/// Source: PutScalingPolicy, `EstimatedInstanceWarmup`.
pub fn warmup_s(policy: &ScalingPolicy, group: &Group) -> u32 {
    policy.warmup_s.or(group.default_instance_warmup_s).unwrap_or(group.default_cooldown_s)
}

/// What a policy decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Another capacity.
    Change {
        /// Wanted from now on; within the bounds.
        to: u32,
        /// The numbers behind it.
        reasons: Vec<String>,
    },
    /// The same capacity. Not an error, and no cooldown begins.
    Keep(Keep),
}

impl Decision {
    /// A change to `to`, or `otherwise` if that is what is wanted already.
    fn to(to: u32, capacity: &Capacity, reasons: Vec<String>, otherwise: Keep) -> Decision {
        if to == capacity.desired { Decision::Keep(otherwise) } else { Decision::Change { to, reasons } }
    }
}

/// Why a policy changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Keep {
    /// The policy is disabled.
    Disabled,
    /// `AlarmNotification` is suspended.
    AlarmsSuspended,
    /// The metric has no data.
    NoData,
    /// No instance has warmed up, so the metric says nothing yet.
    NothingWarm,
    /// No scale-in while instances warm up.
    Warming(u32),
    /// A cooldown runs.
    Cooldown(Timestamp),
    /// The metric's data are older than the last change of who serves.
    Stale(Timestamp),
    /// An activity is in progress (simple scaling).
    ActivityInProgress,
    /// The metric is on the right side of its target.
    WithinTarget,
    /// The wanted capacity covers it already (perhaps with instances that are warming up).
    Covered,
    /// A bound is reached.
    AtBound(u32),
    /// `DisableScaleIn`.
    ScaleInDisabled,
    /// Another target-tracking policy does not agree to scale in.
    Disagreement(String),
    /// No step of the policy covers the metric.
    NoStep(f64),
    /// The adjustment points the other way than the alarm's repeated breach has already taken.
    Nothing,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::Disabled => write!(f, "the policy is disabled"),
            Keep::AlarmsSuspended => write!(f, "the process AlarmNotification is suspended"),
            Keep::NoData => write!(f, "the metric has no data"),
            Keep::NothingWarm => write!(f, "no instance has warmed up yet, so the metric says nothing"),
            Keep::Warming(n) => write!(f, "no scale-in while {n} instances warm up"),
            Keep::Cooldown(until) => write!(f, "a cooldown runs until {until}"),
            Keep::Stale(since) => {
                write!(f, "the metric has no data yet from after {since}, when the capacity last changed")
            }
            Keep::ActivityInProgress => write!(f, "a scaling activity is in progress"),
            Keep::WithinTarget => write!(f, "the metric is on the right side of its target"),
            Keep::Covered => write!(f, "the desired capacity covers the need already"),
            Keep::AtBound(n) => write!(f, "the group's bound of {n} is reached"),
            Keep::ScaleInDisabled => write!(f, "the policy does not scale in"),
            Keep::Disagreement(policy) => write!(f, "policy {policy} does not agree to scale in"),
            Keep::NoStep(diff) => write!(f, "no step covers a difference of {diff} to the threshold"),
            Keep::Nothing => write!(f, "the adjustment changes nothing"),
        }
    }
}

/// Simple scaling: one adjustment, refused while an activity or a cooldown runs.
///
/// Source: EC2 Auto Scaling guide, "Simple scaling policies" and "Scaling cooldowns".
pub fn decide_simple(
    view: &GroupView<'_>,
    kind: AdjustmentType,
    adjustment: i32,
    min_magnitude: Option<u32>,
    honor_cooldown: bool,
) -> Decision {
    let group = view.group;
    let capacity = Capacity::of(view, 0);
    if honor_cooldown && !Mutation::ForgetCooldown.is_on() {
        if let Some(until) = group.cooldown_ends(view.now) {
            return Decision::Keep(Keep::Cooldown(until));
        }
        // With weights, a group holds up to the largest weight more than it wants when it is done.
        let n = view.n_counted();
        if view.has_activity() || n < group.desired || n - group.desired >= view.weight_max() {
            return Decision::Keep(Keep::ActivityInProgress);
        }
    }
    let to = adjusted(kind, adjustment, min_magnitude, group.desired);
    let clamped = capacity.clamp(to);
    let reasons = vec![format!(
        "{} from {} gives {to}, within {}–{}: {clamped}",
        kind.describe(adjustment),
        group.desired,
        group.min,
        group.max
    )];
    let otherwise = if to == i64::from(clamped) { Keep::Nothing } else { Keep::AtBound(clamped) };
    Decision::to(clamped, &capacity, reasons, otherwise)
}

/// Of several decisions taken together, the one with the largest resulting capacity; the first of equals. `None` if all keep.
pub fn largest<'d, T>(decisions: impl IntoIterator<Item = (T, &'d Decision)>) -> Option<(T, u32)> {
    let mut best: Option<(T, u32)> = None;
    for (tag, decision) in decisions {
        if let Decision::Change { to, .. } = decision
            && best.as_ref().is_none_or(|(_, n)| to > n)
        {
            best = Some((tag, *to));
        }
    }
    best
}

/// Whether the policy takes part in "scale in only if all agree".
pub fn votes_on_scale_in(policy: &ScalingPolicy) -> bool {
    policy.enabled && matches!(&policy.kind, PolicyKind::TargetTracking(t) if !t.disable_scale_in)
}
