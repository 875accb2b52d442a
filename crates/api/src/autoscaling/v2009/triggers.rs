use std::sync::Arc;

use puffer_core::alarm::{MetricId, Statistic, Unit};
use puffer_core::autoscaling::trigger::{BREACH_S, Increment, PERIOD_STEP_S, Threshold, Trigger};
use puffer_inventory::groups::{self, GroupError};
use puffer_inventory::triggers;
use puffer_shapes::autoscaling_2009 as shape;
use puffer_wire::EpochMillis;

use super::super::describe_groups::signed;
use super::super::error::{Refused, natural, required};
use crate::{ApiError, Ctx, Registry};

/// Namespace of a trigger that names none: in 2009 nearly all metrics were EC2's.
const NAMESPACE: &str = "AWS/EC2";
/// Statistics of a trigger.
const STATISTICS: [&str; 4] = ["Average", "Sum", "Minimum", "Maximum"];

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::CreateOrUpdateScalingTrigger, _>(put);
    registry.serve::<shape::DescribeTriggers, _>(describe);
    registry.serve::<shape::DeleteTrigger, _>(delete);
}

async fn put(cx: Arc<Ctx>, input: shape::CreateOrUpdateScalingTriggerType) -> Result<(), ApiError> {
    let trigger = trigger(&cx, input)?;
    cx.store.transact::<_, GroupError>(|tx| triggers::put(tx, trigger).map(drop)).await?;
    Ok(())
}

fn trigger(cx: &Ctx, input: shape::CreateOrUpdateScalingTriggerType) -> Result<Trigger, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let statistic = required(input.statistic, "statistic")?;
    if !STATISTICS.contains(&statistic.as_str()) {
        return Err(ApiError::validation(format!("Statistic must be one of {}", STATISTICS.join(", "))));
    }
    let period_s = natural(required(input.period, "period")?, "Period")?;
    if period_s == 0 || period_s % PERIOD_STEP_S != 0 {
        return Err(ApiError::validation(format!(
            "Period must be a multiple of {PERIOD_STEP_S} seconds, but is {period_s}"
        )));
    }
    let breach_s = natural(required(input.breach_duration, "breachDuration")?, "BreachDuration")?;
    if !BREACH_S.contains(&breach_s) {
        return Err(ApiError::validation(format!(
            "BreachDuration must be from {} to {} seconds, but is {breach_s}",
            BREACH_S.start(),
            BREACH_S.end()
        )));
    }
    let lower = threshold(
        input.lower_threshold,
        input.lower_breach_scale_increment.as_deref(),
        "LowerThreshold",
        "LowerBreachScaleIncrement",
    )?;
    let upper = threshold(
        input.upper_threshold,
        input.upper_breach_scale_increment.as_deref(),
        "UpperThreshold",
        "UpperBreachScaleIncrement",
    )?;
    if lower.value > upper.value {
        return Err(ApiError::validation("LowerThreshold must not be above UpperThreshold"));
    }
    // Early clients send the text `None` for what their users left out; as a unit it meant the same.
    let unit = input.unit.filter(|u| !u.is_empty());
    if unit.as_deref().is_some_and(|u| u != "None" && Unit::parse(u).is_none()) {
        return Err(ApiError::validation(format!("Invalid unit: {}", unit.unwrap_or_default())));
    }
    if input.custom_unit.as_deref().is_some_and(|u| !u.is_empty() && u != "None") {
        return Err(super::super::error::unsupported("The parameter CustomUnit"));
    }
    let dimensions = input.dimensions.unwrap_or_default();
    let given: Vec<(&str, &str)> = dimensions
        .iter()
        .map(|d| (d.name.as_deref().unwrap_or_default(), d.value.as_deref().unwrap_or_default()))
        .collect();
    // A trigger that says nothing more is about its group.
    let of_group = [("AutoScalingGroupName", group.as_str())];
    let namespace = input.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or(NAMESPACE);
    let measure = required(input.measure_name.as_deref(), "measureName")?;
    let metric = MetricId::new(namespace, measure, if given.is_empty() { &of_group } else { &given });
    Ok(Trigger {
        name: required(input.trigger_name, "triggerName")?,
        metric,
        group,
        statistic,
        unit,
        custom_unit: None,
        period_s,
        lower,
        upper,
        breach_s,
        created_at: cx.clock.now(),
    })
}

fn threshold(
    value: Option<f64>,
    increment: Option<&str>,
    value_name: &str,
    increment_name: &str,
) -> Result<Threshold, ApiError> {
    let value = required(value, value_name)?;
    if !value.is_finite() {
        return Err(ApiError::validation(format!("{value_name} must be a number")));
    }
    let text = required(increment, increment_name)?;
    let increment = Increment::parse(text).ok_or_else(|| {
        ApiError::validation(format!(
            "{increment_name} must be a whole number, perhaps followed by a percent sign, but is {text}"
        ))
    })?;
    Ok(Threshold { value, increment })
}

async fn describe(
    cx: Arc<Ctx>,
    input: shape::AutoScalingGroupNameType,
) -> Result<shape::TriggersType, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let found = cx.store.read(|r| {
        groups::active(r, &group)?;
        Ok::<_, GroupError>(triggers::of_group(r, &group))
    })?;
    Ok(shape::TriggersType { triggers: Some(found.iter().map(|t| shape_of(&cx, t)).collect()) })
}

fn shape_of(cx: &Ctx, t: &Trigger) -> shape::Trigger {
    let one = |(name, value): &(String, String)| shape::Dimension {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    shape::Trigger {
        trigger_name: Some(t.name.clone()),
        auto_scaling_group_name: Some(t.group.clone()),
        status: Some(status(cx, t).to_owned()),
        measure_name: Some(t.metric.name.clone()),
        statistic: Some(t.statistic.clone()),
        dimensions: Some(t.metric.dimensions.iter().map(one).collect()),
        period: Some(signed(t.period_s)),
        unit: t.unit.clone(),
        custom_unit: t.custom_unit.clone(),
        namespace: Some(t.metric.namespace.clone()),
        lower_threshold: Some(t.lower.value),
        lower_breach_scale_increment: Some(t.lower.increment.text.clone()),
        upper_threshold: Some(t.upper.value),
        upper_breach_scale_increment: Some(t.upper.increment.text.clone()),
        breach_duration: Some(signed(t.breach_s)),
        created_time: Some(EpochMillis(t.created_at.as_millis())),
    }
}

/// Where the metric is now.
fn status(cx: &Ctx, t: &Trigger) -> &'static str {
    let Some(statistic) = Statistic::parse(&t.statistic) else { return "NoData" };
    let (start, end) = t.window(cx.clock.now());
    let points = cx.metrics.query(&t.metric, t.metric_unit(), statistic, t.period_s, start, end);
    let values: Vec<f64> = points.into_iter().map(|(_, value)| value).collect();
    t.judge(&values).status()
}

async fn delete(cx: Arc<Ctx>, input: shape::DeleteTriggerType) -> Result<(), ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let name = required(input.trigger_name, "triggerName")?;
    cx.store
        .transact::<_, Refused>(|tx| {
            groups::active(&tx.reader(), &group)?;
            match triggers::remove(tx, &group, &name) {
                true => Ok(()),
                false => {
                    Err(ApiError::validation(format!("Trigger name not found - no trigger '{name}'")).into())
                }
            }
        })
        .await?;
    Ok(())
}
