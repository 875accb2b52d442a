//! Scaling policies between the API's shapes and the domain, with the checks that belong to each kind.

use puffer_core::alarm::math::Program;
use puffer_core::alarm::{Alarm, MetricId, MetricQuery, MetricSource, Statistic, Unit};
use puffer_core::autoscaling::scaling::validate_steps;
use puffer_core::autoscaling::{
    AdjustmentType, AlarmRef, PolicyKind, ScalingPolicy, StepAdjustment, TargetTracking, TargetTrackingMetric,
};
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;

use super::describe_groups::signed;
use super::error::{natural, required};
use super::predictive;
use crate::ApiError;

const SIMPLE: &str = "SimpleScaling";
const STEP: &str = "StepScaling";
const TARGET_TRACKING: &str = "TargetTrackingScaling";

/// Period of a customized metric that does not give one, seconds.
const DEFAULT_PERIOD_S: u32 = 60;
/// Periods that target tracking accepts, seconds.
const PERIODS_S: [i32; 3] = [10, 30, 60];
/// Queries of a customized metric (CloudWatch's limit for one call).
const QUERIES_MAX: usize = 10;
/// Targets accepted: above zero, and what AWS documents as the greatest.
const TARGET_MAX: f64 = 1.175_494_351e38;

/// The policy's kind, from the parameters that belong to it; a parameter of another kind is refused.
pub(super) fn kind(input: &shape::PutScalingPolicyType) -> Result<PolicyKind, ApiError> {
    match input.policy_type.as_deref().unwrap_or(SIMPLE) {
        SIMPLE => simple(input),
        STEP => step(input),
        TARGET_TRACKING => target_tracking(input),
        predictive::KIND => predictive_scaling(input),
        other => Err(ApiError::validation(format!("Invalid policy type: {other}"))),
    }
}

/// `EstimatedInstanceWarmup`, which simple policies do not have.
pub(super) fn warmup(input: &shape::PutScalingPolicyType) -> Result<Option<u32>, ApiError> {
    let warmup =
        input.estimated_instance_warmup.map(|w| natural(w, "EstimatedInstanceWarmup")).transpose()?;
    if warmup.is_some() && input.policy_type.as_deref().unwrap_or(SIMPLE) == SIMPLE {
        return Err(foreign("EstimatedInstanceWarmup", SIMPLE));
    }
    Ok(warmup)
}

fn foreign(parameter: &str, kind: &str) -> ApiError {
    ApiError::validation(format!("{parameter} cannot be specified for policies of type {kind}"))
}

fn refuse_foreign(given: &[(bool, &str)], kind: &str) -> Result<(), ApiError> {
    match given.iter().find(|(given, _)| *given) {
        Some((_, parameter)) => Err(foreign(parameter, kind)),
        None => Ok(()),
    }
}

fn simple(input: &shape::PutScalingPolicyType) -> Result<PolicyKind, ApiError> {
    let given = [
        (input.step_adjustments.as_ref().is_some_and(|s| !s.is_empty()), "StepAdjustments"),
        (input.metric_aggregation_type.is_some(), "MetricAggregationType"),
        (input.target_tracking_configuration.is_some(), "TargetTrackingConfiguration"),
        (input.predictive_scaling_configuration.is_some(), "PredictiveScalingConfiguration"),
    ];
    refuse_foreign(&given, SIMPLE)?;
    let adjustment_type = adjustment_type(input)?;
    let adjustment = input.scaling_adjustment.ok_or_else(|| {
        ApiError::validation("ScalingAdjustment must be specified for policies of type SimpleScaling")
    })?;
    if adjustment_type == AdjustmentType::ExactCapacity && adjustment < 0 {
        return Err(ApiError::validation("ScalingAdjustment must not be negative for ExactCapacity"));
    }
    Ok(PolicyKind::Simple {
        adjustment_type,
        adjustment,
        min_magnitude: min_magnitude(input, adjustment_type)?,
        cooldown_s: input.cooldown.map(|c| natural(c, "Cooldown")).transpose()?,
    })
}

/// Whether a number of another kind of policy is given. Terraform sends a zero in the place of each that is not.
fn is_set(number: Option<i32>) -> bool {
    number.is_some_and(|n| n != 0)
}

fn step(input: &shape::PutScalingPolicyType) -> Result<PolicyKind, ApiError> {
    let given = [
        (is_set(input.scaling_adjustment), "ScalingAdjustment"),
        (is_set(input.cooldown), "Cooldown"),
        (input.target_tracking_configuration.is_some(), "TargetTrackingConfiguration"),
        (input.predictive_scaling_configuration.is_some(), "PredictiveScalingConfiguration"),
    ];
    refuse_foreign(&given, STEP)?;
    let adjustment_type = adjustment_type(input)?;
    let steps = input.step_adjustments.iter().flatten().map(|s| {
        Ok(StepAdjustment {
            lower: s.metric_interval_lower_bound,
            upper: s.metric_interval_upper_bound,
            adjustment: required(s.scaling_adjustment, "stepAdjustments.1.member.scalingAdjustment")?,
        })
    });
    let steps: Vec<StepAdjustment> = steps.collect::<Result<_, ApiError>>()?;
    validate_steps(&steps).map_err(ApiError::validation)?;
    let aggregation = input.metric_aggregation_type.clone().unwrap_or_else(|| "Average".to_owned());
    if !["Minimum", "Maximum", "Average"].contains(&aggregation.as_str()) {
        return Err(ApiError::validation(format!("Invalid metric aggregation type: {aggregation}")));
    }
    Ok(PolicyKind::Step {
        adjustment_type,
        steps,
        min_magnitude: min_magnitude(input, adjustment_type)?,
        aggregation,
    })
}

fn predictive_scaling(input: &shape::PutScalingPolicyType) -> Result<PolicyKind, ApiError> {
    let given = [
        (input.scaling_adjustment.is_some(), "ScalingAdjustment"),
        (input.adjustment_type.is_some(), "AdjustmentType"),
        (input.cooldown.is_some(), "Cooldown"),
        (input.step_adjustments.as_ref().is_some_and(|s| !s.is_empty()), "StepAdjustments"),
        (input.metric_aggregation_type.is_some(), "MetricAggregationType"),
        (input.min_adjustment_magnitude.or(input.min_adjustment_step).is_some(), "MinAdjustmentMagnitude"),
        (input.target_tracking_configuration.is_some(), "TargetTrackingConfiguration"),
        (input.estimated_instance_warmup.is_some(), "EstimatedInstanceWarmup"),
    ];
    refuse_foreign(&given, predictive::KIND)?;
    predictive::kind(input)
}

fn adjustment_type(input: &shape::PutScalingPolicyType) -> Result<AdjustmentType, ApiError> {
    let name = input.adjustment_type.as_deref().ok_or_else(|| {
        ApiError::validation(
            "AdjustmentType must be specified for policies of types SimpleScaling and StepScaling",
        )
    })?;
    AdjustmentType::parse(name)
        .ok_or_else(|| ApiError::validation(format!("Invalid adjustment type: {name}")))
}

/// `MinAdjustmentMagnitude`, or its older name; percentages only.
fn min_magnitude(input: &shape::PutScalingPolicyType, kind: AdjustmentType) -> Result<Option<u32>, ApiError> {
    let given = input.min_adjustment_magnitude.or(input.min_adjustment_step);
    if given.is_some() && kind != AdjustmentType::PercentChangeInCapacity {
        return Err(ApiError::validation(
            "MinAdjustmentMagnitude is supported only for AdjustmentType PercentChangeInCapacity",
        ));
    }
    given.map(|n| natural(n, "MinAdjustmentMagnitude")).transpose()
}

fn target_tracking(input: &shape::PutScalingPolicyType) -> Result<PolicyKind, ApiError> {
    let given = [
        (is_set(input.scaling_adjustment), "ScalingAdjustment"),
        (input.adjustment_type.is_some(), "AdjustmentType"),
        (is_set(input.cooldown), "Cooldown"),
        (input.step_adjustments.as_ref().is_some_and(|s| !s.is_empty()), "StepAdjustments"),
        (input.metric_aggregation_type.is_some(), "MetricAggregationType"),
        (input.min_adjustment_magnitude.or(input.min_adjustment_step).is_some(), "MinAdjustmentMagnitude"),
        (input.predictive_scaling_configuration.is_some(), "PredictiveScalingConfiguration"),
    ];
    refuse_foreign(&given, TARGET_TRACKING)?;
    let configuration = input.target_tracking_configuration.as_ref().ok_or_else(|| {
        ApiError::validation(
            "TargetTrackingConfiguration must be specified for policies of type TargetTrackingScaling",
        )
    })?;
    let target = required(configuration.target_value, "targetTrackingConfiguration.targetValue")?;
    if !(target > 0.0 && target <= TARGET_MAX) {
        return Err(ApiError::validation(format!("TargetValue must be above 0, but is {target}")));
    }
    let metric = match (
        &configuration.predefined_metric_specification,
        &configuration.customized_metric_specification,
    ) {
        (Some(p), None) => TargetTrackingMetric::Predefined {
            metric_type: required(p.predefined_metric_type.clone(), "predefinedMetricType")?,
            resource_label: p.resource_label.clone(),
        },
        (None, Some(c)) => customized(c)?,
        _ => {
            return Err(ApiError::validation(
                "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified",
            ));
        }
    };
    Ok(PolicyKind::TargetTracking(TargetTracking {
        metric,
        target,
        disable_scale_in: configuration.disable_scale_in.unwrap_or(false),
    }))
}

fn customized(c: &shape::CustomizedMetricSpecification) -> Result<TargetTrackingMetric, ApiError> {
    let queries = c.metrics.as_deref().unwrap_or_default();
    if queries.is_empty() {
        let period_s = period(c.period)?;
        let source = MetricSource::Stat {
            metric: metric_id(
                required(c.namespace.as_deref(), "namespace")?,
                required(c.metric_name.as_deref(), "metricName")?,
                c.dimensions.as_deref().unwrap_or_default(),
            ),
            statistic: statistic(required(c.statistic.clone(), "statistic")?)?,
            period_s,
            unit: unit(c.unit.as_ref())?,
        };
        let query = MetricQuery { id: "m1".to_owned(), source, label: None, return_data: true };
        return Ok(TargetTrackingMetric::Customized { queries: vec![query], period_s, plain: true });
    }
    if c.metric_name.is_some() || c.namespace.is_some() || c.statistic.is_some() {
        return Err(ApiError::validation(
            "Metrics cannot be combined with MetricName, Namespace or Statistic",
        ));
    }
    if queries.len() > QUERIES_MAX {
        return Err(ApiError::validation(format!(
            "At most {QUERIES_MAX} metric data queries can be specified"
        )));
    }
    let queries: Vec<MetricQuery> = queries.iter().map(query).collect::<Result<_, _>>()?;
    let answers: Vec<&MetricQuery> = queries.iter().filter(|q| q.return_data).collect();
    let [answer] = answers[..] else {
        return Err(ApiError::validation("Exactly one element of the metrics list should return data."));
    };
    // What cannot be evaluated is refused now: an alarm on it would never act.
    let program = Program::new(&queries).map_err(|e| ApiError::validation(e.to_string()))?;
    if !program.is_one_series(&answer.id) {
        return Err(ApiError::validation(format!("The query {} does not yield one time series", answer.id)));
    }
    let periods = queries.iter().filter_map(|q| match &q.source {
        MetricSource::Stat { period_s, .. } => Some(*period_s),
        MetricSource::Expression { period_s, .. } => *period_s,
    });
    let period_s = periods.max().unwrap_or(DEFAULT_PERIOD_S);
    Ok(TargetTrackingMetric::Customized { queries, period_s, plain: false })
}

fn query(q: &shape::TargetTrackingMetricDataQuery) -> Result<MetricQuery, ApiError> {
    let source = match (&q.metric_stat, &q.expression) {
        (Some(stat), None) => {
            let metric =
                stat.metric.as_ref().ok_or_else(|| ApiError::validation("A metric stat needs a metric"))?;
            MetricSource::Stat {
                metric: metric_id(
                    required(metric.namespace.as_deref(), "namespace")?,
                    required(metric.metric_name.as_deref(), "metricName")?,
                    metric.dimensions.as_deref().unwrap_or_default(),
                ),
                statistic: statistic(required(stat.stat.clone(), "stat")?)?,
                period_s: period(stat.period.or(q.period))?,
                unit: unit(stat.unit.as_ref())?,
            }
        }
        (None, Some(expression)) => MetricSource::Expression {
            expression: expression.clone(),
            period_s: q.period.map(|p| period(Some(p))).transpose()?,
        },
        _ => {
            return Err(ApiError::validation(
                "Each element of the metrics list must have either MetricStat or Expression",
            ));
        }
    };
    Ok(MetricQuery {
        id: required(q.id.clone(), "id")?,
        source,
        label: q.label.clone(),
        return_data: q.return_data.unwrap_or(true),
    })
}

fn statistic(name: String) -> Result<String, ApiError> {
    match Statistic::parse(&name) {
        Some(_) => Ok(name),
        None => Err(ApiError::validation(format!("Invalid statistic: {name}"))),
    }
}

fn unit(name: Option<&String>) -> Result<Option<String>, ApiError> {
    match name.filter(|name| Unit::parse(name).is_none()) {
        None => Ok(name.cloned()),
        Some(name) => Err(ApiError::validation(format!("Invalid unit: {name}"))),
    }
}

fn period(given: Option<i32>) -> Result<u32, ApiError> {
    match given {
        None => Ok(DEFAULT_PERIOD_S),
        Some(p) if PERIODS_S.contains(&p) => natural(p, "Period"),
        Some(p) => Err(ApiError::validation(format!("Period must be 10, 30 or 60 seconds, but is {p}"))),
    }
}

fn metric_id(namespace: &str, name: &str, dimensions: &[shape::MetricDimension]) -> MetricId {
    let pairs: Vec<(&str, &str)> = dimensions
        .iter()
        .map(|d| (d.name.as_deref().unwrap_or_default(), d.value.as_deref().unwrap_or_default()))
        .collect();
    MetricId::new(namespace, name, &pairs)
}

/// The API's name of a kind.
pub(super) fn kind_name(kind: &PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Simple { .. } => SIMPLE,
        PolicyKind::Step { .. } => STEP,
        PolicyKind::TargetTracking(_) => TARGET_TRACKING,
        PolicyKind::Predictive(_) => predictive::KIND,
    }
}

/// The alarms of a policy: its own, and those of users that name it.
pub(super) fn alarms_of(r: &Reader<'_>, policy: &ScalingPolicy) -> Vec<shape::Alarm> {
    let named = r.list_by::<Alarm>("action", &policy.arn);
    named
        .iter()
        .map(|a| shape::Alarm { alarm_name: Some(a.name.clone()), alarm_arn: Some(a.arn.clone()) })
        .collect()
}

pub(super) fn alarm(a: &AlarmRef) -> shape::Alarm {
    shape::Alarm { alarm_name: Some(a.name.clone()), alarm_arn: Some(a.arn.clone()) }
}

/// A policy as the API shows it.
pub(super) fn shape_of(p: &ScalingPolicy, alarms: Vec<shape::Alarm>) -> shape::ScalingPolicy {
    let mut shown = shape::ScalingPolicy {
        auto_scaling_group_name: Some(p.group.clone()),
        policy_name: Some(p.name.clone()),
        policy_arn: Some(p.arn.clone()),
        policy_type: Some(kind_name(&p.kind).to_owned()),
        estimated_instance_warmup: p.warmup_s.map(signed),
        alarms: Some(alarms),
        enabled: Some(p.enabled),
        // Empty for policies of other kinds, as AWS shows them.
        step_adjustments: Some(Vec::new()),
        ..Default::default()
    };
    match &p.kind {
        PolicyKind::Simple { adjustment_type, adjustment, min_magnitude, cooldown_s } => {
            shown.adjustment_type = Some(adjustment_type.name().to_owned());
            shown.scaling_adjustment = Some(*adjustment);
            shown.min_adjustment_magnitude = min_magnitude.map(signed);
            shown.min_adjustment_step = shown.min_adjustment_magnitude;
            shown.cooldown = cooldown_s.map(signed);
        }
        PolicyKind::Step { adjustment_type, steps, min_magnitude, aggregation } => {
            shown.adjustment_type = Some(adjustment_type.name().to_owned());
            shown.min_adjustment_magnitude = min_magnitude.map(signed);
            shown.metric_aggregation_type = Some(aggregation.clone());
            let one = |s: &StepAdjustment| shape::StepAdjustment {
                metric_interval_lower_bound: s.lower,
                metric_interval_upper_bound: s.upper,
                scaling_adjustment: Some(s.adjustment),
            };
            shown.step_adjustments = Some(steps.iter().map(one).collect());
        }
        PolicyKind::TargetTracking(tracking) => {
            shown.target_tracking_configuration = Some(tracking_shape(tracking));
        }
        PolicyKind::Predictive(p) => {
            shown.predictive_scaling_configuration = Some(predictive::shape_of(p));
        }
    }
    shown
}

fn tracking_shape(t: &TargetTracking) -> shape::TargetTrackingConfiguration {
    let mut shown = shape::TargetTrackingConfiguration {
        target_value: Some(t.target),
        disable_scale_in: Some(t.disable_scale_in),
        ..Default::default()
    };
    match &t.metric {
        TargetTrackingMetric::Predefined { metric_type, resource_label } => {
            shown.predefined_metric_specification = Some(shape::PredefinedMetricSpecification {
                predefined_metric_type: Some(metric_type.clone()),
                resource_label: resource_label.clone(),
            });
        }
        TargetTrackingMetric::Customized { queries, plain, .. } => {
            shown.customized_metric_specification = Some(customized_shape(queries, *plain));
        }
    }
    shown
}

fn customized_shape(queries: &[MetricQuery], plain: bool) -> shape::CustomizedMetricSpecification {
    if plain
        && let [MetricQuery { source: MetricSource::Stat { metric, statistic, period_s, unit }, .. }] =
            queries
    {
        return shape::CustomizedMetricSpecification {
            metric_name: Some(metric.name.clone()),
            namespace: Some(metric.namespace.clone()),
            dimensions: Some(dimensions_shape(metric)),
            statistic: Some(statistic.clone()),
            unit: unit.clone(),
            period: (*period_s != DEFAULT_PERIOD_S).then(|| signed(*period_s)),
            metrics: None,
        };
    }
    shape::CustomizedMetricSpecification {
        metrics: Some(queries.iter().map(query_shape).collect()),
        ..Default::default()
    }
}

fn query_shape(q: &MetricQuery) -> shape::TargetTrackingMetricDataQuery {
    let mut shown = shape::TargetTrackingMetricDataQuery {
        id: Some(q.id.clone()),
        label: q.label.clone(),
        return_data: Some(q.return_data),
        ..Default::default()
    };
    match &q.source {
        MetricSource::Stat { metric, statistic, period_s, unit } => {
            shown.metric_stat = Some(shape::TargetTrackingMetricStat {
                metric: Some(shape::Metric {
                    namespace: Some(metric.namespace.clone()),
                    metric_name: Some(metric.name.clone()),
                    dimensions: Some(dimensions_shape(metric)),
                }),
                stat: Some(statistic.clone()),
                unit: unit.clone(),
                period: (*period_s != DEFAULT_PERIOD_S).then(|| signed(*period_s)),
            });
        }
        MetricSource::Expression { expression, period_s } => {
            shown.expression = Some(expression.clone());
            shown.period = period_s.map(signed);
        }
    }
    shown
}

fn dimensions_shape(metric: &MetricId) -> Vec<shape::MetricDimension> {
    metric
        .dimensions
        .iter()
        .map(|(name, value)| shape::MetricDimension { name: Some(name.clone()), value: Some(value.clone()) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(metrics: Vec<shape::TargetTrackingMetricDataQuery>) -> Result<PolicyKind, ApiError> {
        let customized =
            shape::CustomizedMetricSpecification { metrics: Some(metrics), ..Default::default() };
        tracked(customized)
    }

    fn tracked(customized: shape::CustomizedMetricSpecification) -> Result<PolicyKind, ApiError> {
        kind(&shape::PutScalingPolicyType {
            policy_type: Some(TARGET_TRACKING.into()),
            target_tracking_configuration: Some(shape::TargetTrackingConfiguration {
                customized_metric_specification: Some(customized),
                target_value: Some(10.0),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    fn stat(id: &str, stat: &str, unit: Option<&str>) -> shape::TargetTrackingMetricDataQuery {
        shape::TargetTrackingMetricDataQuery {
            id: Some(id.into()),
            return_data: Some(false),
            metric_stat: Some(shape::TargetTrackingMetricStat {
                metric: Some(shape::Metric {
                    namespace: Some("Jobs".into()),
                    metric_name: Some(id.into()),
                    dimensions: None,
                }),
                stat: Some(stat.into()),
                unit: unit.map(Into::into),
                period: None,
            }),
            ..Default::default()
        }
    }

    fn expression(id: &str, text: &str) -> shape::TargetTrackingMetricDataQuery {
        shape::TargetTrackingMetricDataQuery {
            id: Some(id.into()),
            expression: Some(text.into()),
            ..Default::default()
        }
    }

    #[test]
    fn metrics_that_could_never_be_watched_are_refused() {
        let sum = || stat("m1", "Sum", None);
        assert!(put(vec![sum(), stat("m2", "p99", Some("Count")), expression("e1", "m1 / m2")]).is_ok());
        let table = [
            (vec![sum(), expression("e1", "m1 +")], "syntax error"),
            (vec![sum(), expression("e1", "SEARCH('Jobs', 'Sum', 60)")], "not supported"),
            (vec![sum(), expression("e1", "m3 + 1")], "no query with the id"),
            (vec![sum(), sum(), expression("e1", "m1")], "used twice"),
            (vec![sum(), expression("e1", "SUM(m1)")], "does not yield one time series"),
            (vec![stat("m1", "Foo", None), expression("e1", "m1")], "Invalid statistic: Foo"),
            (vec![stat("m1", "Sum", Some("Bananas")), expression("e1", "m1")], "Invalid unit: Bananas"),
            (vec![expression("e1", "1"), expression("e2", "2")], "Exactly one element"),
        ];
        for (metrics, part) in table {
            let error = put(metrics).unwrap_err();
            assert!(error.message.contains(part), "{} does not say {part}", error.message);
        }
        let plain = shape::CustomizedMetricSpecification {
            namespace: Some("Jobs".into()),
            metric_name: Some("m1".into()),
            statistic: Some("Foo".into()),
            ..Default::default()
        };
        assert!(tracked(plain).is_err());
    }
}
