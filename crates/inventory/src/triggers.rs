//! Triggers of the API of 2009: made, removed, and fired.

use std::sync::Arc;

use puffer_core::autoscaling::scaling::{Decision, Keep, decide_simple};
use puffer_core::autoscaling::trigger::{Breach, Trigger};
use puffer_core::autoscaling::{process, texts};
use puffer_core::{Record, Timestamp};
use puffer_store::{Reader, Transaction};

use crate::group_step::Observation;
use crate::groups::{self, GroupError};

/// The triggers of a group, by name.
pub fn of_group(reader: &Reader<'_>, group: &str) -> Vec<Arc<Trigger>> {
    reader.list_by::<Trigger>("group", group)
}

/// Makes a trigger, or another one of the same name in its place.
pub fn put(tx: &mut Transaction<'_>, mut trigger: Trigger) -> Result<Arc<Trigger>, GroupError> {
    groups::active(&tx.reader(), &trigger.group)?;
    if let Some(old) = tx.get::<Trigger>(&trigger.key()) {
        trigger.created_at = old.created_at;
    }
    Ok(tx.put(trigger))
}

/// Removes a trigger; says whether it was there. What it set going goes on.
pub fn remove(tx: &mut Transaction<'_>, group: &str, name: &str) -> bool {
    match of_group(&tx.reader(), group).into_iter().find(|t| t.name == name) {
        Some(trigger) => tx.delete::<Trigger>(&trigger.key()),
        None => false,
    }
}

/// Removes all triggers of a group that goes.
pub fn remove_all(tx: &mut Transaction<'_>, group: &str) {
    for trigger in of_group(&tx.reader(), group) {
        tx.delete::<Trigger>(&trigger.key());
    }
}

/// What became of a breach.
#[derive(Debug, Clone, PartialEq)]
pub enum Fired {
    /// It set the capacity: from, to.
    Set(u32, u32),
    /// It changes nothing, and why.
    Kept(Keep),
    /// The trigger or its group is gone.
    Gone,
}

/// What a breach calls for. A look that writes nothing.
pub fn decide(reader: &Reader<'_>, trigger: &Trigger, breach: Breach, now: Timestamp) -> Option<Decision> {
    let threshold = trigger.broken(breach)?;
    let seen = Observation::of(reader, &trigger.group, now)?;
    if seen.group.is_suspended(process::ALARM_NOTIFICATION) {
        return Some(Decision::Keep(Keep::AlarmsSuspended));
    }
    let (kind, adjustment) = threshold.increment.adjustment;
    Some(decide_simple(&seen.view(now), kind, adjustment, None, true))
}

/// Acts on a breach that has lasted: the adjustment, unless an activity or the cooldown runs.
pub fn fire(
    tx: &mut Transaction<'_>,
    key: &str,
    breach: Breach,
    points: &[f64],
    now: Timestamp,
) -> Result<Fired, GroupError> {
    let Some(trigger) = tx.get::<Trigger>(key) else { return Ok(Fired::Gone) };
    let group = match groups::active(&tx.reader(), &trigger.group) {
        Ok(group) => group,
        Err(GroupError::NotFound(_) | GroupError::Deleting(_)) => return Ok(Fired::Gone),
        Err(error) => return Err(error),
    };
    let (Some(threshold), Some(decision)) =
        (trigger.broken(breach), decide(&tx.reader(), &trigger, breach, now))
    else {
        return Ok(Fired::Gone);
    };
    let (to, numbers) = match decision {
        Decision::Keep(why) => return Ok(Fired::Kept(why)),
        Decision::Change { to, reasons } => (to, reasons),
    };
    let from = group.desired;
    let side = if breach == Breach::Upper { "above" } else { "below" };
    let condition = format!(
        "{} {} {side} {} for {} seconds",
        trigger.statistic, trigger.metric.name, threshold.value, trigger.breach_s
    );
    let shown: Vec<String> = points.iter().map(|p| format!("{p:.4}")).collect();
    let mut reasons = vec![format!("{condition} (datapoints, oldest first: {})", shown.join(", "))];
    reasons.extend(numbers);
    let text = texts::trigger(&trigger.name, &condition, from, to);
    groups::set_desired(tx, &trigger.group, to, |_, _| texts::sentence(now, text), reasons)?;
    Ok(Fired::Set(from, to))
}
