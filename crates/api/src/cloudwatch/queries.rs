//! Metric queries between their wire shape and the domain's.

use puffer_core::alarm::{MetricId, MetricQuery, MetricSource, Statistic, Unit};
use puffer_shapes::cloudwatch as shapes;

use crate::ApiError;

pub(super) fn metric_id(
    namespace: &str,
    name: &Option<String>,
    dimensions: &Option<Vec<shapes::Dimension>>,
) -> MetricId {
    let dimensions: Vec<(&str, &str)> = dimensions
        .iter()
        .flatten()
        .map(|d| (d.name.as_deref().unwrap_or_default(), d.value.as_deref().unwrap_or_default()))
        .collect();
    MetricId::new(namespace, name.as_deref().unwrap_or_default(), &dimensions)
}

pub(super) fn wire_dimensions(metric: &MetricId) -> Vec<shapes::Dimension> {
    let dimension = |(name, value): &(String, String)| shapes::Dimension {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    metric.dimensions.iter().map(dimension).collect()
}

pub(super) fn wire_metric(metric: &MetricId) -> shapes::Metric {
    shapes::Metric {
        namespace: Some(metric.namespace.clone()),
        metric_name: Some(metric.name.clone()),
        dimensions: Some(wire_dimensions(metric)),
    }
}

/// Reads a list of queries. Periods are checked by the caller, whose rules differ.
pub(super) fn read(
    account: &str,
    list: &[shapes::MetricDataQuery],
    parameter: &str,
) -> Result<Vec<MetricQuery>, ApiError> {
    let mut queries = Vec::with_capacity(list.len());
    for (i, query) in list.iter().enumerate() {
        let at = format!("{parameter}.member.{}", i + 1);
        if query.account_id.as_deref().is_some_and(|a| a != account) {
            return Err(ApiError::validation(format!("{at}.AccountId: there is only the account {account}")));
        }
        let source = match (&query.metric_stat, &query.expression) {
            (Some(stat), None) => stat_source(&at, stat)?,
            (None, Some(expression)) => {
                let period_s = query.period.map(|p| period(&at, p)).transpose()?;
                MetricSource::Expression { expression: expression.clone(), period_s }
            }
            _ => {
                return Err(ApiError::validation(format!(
                    "{at}: exactly one of MetricStat and Expression must be given"
                )));
            }
        };
        queries.push(MetricQuery {
            id: query.id.clone().unwrap_or_default(),
            source,
            label: query.label.clone(),
            return_data: query.return_data.unwrap_or(true),
        });
    }
    Ok(queries)
}

fn stat_source(at: &str, stat: &shapes::MetricStat) -> Result<MetricSource, ApiError> {
    let metric = stat.metric.clone().unwrap_or_default();
    let namespace = metric.namespace.unwrap_or_default();
    if namespace.is_empty() || metric.metric_name.is_none() {
        return Err(ApiError::validation(format!("{at}.MetricStat.Metric needs Namespace and MetricName")));
    }
    let statistic = stat.stat.clone().unwrap_or_default();
    if Statistic::parse(&statistic).is_none() {
        return Err(ApiError::validation(format!(
            "The value {statistic} for parameter {at}.MetricStat.Stat is not supported."
        )));
    }
    Ok(MetricSource::Stat {
        metric: metric_id(&namespace, &metric.metric_name, &metric.dimensions),
        statistic,
        period_s: period(at, stat.period.unwrap_or_default())?,
        unit: unit(at, &stat.unit)?,
    })
}

fn period(at: &str, seconds: i32) -> Result<u32, ApiError> {
    u32::try_from(seconds).ok().filter(|p| *p > 0).ok_or_else(|| {
        ApiError::validation(format!("The value {seconds} for parameter {at}.Period is invalid"))
    })
}

fn unit(at: &str, unit: &Option<String>) -> Result<Option<String>, ApiError> {
    match unit.as_deref() {
        Some(name) if Unit::parse(name).is_none() => {
            Err(ApiError::validation(format!("The value {name} for parameter {at}.Unit is invalid")))
        }
        _ => Ok(unit.clone()),
    }
}

pub(super) fn write(query: &MetricQuery) -> shapes::MetricDataQuery {
    let mut shape = shapes::MetricDataQuery {
        id: Some(query.id.clone()),
        label: query.label.clone(),
        return_data: Some(query.return_data),
        ..Default::default()
    };
    match &query.source {
        MetricSource::Stat { metric, statistic, period_s, unit } => {
            shape.metric_stat = Some(shapes::MetricStat {
                metric: Some(wire_metric(metric)),
                period: i32::try_from(*period_s).ok(),
                stat: Some(statistic.clone()),
                unit: unit.clone(),
            });
        }
        MetricSource::Expression { expression, period_s } => {
            shape.expression = Some(expression.clone());
            shape.period = period_s.and_then(|p| i32::try_from(p).ok());
        }
    }
    shape
}
