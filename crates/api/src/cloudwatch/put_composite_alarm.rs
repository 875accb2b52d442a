//! `PutCompositeAlarm`.

use std::sync::Arc;

use puffer_core::alarm::{Alarm, AlarmState, CompositeAlarm, Rule, SuppressorSettings};
use puffer_inventory::composite_alarms as composites;
use puffer_shapes::cloudwatch::{self as shapes, errors};
use puffer_store::Transaction;

use super::{alarm_settings, tags};
use crate::{ApiError, Ctx};

/// Composite alarms of the account.
const COMPOSITES_MAX: usize = 10_000;
/// Composite alarms that may name one alarm.
const PARENTS_MAX: usize = 150;

pub(super) async fn put(cx: Arc<Ctx>, input: shapes::PutCompositeAlarmInput) -> Result<(), ApiError> {
    let now = cx.clock.now();
    let home = alarm_settings::Home { account: &cx.account, region: &cx.region };
    let given = tags::read(input.tags.clone().unwrap_or_default())?;
    let alarm = settings(&home, input, given, now)?;
    cx.store
        .transact(|tx: &mut Transaction<'_>| {
            check(tx, &alarm)?;
            composites::put(tx, alarm);
            Ok(())
        })
        .await
}

fn settings(
    home: &alarm_settings::Home<'_>,
    input: shapes::PutCompositeAlarmInput,
    tags: puffer_core::Tags,
    now: puffer_core::Timestamp,
) -> Result<CompositeAlarm, ApiError> {
    if input.action_configuration.is_some() {
        return Err(ApiError::validation("ActionConfiguration is not supported by Puffer"));
    }
    let name = input.alarm_name.unwrap_or_default();
    let rule_text = input.alarm_rule.unwrap_or_default();
    let rule = Rule::parse(&rule_text).map_err(|e| ApiError::validation(e.to_string()))?;
    let seconds = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    let (wait, extension) =
        (seconds(input.actions_suppressor_wait_period), seconds(input.actions_suppressor_extension_period));
    let suppressor = match (input.actions_suppressor, wait, extension) {
        (None, None, None) => None,
        (Some(alarm), Some(wait), Some(extension)) => Some(SuppressorSettings::new(&alarm, wait, extension)),
        _ => {
            return Err(ApiError::validation(
                "ActionsSuppressor, ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod must be specified \
                 together, the periods as numbers of seconds not below 0",
            ));
        }
    };
    let actions = |parameter, list| alarm_settings::actions(parameter, list, composite_action);
    Ok(CompositeAlarm {
        arn: home.alarm_arn(&name),
        name,
        description: input.alarm_description,
        rule_text,
        rule,
        actions_enabled: input.actions_enabled.unwrap_or(true),
        ok_actions: actions("OKActions", input.ok_actions)?,
        alarm_actions: actions("AlarmActions", input.alarm_actions)?,
        insufficient_data_actions: actions("InsufficientDataActions", input.insufficient_data_actions)?,
        suppressor,
        state: AlarmState::InsufficientData,
        state_reason: "Unchecked: Initial alarm creation".to_owned(),
        state_reason_data: None,
        state_updated_at: now,
        state_transitioned_at: now,
        state_before: AlarmState::InsufficientData,
        configured_at: now,
        actions_done_for: Some(now),
        suppressed_by: None,
        tags,
    })
}

/// What a composite alarm can set off here: topics. Scaling policies and EC2 actions are for metric alarms.
fn composite_action(arn: &str) -> bool {
    puffer_core::messaging::is_topic_arn(arn)
}

fn check(tx: &Transaction<'_>, alarm: &CompositeAlarm) -> Result<(), ApiError> {
    let r = tx.reader();
    let actions = [&alarm.ok_actions, &alarm.alarm_actions, &alarm.insufficient_data_actions];
    alarm_settings::check_topics(&r, actions)?;
    if r.get::<Alarm>(&alarm.name).is_some() {
        return Err(ApiError::validation(format!("{} is the name of a metric alarm", alarm.name)));
    }
    if r.get::<CompositeAlarm>(&alarm.name).is_none() && r.count::<CompositeAlarm>() >= COMPOSITES_MAX {
        return Err(ApiError::declared(
            &errors::LIMIT_EXCEEDED_FAULT,
            format!("There are {COMPOSITES_MAX} composite alarms already; no more are allowed."),
        ));
    }
    let suppressor = alarm.suppressor.as_ref().map(|s| s.alarm.as_str());
    let missing = |name: &&str| *name != alarm.name && composites::view(&r, name).is_none();
    let named = alarm.rule.children().into_iter().chain(suppressor);
    let missing: Vec<&str> = named.filter(missing).collect();
    if !missing.is_empty() {
        return Err(ApiError::validation(format!(
            "Could not save the composite alarm as alarms [{}] in the alarm rule do not exist",
            missing.join(", ")
        )));
    }
    for child in alarm.rule.children() {
        let parents = composites::parents(&r, child);
        if parents.len() >= PARENTS_MAX && !parents.iter().any(|p| p.name == alarm.name) {
            return Err(ApiError::declared(
                &errors::LIMIT_EXCEEDED_FAULT,
                format!("{PARENTS_MAX} composite alarms name {child} already; no more are allowed."),
            ));
        }
    }
    Ok(())
}
