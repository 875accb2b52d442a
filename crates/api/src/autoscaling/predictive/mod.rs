//! Predictive scaling: its configuration between the API's shapes and the domain, and the forecast.

mod forecast;
mod shapes;

use puffer_core::autoscaling::PolicyKind;
use puffer_core::autoscaling::predict::{
    BUFFER_S, HOUR_S, MaxCapacity, MetricChoice, Mode, PredictiveScaling, SamplesPerHour, Specification,
    sources,
};
use puffer_shapes::autoscaling as shape;

use super::error::{natural, required};
use crate::{ApiError, Registry};

pub(super) use shapes::configuration as shape_of;

/// The policy's type.
pub(super) const KIND: &str = "PredictiveScaling";
/// Percent of `MaxCapacityBuffer`.
const BUFFER_PERCENT_MAX: u32 = 100;

pub(super) fn register(registry: &mut Registry) {
    forecast::register(registry);
}

/// A policy's kind from the parameters that belong to it.
pub(super) fn kind(input: &shape::PutScalingPolicyType) -> Result<PolicyKind, ApiError> {
    let configuration = input.predictive_scaling_configuration.as_ref().ok_or_else(|| {
        ApiError::validation(
            "PredictiveScalingConfiguration must be specified for policies of type PredictiveScaling",
        )
    })?;
    let [specification] = configuration.metric_specifications.as_deref().unwrap_or_default() else {
        return Err(ApiError::validation("MetricSpecifications must have exactly one element"));
    };
    let target = required(specification.target_value, "metricSpecifications.1.member.targetValue")?;
    if !(target > 0.0 && target.is_finite()) {
        return Err(ApiError::validation(format!("TargetValue must be above 0, but is {target}")));
    }
    let mode = match configuration.mode.as_deref() {
        None | Some("ForecastOnly") => Mode::ForecastOnly,
        Some("ForecastAndScale") => Mode::ForecastAndScale,
        Some(other) => return Err(ApiError::validation(format!("Invalid predictive scaling mode: {other}"))),
    };
    let buffer_s =
        configuration.scheduling_buffer_time.map_or(Ok(BUFFER_S), |n| natural(n, "SchedulingBufferTime"))?;
    if buffer_s > HOUR_S {
        return Err(ApiError::validation(format!(
            "SchedulingBufferTime must be at most {HOUR_S} seconds, but is {buffer_s}"
        )));
    }
    let predictive = PredictiveScaling {
        specification: metrics(specification)?,
        target,
        mode,
        buffer_s,
        max_capacity: max_capacity(configuration)?,
    };
    // What is not known is refused now, not at the first forecast.
    sources(&predictive.specification, "", SamplesPerHour { cpu: 1.0, others: 1.0 })
        .map_err(ApiError::validation)?;
    Ok(PolicyKind::Predictive(predictive))
}

fn max_capacity(c: &shape::PredictiveScalingConfiguration) -> Result<MaxCapacity, ApiError> {
    let buffer = c.max_capacity_buffer.map(|n| natural(n, "MaxCapacityBuffer")).transpose()?;
    match (c.max_capacity_breach_behavior.as_deref(), buffer) {
        (None | Some("HonorMaxCapacity"), None) => Ok(MaxCapacity::Honor),
        (None | Some("HonorMaxCapacity"), Some(_)) => Err(ApiError::validation(
            "MaxCapacityBuffer can be specified only if MaxCapacityBreachBehavior is IncreaseMaxCapacity",
        )),
        (Some("IncreaseMaxCapacity"), Some(percent)) if percent <= BUFFER_PERCENT_MAX => {
            Ok(MaxCapacity::Increase { buffer_percent: percent })
        }
        (Some("IncreaseMaxCapacity"), None) => Err(ApiError::validation(
            "MaxCapacityBuffer must be specified if MaxCapacityBreachBehavior is IncreaseMaxCapacity",
        )),
        (Some("IncreaseMaxCapacity"), Some(percent)) => Err(ApiError::validation(format!(
            "MaxCapacityBuffer must be from 0 to {BUFFER_PERCENT_MAX}, but is {percent}"
        ))),
        (Some(other), _) => {
            Err(ApiError::validation(format!("Invalid max capacity breach behavior: {other}")))
        }
    }
}

fn metrics(s: &shape::PredictiveScalingMetricSpecification) -> Result<Specification, ApiError> {
    let one_of = |what: &str| {
        ApiError::validation(format!("Exactly one {what} must be specified for predictive scaling"))
    };
    let load = match (&s.predefined_load_metric_specification, &s.customized_load_metric_specification) {
        (None, None) => None,
        (Some(p), None) => Some(predefined(p.predefined_metric_type.as_ref(), p.resource_label.as_ref())?),
        (None, Some(c)) => Some(customized(c.metric_data_queries.as_deref())?),
        (Some(_), Some(_)) => return Err(one_of("load metric specification")),
    };
    let scaling =
        match (&s.predefined_scaling_metric_specification, &s.customized_scaling_metric_specification) {
            (None, None) => None,
            (Some(p), None) => {
                Some(predefined(p.predefined_metric_type.as_ref(), p.resource_label.as_ref())?)
            }
            (None, Some(c)) => Some(customized(c.metric_data_queries.as_deref())?),
            (Some(_), Some(_)) => return Err(one_of("scaling metric specification")),
        };
    let capacity = match &s.customized_capacity_metric_specification {
        None => None,
        Some(c) => Some(shapes::queries(c.metric_data_queries.as_deref())?),
    };
    match (&s.predefined_metric_pair_specification, load, scaling) {
        (Some(pair), None, None) if capacity.is_none() => Ok(Specification::Pair {
            pair_type: required(pair.predefined_metric_type.clone(), "predefinedMetricType")?,
            resource_label: pair.resource_label.clone(),
        }),
        (None, Some(load), Some(scaling)) => Ok(Specification::Apart { load, scaling, capacity }),
        _ => Err(one_of("metric pair, or one load metric together with one scaling metric,")),
    }
}

fn predefined(metric_type: Option<&String>, label: Option<&String>) -> Result<MetricChoice, ApiError> {
    Ok(MetricChoice::Predefined {
        metric_type: required(metric_type.cloned(), "predefinedMetricType")?,
        resource_label: label.cloned(),
    })
}

fn customized(queries: Option<&[shape::MetricDataQuery]>) -> Result<MetricChoice, ApiError> {
    Ok(MetricChoice::Customized(shapes::queries(queries)?))
}
