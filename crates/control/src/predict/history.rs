//! The hours past of a metric, a list of queries, or a group's capacity.

use std::collections::BTreeMap;

use puffer_core::Timestamp;
use puffer_core::alarm::math::{Grid, Program, Series};
use puffer_core::alarm::{MetricId, MetricQuery, MetricSource, Statistic, Unit};
use puffer_core::autoscaling::predict::HOUR_S;
use puffer_metrics::Metrics;

/// Seconds of the periods in which instances are counted.
const COUNTED_S: u32 = 300;

/// The hourly values of what the queries return, oldest first.
pub(super) fn read(
    metrics: &Metrics,
    queries: &[MetricQuery],
    start: Timestamp,
    end: Timestamp,
) -> Result<Vec<(Timestamp, f64)>, String> {
    let Some(answer) = queries.iter().find(|q| q.return_data) else { return Ok(Vec::new()) };
    let series = |query: &MetricQuery| -> Series {
        let MetricSource::Stat { metric, statistic, period_s, unit } = &query.source else {
            return Series::new();
        };
        let Some(statistic) = Statistic::parse(statistic) else { return Series::new() };
        let unit = unit.as_deref().and_then(Unit::parse);
        let points = metrics.query(metric, unit, statistic, *period_s, start, end);
        points.into_iter().map(|(at, value)| (at.as_millis(), value)).collect()
    };
    let found = match &answer.source {
        MetricSource::Stat { .. } => series(answer),
        MetricSource::Expression { .. } => {
            let program = Program::new(queries).map_err(|e| e.to_string())?;
            let needed = program.metrics_of(&answer.id);
            let data: BTreeMap<String, Series> = queries
                .iter()
                .filter(|q| needed.contains(&q.id))
                .map(|q| (q.id.clone(), series(q)))
                .collect();
            let grid = Grid { start, end, period_s: HOUR_S };
            let mut several = program.evaluate(&answer.id, &data, grid).map_err(|e| e.to_string())?;
            if several.len() != 1 {
                return Err(format!(
                    "the query {} yields {} series instead of one",
                    answer.id,
                    several.len()
                ));
            }
            several.remove(0).1
        }
    };
    Ok(found.into_iter().map(|(ms, value)| (Timestamp::from_millis(ms), value)).collect())
}

/// How many instances there were in each hour, from the number of samples that they published: so much of an hour as had
/// any.
pub(super) fn capacity(
    metrics: &Metrics,
    samples: &MetricId,
    samples_per_hour: f64,
    start: Timestamp,
    end: Timestamp,
) -> Vec<(Timestamp, f64)> {
    let counted = metrics.query(samples, None, Statistic::SampleCount, COUNTED_S, start, end);
    let per_period = samples_per_hour * f64::from(COUNTED_S) / f64::from(HOUR_S);
    let mut hours: BTreeMap<Timestamp, (f64, f64)> = BTreeMap::new();
    for (at, n) in counted {
        let (sum, periods) = hours.entry(at.floor_to(HOUR_S.into())).or_default();
        *sum += n / per_period;
        *periods += 1.0;
    }
    hours.into_iter().map(|(at, (sum, periods))| (at, sum / periods)).collect()
}
