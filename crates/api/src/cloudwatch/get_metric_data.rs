//! `GetMetricData`: several metrics and expressions over them at once.
//!
//! A page ends after `MaxDatapoints` datapoints, within a result if need be; the token names the result and the datapoint
//! where the next page goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::math::{Grid, MathError, Program, Series};
use puffer_core::alarm::{MetricQuery, MetricSource, Statistic, Unit};
use puffer_shapes::cloudwatch as shapes;
use puffer_wire::EpochMillis;

use super::{labels, queries, time, token, window};
use crate::{ApiError, Ctx};

/// Datapoints of an answer.
const POINTS_MAX: usize = 100_800;
/// Period of an expression that uses no metric and names none, seconds.
const PERIOD_DEFAULT_S: u32 = 60;

/// One result before it is cut into pages.
struct Found {
    id: String,
    label: String,
    series: Series,
}

pub(super) async fn get(
    cx: Arc<Ctx>,
    input: shapes::GetMetricDataInput,
) -> Result<shapes::GetMetricDataOutput, ApiError> {
    let list = input.metric_data_queries.unwrap_or_default();
    let queries = queries::read(&cx.account, &list, "MetricDataQueries")?;
    let program = Program::new(&queries).map_err(invalid)?;
    let now = cx.clock.now();
    let (start, end) = (time(input.start_time.unwrap_or_default()), time(input.end_time.unwrap_or_default()));
    if queries.is_empty() {
        return Err(ApiError::validation("The parameter MetricDataQueries must not be empty."));
    }
    if start >= end {
        return Err(ApiError::validation("The parameter StartTime must be less than the parameter EndTime."));
    }
    if !queries.iter().any(|q| q.return_data) {
        return Err(ApiError::validation("At least one query must return data."));
    }
    check_timezone(input.label_options.as_ref())?;
    let n_max = match input.max_datapoints {
        None => POINTS_MAX,
        Some(n) => usize::try_from(n).ok().filter(|n| (1..=POINTS_MAX).contains(n)).ok_or_else(|| {
            ApiError::validation(format!("The parameter MaxDatapoints must be between 1 and {POINTS_MAX}."))
        })?,
    };
    check_periods(&queries, start, now)?;

    let mut found = Vec::new();
    let mut read = Reader { cx: &cx, queries: &queries, start, end, now, read: BTreeMap::new() };
    for query in queries.iter().filter(|q| q.return_data) {
        found.extend(result(query, &program, &mut read)?);
    }
    if input.scan_by.as_deref() != Some("TimestampAscending") {
        found.iter_mut().for_each(|f| f.series.reverse());
    }
    page(found, n_max, token::decode(input.next_token.as_deref())?)
}

fn invalid(error: MathError) -> ApiError {
    ApiError::validation(error.to_string())
}

fn check_timezone(options: Option<&shapes::LabelOptions>) -> Result<(), ApiError> {
    let Some(zone) = options.and_then(|o| o.timezone.as_deref()) else { return Ok(()) };
    let good =
        zone.len() == 5 && zone.starts_with(['+', '-']) && zone[1..].bytes().all(|b| b.is_ascii_digit());
    if good { Ok(()) } else { Err(ApiError::validation("The time zone must have the form +HHMM.")) }
}

fn check_periods(queries: &[MetricQuery], start: Timestamp, now: Timestamp) -> Result<(), ApiError> {
    for query in queries {
        let period_s = match &query.source {
            MetricSource::Stat { period_s, .. } => Some(*period_s),
            MetricSource::Expression { period_s, .. } => *period_s,
        };
        let Some(period_s) = period_s else { continue };
        if !window::is_period(i32::try_from(period_s).unwrap_or(i32::MAX), start, now) {
            return Err(ApiError::validation(format!(
                "The value {period_s} for the period of the query '{}' is invalid.",
                query.id
            )));
        }
    }
    Ok(())
}

/// Reads each metric once.
struct Reader<'a> {
    cx: &'a Ctx,
    queries: &'a [MetricQuery],
    start: Timestamp,
    end: Timestamp,
    now: Timestamp,
    read: BTreeMap<String, Series>,
}

impl Reader<'_> {
    fn series(&mut self, id: &str) -> Series {
        if let Some(series) = self.read.get(id) {
            return series.clone();
        }
        let source = self.queries.iter().find(|q| q.id == id).map(|q| &q.source);
        let Some(MetricSource::Stat { metric, statistic, period_s, unit }) = source else {
            return Series::new();
        };
        let Some(statistic) = Statistic::parse(statistic) else { return Series::new() };
        let start = self.first(*period_s);
        let unit = unit.as_deref().and_then(Unit::parse);
        let points = self.cx.metrics.query(metric, unit, statistic, *period_s, start, self.end);
        let series: Series = points.into_iter().map(|(t, v)| (t.as_millis(), v)).collect();
        self.read.insert(id.to_owned(), series.clone());
        series
    }

    fn first(&self, period_s: u32) -> Timestamp {
        window::first_period(self.start, i32::try_from(period_s).unwrap_or(i32::MAX), self.now)
    }
}

fn result(query: &MetricQuery, program: &Program, read: &mut Reader<'_>) -> Result<Vec<Found>, ApiError> {
    let asked = query.label.as_deref();
    let found = |label: String, series| Found { id: query.id.clone(), label, series };
    match &query.source {
        MetricSource::Stat { metric, .. } => {
            let series = read.series(&query.id);
            Ok(vec![found(labels::label(asked, &metric.name, &query.source, &series), series)])
        }
        MetricSource::Expression { period_s, .. } => {
            let needed = program.metrics_of(&query.id);
            let data: BTreeMap<String, Series> =
                needed.iter().map(|id| (id.clone(), read.series(id))).collect();
            let coarsest =
                read.queries.iter().filter(|q| needed.contains(&q.id)).filter_map(|q| match q.source {
                    MetricSource::Stat { period_s, .. } => Some(period_s),
                    MetricSource::Expression { .. } => None,
                });
            let period_s = period_s.or(coarsest.max()).unwrap_or(PERIOD_DEFAULT_S);
            let grid = Grid { start: read.first(period_s), end: read.end, period_s };
            let several = program.evaluate(&query.id, &data, grid).map_err(invalid)?;
            Ok(several
                .into_iter()
                .map(|(of, series)| {
                    let default = of.map_or_else(|| query.id.clone(), |of| format!("{} {of}", query.id));
                    found(labels::label(asked, &default, &query.source, &series), series)
                })
                .collect())
        }
    }
}

fn page(
    found: Vec<Found>,
    n_max: usize,
    position: Option<String>,
) -> Result<shapes::GetMetricDataOutput, ApiError> {
    let (first, skip) = match position {
        None => (0, 0),
        Some(text) => {
            let (a, b) = text.split_once('.').ok_or_else(token::invalid)?;
            (a.parse().map_err(|_| token::invalid())?, b.parse().map_err(|_| token::invalid())?)
        }
    };
    let mut left = n_max;
    let mut results = Vec::new();
    let mut next = None;
    for (i, f) in found.into_iter().enumerate().skip(first) {
        let done = if i == first { skip } else { 0 };
        let rest = f.series.get(done..).unwrap_or_default();
        if left == 0 && !rest.is_empty() {
            next = Some(format!("{i}.{done}"));
            break;
        }
        let shown = &rest[..rest.len().min(left)];
        left -= shown.len();
        let is_whole = shown.len() == rest.len();
        results.push(shapes::MetricDataResult {
            id: Some(f.id),
            label: Some(f.label),
            timestamps: Some(shown.iter().map(|p| EpochMillis(p.0)).collect()),
            values: Some(shown.iter().map(|p| p.1).collect()),
            status_code: Some(if is_whole { "Complete" } else { "PartialData" }.to_owned()),
            messages: None,
        });
        if !is_whole {
            next = Some(format!("{i}.{}", done + shown.len()));
            break;
        }
    }
    Ok(shapes::GetMetricDataOutput {
        metric_data_results: Some(results),
        next_token: next.map(|n| token::encode(&n)),
        messages: Some(Vec::new()),
    })
}
