//! Describing alarms.

use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::alarm::{Alarm, AlarmState, CompositeAlarm, MetricSource, Statistic};
use puffer_inventory::composite_alarms as composites;
use puffer_shapes::cloudwatch::{self as shapes, errors};
use puffer_store::Reader;

use super::{queries, token, wire_time};
use crate::{ApiError, Ctx};

/// Alarms of a page unless the caller says otherwise, and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 100;

/// An alarm of either kind.
enum Either {
    Metric(Arc<Alarm>),
    Composite(Arc<CompositeAlarm>),
}

impl Either {
    fn name(&self) -> &str {
        match self {
            Either::Metric(a) => &a.name,
            Either::Composite(a) => &a.name,
        }
    }

    fn state(&self) -> AlarmState {
        match self {
            Either::Metric(a) => a.state,
            Either::Composite(a) => a.state,
        }
    }

    fn actions(&self) -> [&Vec<String>; 3] {
        match self {
            Either::Metric(a) => [&a.ok_actions, &a.alarm_actions, &a.insufficient_data_actions],
            Either::Composite(a) => [&a.ok_actions, &a.alarm_actions, &a.insufficient_data_actions],
        }
    }
}

/// The alarm of either kind with this name.
fn find(r: &Reader<'_>, name: &str) -> Option<Either> {
    let metric = r.get::<Alarm>(name).map(Either::Metric);
    metric.or_else(|| r.get::<CompositeAlarm>(name).map(Either::Composite))
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeAlarmsInput,
) -> Result<shapes::DescribeAlarmsOutput, ApiError> {
    let size = input.max_records.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let after = token::decode(input.next_token.as_deref())?.unwrap_or_default();
    if input.children_of_alarm_name.is_some() || input.parents_of_alarm_name.is_some() {
        return family(&cx, &input, size, &after);
    }
    let names = input.alarm_names.unwrap_or_default();
    if !names.is_empty() && input.alarm_name_prefix.is_some() {
        return Err(ApiError::validation("AlarmNamePrefix and AlarmNames must not be specified together"));
    }
    let types = input.alarm_types.unwrap_or_default();
    let metric = types.is_empty() || types.iter().any(|t| t == "MetricAlarm");
    let composite = types.iter().any(|t| t == "CompositeAlarm");
    let state = input.state_value.as_deref().and_then(AlarmState::parse);
    let prefix = input.alarm_name_prefix.unwrap_or_default();
    let wanted = |alarm: &Either| {
        let kind = match alarm {
            Either::Metric(_) => metric,
            Either::Composite(_) => composite,
        };
        let action = input.action_prefix.as_deref();
        kind && alarm.name().starts_with(&prefix)
            && alarm.name() > after.as_str()
            && state.is_none_or(|s| s == alarm.state())
            && action.is_none_or(|p| alarm.actions().into_iter().flatten().any(|a| a.starts_with(p)))
    };
    let mut found: Vec<Either> = cx.store.read(|r| {
        if !names.is_empty() {
            let names: BTreeSet<&String> = names.iter().collect();
            return names.into_iter().filter_map(|n| find(r, n)).filter(|a| wanted(a)).collect();
        }
        // Names with a prefix lie together, so a page touches little more than it tells.
        let start = if after < prefix { prefix.as_str() } else { after.as_str() };
        let first = find(r, start);
        let near = |name: &str| name.starts_with(&prefix);
        let metrics = r.after::<Alarm>(start).take_while(|a| near(&a.name)).cloned().map(Either::Metric);
        let metrics: Vec<Either> = metrics.filter(|a| wanted(a)).take(size + 1).collect();
        let composites = r.after::<CompositeAlarm>(start).take_while(|a| near(&a.name));
        let composites = composites.cloned().map(Either::Composite).filter(|a| wanted(a)).take(size + 1);
        first.into_iter().filter(|a| wanted(a)).chain(metrics).chain(composites).collect()
    });
    found.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(page(found, size, shape, composite_shape))
}

/// The children or the parents of an alarm, by name and state only.
fn family(
    cx: &Ctx,
    input: &shapes::DescribeAlarmsInput,
    size: usize,
    after: &str,
) -> Result<shapes::DescribeAlarmsOutput, ApiError> {
    let others = [
        input.alarm_names.as_ref().is_some_and(|n| !n.is_empty()),
        input.alarm_name_prefix.is_some(),
        input.alarm_types.as_ref().is_some_and(|t| !t.is_empty()),
        input.state_value.is_some(),
        input.action_prefix.is_some(),
        input.children_of_alarm_name.is_some() && input.parents_of_alarm_name.is_some(),
    ];
    if others.contains(&true) {
        return Err(ApiError::validation(
            "With ChildrenOfAlarmName or ParentsOfAlarmName, only MaxRecords and NextToken may be specified",
        ));
    }
    let found = cx.store.read(|r| {
        if let Some(name) = &input.children_of_alarm_name {
            let parent = r.get::<CompositeAlarm>(name).ok_or_else(|| {
                ApiError::declared(
                    &errors::RESOURCE_NOT_FOUND,
                    format!("There is no composite alarm named {name}"),
                )
            })?;
            return Ok(parent.rule.children().into_iter().filter_map(|c| find(r, c)).collect());
        }
        let name = input.parents_of_alarm_name.as_deref().unwrap_or_default();
        Ok::<Vec<Either>, ApiError>(composites::parents(r, name).into_iter().map(Either::Composite).collect())
    })?;
    let mut found: Vec<Either> = found.into_iter().filter(|a| a.name() > after).collect();
    found.sort_by(|a, b| a.name().cmp(b.name()));
    let metric = |a: &Alarm| shapes::MetricAlarm {
        alarm_name: Some(a.name.clone()),
        alarm_arn: Some(a.arn.clone()),
        state_value: Some(a.state.name().to_owned()),
        state_updated_timestamp: Some(wire_time(a.state_updated_at)),
        ..Default::default()
    };
    let with_state = input.children_of_alarm_name.is_some();
    let composite = |a: &CompositeAlarm| shapes::CompositeAlarm {
        alarm_name: Some(a.name.clone()),
        alarm_arn: Some(a.arn.clone()),
        state_value: with_state.then(|| a.state.name().to_owned()),
        state_updated_timestamp: with_state.then(|| wire_time(a.state_updated_at)),
        ..Default::default()
    };
    Ok(page(found, size, metric, composite))
}

fn page(
    mut found: Vec<Either>,
    size: usize,
    metric: impl Fn(&Alarm) -> shapes::MetricAlarm,
    composite: impl Fn(&CompositeAlarm) -> shapes::CompositeAlarm,
) -> shapes::DescribeAlarmsOutput {
    let more = found.len() > size;
    found.truncate(size);
    let next_token = found.last().filter(|_| more).map(|a| token::encode(a.name()));
    let (mut metrics, mut composites) = (Vec::new(), Vec::new());
    for alarm in &found {
        match alarm {
            Either::Metric(a) => metrics.push(metric(a)),
            Either::Composite(a) => composites.push(composite(a)),
        }
    }
    shapes::DescribeAlarmsOutput {
        composite_alarms: Some(composites),
        metric_alarms: Some(metrics),
        log_alarms: None,
        next_token,
    }
}

fn composite_shape(alarm: &CompositeAlarm) -> shapes::CompositeAlarm {
    let suppressor = alarm.suppressor.as_ref();
    let seconds = |s: u32| i32::try_from(s).ok();
    let suppressed_by = alarm.suppressed_by.map(|by| by.name().to_owned());
    shapes::CompositeAlarm {
        actions_enabled: Some(alarm.actions_enabled),
        alarm_actions: Some(alarm.alarm_actions.clone()),
        alarm_arn: Some(alarm.arn.clone()),
        alarm_configuration_updated_timestamp: Some(wire_time(alarm.configured_at)),
        alarm_description: alarm.description.clone(),
        alarm_name: Some(alarm.name.clone()),
        alarm_rule: Some(alarm.rule_text.clone()),
        insufficient_data_actions: Some(alarm.insufficient_data_actions.clone()),
        ok_actions: Some(alarm.ok_actions.clone()),
        state_reason: Some(alarm.state_reason.clone()),
        state_reason_data: alarm.state_reason_data.clone(),
        state_updated_timestamp: Some(wire_time(alarm.state_updated_at)),
        state_value: Some(alarm.state.name().to_owned()),
        state_transitioned_timestamp: Some(wire_time(alarm.state_transitioned_at)),
        actions_suppressed_reason: suppressed_by.as_ref().map(|by| format!("Actions suppressed by {by}")),
        actions_suppressed_by: suppressed_by,
        actions_suppressor: suppressor.map(|s| s.given.clone()),
        actions_suppressor_wait_period: suppressor.and_then(|s| seconds(s.wait_s)),
        actions_suppressor_extension_period: suppressor.and_then(|s| seconds(s.extension_s)),
        action_configuration: None,
    }
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
