//! `PutMetricData`.

use std::sync::Arc;

use puffer_core::alarm::{MetricId, Unit};
use puffer_metrics::{Datum, PutError, Sample};
use puffer_shapes::cloudwatch as shapes;

use super::{invalid_combination, invalid_value, missing, queries, time};
use crate::{ApiError, Ctx};

/// Data in one request.
const DATA_MAX: usize = 1000;
/// Values in one datum.
const VALUES_MAX: usize = 150;
/// Largest magnitude of a value: 2^360.
const MAGNITUDE_MAX_LOG2: i32 = 360;
const TWO_WEEKS_MS: i64 = 14 * 86_400_000;
const TWO_HOURS_MS: i64 = 2 * 3_600_000;

pub(super) async fn put(cx: Arc<Ctx>, input: shapes::PutMetricDataInput) -> Result<(), ApiError> {
    let namespace = input.namespace.unwrap_or_default();
    if input.entity_metric_data.is_some_and(|e| !e.is_empty()) {
        return Err(invalid_value("Puffer does not keep entities: send the data as MetricData"));
    }
    if namespace.starts_with("AWS/") {
        return Err(invalid_value(
            "The parameter Namespace must not start with AWS/: that is for the services.",
        ));
    }
    if namespace.starts_with(':') || namespace.trim().is_empty() {
        return Err(invalid_value(format!("The value {namespace} for parameter Namespace is invalid.")));
    }
    let data = input.metric_data.unwrap_or_default();
    if data.is_empty() {
        return Err(missing("The parameter MetricData is required."));
    }
    if data.len() > DATA_MAX {
        return Err(invalid_value(format!(
            "The collection MetricData must not have a size greater than {DATA_MAX}."
        )));
    }
    let now_ms = cx.clock.now().as_millis();
    let metrics: Vec<MetricId> =
        data.iter().map(|d| queries::metric_id(&namespace, &d.metric_name, &d.dimensions)).collect();
    let mut batch = Vec::with_capacity(data.len());
    for (i, (datum, metric)) in data.iter().zip(&metrics).enumerate() {
        let at = format!("MetricData.member.{}", i + 1);
        let when_ms = datum.timestamp.map_or(now_ms, |t| t.0);
        if when_ms < now_ms - TWO_WEEKS_MS {
            return Err(invalid_value(format!(
                "The parameter {at}.Timestamp must specify a time within the past two weeks."
            )));
        }
        if when_ms > now_ms + TWO_HOURS_MS {
            return Err(invalid_value(format!(
                "The parameter {at}.Timestamp must specify a time no more than two hours in the future."
            )));
        }
        check_dimensions(&at, metric)?;
        batch.push(Datum {
            metric,
            unit: datum.unit.as_deref().and_then(Unit::parse).unwrap_or_default(),
            at: time(puffer_wire::EpochMillis(when_ms)),
            sample: sample(&at, datum)?,
            resolution_s: resolution_s(&at, datum.storage_resolution)?,
        });
    }
    cx.metrics.put_batch(&batch).map_err(refused)
}

fn refused(error: PutError) -> ApiError {
    match error {
        PutError::BadSample | PutError::BadTime => invalid_value(error.to_string()),
        PutError::TooManySeries(_) | PutError::TooMuchLateData => {
            ApiError::sender("Throttling", error.to_string())
        }
        PutError::Disk(_) => ApiError::internal(&error),
    }
}

fn resolution_s(at: &str, given: Option<i32>) -> Result<u32, ApiError> {
    match given {
        None | Some(60) => Ok(60),
        Some(1) => Ok(1),
        Some(other) => Err(invalid_value(format!(
            "The value {other} for parameter {at}.StorageResolution is invalid: it is 1 or 60."
        ))),
    }
}

fn check_dimensions(at: &str, metric: &MetricId) -> Result<(), ApiError> {
    for (i, (name, value)) in metric.dimensions.iter().enumerate() {
        let bad = |text: &str| text.trim().is_empty() || !text.is_ascii() || text.contains(char::is_control);
        if bad(name) || name.starts_with(':') || bad(value) {
            return Err(invalid_value(format!(
                "The parameter {at}.Dimensions must have names and values of ASCII characters, not blank, and names not \
                 starting with a colon."
            )));
        }
        if i > 0 && metric.dimensions[i - 1].0 == *name {
            return Err(invalid_value(format!("The parameter {at}.Dimensions has the name {name} twice.")));
        }
    }
    Ok(())
}

fn sample<'a>(at: &str, datum: &'a shapes::MetricDatum) -> Result<Sample<'a>, ApiError> {
    let number = |name: &str, v: f64| {
        if v.is_finite() && v.abs() <= f64::from(MAGNITUDE_MAX_LOG2).exp2() {
            Ok(v)
        } else {
            Err(invalid_value(format!("The value {v} for parameter {at}.{name} is invalid.")))
        }
    };
    match (datum.value, &datum.statistic_values, &datum.values) {
        (Some(v), None, None) => number("Value", v).map(Sample::Value),
        (None, Some(set), None) => {
            let get = |name: &str, v: Option<f64>| {
                let v = v.ok_or_else(|| {
                    missing(format!("The parameter {at}.StatisticValues.{name} is required."))
                })?;
                number(&format!("StatisticValues.{name}"), v)
            };
            let (count, sum) = (get("SampleCount", set.sample_count)?, get("Sum", set.sum)?);
            let (min, max) = (get("Minimum", set.minimum)?, get("Maximum", set.maximum)?);
            if count <= 0.0 {
                return Err(invalid_value(format!(
                    "The parameter {at}.StatisticValues.SampleCount must be greater than 0."
                )));
            }
            if min > max {
                return Err(invalid_combination(format!(
                    "The parameter {at}.StatisticValues.Maximum must be greater than or equal to \
                     {at}.StatisticValues.Minimum."
                )));
            }
            Ok(Sample::Statistics { sum, count, min, max })
        }
        (None, None, Some(values)) => {
            let counts = datum.counts.as_deref().unwrap_or_default();
            if values.is_empty() || values.len() > VALUES_MAX {
                return Err(invalid_value(format!(
                    "The parameter {at}.Values must have 1 to {VALUES_MAX} values."
                )));
            }
            if !counts.is_empty() && counts.len() != values.len() {
                return Err(invalid_combination(format!(
                    "The parameters {at}.Values and {at}.Counts must be of the same length."
                )));
            }
            for (name, list) in [("Values", values.as_slice()), ("Counts", counts)] {
                for v in list {
                    number(name, *v)?;
                }
            }
            if counts.iter().any(|c| *c < 0.0) || (!counts.is_empty() && counts.iter().all(|c| *c == 0.0)) {
                return Err(invalid_value(format!("The parameter {at}.Counts must be positive.")));
            }
            Ok(Sample::Values { values, counts })
        }
        (None, None, None) => Err(missing(format!(
            "At least one of the parameters {at}.Value, {at}.Values or {at}.StatisticValues must be specified."
        ))),
        _ => Err(invalid_combination(format!(
            "The parameters {at}.Value, {at}.Values and {at}.StatisticValues are mutually exclusive and you have \
             specified more than one."
        ))),
    }
}
