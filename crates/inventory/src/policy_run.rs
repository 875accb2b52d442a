//! Policies are executed: what fired, or what a user asks for, becomes another wanted capacity, in one transaction.
//!
//! All that fires together for a group is decided from the same capacity. The largest result wins, also for scale-in. Target
//! tracking scales in only if every such policy of the group that may scale in agrees; one that sees no room vetoes.
//! Source: EC2 Auto Scaling guide, "Multiple dynamic scaling policies".

use std::sync::Arc;

use puffer_core::alarm::{Alarm, AlarmState, MetricQuery, MetricSource, invoking_alarm};
use puffer_core::autoscaling::scaling::{
    self, Capacity, Cooldowns, Decision, Keep, Reaction, Side, decide_simple, decide_step, decide_target,
};
use puffer_core::autoscaling::view::GroupView;
use puffer_core::autoscaling::{Group, PolicyKind, ScalingPolicy, TargetTracking, process, texts};
use puffer_core::{Mutation, Timestamp};
use puffer_store::{StoreError, Transaction};

use crate::group_step::Observation;
use crate::groups::{self, GroupError};
use crate::policies;

/// What sets a policy off.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// An alarm in a state for which it names the policy.
    Alarm {
        /// The alarm's name.
        name: String,
        /// The state.
        state: AlarmState,
        /// The newest datapoint; steps look at all of them.
        value: Option<f64>,
        /// When the period began that the value, or `warmed_value`, is of; `None`: not known.
        value_at: Option<Timestamp>,
        /// The alarm's threshold.
        threshold: f64,
        /// The datapoints that decided, oldest first.
        datapoints: Vec<f64>,
        /// The same metric over the instances that have warmed up and serve, if others run, too.
        warmed_value: Option<f64>,
    },
    /// `ExecutePolicy`.
    User {
        /// `MetricValue`, for step policies.
        metric_value: Option<f64>,
        /// `BreachThreshold`, for step policies.
        breach_threshold: Option<f64>,
        /// `HonorCooldown`, for simple policies.
        honor_cooldown: bool,
    },
}

/// Why a policy could not be executed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No such policy.
    #[error("PolicyName not found: {0}")]
    NotFound(String),
    /// The group is not there, or on its way out.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of one trigger.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It set the capacity: from, to.
    Set(u32, u32),
    /// Another policy that fired with it wanted more.
    Outdone(u32),
    /// It changes nothing, and why.
    Kept(Keep),
}

/// Executes what fired together for one group; an outcome for each trigger, in order.
pub fn run(
    tx: &mut Transaction<'_>,
    group: &str,
    fired: &[(Arc<ScalingPolicy>, Trigger)],
    now: Timestamp,
) -> Result<Vec<Outcome>, RunError> {
    groups::active(&tx.reader(), group)?;
    let seen =
        Observation::of(&tx.reader(), group, now).ok_or_else(|| GroupError::NotFound(group.to_owned()))?;
    let mut decisions: Vec<Decision> =
        fired.iter().map(|(policy, trigger)| decide(tx, &seen, policy, trigger, now)).collect();
    agree(fired, &mut decisions);
    wait(fired, &mut decisions, &seen.group, now);
    let Some((winner, to)) = scaling::largest(decisions.iter().enumerate()) else {
        return Ok(decisions.into_iter().map(kept).collect());
    };
    let from = seen.group.desired;
    let (policy, trigger) = &fired[winner];
    let mut reasons = explain(trigger);
    if let Decision::Change { reasons: numbers, .. } = &decisions[winner] {
        reasons.extend(numbers.iter().cloned());
    }
    let text = match trigger {
        Trigger::Alarm { name, state, .. } => {
            texts::policy_by_alarm(name, state.name(), &policy.name, from, to)
        }
        Trigger::User { .. } => texts::policy_by_user(&policy.name, from, to),
    };
    let group = groups::set_desired(tx, group, to, |_, _| texts::sentence(now, text), reasons)?;
    let cooldown_s = match &policy.kind {
        PolicyKind::Simple { cooldown_s, .. } => *cooldown_s,
        _ => None,
    };
    let alarm = match trigger {
        Trigger::Alarm { name, .. } => tx.get::<Alarm>(name),
        Trigger::User { .. } => None,
    };
    let alarm = alarm.map(|a| invoking_alarm(&a));
    let grew = to > from;
    tx.update::<Group>(&group.name, |g| {
        g.policy_cooldown_s = cooldown_s;
        if let Some(alarm) = alarm {
            texts::note_alarm(g, alarm);
        }
        *(if grew { &mut g.policy_grew_at } else { &mut g.policy_shrank_at }) = Some(now);
    });
    tx.update::<ScalingPolicy>(&puffer_core::Record::key(&**policy), |p| p.last_executed_at = Some(now));
    let outcome = |(i, decision): (usize, Decision)| match decision {
        _ if i == winner => Outcome::Set(from, to),
        Decision::Change { to, .. } => Outcome::Outdone(to),
        Decision::Keep(why) => Outcome::Kept(why),
    };
    Ok(decisions.into_iter().enumerate().map(outcome).collect())
}

fn kept(decision: Decision) -> Outcome {
    match decision {
        Decision::Change { to, .. } => Outcome::Outdone(to),
        Decision::Keep(why) => Outcome::Kept(why),
    }
}

fn explain(trigger: &Trigger) -> Vec<String> {
    match trigger {
        Trigger::Alarm { name, state, value, threshold, datapoints, warmed_value, .. } => {
            let points: Vec<String> = datapoints.iter().map(|d| format!("{d:.4}")).collect();
            let value = value.map_or_else(|| "no data".to_owned(), |v| format!("{v:.4}"));
            let mut reasons = vec![format!(
                "alarm {name} is {} at {value} against {threshold} (datapoints, oldest first: {})",
                state.name(),
                points.join(", ")
            )];
            reasons.extend(
                warmed_value
                    .map(|v| format!("over those that serve and have warmed up, the metric is {v:.4}")),
            );
            reasons
        }
        Trigger::User { .. } => vec!["ExecutePolicy asked for it".to_owned()],
    }
}

fn decide(
    tx: &Transaction<'_>,
    seen: &Observation,
    policy: &ScalingPolicy,
    trigger: &Trigger,
    now: Timestamp,
) -> Decision {
    let group = &*seen.group;
    if !policy.enabled {
        return Decision::Keep(Keep::Disabled);
    }
    let (value, threshold, honor_cooldown, by_alarm) = match trigger {
        Trigger::Alarm { name, value, threshold, warmed_value, .. } => {
            (warmed_value.or(*value), Some(*threshold), true, Some(name))
        }
        Trigger::User { metric_value, breach_threshold, honor_cooldown } => {
            (*metric_value, *breach_threshold, *honor_cooldown, None)
        }
    };
    if by_alarm.is_some() && group.is_suspended(process::ALARM_NOTIFICATION) {
        return Decision::Keep(Keep::AlarmsSuspended);
    }
    let view = seen.view(now);
    let capacity = Capacity::of(&view, scaling::warmup_s(policy, group));
    match &policy.kind {
        PolicyKind::Simple { adjustment_type, adjustment, min_magnitude, .. } => {
            decide_simple(&view, *adjustment_type, *adjustment, *min_magnitude, honor_cooldown)
        }
        PolicyKind::Step { adjustment_type, steps, min_magnitude, aggregation } => {
            match (step_value(tx, trigger, aggregation), threshold) {
                (Some(value), Some(threshold)) => {
                    decide_step(*adjustment_type, steps, *min_magnitude, value, threshold, &capacity)
                }
                _ => Decision::Keep(Keep::NoData),
            }
        }
        // An alarm can name such a policy; it acts on its forecast alone.
        PolicyKind::Predictive(_) => Decision::Keep(Keep::Nothing),
        PolicyKind::TargetTracking(tracking) => match trigger {
            Trigger::Alarm { name, value_at, warmed_value, .. } if value.is_some() => {
                let datum = Datum {
                    value: value.unwrap_or_default(),
                    at: *value_at,
                    of_group: warmed_value.is_none(),
                };
                track(tx, &view, policy, tracking, name, datum, capacity)
            }
            _ => Decision::Keep(Keep::NoData),
        },
    }
}

/// The value that a step policy looks at: the alarm's datapoints by `MetricAggregationType`, or what the user says.
fn step_value(tx: &Transaction<'_>, trigger: &Trigger, aggregation: &str) -> Option<f64> {
    match trigger {
        Trigger::Alarm { name, state, datapoints, .. } => {
            let alarm = tx.get::<Alarm>(name).filter(|_| *state == AlarmState::Alarm);
            let breaches = |d: f64| alarm.as_ref().is_some_and(|a| a.comparison.breaches(d, a.threshold));
            scaling::aggregate(aggregation, datapoints, breaches)
        }
        Trigger::User { metric_value, .. } => *metric_value,
    }
}

/// What target tracking decides by.
struct Datum {
    value: f64,
    /// When its period began.
    at: Option<Timestamp>,
    /// As the alarm has it: over all that publish for the group.
    of_group: bool,
}

fn track(
    tx: &Transaction<'_>,
    view: &GroupView<'_>,
    policy: &ScalingPolicy,
    tracking: &TargetTracking,
    alarm: &str,
    datum: Datum,
    mut capacity: Capacity,
) -> Decision {
    let (group, value) = (view.group, datum.value);
    // The target on the scale of the alarm's datapoints (a sum over another period, say).
    let reaction = Reaction::of(&group.tags);
    let Ok((queries, period_s, target)) = scaling::metric_of(tracking, &group.name, &reaction) else {
        return Decision::Keep(Keep::NoData);
    };
    let since = scaling::unchanged_since(view);
    if scaling::is_quick(period_s, &reaction)
        && datum.at.is_none_or(|at| at < since)
        && !Mutation::TrustStaleMetrics.is_on()
    {
        return Decision::Keep(Keep::Stale(since));
    }
    let of_instances = |q: &MetricQuery| matches!(&q.source, MetricSource::Stat { metric, .. } if metric.namespace == "AWS/EC2");
    if datum.of_group && queries.iter().any(of_instances) {
        capacity.metered = capacity.metered.saturating_add(scaling::leaving(view));
    }
    let capacity = &capacity;
    if !scaling::is_low_alarm(alarm) {
        return decide_target(value, target, Side::High, capacity);
    }
    if tracking.disable_scale_in {
        return Decision::Keep(Keep::ScaleInDisabled);
    }
    let dissenter = policies::of_group(&tx.reader(), &group.name)
        .into_iter()
        .filter(|p| p.name != policy.name && scaling::votes_on_scale_in(p))
        .find(|p| !wants_in(tx, p));
    match dissenter {
        Some(other) => Decision::Keep(Keep::Disagreement(other.name.clone())),
        None => decide_target(value, target, Side::Low, capacity),
    }
}

/// Whether the low alarm of a target-tracking policy fires.
fn wants_in(tx: &Transaction<'_>, policy: &ScalingPolicy) -> bool {
    let mut low = policy.alarms.iter().filter(|a| scaling::is_low_alarm(&a.name));
    low.any(|a| tx.get::<Alarm>(&a.name).is_some_and(|a| a.state == AlarmState::Alarm))
}

/// Lets what alarms set off wait for the group's own cooldowns (`puffer:` tags). A user who executes a policy does not wait.
fn wait(fired: &[(Arc<ScalingPolicy>, Trigger)], decisions: &mut [Decision], group: &Group, now: Timestamp) {
    let cooldowns = Cooldowns::of(&group.tags);
    for ((_, trigger), decision) in fired.iter().zip(decisions) {
        if let (Trigger::Alarm { .. }, Decision::Change { to, .. }) = (trigger, &*decision)
            && let Some(until) = cooldowns.blocks(group, *to, now)
        {
            *decision = Decision::Keep(Keep::Cooldown(until));
        }
    }
}

/// Lets target-tracking policies that see no room to scale in veto those that fired with them.
fn agree(fired: &[(Arc<ScalingPolicy>, Trigger)], decisions: &mut [Decision]) {
    let low = |i: &usize| {
        let (policy, trigger) = &fired[*i];
        matches!(trigger, Trigger::Alarm { name, .. } if scaling::is_low_alarm(name))
            && scaling::votes_on_scale_in(policy)
    };
    let lows: Vec<usize> = (0..fired.len()).filter(low).collect();
    let veto = lows.iter().find(|&&i| matches!(decisions[i], Decision::Keep(_)));
    let Some(&veto) = veto else { return };
    for i in lows {
        if matches!(decisions[i], Decision::Change { .. }) {
            decisions[i] = Decision::Keep(Keep::Disagreement(fired[veto].0.name.clone()));
        }
    }
}
