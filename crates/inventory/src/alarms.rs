//! Alarms and what is told of them: creating, moving between states, deleting, and the history of it all.

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::{Alarm, AlarmState, HISTORY_S, HistoryItem, HistoryKind};
use puffer_store::{Reader, Transaction};
use serde_json::json;

/// History items kept in all; the oldest go first. An item is about 1 KiB.
pub const HISTORY_ITEMS_MAX: usize = 20_000;
/// Items removed in one transaction, so that it stays short.
const PRUNE_MAX: usize = 1_000;

/// A move of an alarm to another state, or a new reason for the state it is in.
#[derive(Debug, Clone, PartialEq)]
pub struct StateChange {
    /// The state.
    pub state: AlarmState,
    /// Why, for people.
    pub reason: String,
    /// Why, as JSON.
    pub reason_data: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Writes an alarm, new or changed. One that exists keeps its state and its tags.
pub fn put(tx: &mut Transaction<'_>, mut alarm: Alarm) -> Arc<Alarm> {
    let before = tx.get::<Alarm>(&alarm.name);
    let summary = if before.is_some() { "updated" } else { "created" };
    if let Some(before) = before {
        alarm.state = before.state;
        alarm.state_reason.clone_from(&before.state_reason);
        alarm.state_reason_data.clone_from(&before.state_reason_data);
        alarm.state_updated_at = before.state_updated_at;
        alarm.state_transitioned_at = before.state_transitioned_at;
        alarm.state_before = before.state_before;
        alarm.tags.clone_from(&before.tags);
        alarm.has_transitioned = before.has_transitioned;
        // New actions are for the next transition, not for the state in which the alarm already is.
        alarm.actions_done_for = Some(before.state_transitioned_at);
    }
    let data = json!({ "version": "1.0", "type": if summary == "created" { "Create" } else { "Update" } });
    let of = Subject::metric(&alarm.name);
    let text = format!("Alarm \"{}\" {summary}", alarm.name);
    record(tx, of, alarm.configured_at, HistoryKind::ConfigurationUpdate, text, data.to_string());
    tx.put(alarm)
}

/// Deletes an alarm; says whether it was there.
pub fn delete(tx: &mut Transaction<'_>, name: &str, now: Timestamp) -> bool {
    let deleted = tx.delete::<Alarm>(name);
    if deleted {
        let data = json!({ "version": "1.0", "type": "Delete" }).to_string();
        let text = format!("Alarm \"{name}\" deleted");
        record(tx, Subject::metric(name), now, HistoryKind::ConfigurationUpdate, text, data);
    }
    deleted
}

/// Moves an alarm; `None` if there is none. A history item is written only if the state becomes another one.
pub fn set_state(tx: &mut Transaction<'_>, name: &str, change: StateChange) -> Option<Arc<Alarm>> {
    let before = tx.get::<Alarm>(name)?;
    let moved = before.state != change.state;
    if moved {
        let old = (before.state, before.state_reason.as_str(), before.state_reason_data.as_deref());
        record_move(tx, Subject::metric(name), old, &change);
    }
    tx.update::<Alarm>(name, |alarm| {
        alarm.state = change.state;
        alarm.state_reason = change.reason;
        alarm.state_reason_data = change.reason_data;
        alarm.state_updated_at = change.at;
        if moved {
            alarm.state_transitioned_at = change.at;
            alarm.state_before = before.state;
            alarm.has_transitioned = true;
            // What is enabled or added later is for later transitions.
            if alarm.actions().is_empty() {
                alarm.actions_done_for = Some(change.at);
            }
        }
    })
}

/// Tells the history of a move to another state.
pub(crate) fn record_move(
    tx: &mut Transaction<'_>,
    of: Subject<'_>,
    (state, reason, data): (AlarmState, &str, Option<&str>),
    change: &StateChange,
) {
    let state_json = |state: AlarmState, reason: &str, data: Option<&str>| {
        let mut value = json!({ "stateValue": state.name(), "stateReason": reason });
        if let Some(data) = data.and_then(|d| serde_json::from_str::<serde_json::Value>(d).ok()) {
            value["stateReasonData"] = data;
        }
        value
    };
    let told = json!({
        "version": "1.0",
        "oldState": state_json(state, reason, data),
        "newState": state_json(change.state, &change.reason, change.reason_data.as_deref()),
    });
    let summary = format!("Alarm updated from {} to {}", state.name(), change.state.name());
    record(tx, of, change.at, HistoryKind::StateUpdate, summary, told.to_string());
}

/// Tells the history what became of an action: `failure` says why it failed.
pub fn record_action(
    tx: &mut Transaction<'_>,
    of: Subject<'_>,
    at: Timestamp,
    action: &str,
    failure: Option<&str>,
) {
    let (state, summary) = match failure {
        None => ("Succeeded", format!("Successfully executed action {action}")),
        Some(why) => ("Failed", format!("Failed to execute action {action}. {why}")),
    };
    let data = json!({
        "actionState": state, "notificationResource": action, "publishedMessage": null, "error": failure,
    });
    record(tx, of, at, HistoryKind::Action, summary, data.to_string());
}

/// Whose history is told.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The alarm's name.
    pub name: &'a str,
    /// Whether it is a composite alarm.
    pub composite: bool,
}

impl<'a> Subject<'a> {
    /// A metric alarm.
    pub fn metric(name: &'a str) -> Subject<'a> {
        Subject { name, composite: false }
    }

    /// A composite alarm.
    pub fn composite(name: &'a str) -> Subject<'a> {
        Subject { name, composite: true }
    }
}

/// Adds an item to an alarm's history.
pub fn record(
    tx: &mut Transaction<'_>,
    of: Subject<'_>,
    at: Timestamp,
    kind: HistoryKind,
    summary: String,
    data: String,
) {
    let (alarm, composite) = (of.name.to_owned(), of.composite);
    let mut item = HistoryItem { alarm, at, number: 0, kind, summary, data, composite };
    while tx.get::<HistoryItem>(&puffer_core::Record::key(&item)).is_some() {
        item.number += 1;
    }
    tx.put(item);
}

/// The keys of history items that are too old or too many, oldest first, at most a transaction's worth.
pub fn history_to_prune(reader: &Reader<'_>, now: Timestamp) -> Vec<String> {
    let oldest = now - std::time::Duration::from_secs(HISTORY_S);
    let n_excess = reader.count::<HistoryItem>().saturating_sub(HISTORY_ITEMS_MAX);
    let prunable = reader.iter::<HistoryItem>().enumerate().take(PRUNE_MAX);
    prunable
        .take_while(|(i, item)| *i < n_excess || item.at < oldest)
        .map(|(_, item)| puffer_core::Record::key(&**item))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{NOW, edit, store};
    use puffer_core::alarm::{Comparison, TreatMissingData};

    fn alarm(name: &str) -> Alarm {
        Alarm {
            name: name.into(),
            arn: format!("arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name}"),
            description: None,
            actions_enabled: true,
            ok_actions: vec![],
            alarm_actions: vec![],
            insufficient_data_actions: vec![],
            queries: vec![],
            plain: true,
            period_s: 60,
            evaluation_periods: 1,
            datapoints_to_alarm: None,
            threshold: 1.0,
            comparison: Comparison::GreaterThanThreshold,
            treat_missing_data: TreatMissingData::Missing,
            ignore_low_samples: false,
            state: AlarmState::InsufficientData,
            state_reason: "Unchecked: Initial alarm creation".into(),
            state_reason_data: None,
            state_updated_at: NOW,
            state_transitioned_at: NOW,
            state_before: AlarmState::InsufficientData,
            configured_at: NOW,
            actions_done_for: Some(NOW),
            has_transitioned: false,
            owner: None,
            tags: Default::default(),
        }
    }

    #[tokio::test]
    async fn history_tells_what_happened() {
        let (_dir, store) = store();
        let later = NOW + std::time::Duration::from_secs(60);
        edit(&store, |tx| {
            put(tx, alarm("a"));
            let change = StateChange {
                state: AlarmState::Alarm,
                reason: "because".into(),
                reason_data: Some("{}".into()),
                at: later,
            };
            set_state(tx, "a", change.clone()).unwrap();
            // The same state again changes the reason only.
            set_state(tx, "a", StateChange { at: later + std::time::Duration::from_secs(1), ..change })
                .unwrap();
            // A new setting keeps the state.
            let changed = put(tx, Alarm { threshold: 2.0, ..alarm("a") });
            assert_eq!((changed.state, changed.state_reason.as_str()), (AlarmState::Alarm, "because"));
            assert_eq!(changed.state_reason_data.as_deref(), Some("{}"));
            assert!(delete(tx, "a", later));
            assert!(!delete(tx, "a", later));
        })
        .await;
        let items: Vec<_> =
            store.list_by::<HistoryItem>("alarm", "a").iter().map(|i| i.summary.clone()).collect();
        assert_eq!(
            items,
            [
                "Alarm \"a\" created",
                "Alarm \"a\" updated",
                "Alarm updated from INSUFFICIENT_DATA to ALARM",
                "Alarm \"a\" deleted"
            ]
        );
        let old = later + std::time::Duration::from_secs(HISTORY_S + 1);
        assert_eq!(store.read(|r| history_to_prune(r, old)).len(), 4);
        assert_eq!(store.read(|r| history_to_prune(r, later)).len(), 0);
    }
}
