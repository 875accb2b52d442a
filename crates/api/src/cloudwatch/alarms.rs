//! Describing alarms, deleting them, and setting their state and actions by hand.

use std::sync::Arc;

use puffer_core::alarm::{Alarm, AlarmState, MetricSource, Statistic};
use puffer_inventory::alarms::{self, StateChange};
use puffer_shapes::cloudwatch::{self as shapes, errors};
use puffer_store::Transaction;

use super::{queries, token, wire_time};
use crate::{ApiError, Ctx};

/// Alarms of a page unless the caller says otherwise, and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 100;

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeAlarmsInput,
) -> Result<shapes::DescribeAlarmsOutput, ApiError> {
    if input.children_of_alarm_name.is_some() || input.parents_of_alarm_name.is_some() {
        return Err(ApiError::validation(
            "Composite alarms, and so children and parents, are not supported by Puffer",
        ));
    }
    let names = input.alarm_names.unwrap_or_default();
    if !names.is_empty() && input.alarm_name_prefix.is_some() {
        return Err(ApiError::validation("AlarmNamePrefix and AlarmNames must not be specified together"));
    }
    let size = input.max_records.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let after = token::decode(input.next_token.as_deref())?;
    let state = input.state_value.as_deref().and_then(AlarmState::parse);
    let metric_alarms =
        input.alarm_types.as_ref().is_none_or(|t| t.is_empty() || t.iter().any(|t| t == "MetricAlarm"));
    let prefix = input.alarm_name_prefix.unwrap_or_default();
    let wanted = |alarm: &Alarm| {
        metric_alarms
            && alarm.name.starts_with(&prefix)
            && state.is_none_or(|s| s == alarm.state)
            && input.action_prefix.as_ref().is_none_or(|p| {
                let actions = [&alarm.ok_actions, &alarm.alarm_actions, &alarm.insufficient_data_actions];
                actions.into_iter().flatten().any(|a| a.starts_with(p.as_str()))
            })
    };
    let mut found: Vec<Arc<Alarm>> = cx.store.read(|r| {
        if names.is_empty() {
            // Names with a prefix lie together, so a page touches little more than it tells.
            let start = after.clone().unwrap_or_default();
            let first = r.get::<Alarm>(&prefix).filter(|_| after.is_none() && !prefix.is_empty());
            let start = if start < prefix { prefix.clone() } else { start };
            let rest =
                r.after::<Alarm>(&start).take_while(|a| prefix.is_empty() || a.name.starts_with(&prefix));
            first.into_iter().chain(rest.cloned()).filter(|a| wanted(a)).take(size + 1).collect()
        } else {
            let mut named: Vec<_> = names.iter().filter_map(|n| r.get::<Alarm>(n)).collect();
            named.sort_by(|a, b| a.name.cmp(&b.name));
            named.dedup_by(|a, b| a.name == b.name);
            named.retain(|a| wanted(a) && after.as_ref().is_none_or(|t| a.name > *t));
            named
        }
    });
    let more = found.len() > size;
    found.truncate(size);
    let next = found.last().filter(|_| more).map(|a| token::encode(&a.name));
    Ok(shapes::DescribeAlarmsOutput {
        composite_alarms: Some(Vec::new()),
        metric_alarms: Some(found.iter().map(|a| shape(a)).collect()),
        log_alarms: None,
        next_token: next,
    })
}

pub(super) async fn describe_for_metric(
    cx: Arc<Ctx>,
    input: shapes::DescribeAlarmsForMetricInput,
) -> Result<shapes::DescribeAlarmsForMetricOutput, ApiError> {
    let namespace = input.namespace.unwrap_or_default();
    let wanted = queries::metric_id(&namespace, &input.metric_name, &input.dimensions);
    let asked = input.statistic.or(input.extended_statistic);
    let index = format!("{namespace}/{}", wanted.name);
    let matches = |alarm: &Alarm| {
        alarm.plain
            && alarm.queries.iter().any(|q| match &q.source {
                MetricSource::Stat { metric, statistic, period_s, unit } => {
                    *metric == wanted
                        && asked.as_ref().is_none_or(|s| s == statistic)
                        && input.period.is_none_or(|p| i64::from(p) == i64::from(*period_s))
                        && input.unit.as_ref().is_none_or(|u| Some(u) == unit.as_ref())
                }
                MetricSource::Expression { .. } => false,
            })
    };
    let alarms = cx.store.list_by::<Alarm>("metric", &index);
    Ok(shapes::DescribeAlarmsForMetricOutput {
        metric_alarms: Some(alarms.iter().filter(|a| matches(a)).map(|a| shape(a)).collect()),
    })
}

pub(super) async fn delete(cx: Arc<Ctx>, input: shapes::DeleteAlarmsInput) -> Result<(), ApiError> {
    let now = cx.clock.now();
    let mut names = input.alarm_names.unwrap_or_default();
    names.sort();
    names.dedup();
    cx.store
        .transact(|tx: &mut Transaction<'_>| {
            for name in &names {
                if !alarms::delete(tx, name, now) {
                    return Err(not_found(name));
                }
            }
            Ok(())
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
                    tx.update::<Alarm>(name, |alarm| alarm.actions_enabled = enabled);
                }
            }
            Ok(())
        })
        .await
}

fn not_found(name: &str) -> ApiError {
    ApiError::declared(&errors::RESOURCE_NOT_FOUND, format!("There is no alarm named {name}"))
}

fn shape(alarm: &Alarm) -> shapes::MetricAlarm {
    let int = |n: u32| i32::try_from(n).ok();
    let mut shape = shapes::MetricAlarm {
        alarm_name: Some(alarm.name.clone()),
        alarm_arn: Some(alarm.arn.clone()),
        alarm_description: alarm.description.clone(),
        alarm_configuration_updated_timestamp: Some(wire_time(alarm.configured_at)),
        actions_enabled: Some(alarm.actions_enabled),
        ok_actions: Some(alarm.ok_actions.clone()),
        alarm_actions: Some(alarm.alarm_actions.clone()),
        insufficient_data_actions: Some(alarm.insufficient_data_actions.clone()),
        state_value: Some(alarm.state.name().to_owned()),
        state_reason: Some(alarm.state_reason.clone()),
        state_reason_data: alarm.state_reason_data.clone(),
        state_updated_timestamp: Some(wire_time(alarm.state_updated_at)),
        state_transitioned_timestamp: Some(wire_time(alarm.state_transitioned_at)),
        evaluation_periods: int(alarm.evaluation_periods),
        datapoints_to_alarm: alarm.datapoints_to_alarm.and_then(int),
        threshold: Some(alarm.threshold),
        comparison_operator: Some(alarm.comparison.name().to_owned()),
        treat_missing_data: Some(alarm.treat_missing_data.name().to_owned()),
        ..Default::default()
    };
    match alarm.queries.first().map(|q| &q.source) {
        Some(MetricSource::Stat { metric, statistic, period_s, unit }) if alarm.plain => {
            shape.namespace = Some(metric.namespace.clone());
            shape.metric_name = Some(metric.name.clone());
            shape.dimensions = Some(queries::wire_dimensions(metric));
            shape.period = int(*period_s);
            shape.unit = unit.clone();
            if Statistic::parse(statistic).is_some_and(Statistic::is_classic) {
                shape.statistic = Some(statistic.clone());
            } else {
                shape.extended_statistic = Some(statistic.clone());
            }
            if matches!(Statistic::parse(statistic), Some(Statistic::Percentile(_))) {
                let option = if alarm.ignore_low_samples { "ignore" } else { "evaluate" };
                shape.evaluate_low_sample_count_percentile = Some(option.to_owned());
            }
        }
        _ => shape.metrics = Some(alarm.queries.iter().map(queries::write).collect()),
    }
    shape
}
