//! `GetMetricStatistics`.

use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::alarm::{Statistic, Unit};
use puffer_metrics::PeriodData;
use puffer_shapes::cloudwatch as shapes;

use super::{invalid_combination, invalid_value, queries, time, window, wire_time};
use crate::{ApiError, Ctx};

/// Datapoints of an answer.
const POINTS_MAX: i64 = 1440;

pub(super) async fn get(
    cx: Arc<Ctx>,
    input: shapes::GetMetricStatisticsInput,
) -> Result<shapes::GetMetricStatisticsOutput, ApiError> {
    let now = cx.clock.now();
    let (start, end) = (time(input.start_time.unwrap_or_default()), time(input.end_time.unwrap_or_default()));
    let period = input.period.unwrap_or_default();
    if start >= end {
        return Err(invalid_value("The parameter StartTime must be less than the parameter EndTime."));
    }
    if !window::is_period(period, start, now) {
        return Err(invalid_value(format!("The value {period} for parameter Period is invalid.")));
    }
    let names = input.statistics.unwrap_or_default();
    let extended_names = input.extended_statistics.unwrap_or_default();
    match (names.is_empty(), extended_names.is_empty()) {
        (true, true) => {
            return Err(invalid_combination(
                "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
            ));
        }
        (false, false) => {
            return Err(invalid_combination(
                "The parameters Statistics and ExtendedStatistics are mutually exclusive.",
            ));
        }
        _ => {}
    }
    let parse = |name: &String, classic: bool| match Statistic::parse(name) {
        Some(s) if s.is_classic() == classic => Ok((name.clone(), s)),
        _ => Err(invalid_value(format!("The value {name} for parameter Statistics is not supported."))),
    };
    let classic = names.iter().map(|n| parse(n, true)).collect::<Result<Vec<_>, _>>()?;
    let extended = extended_names.iter().map(|n| parse(n, false)).collect::<Result<Vec<_>, _>>()?;

    let start = window::first_period(start, period, now);
    let n_points = (end.as_millis() - start.as_millis()) / (i64::from(period) * 1000);
    if n_points > POINTS_MAX {
        return Err(invalid_combination(format!(
            "You have requested up to {n_points} datapoints, which exceeds the limit of {POINTS_MAX}. You may reduce \
             the datapoints requested by increasing Period, or decreasing the time range."
        )));
    }
    let metric =
        queries::metric_id(&input.namespace.unwrap_or_default(), &input.metric_name, &input.dimensions);
    let units = match input.unit.as_deref() {
        Some(name) => {
            vec![Unit::parse(name).ok_or_else(|| invalid_value("The value for parameter Unit is invalid."))?]
        }
        None => cx.metrics.units(&metric),
    };
    let period_s = u32::try_from(period).unwrap_or(1);
    let mut datapoints = Vec::new();
    for unit in units {
        let periods = cx.metrics.periods(&metric, Some(unit), period_s, start, end);
        datapoints.extend(periods.iter().filter_map(|p| datapoint(p, unit, &classic, &extended)));
    }
    datapoints.sort_by_key(|d| d.timestamp);
    Ok(shapes::GetMetricStatisticsOutput { label: Some(metric.name), datapoints: Some(datapoints) })
}

fn datapoint(
    period: &PeriodData,
    unit: Unit,
    classic: &[(String, Statistic)],
    extended: &[(String, Statistic)],
) -> Option<shapes::Datapoint> {
    let get = |wanted: Statistic| {
        classic.iter().any(|(_, s)| *s == wanted).then(|| period.statistic(wanted)).flatten()
    };
    let extended_values: BTreeMap<String, f64> =
        extended.iter().filter_map(|(n, s)| Some((n.clone(), period.statistic(*s)?))).collect();
    // A period whose data have no distribution has nothing to say about percentiles.
    if !extended.is_empty() && extended_values.is_empty() {
        return None;
    }
    Some(shapes::Datapoint {
        timestamp: Some(wire_time(period.at)),
        sample_count: get(Statistic::SampleCount),
        average: get(Statistic::Average),
        sum: get(Statistic::Sum),
        minimum: get(Statistic::Minimum),
        maximum: get(Statistic::Maximum),
        unit: Some(unit.name().to_owned()),
        extended_statistics: (!extended.is_empty()).then_some(extended_values),
    })
}
