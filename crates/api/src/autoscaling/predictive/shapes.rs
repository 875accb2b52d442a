//! Queries and configurations between their wire shapes and the domain's.

use puffer_core::alarm::math::Program;
use puffer_core::alarm::{MetricId, MetricQuery, MetricSource, Statistic, Unit};
use puffer_core::autoscaling::predict::{
    HOUR_S, MaxCapacity, MetricChoice, Mode, PredictiveScaling, Specification,
};
use puffer_shapes::autoscaling as shape;

use super::super::describe_groups::signed;
use super::super::error::required;
use crate::ApiError;

/// Queries of a customized metric (CloudWatch's limit for one call).
const QUERIES_MAX: usize = 10;

/// A list of queries, checked; all of them by the hour.
pub(super) fn queries(given: Option<&[shape::MetricDataQuery]>) -> Result<Vec<MetricQuery>, ApiError> {
    let given = given.unwrap_or_default();
    if given.is_empty() || given.len() > QUERIES_MAX {
        return Err(ApiError::validation(format!(
            "MetricDataQueries must have from 1 to {QUERIES_MAX} elements, but has {}",
            given.len()
        )));
    }
    let queries: Vec<MetricQuery> = given.iter().map(query).collect::<Result<_, _>>()?;
    let answers: Vec<&MetricQuery> = queries.iter().filter(|q| q.return_data).collect();
    let [answer] = answers[..] else {
        return Err(ApiError::validation("Exactly one element of MetricDataQueries must return data"));
    };
    let program = Program::new(&queries).map_err(|e| ApiError::validation(e.to_string()))?;
    if !program.is_one_series(&answer.id) {
        return Err(ApiError::validation(format!("The query {} does not yield one time series", answer.id)));
    }
    Ok(queries)
}

fn query(q: &shape::MetricDataQuery) -> Result<MetricQuery, ApiError> {
    let source = match (&q.metric_stat, &q.expression) {
        (Some(stat), None) => stat_source(stat)?,
        (None, Some(expression)) => {
            MetricSource::Expression { expression: expression.clone(), period_s: Some(HOUR_S) }
        }
        _ => {
            return Err(ApiError::validation(
                "Each element of MetricDataQueries must have either MetricStat or Expression",
            ));
        }
    };
    let id = required(q.id.clone(), "id")?;
    Ok(MetricQuery { id, source, label: q.label.clone(), return_data: q.return_data.unwrap_or(true) })
}

fn stat_source(stat: &shape::MetricStat) -> Result<MetricSource, ApiError> {
    let metric = stat.metric.as_ref().ok_or_else(|| ApiError::validation("A metric stat needs a metric"))?;
    let statistic = required(stat.stat.clone(), "stat")?;
    if Statistic::parse(&statistic).is_none() {
        return Err(ApiError::validation(format!("Invalid statistic: {statistic}")));
    }
    if let Some(unit) = stat.unit.as_deref().filter(|u| Unit::parse(u).is_none()) {
        return Err(ApiError::validation(format!("Invalid unit: {unit}")));
    }
    let dimensions: Vec<(&str, &str)> = metric
        .dimensions
        .iter()
        .flatten()
        .map(|d| (d.name.as_deref().unwrap_or_default(), d.value.as_deref().unwrap_or_default()))
        .collect();
    Ok(MetricSource::Stat {
        metric: MetricId::new(
            required(metric.namespace.as_deref(), "namespace")?,
            required(metric.metric_name.as_deref(), "metricName")?,
            &dimensions,
        ),
        statistic,
        period_s: HOUR_S,
        unit: stat.unit.clone(),
    })
}

fn query_shape(q: &MetricQuery) -> shape::MetricDataQuery {
    let (metric_stat, expression) = match &q.source {
        MetricSource::Expression { expression, .. } => (None, Some(expression.clone())),
        MetricSource::Stat { metric, statistic, unit, .. } => {
            let dimension = |(name, value): &(String, String)| shape::MetricDimension {
                name: Some(name.clone()),
                value: Some(value.clone()),
            };
            let metric = shape::Metric {
                namespace: Some(metric.namespace.clone()),
                metric_name: Some(metric.name.clone()),
                dimensions: Some(metric.dimensions.iter().map(dimension).collect()),
            };
            let stat =
                shape::MetricStat { metric: Some(metric), stat: Some(statistic.clone()), unit: unit.clone() };
            (Some(stat), None)
        }
    };
    shape::MetricDataQuery {
        id: Some(q.id.clone()),
        label: q.label.clone(),
        return_data: Some(q.return_data),
        metric_stat,
        expression,
    }
}

fn query_shapes(queries: &[MetricQuery]) -> Option<Vec<shape::MetricDataQuery>> {
    Some(queries.iter().map(query_shape).collect())
}

/// The metrics as the API shows them.
pub(super) fn specification(p: &PredictiveScaling) -> shape::PredictiveScalingMetricSpecification {
    let mut shown =
        shape::PredictiveScalingMetricSpecification { target_value: Some(p.target), ..Default::default() };
    let (load, scaling, capacity) = match &p.specification {
        Specification::Pair { pair_type, resource_label } => {
            shown.predefined_metric_pair_specification = Some(shape::PredictiveScalingPredefinedMetricPair {
                predefined_metric_type: Some(pair_type.clone()),
                resource_label: resource_label.clone(),
            });
            return shown;
        }
        Specification::Apart { load, scaling, capacity } => (load, scaling, capacity),
    };
    match load {
        MetricChoice::Predefined { metric_type, resource_label } => {
            shown.predefined_load_metric_specification = Some(shape::PredictiveScalingPredefinedLoadMetric {
                predefined_metric_type: Some(metric_type.clone()),
                resource_label: resource_label.clone(),
            });
        }
        MetricChoice::Customized(queries) => {
            shown.customized_load_metric_specification = Some(shape::PredictiveScalingCustomizedLoadMetric {
                metric_data_queries: query_shapes(queries),
            });
        }
    }
    match scaling {
        MetricChoice::Predefined { metric_type, resource_label } => {
            shown.predefined_scaling_metric_specification =
                Some(shape::PredictiveScalingPredefinedScalingMetric {
                    predefined_metric_type: Some(metric_type.clone()),
                    resource_label: resource_label.clone(),
                });
        }
        MetricChoice::Customized(queries) => {
            shown.customized_scaling_metric_specification =
                Some(shape::PredictiveScalingCustomizedScalingMetric {
                    metric_data_queries: query_shapes(queries),
                });
        }
    }
    shown.customized_capacity_metric_specification = capacity.as_deref().map(|queries| {
        shape::PredictiveScalingCustomizedCapacityMetric { metric_data_queries: query_shapes(queries) }
    });
    shown
}

/// The configuration as the API shows it.
pub(in super::super) fn configuration(p: &PredictiveScaling) -> shape::PredictiveScalingConfiguration {
    let (behaviour, buffer) = match p.max_capacity {
        MaxCapacity::Honor => ("HonorMaxCapacity", None),
        MaxCapacity::Increase { buffer_percent } => ("IncreaseMaxCapacity", Some(signed(buffer_percent))),
    };
    let mode = match p.mode {
        Mode::ForecastOnly => "ForecastOnly",
        Mode::ForecastAndScale => "ForecastAndScale",
    };
    shape::PredictiveScalingConfiguration {
        metric_specifications: Some(vec![specification(p)]),
        mode: Some(mode.to_owned()),
        scheduling_buffer_time: Some(signed(p.buffer_s)),
        max_capacity_breach_behavior: Some(behaviour.to_owned()),
        max_capacity_buffer: buffer,
    }
}
