//! Predictive scaling: the load of the next two days from that of the last two weeks, and the capacity it needs.
//!
//! [`forecast_load`] extrapolates the hours of the load metric. What one instance carries at the target comes from the metrics
//! themselves ([`Relation`]): known for the predefined pairs, else learnt from the hours past. Shortly before each hour,
//! [`raise`] lifts the desired capacity to the hour's forecast; it never lowers it.
//! Source: EC2 Auto Scaling guide, "Predictive scaling".

mod forecast;
mod metrics;
mod relation;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use forecast::{HISTORY_H_MAX, HISTORY_H_MIN, HORIZON_H, TooLittle, forecast_load, history};
pub use metrics::{SamplesPerHour, Sources, sources};
pub use relation::{Learnt, Relation, correlation, learn};

use super::Group;
use crate::alarm::MetricQuery;
use crate::{Record, Timestamp};

/// Seconds of an hour, the step of everything here.
pub const HOUR_S: u32 = 3600;
/// Seconds between two forecasts of a policy.
pub const REFRESH_S: i64 = 6 * 3600;
/// `SchedulingBufferTime` when a policy does not say, seconds.
pub const BUFFER_S: u32 = 300;
/// How long the forecasts of hours past are kept, hours (the greatest span of GetPredictiveScalingForecast).
pub const KEPT_H: i64 = 30 * 24;

/// Whether a policy acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// It only forecasts.
    ForecastOnly,
    /// It also raises the capacity.
    ForecastAndScale,
}

/// What happens when the forecast exceeds the group's maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaxCapacity {
    /// The maximum holds.
    Honor,
    /// The maximum is raised to the forecast and so many percent more, and stays.
    Increase {
        /// `MaxCapacityBuffer`.
        buffer_percent: u32,
    },
}

/// A metric of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MetricChoice {
    /// By its type.
    Predefined {
        /// `ASGTotalCPUUtilization`, `ALBRequestCountPerTarget`, ….
        metric_type: String,
        /// `app/<lb>/<id>/targetgroup/<tg>/<id>` for request counts.
        resource_label: Option<String>,
    },
    /// By queries, of which one returns data.
    Customized(Vec<MetricQuery>),
}

/// What a policy forecasts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Specification {
    /// A predefined pair of load and scaling metric.
    Pair {
        /// `ASGCPUUtilization`, ….
        pair_type: String,
        /// For request counts.
        resource_label: Option<String>,
    },
    /// Both given apart.
    Apart {
        /// The whole group's load.
        load: MetricChoice,
        /// What the target is for.
        scaling: MetricChoice,
        /// The group's capacity, if it is not to be taken from the instances' own metrics.
        capacity: Option<Vec<MetricQuery>>,
    },
}

/// `PredictiveScalingConfiguration`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictiveScaling {
    /// The metrics.
    pub specification: Specification,
    /// The scaling metric's target.
    pub target: f64,
    /// Whether it acts.
    pub mode: Mode,
    /// `SchedulingBufferTime`, seconds.
    pub buffer_s: u32,
    /// `MaxCapacityBreachBehavior` and `MaxCapacityBuffer`.
    pub max_capacity: MaxCapacity,
}

/// The forecast of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ForecastPoint {
    /// Its begin.
    pub at: Timestamp,
    /// The load metric's sum over it.
    pub load: f64,
    /// The capacity that meets the target.
    pub capacity: u32,
}

/// What a policy has forecast and done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The policy's name.
    pub policy: String,
    /// Its group's name.
    pub group: String,
    /// When the forecast was last tried.
    pub tried_at: Timestamp,
    /// When it was last made; `None`: never.
    pub made_at: Option<Timestamp>,
    /// Why the last try made none.
    pub problem: Option<String>,
    /// Hours past, as last forecast for them, and hours to come.
    pub points: Vec<ForecastPoint>,
    /// `MetricPairCorrelation` of the last forecast.
    pub correlation: Option<f64>,
    /// The last hour for which the capacity was raised, or found sufficient.
    pub scaled_for: Option<Timestamp>,
}

impl Record for Forecast {
    const COLLECTION: &'static str = "autoscaling-forecasts";

    fn key(&self) -> String {
        format!("{}/{}", self.group, self.policy)
    }
}

impl Forecast {
    /// Nothing forecast yet.
    pub fn empty(group: &str, policy: &str) -> Forecast {
        Forecast {
            policy: policy.to_owned(),
            group: group.to_owned(),
            tried_at: Timestamp::default(),
            made_at: None,
            problem: None,
            points: Vec::new(),
            correlation: None,
            scaled_for: None,
        }
    }

    /// Whether it is time for another forecast: six hours after one that was made, an hour (of more data) after one that was
    /// not.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let wait_s = if self.problem.is_some() { i64::from(HOUR_S) } else { REFRESH_S };
        now.as_secs() - self.tried_at.as_secs() >= wait_s
    }

    /// Takes over a new forecast; what was forecast for hours past stays for as long as it can be asked for.
    pub fn renew(&mut self, now: Timestamp, made: Vec<ForecastPoint>, correlation: Option<f64>) {
        let hour = now.floor_to(HOUR_S.into());
        let first = made.first().map_or(hour, |p| p.at);
        let oldest_ms = hour.as_millis() - KEPT_H * i64::from(HOUR_S) * 1000;
        self.points.retain(|p| p.at < first && p.at.as_millis() >= oldest_ms);
        self.points.extend(made);
        (self.tried_at, self.made_at, self.problem, self.correlation) = (now, Some(now), None, correlation);
    }

    /// The forecast of the hour that `at` lies in.
    pub fn of_hour(&self, at: Timestamp) -> Option<ForecastPoint> {
        let hour = at.floor_to(HOUR_S.into());
        self.points.iter().rev().find(|p| p.at == hour).copied()
    }
}

impl PredictiveScaling {
    /// The hour to be ready for: the one that begins when the buffer has passed.
    pub fn hour_to_prepare(&self, now: Timestamp) -> Timestamp {
        (now + std::time::Duration::from_secs(self.buffer_s.into())).floor_to(HOUR_S.into())
    }
}

/// How a forecast changes a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    /// The new desired capacity; never below what it was.
    pub desired: u32,
    /// The new maximum; never below what it was.
    pub max: u32,
    /// The numbers behind it.
    pub reason: String,
}

/// What a forecast capacity makes of a group; `None`: it is enough already.
pub fn raise(policy: &PredictiveScaling, point: &ForecastPoint, group: &Group) -> Option<Raise> {
    let max = match policy.max_capacity {
        MaxCapacity::Honor => group.max,
        MaxCapacity::Increase { buffer_percent } => {
            let wanted = u64::from(point.capacity) * u64::from(100 + buffer_percent);
            group.max.max(u32::try_from(wanted.div_ceil(100)).unwrap_or(u32::MAX))
        }
    };
    let desired = point.capacity.clamp(group.min, max).max(group.desired);
    if (desired, max) == (group.desired, group.max) {
        return None;
    }
    let reason = format!(
        "forecast for {}: a load of {:.1} needs {} at a target of {}; within {}–{max}: {desired}",
        point.at.to_rfc3339_secs(),
        point.load,
        point.capacity,
        policy.target,
        group.min
    );
    Some(Raise { desired, max, reason })
}
