//! Scaling policies and the alarms that target tracking makes for itself: both come and go in one transaction.

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::Alarm;
use puffer_core::autoscaling::scaling::{
    AlarmNames, is_low_alarm, rewrite_alarms, target_tracking_alarms, wants_high_resolution,
};
use puffer_core::autoscaling::{AlarmRef, Group, PolicyKind, ScalingPolicy};
use puffer_store::{Reader, Transaction};

use crate::{alarms, forecasts};

/// The policies of a group, by name.
pub fn of_group(reader: &Reader<'_>, group: &str) -> Vec<Arc<ScalingPolicy>> {
    reader.list_by::<ScalingPolicy>("group", group)
}

/// The policy with this ARN.
pub fn by_arn(reader: &Reader<'_>, arn: &str) -> Option<Arc<ScalingPolicy>> {
    reader.list_by::<ScalingPolicy>("arn", arn).into_iter().next()
}

/// Writes a policy, new or changed, with the alarms it needs. Those that its former self had for the same metric stay, with their
/// names and states, and are changed where they must be; those for another metric go: what they say is not about this one. An
/// error says what is wrong with its metric.
pub fn put(
    tx: &mut Transaction<'_>,
    mut policy: ScalingPolicy,
    group: &Group,
    names: &AlarmNames,
    now: Timestamp,
) -> Result<Arc<ScalingPolicy>, String> {
    let old = tx.get::<ScalingPolicy>(&puffer_core::Record::key(&policy));
    if let Some(old) = old.as_deref().filter(|old| old.kind != policy.kind) {
        forecasts::remove(tx, old);
    }
    let kept: Vec<Arc<Alarm>> = match &old {
        Some(old) if watches_the_same(old, &policy) => {
            old.alarms.iter().filter_map(|a| tx.get::<Alarm>(&a.name)).collect()
        }
        _ => Vec::new(),
    };
    let mut wanted = target_tracking_alarms(&policy, group, names, now)?;
    for alarm in &mut wanted {
        let is_low = is_low_alarm(&alarm.name);
        let Some(before) = kept.iter().find(|k| is_low_alarm(&k.name) == is_low) else { continue };
        *alarm = Alarm::clone(before);
        if let PolicyKind::TargetTracking(tracking) = &policy.kind {
            rewrite_alarms(tracking, group, alarm, now)?;
        }
    }
    for gone in old.iter().flat_map(|old| &old.alarms) {
        if !wanted.iter().any(|a| a.name == gone.name) {
            alarms::delete(tx, &gone.name, now);
        }
    }
    policy.alarms = wanted.iter().map(|a| AlarmRef { name: a.name.clone(), arn: a.arn.clone() }).collect();
    for alarm in wanted {
        if !kept.iter().any(|k| **k == alarm) {
            alarms::put(tx, alarm);
        }
    }
    let policy = tx.put(policy);
    fit_resolution(tx, &group.name);
    Ok(policy)
}

/// Whether two policies track the same metric.
fn watches_the_same(old: &ScalingPolicy, new: &ScalingPolicy) -> bool {
    match (&old.kind, &new.kind) {
        (PolicyKind::TargetTracking(a), PolicyKind::TargetTracking(b)) => a.metric == b.metric,
        _ => false,
    }
}

/// Lets the group's instances publish as often as its policies need.
fn fit_resolution(tx: &mut Transaction<'_>, group: &str) {
    let wanted = of_group(&tx.reader(), group).iter().any(|p| p.enabled && wants_high_resolution(p));
    if tx.get::<Group>(group).is_some_and(|g| g.high_resolution != wanted) {
        tx.update::<Group>(group, |g| g.high_resolution = wanted);
    }
}

/// Removes a policy and the alarms it made. Alarms that users made for it stay and only lose the action.
pub fn remove(tx: &mut Transaction<'_>, policy: &ScalingPolicy, now: Timestamp) {
    forecasts::remove(tx, policy);
    for alarm in &policy.alarms {
        alarms::delete(tx, &alarm.name, now);
    }
    for alarm in tx.list_by::<Alarm>("action", &policy.arn) {
        let mut alarm = Alarm::clone(&alarm);
        for actions in [&mut alarm.ok_actions, &mut alarm.alarm_actions, &mut alarm.insufficient_data_actions]
        {
            actions.retain(|arn| *arn != policy.arn);
        }
        // Its other actions may still be due for the state in which it is.
        let done_for = alarm.actions_done_for;
        let name = alarm.name.clone();
        alarms::put(tx, Alarm { configured_at: now, ..alarm });
        tx.update::<Alarm>(&name, |a| a.actions_done_for = done_for);
    }
    tx.delete::<ScalingPolicy>(&puffer_core::Record::key(policy));
    fit_resolution(tx, &policy.group);
}

/// Fits the alarms of a group's target-tracking policies to the group as it is now (its size, its `puffer:` tags).
pub fn fit_alarms(tx: &mut Transaction<'_>, group: &Group, now: Timestamp) -> Result<(), String> {
    for policy in of_group(&tx.reader(), &group.name) {
        let PolicyKind::TargetTracking(tracking) = &policy.kind else { continue };
        for owned in &policy.alarms {
            let Some(alarm) = tx.get::<Alarm>(&owned.name) else { continue };
            let mut alarm = Alarm::clone(&alarm);
            if rewrite_alarms(tracking, group, &mut alarm, now)? {
                alarms::put(tx, alarm);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use puffer_core::alarm::{AlarmState, HistoryItem};
    use puffer_core::autoscaling::{InstanceSource, TargetTracking, TargetTrackingMetric};
    use puffer_store::Store;

    use super::*;
    use crate::fixtures::{NOW, edit, store};

    fn policy(metric: &str, target: f64, disable_scale_in: bool) -> ScalingPolicy {
        ScalingPolicy {
            name: "p".into(),
            group: "g".into(),
            arn: "arn:p".into(),
            kind: PolicyKind::TargetTracking(TargetTracking {
                metric: TargetTrackingMetric::Predefined { metric_type: metric.into(), resource_label: None },
                target,
                disable_scale_in,
            }),
            enabled: true,
            warmup_s: None,
            alarms: Vec::new(),
            last_executed_at: None,
        }
    }

    fn names(n: u32) -> AlarmNames {
        AlarmNames { arn_prefix: "arn:alarm:".into(), high_uuid: format!("h{n}"), low_uuid: format!("l{n}") }
    }

    async fn write(store: &Store, n: u32, policy: ScalingPolicy) -> Vec<String> {
        let group = Group::new("g", "u", "arn:g", InstanceSource::LaunchConfiguration("lc".into()), NOW);
        let at = NOW + std::time::Duration::from_secs(n.into());
        let put = edit(store, |tx| put(tx, policy, &group, &names(n), at).unwrap()).await;
        put.alarms.iter().map(|a| a.name.clone()).collect()
    }

    fn history(store: &Store, alarm: &str) -> Vec<String> {
        let items = store.list_by::<HistoryItem>("alarm", alarm);
        items.iter().map(|i| i.summary.replace(&format!("Alarm \"{alarm}\" "), "")).collect()
    }

    #[tokio::test]
    async fn alarms_stay_with_their_policy_and_tell_their_history() {
        let (_dir, store) = store();
        let cpu = "ASGAverageCPUUtilization";
        let first = write(&store, 1, policy(cpu, 50.0, false)).await;
        assert_eq!(first, ["TargetTracking-g-AlarmHigh-h1", "TargetTracking-g-AlarmLow-l1"]);
        let [high, low] = [first[0].as_str(), first[1].as_str()];
        edit(&store, |tx| tx.update::<Alarm>(high, |a| a.state = AlarmState::Alarm)).await;
        let before = store.get::<Alarm>(high).unwrap();
        // The same again is no change.
        assert_eq!(write(&store, 2, policy(cpu, 50.0, false)).await, first);
        assert_eq!(store.get::<Alarm>(high).unwrap(), before);
        assert_eq!(history(&store, high), ["created"]);
        // Another target: the same alarms, changed.
        assert_eq!(write(&store, 3, policy(cpu, 60.0, false)).await, first);
        let changed = store.get::<Alarm>(high).unwrap();
        assert_eq!((changed.threshold, changed.state), (60.0, AlarmState::Alarm));
        assert_eq!(history(&store, high), ["created", "updated"]);
        // No scale-in: the low one goes; back again, it is a new one.
        assert_eq!(write(&store, 4, policy(cpu, 60.0, true)).await, [high]);
        assert!(store.get::<Alarm>(low).is_none());
        assert_eq!(history(&store, low), ["created", "updated", "deleted"]);
        let again = write(&store, 5, policy(cpu, 60.0, false)).await;
        assert_eq!(again, [high, "TargetTracking-g-AlarmLow-l5"]);
        // Another metric: what was said of the former does not hold for it.
        let other = write(&store, 6, policy("ASGAverageNetworkIn", 60.0, false)).await;
        assert_eq!(other, ["TargetTracking-g-AlarmHigh-h6", "TargetTracking-g-AlarmLow-l6"]);
        assert!(store.get::<Alarm>(high).is_none());
        assert_eq!(history(&store, high), ["created", "updated", "deleted"]);
        let last = store.get::<ScalingPolicy>("g/p").unwrap();
        let mut mine = Alarm::clone(&store.get::<Alarm>(&other[0]).unwrap());
        (mine.name, mine.owner) = ("mine".into(), None);
        mine.alarm_actions.push("arn:topic".into());
        edit(&store, |tx| {
            tx.put(mine);
            remove(tx, &last, NOW + std::time::Duration::from_secs(7));
        })
        .await;
        assert!(store.get::<Alarm>(&other[0]).is_none());
        assert_eq!(history(&store, &other[0]), ["created", "deleted"]);
        assert_eq!(store.get::<Alarm>("mine").unwrap().alarm_actions, ["arn:topic"]);
        assert_eq!(history(&store, "mine"), ["updated"]);
    }
}
