//! Scaling policies and the alarms that target tracking makes for itself: both come and go in one transaction.

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::Alarm;
use puffer_core::autoscaling::scaling::{
    AlarmNames, rewrite_alarms, target_tracking_alarms, wants_high_resolution,
};
use puffer_core::autoscaling::{AlarmRef, Group, PolicyKind, ScalingPolicy};
use puffer_store::{Reader, Transaction};

use crate::forecasts;

/// The policies of a group, by name.
pub fn of_group(reader: &Reader<'_>, group: &str) -> Vec<Arc<ScalingPolicy>> {
    reader.list_by::<ScalingPolicy>("group", group)
}

/// The policy with this ARN.
pub fn by_arn(reader: &Reader<'_>, arn: &str) -> Option<Arc<ScalingPolicy>> {
    reader.list_by::<ScalingPolicy>("arn", arn).into_iter().next()
}

/// Writes a policy, new or changed, with the alarms it needs; those of its former self go. An error says what is
/// wrong with its metric.
pub fn put(
    tx: &mut Transaction<'_>,
    mut policy: ScalingPolicy,
    group: &Group,
    names: &AlarmNames,
    now: Timestamp,
) -> Result<Arc<ScalingPolicy>, String> {
    if let Some(old) = tx.get::<ScalingPolicy>(&puffer_core::Record::key(&policy)) {
        for alarm in &old.alarms {
            tx.delete::<Alarm>(&alarm.name);
        }
        if old.kind != policy.kind {
            forecasts::remove(tx, &old);
        }
    }
    let alarms = target_tracking_alarms(&policy, group, names, now)?;
    policy.alarms = alarms.iter().map(|a| AlarmRef { name: a.name.clone(), arn: a.arn.clone() }).collect();
    for alarm in alarms {
        tx.put(alarm);
    }
    let policy = tx.put(policy);
    fit_resolution(tx, &group.name);
    Ok(policy)
}

/// Lets the group's instances publish as often as its policies need.
fn fit_resolution(tx: &mut Transaction<'_>, group: &str) {
    let wanted = of_group(&tx.reader(), group).iter().any(|p| p.enabled && wants_high_resolution(p));
    if tx.get::<Group>(group).is_some_and(|g| g.high_resolution != wanted) {
        tx.update::<Group>(group, |g| g.high_resolution = wanted);
    }
}

/// Removes a policy and the alarms it made. Alarms that users made for it stay and only lose the action.
pub fn remove(tx: &mut Transaction<'_>, policy: &ScalingPolicy) {
    forecasts::remove(tx, policy);
    for alarm in &policy.alarms {
        tx.delete::<Alarm>(&alarm.name);
    }
    for alarm in tx.list_by::<Alarm>("action", &policy.arn) {
        tx.update::<Alarm>(&alarm.name, |a| {
            for actions in [&mut a.ok_actions, &mut a.alarm_actions, &mut a.insufficient_data_actions] {
                actions.retain(|arn| *arn != policy.arn);
            }
        });
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
                tx.put(alarm);
            }
        }
    }
    Ok(())
}
