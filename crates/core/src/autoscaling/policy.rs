use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp, alarm::MetricQuery};

/// How an adjustment changes the capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum AdjustmentType {
    ChangeInCapacity,
    ExactCapacity,
    PercentChangeInCapacity,
}

/// One step: an interval of (metric − threshold) and its adjustment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepAdjustment {
    /// `None`: minus infinity.
    pub lower: Option<f64>,
    /// `None`: plus infinity.
    pub upper: Option<f64>,
    /// By the policy's adjustment type.
    pub adjustment: i32,
}

/// What a target-tracking policy holds at its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TargetTrackingMetric {
    /// `PredefinedMetricSpecification`.
    Predefined {
        /// `ASGAverageCPUUtilization`, ….
        metric_type: String,
        /// `app/<lb>/<id>/targetgroup/<tg>/<id>` for request counts.
        resource_label: Option<String>,
    },
    /// `CustomizedMetricSpecification`, as queries (a plain metric is one query).
    Customized {
        /// Queries, of which one returns data.
        queries: Vec<MetricQuery>,
        /// Seconds.
        period_s: u32,
        /// Whether it was given as one plain metric, for the describe call.
        plain: bool,
    },
}

/// Target tracking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetTracking {
    /// The metric.
    pub metric: TargetTrackingMetric,
    /// Its target.
    pub target: f64,
    /// No scale-in by this policy.
    pub disable_scale_in: bool,
}

/// The kinds of policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PolicyKind {
    /// `SimpleScaling`.
    Simple {
        /// How.
        adjustment_type: AdjustmentType,
        /// How much.
        adjustment: i32,
        /// Percent type only.
        min_magnitude: Option<u32>,
        /// `None`: the group's default.
        cooldown_s: Option<u32>,
    },
    /// `StepScaling`.
    Step {
        /// How.
        adjustment_type: AdjustmentType,
        /// Steps in order.
        steps: Vec<StepAdjustment>,
        /// Percent type only.
        min_magnitude: Option<u32>,
        /// `Minimum`, `Maximum` or `Average`.
        aggregation: String,
    },
    /// `TargetTrackingScaling`.
    TargetTracking(TargetTracking),
    /// `PredictiveScaling`.
    Predictive(super::predict::PredictiveScaling),
}

/// An alarm that belongs to a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmRef {
    /// Name.
    pub name: String,
    /// ARN.
    pub arn: String,
}

/// A scaling policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingPolicy {
    /// Name, unique in its group.
    pub name: String,
    /// The group's name.
    pub group: String,
    /// Full ARN.
    pub arn: String,
    /// Kind and settings.
    pub kind: PolicyKind,
    /// `Enabled`.
    pub enabled: bool,
    /// `EstimatedInstanceWarmup`.
    pub warmup_s: Option<u32>,
    /// Alarms that the service made (target tracking); those of users are found by their actions.
    pub alarms: Vec<AlarmRef>,
    /// When it last changed the group's capacity, and from which alarm state on.
    pub last_executed_at: Option<Timestamp>,
}

impl Record for ScalingPolicy {
    const COLLECTION: &'static str = "autoscaling-policies";
    const INDEXES: &'static [&'static str] = &["group", "arn"];

    fn key(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("group", &self.group);
        push("arn", &self.arn);
    }
}
