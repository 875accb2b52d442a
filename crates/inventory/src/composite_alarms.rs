//! Composite alarms: creating, moving between states, deleting.

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::{Alarm, AlarmState, CompositeAlarm, HistoryKind, Suppressor};
use puffer_store::{Reader, Transaction};
use serde_json::json;

use crate::alarms::{self, StateChange, Subject};

/// Writes a composite alarm, new or changed. One that exists keeps its state and its tags.
pub fn put(tx: &mut Transaction<'_>, mut alarm: CompositeAlarm) -> Arc<CompositeAlarm> {
    let before = tx.get::<CompositeAlarm>(&alarm.name);
    let (summary, kind) = if before.is_some() { ("updated", "Update") } else { ("created", "Create") };
    if let Some(before) = before {
        alarm.state = before.state;
        alarm.state_reason.clone_from(&before.state_reason);
        alarm.state_reason_data.clone_from(&before.state_reason_data);
        alarm.state_updated_at = before.state_updated_at;
        alarm.state_transitioned_at = before.state_transitioned_at;
        alarm.state_before = before.state_before;
        alarm.tags.clone_from(&before.tags);
        // New actions are for the next transition, not for the state in which the alarm already is.
        alarm.actions_done_for = Some(before.state_transitioned_at);
    }
    let data = json!({ "version": "1.0", "type": kind }).to_string();
    let text = format!("Alarm \"{}\" {summary}", alarm.name);
    let of = Subject::composite(&alarm.name);
    alarms::record(tx, of, alarm.configured_at, HistoryKind::ConfigurationUpdate, text, data);
    tx.put(alarm)
}

/// Deletes a composite alarm; says whether it was there.
pub fn delete(tx: &mut Transaction<'_>, name: &str, now: Timestamp) -> bool {
    let deleted = tx.delete::<CompositeAlarm>(name);
    if deleted {
        let data = json!({ "version": "1.0", "type": "Delete" }).to_string();
        let text = format!("Alarm \"{name}\" deleted");
        alarms::record(tx, Subject::composite(name), now, HistoryKind::ConfigurationUpdate, text, data);
    }
    deleted
}

/// Moves a composite alarm; `None` if there is none. A history item is written only if the state becomes another one.
pub fn set_state(tx: &mut Transaction<'_>, name: &str, change: StateChange) -> Option<Arc<CompositeAlarm>> {
    let before = tx.get::<CompositeAlarm>(name)?;
    let moved = before.state != change.state;
    if moved {
        let old = (before.state, before.state_reason.as_str(), before.state_reason_data.as_deref());
        alarms::record_move(tx, Subject::composite(name), old, &change);
    }
    tx.update::<CompositeAlarm>(name, |alarm| {
        alarm.state = change.state;
        alarm.state_reason = change.reason;
        alarm.state_reason_data = change.reason_data;
        alarm.state_updated_at = change.at;
        if moved {
            alarm.state_transitioned_at = change.at;
            alarm.state_before = before.state;
            if !alarm.actions_enabled || alarm.actions_for(change.state).is_empty() {
                alarm.actions_done_for = Some(change.at);
            }
        }
    })
}

/// An alarm of either kind as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmView {
    /// Full ARN.
    pub arn: String,
    /// State.
    pub state: AlarmState,
    /// When it last became another one.
    pub transitioned_at: Timestamp,
    /// When state or reason last changed.
    pub updated_at: Timestamp,
}

/// The alarm of either kind with this name.
pub fn view(r: &Reader<'_>, name: &str) -> Option<AlarmView> {
    let of_metric = r.get::<Alarm>(name).map(|a| AlarmView {
        arn: a.arn.clone(),
        state: a.state,
        transitioned_at: a.state_transitioned_at,
        updated_at: a.state_updated_at,
    });
    of_metric.or_else(|| {
        r.get::<CompositeAlarm>(name).map(|a| AlarmView {
            arn: a.arn.clone(),
            state: a.state,
            transitioned_at: a.state_transitioned_at,
            updated_at: a.state_updated_at,
        })
    })
}

/// The suppressor of a composite alarm as it is now, if it has one that exists.
pub fn suppressor(r: &Reader<'_>, alarm: &CompositeAlarm) -> Option<Suppressor> {
    let seen = view(r, &alarm.suppressor.as_ref()?.alarm)?;
    Some(Suppressor { state: seen.state, since: seen.transitioned_at })
}

/// The names of composite alarms that name this alarm in their rule.
pub fn parents(r: &Reader<'_>, name: &str) -> Vec<Arc<CompositeAlarm>> {
    r.list_by::<CompositeAlarm>("child", name)
}

/// The first composite alarm that needs this alarm, in its rule or as its suppressor, other than itself and those in `but`.
pub fn dependent(r: &Reader<'_>, name: &str, but: &[String]) -> Option<Arc<CompositeAlarm>> {
    let suppressed = r.list_by::<CompositeAlarm>("suppressor", name);
    parents(r, name).into_iter().chain(suppressed).find(|p| p.name != name && !but.contains(&p.name))
}

/// Whether a composite alarm depends on itself over its children: such a one is not evaluated.
pub fn is_cyclic(r: &Reader<'_>, alarm: &CompositeAlarm) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    let mut left: Vec<String> = alarm.rule.children().into_iter().map(str::to_owned).collect();
    while let Some(name) = left.pop() {
        if name == alarm.name {
            return true;
        }
        if let Some(child) = r.get::<CompositeAlarm>(&name)
            && seen.insert(name)
        {
            left.extend(child.rule.children().into_iter().map(str::to_owned));
        }
    }
    false
}
