//! CloudWatch alarms: what is watched and what it says.

mod composite;
mod evaluate;
mod history;
mod instance_verb;
pub mod math;
mod message;
mod reason;
mod statistic;
#[cfg(test)]
mod tests;
mod unit;

use serde::{Deserialize, Serialize};

pub use composite::{
    CHILDREN_MAX, CompositeAlarm, ELEMENTS_MAX, Rule, RuleError, SuppressedBy, Suppression, Suppressor,
    SuppressorSettings, suppression,
};
pub use evaluate::{Datapoint, EXTRA_PERIODS, Evaluation, evaluate};
pub use history::{HISTORY_S, HistoryItem, HistoryKind};
pub use instance_verb::InstanceVerb;
pub use message::{composite_message, invoking_alarm, metric_message, region_of, subject};
pub use reason::{composite_reason, double, json_time, reason};
pub use statistic::{Range, Statistic};
pub use unit::Unit;

use crate::{Record, Tags, Timestamp};

/// A metric: namespace, name and the exact set of dimensions, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MetricId {
    /// `AWS/EC2`, ….
    pub namespace: String,
    /// `CPUUtilization`, ….
    pub name: String,
    /// `(name, value)`, sorted.
    pub dimensions: Vec<(String, String)>,
}

impl MetricId {
    /// Sorts the dimensions.
    pub fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Self {
        let mut dimensions: Vec<_> =
            dimensions.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        dimensions.sort();
        MetricId { namespace: namespace.to_owned(), name: name.to_owned(), dimensions }
    }
}

/// One entry of a metric query list: a metric statistic or an expression over the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricQuery {
    /// Id, unique in its list.
    pub id: String,
    /// What it yields.
    pub source: MetricSource,
    /// Label.
    pub label: Option<String>,
    /// Whether it is the answer.
    pub return_data: bool,
}

/// What a [`MetricQuery`] yields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MetricSource {
    /// A statistic of a metric.
    Stat {
        /// The metric.
        metric: MetricId,
        /// `Average`, `Sum`, `p99`, ….
        statistic: String,
        /// Seconds.
        period_s: u32,
        /// Only data of this unit.
        unit: Option<String>,
    },
    /// Metric maths.
    Expression {
        /// The expression.
        expression: String,
        /// Seconds, if given.
        period_s: Option<u32>,
    },
}

/// An alarm's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub enum AlarmState {
    Ok,
    Alarm,
    #[default]
    InsufficientData,
}

impl AlarmState {
    /// CloudWatch's name.
    pub fn name(self) -> &'static str {
        match self {
            AlarmState::Ok => "OK",
            AlarmState::Alarm => "ALARM",
            AlarmState::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// Comparison of a datapoint with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Comparison {
    GreaterThanOrEqualToThreshold,
    GreaterThanThreshold,
    LessThanThreshold,
    LessThanOrEqualToThreshold,
}

/// What counts for a missing datapoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[allow(missing_docs)]
pub enum TreatMissingData {
    #[default]
    Missing,
    Ignore,
    Breaching,
    NotBreaching,
}

/// A metric alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Name, unique in the account.
    pub name: String,
    /// Full ARN.
    pub arn: String,
    /// Description.
    pub description: Option<String>,
    /// Whether actions run.
    pub actions_enabled: bool,
    /// ARNs on entering OK.
    pub ok_actions: Vec<String>,
    /// ARNs on entering ALARM.
    pub alarm_actions: Vec<String>,
    /// ARNs on entering INSUFFICIENT_DATA.
    pub insufficient_data_actions: Vec<String>,
    /// What is watched: one plain statistic, or queries of which one returns data.
    pub queries: Vec<MetricQuery>,
    /// Whether it was given as one plain metric, for the describe call.
    pub plain: bool,
    /// Seconds of a datapoint.
    pub period_s: u32,
    /// N of "M of N".
    pub evaluation_periods: u32,
    /// M of "M of N"; `None`: N.
    pub datapoints_to_alarm: Option<u32>,
    /// Threshold.
    pub threshold: f64,
    /// How the datapoint is compared.
    pub comparison: Comparison,
    /// Missing data.
    pub treat_missing_data: TreatMissingData,
    /// `EvaluateLowSampleCountPercentile` = ignore.
    pub ignore_low_samples: bool,
    /// State now.
    pub state: AlarmState,
    /// Why, for people.
    pub state_reason: String,
    /// Why, as JSON.
    pub state_reason_data: Option<String>,
    /// When `state`, reason or data last changed.
    pub state_updated_at: Timestamp,
    /// When `state` last became another one.
    pub state_transitioned_at: Timestamp,
    /// The state before that.
    #[serde(default)]
    pub state_before: AlarmState,
    /// Whether it has ever left the state that it was made in.
    #[serde(default)]
    pub has_transitioned: bool,
    /// When the settings last changed.
    pub configured_at: Timestamp,
    /// The transition (its time) for which its actions have run, or were not to run: what runs once does not run again for it.
    #[serde(default)]
    pub actions_done_for: Option<Timestamp>,
    /// The policy that made it (its ARN): goes with the policy.
    pub owner: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Alarm {
    /// The actions that its state calls for: none while actions are disabled, and none in the state that a new alarm is
    /// given. Actions answer transitions, and being made is none.
    pub fn actions(&self) -> &[String] {
        match self.state {
            _ if !self.actions_enabled => &[],
            AlarmState::Ok => &self.ok_actions,
            AlarmState::Alarm => &self.alarm_actions,
            AlarmState::InsufficientData if !self.has_transitioned => &[],
            AlarmState::InsufficientData => &self.insufficient_data_actions,
        }
    }
}

impl Record for Alarm {
    const COLLECTION: &'static str = "cloudwatch-alarms";
    const INDEXES: &'static [&'static str] = &["action", "metric"];

    fn key(&self) -> String {
        self.name.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        for action in self.ok_actions.iter().chain(&self.alarm_actions).chain(&self.insufficient_data_actions)
        {
            push("action", action);
        }
        for query in &self.queries {
            if let MetricSource::Stat { metric, .. } = &query.source {
                push("metric", &format!("{}/{}", metric.namespace, metric.name));
            }
        }
    }
}
