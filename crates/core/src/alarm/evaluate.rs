//! What an alarm says of its datapoints (CloudWatch user guide, "Alarm evaluation" and "Configuring how alarms treat
//! missing data").
//!
//! CloudWatch looks at more periods than the alarm's N: the *evaluation range*. If at least N of them have data, the newest
//! N decide and the treatment of missing data does not matter. Otherwise all the data there are decide together with as
//! many stand-ins as are missing. So a late datapoint or two change nothing. How much longer the range is, is not published; the
//! published tables use 5 for N = 3, so we take two periods more.

use super::{Alarm, AlarmState, Comparison, MetricSource, Statistic, TreatMissingData};
use crate::Timestamp;

/// Periods in the evaluation range beyond N.
pub const EXTRA_PERIODS: u32 = 2;

/// The datapoint of one period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Datapoint {
    /// Start of the period.
    pub at: Timestamp,
    /// Value.
    pub value: f64,
    /// Samples behind it, where known.
    pub samples: Option<f64>,
}

/// What an evaluation says.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The state that the data call for; `None`: the alarm stays as it is.
    pub state: Option<AlarmState>,
    /// The datapoints that decided, oldest first.
    pub datapoints: Vec<Datapoint>,
    /// How many of them cross the threshold.
    pub n_breaching: usize,
    /// Periods that were filled by the treatment of missing data.
    pub n_missing: usize,
}

impl Comparison {
    /// Whether `value` crosses `threshold`.
    pub fn breaches(self, value: f64, threshold: f64) -> bool {
        match self {
            Comparison::GreaterThanOrEqualToThreshold => value >= threshold,
            Comparison::GreaterThanThreshold => value > threshold,
            Comparison::LessThanThreshold => value < threshold,
            Comparison::LessThanOrEqualToThreshold => value <= threshold,
        }
    }

    /// CloudWatch's name.
    pub fn name(self) -> &'static str {
        match self {
            Comparison::GreaterThanOrEqualToThreshold => "GreaterThanOrEqualToThreshold",
            Comparison::GreaterThanThreshold => "GreaterThanThreshold",
            Comparison::LessThanThreshold => "LessThanThreshold",
            Comparison::LessThanOrEqualToThreshold => "LessThanOrEqualToThreshold",
        }
    }

    /// Reads CloudWatch's name. The comparisons with anomaly bands are not known here.
    pub fn parse(name: &str) -> Option<Comparison> {
        [
            Comparison::GreaterThanOrEqualToThreshold,
            Comparison::GreaterThanThreshold,
            Comparison::LessThanThreshold,
            Comparison::LessThanOrEqualToThreshold,
        ]
        .into_iter()
        .find(|c| c.name() == name)
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Comparison::GreaterThanOrEqualToThreshold => "greater than or equal to",
            Comparison::GreaterThanThreshold => "greater than",
            Comparison::LessThanThreshold => "less than",
            Comparison::LessThanOrEqualToThreshold => "less than or equal to",
        }
    }
}

impl TreatMissingData {
    /// CloudWatch's name.
    pub fn name(self) -> &'static str {
        match self {
            TreatMissingData::Missing => "missing",
            TreatMissingData::Ignore => "ignore",
            TreatMissingData::Breaching => "breaching",
            TreatMissingData::NotBreaching => "notBreaching",
        }
    }

    /// Reads CloudWatch's name.
    pub fn parse(name: &str) -> Option<TreatMissingData> {
        [
            TreatMissingData::Missing,
            TreatMissingData::Ignore,
            TreatMissingData::Breaching,
            TreatMissingData::NotBreaching,
        ]
        .into_iter()
        .find(|t| t.name() == name)
    }
}

impl AlarmState {
    /// Reads CloudWatch's name.
    pub fn parse(name: &str) -> Option<AlarmState> {
        [AlarmState::Ok, AlarmState::Alarm, AlarmState::InsufficientData]
            .into_iter()
            .find(|s| s.name() == name)
    }
}

impl Alarm {
    /// M of "M of N".
    pub fn m(&self) -> u32 {
        self.datapoints_to_alarm.unwrap_or(self.evaluation_periods)
    }

    /// Periods of the evaluation range.
    pub fn range_periods(&self) -> u32 {
        self.evaluation_periods + EXTRA_PERIODS
    }

    /// Seconds between two evaluations: a minute for periods of a minute and more, ten seconds for those of 10, 20 and 30 s, and each
    /// period for Puffer's extension of 1 to 9 seconds.
    pub fn evaluation_interval_s(&self) -> u32 {
        match self.period_s {
            p @ 0..=9 => p.max(1),
            10..=59 => 10,
            _ => 60,
        }
    }

    /// The evaluation range at `now`: its start and its end. It ends with the last period that is over.
    pub fn range(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let end = now.floor_to(i64::from(self.evaluation_interval_s()));
        let length_s = u64::from(self.range_periods()) * u64::from(self.period_s);
        (end - std::time::Duration::from_secs(length_s), end)
    }

    /// The statistic of a plain alarm.
    pub fn statistic(&self) -> Option<Statistic> {
        self.queries.iter().find_map(|q| match &q.source {
            MetricSource::Stat { statistic, .. } if q.return_data => Statistic::parse(statistic),
            _ => None,
        })
    }

    fn treatment(&self) -> TreatMissingData {
        let dynamo = |q: &super::MetricQuery| matches!(&q.source, MetricSource::Stat { metric, .. } if metric.namespace == "AWS/DynamoDB");
        // DynamoDB publishes only while there is something to tell; CloudWatch always ignores its gaps.
        if self.queries.iter().any(dynamo) { TreatMissingData::Ignore } else { self.treat_missing_data }
    }
}

/// Evaluates `points`, the data of the evaluation range that starts at `start`, oldest first.
pub fn evaluate(alarm: &Alarm, start: Timestamp, points: &[Datapoint]) -> Evaluation {
    let n = alarm.evaluation_periods as usize;
    let m = alarm.m() as usize;
    let breaches = |p: &Datapoint| alarm.comparison.breaches(p.value, alarm.threshold);
    let used = &points[points.len().saturating_sub(n)..];
    let n_breaching = used.iter().filter(|p| breaches(p)).count();
    let n_missing = n - used.len();
    let treatment = alarm.treatment();

    let by_count = |n_breaching| Some(if n_breaching >= m { AlarmState::Alarm } else { AlarmState::Ok });
    let state = if too_few_samples(alarm, used) {
        None
    } else if n_missing == 0 {
        by_count(n_breaching)
    } else {
        match treatment {
            TreatMissingData::Breaching => by_count(n_breaching + n_missing),
            TreatMissingData::NotBreaching => by_count(n_breaching),
            TreatMissingData::Missing if used.is_empty() => Some(AlarmState::InsufficientData),
            TreatMissingData::Ignore if used.is_empty() => None,
            TreatMissingData::Missing | TreatMissingData::Ignore => {
                if n_breaching < used.len() || n_breaching >= m {
                    by_count(n_breaching)
                } else if treatment == TreatMissingData::Missing && is_settled(alarm, start, &used[0]) {
                    Some(AlarmState::Alarm)
                } else {
                    None
                }
            }
        }
    };
    Evaluation { state, datapoints: used.to_vec(), n_breaching, n_missing }
}

/// Whether a breach without anything but breaches and gaps after it is old enough: at least the M-th period from the end.
/// Otherwise the data that are still to come might say something else, and the alarm would be premature.
fn is_settled(alarm: &Alarm, start: Timestamp, oldest: &Datapoint) -> bool {
    let index = oldest.at.since(start).as_secs() / u64::from(alarm.period_s.max(1));
    let age = u64::from(alarm.range_periods()).saturating_sub(index);
    age >= u64::from(alarm.m())
}

fn too_few_samples(alarm: &Alarm, used: &[Datapoint]) -> bool {
    if !alarm.ignore_low_samples {
        return false;
    }
    let Some(needed) = alarm.statistic().and_then(Statistic::samples_needed) else { return false };
    used.iter().any(|p| p.samples.is_some_and(|s| s < needed))
}
