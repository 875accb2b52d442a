//! Deleting alarms, and setting their state and actions by hand.

use std::sync::Arc;

use puffer_core::alarm::{Alarm, AlarmState, CompositeAlarm};
use puffer_inventory::alarms::{self, StateChange};
use puffer_inventory::composite_alarms as composites;
use puffer_shapes::cloudwatch::{self as shapes, errors};
use puffer_store::Transaction;

use crate::{ApiError, Ctx};

pub(super) async fn delete(cx: Arc<Ctx>, input: shapes::DeleteAlarmsInput) -> Result<(), ApiError> {
    let now = cx.clock.now();
    let mut names = input.alarm_names.unwrap_or_default();
    names.sort();
    names.dedup();
    cx.store
        .transact(|tx: &mut Transaction<'_>| {
            if names.iter().filter(|n| tx.get::<CompositeAlarm>(n).is_some()).count() > 1 {
                return Err(ApiError::validation("Only one composite alarm can be deleted in one request"));
            }
            if let Some((name, parent)) =
                names.iter().find_map(|n| Some((n, composites::dependent(&tx.reader(), n, &names)?)))
            {
                let parent = &parent.name;
                return Err(ApiError::validation(format!(
                    "Cannot delete {name} as there are composite alarm(s) depending on it: {parent}"
                )));
            }
            let mut n_deleted = 0;
            for name in &names {
                if alarms::delete(tx, name, now) || composites::delete(tx, name, now) {
                    n_deleted += 1;
                }
            }
            // Wrong names beside right ones are passed over, as CloudWatch does.
            match names.first() {
                Some(name) if n_deleted == 0 => Err(not_found(name)),
                _ => Ok(()),
            }
        })
        .await
}

pub(super) async fn set_state(cx: Arc<Ctx>, input: shapes::SetAlarmStateInput) -> Result<(), ApiError> {
    let name = input.alarm_name.unwrap_or_default();
    let value = input.state_value.unwrap_or_default();
    let state = AlarmState::parse(&value).ok_or_else(|| {
        ApiError::validation(format!("The value {value} for parameter StateValue is invalid"))
    })?;
    if let Some(data) = &input.state_reason_data
        && serde_json::from_str::<serde_json::Value>(data).is_err()
    {
        return Err(ApiError::declared(&errors::INVALID_FORMAT_FAULT, "StateReasonData was not valid JSON"));
    }
    let change = StateChange {
        state,
        reason: input.state_reason.unwrap_or_default(),
        reason_data: input.state_reason_data,
        at: cx.clock.now(),
    };
    cx.store
        .transact(|tx: &mut Transaction<'_>| {
            if tx.get::<CompositeAlarm>(&name).is_some() {
                composites::set_state(tx, &name, change);
                return Ok(());
            }
            alarms::set_state(tx, &name, change).map(|_| ()).ok_or_else(|| not_found(&name))
        })
        .await
}

pub(super) async fn enable_actions(
    cx: Arc<Ctx>,
    input: shapes::EnableAlarmActionsInput,
) -> Result<(), ApiError> {
    set_actions_enabled(&cx, input.alarm_names.unwrap_or_default(), true).await
}

pub(super) async fn disable_actions(
    cx: Arc<Ctx>,
    input: shapes::DisableAlarmActionsInput,
) -> Result<(), ApiError> {
    set_actions_enabled(&cx, input.alarm_names.unwrap_or_default(), false).await
}

async fn set_actions_enabled(cx: &Ctx, names: Vec<String>, enabled: bool) -> Result<(), ApiError> {
    cx.store
        .transact(|tx: &mut Transaction<'_>| {
            for name in &names {
                if tx.get::<Alarm>(name).is_some_and(|a| a.actions_enabled != enabled) {
                    // What is enabled now is for later transitions.
                    tx.update::<Alarm>(name, |alarm| {
                        alarm.actions_enabled = enabled;
                        alarm.actions_done_for = Some(alarm.state_transitioned_at);
                    });
                }
                if tx.get::<CompositeAlarm>(name).is_some_and(|a| a.actions_enabled != enabled) {
                    tx.update::<CompositeAlarm>(name, |alarm| {
                        alarm.actions_enabled = enabled;
                        alarm.actions_done_for = Some(alarm.state_transitioned_at);
                    });
                }
            }
            Ok(())
        })
        .await
}

fn not_found(name: &str) -> ApiError {
    ApiError::declared(&errors::RESOURCE_NOT_FOUND, format!("There is no alarm named {name}"))
}
