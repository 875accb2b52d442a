//! The alarms that target tracking makes for itself.
//!
//! High: above the target for three minutes. Low: below a threshold well under the target for fifteen, so that the two never
//! chase each other. How far under depends on the group's size: one instance fewer of `n` raises the average by
//! `n/(n−1)`, so a small group needs a wider gap. AWS does not publish its rule; this one meets every value seen.
//! All of it follows the group: [`rewrite_alarms`] is called whenever its size or its tags change.

use super::Reaction;
use crate::Timestamp;
use crate::alarm::{Alarm, AlarmState, Comparison, MetricId, MetricQuery, MetricSource, TreatMissingData};
use crate::autoscaling::{Group, PolicyKind, ScalingPolicy, TargetTracking, TargetTrackingMetric};

/// Period of the predefined metrics, seconds.
const PERIOD_S: u32 = 60;
/// Period of their high-resolution kin, seconds.
pub const HIGH_RESOLUTION_PERIOD_S: u32 = 10;

/// Names and ARNs of a policy's alarms are made by who knows region, account and chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmNames {
    /// `arn:aws:cloudwatch:<region>:<account>:alarm:`.
    pub arn_prefix: String,
    /// UUID in the high alarm's name.
    pub high_uuid: String,
    /// UUID in the low alarm's name.
    pub low_uuid: String,
}

/// The scale-in threshold as a share of the target: `(n−1)/n`, rounded down to a twentieth, within 0.70–0.90.
pub fn low_ratio(desired: u32) -> f64 {
    let n = desired.max(1);
    let twentieths = (20 * (n - 1)) / n;
    f64::from(twentieths.clamp(14, 18)) / 20.0
}

/// What a target-tracking policy watches: the queries, the period, and the target on the scale of one period's datapoint.
/// `Err` names what is not known.
pub fn metric_of(
    tracking: &TargetTracking,
    group: &str,
    reaction: &Reaction,
) -> Result<(Vec<MetricQuery>, u32, f64), String> {
    match &tracking.metric {
        TargetTrackingMetric::Predefined { metric_type, resource_label } => {
            let (base, high_resolution) = match metric_type.strip_suffix("HighResolution") {
                Some(base) => (base, true),
                None => (metric_type.as_str(), false),
            };
            let own_period = if high_resolution { HIGH_RESOLUTION_PERIOD_S } else { PERIOD_S };
            let by_group = |name: &str| MetricId::new("AWS/EC2", name, &[("AutoScalingGroupName", group)]);
            let (metric, statistic) = match base {
                "ASGAverageCPUUtilization" => (by_group("CPUUtilization"), "Average"),
                "ASGAverageNetworkIn" => (by_group("NetworkIn"), "Average"),
                "ASGAverageNetworkOut" => (by_group("NetworkOut"), "Average"),
                "ALBRequestCountPerTarget" => (request_count(resource_label.as_deref())?, "Sum"),
                _ => return Err(format!("Predefined metric type {metric_type} is not supported")),
            };
            let asked = reaction.period_s.filter(|_| has_short_periods(&metric));
            let period_s = asked.unwrap_or(own_period);
            // Requests are counted per minute; a shorter datapoint holds its share of them.
            let target = match statistic {
                "Sum" => tracking.target * f64::from(period_s) / f64::from(PERIOD_S),
                _ => tracking.target,
            };
            let source = MetricSource::Stat { metric, statistic: statistic.to_owned(), period_s, unit: None };
            let query = MetricQuery { id: "m1".into(), source, label: None, return_data: true };
            Ok((vec![query], period_s, target))
        }
        TargetTrackingMetric::Customized { queries, period_s, .. } => {
            let mut stats = queries.iter().filter_map(|q| match &q.source {
                MetricSource::Stat { metric, .. } => Some(metric),
                MetricSource::Expression { .. } => None,
            });
            let Some(period) = reaction.period_s.filter(|_| stats.all(has_short_periods)) else {
                return Ok((queries.clone(), *period_s, tracking.target));
            };
            let mut queries = queries.clone();
            for query in &mut queries {
                match &mut query.source {
                    MetricSource::Stat { period_s, .. } => *period_s = period,
                    MetricSource::Expression { period_s, .. } => *period_s = Some(period),
                }
            }
            Ok((queries, period, tracking.target))
        }
    }
}

/// Whether a metric can have datapoints of less than a minute: what users publish can, and of Puffer's own those that are
/// published more often where a tag or a policy asks for it. The amounts of an instance (bytes, packets, operations) are those of a
/// minute whatever the tag says: they would mean something else for everybody who reads them.
pub fn has_short_periods(metric: &MetricId) -> bool {
    match metric.namespace.as_str() {
        "AWS/EC2" => metric.name == "CPUUtilization",
        "AWS/ApplicationELB" => true,
        other => !other.starts_with("AWS/"),
    }
}

/// Whether a policy tracks a metric of a load balancer.
pub fn follows_balancer(policy: &ScalingPolicy) -> bool {
    let PolicyKind::TargetTracking(tracking) = &policy.kind else { return false };
    match &tracking.metric {
        TargetTrackingMetric::Predefined { metric_type, .. } => metric_type.starts_with("ALB"),
        TargetTrackingMetric::Customized { queries, .. } => queries.iter().any(|q| {
            matches!(&q.source, MetricSource::Stat { metric, .. } if metric.namespace == "AWS/ApplicationELB")
        }),
    }
}

/// The load balancers and target groups whose metrics a policy reads, by their dimensions, and the period at which it needs them,
/// seconds.
pub fn balancer_needs(policy: &ScalingPolicy, group: &Group) -> Option<(Vec<String>, u32)> {
    let PolicyKind::TargetTracking(tracking) = &policy.kind else { return None };
    let (queries, period_s, _) = metric_of(tracking, &group.name, &Reaction::of(&group.tags)).ok()?;
    let metrics = queries.into_iter().filter_map(|q| match q.source {
        MetricSource::Stat { metric, .. } if metric.namespace == "AWS/ApplicationELB" => Some(metric),
        _ => None,
    });
    // The narrowest of each: a metric of a target group does not need all of its balancer's.
    let narrowest = |m: MetricId| {
        let value = |name: &str| m.dimensions.iter().find(|d| d.0 == name).map(|d| d.1.clone());
        value("TargetGroup").or_else(|| value("LoadBalancer"))
    };
    Some((metrics.filter_map(narrowest).collect(), period_s))
}

/// `app/<lb>/<id>/targetgroup/<tg>/<id>` as the metric's dimensions.
fn request_count(label: Option<&str>) -> Result<MetricId, String> {
    let label = label.ok_or("ResourceLabel is required for ALBRequestCountPerTarget")?;
    let parts: Vec<&str> = label.split('/').collect();
    match parts[..] {
        ["app", lb, lb_id, "targetgroup", tg, tg_id] => Ok(MetricId::new(
            "AWS/ApplicationELB",
            "RequestCountPerTarget",
            &[
                ("LoadBalancer", &format!("app/{lb}/{lb_id}")),
                ("TargetGroup", &format!("targetgroup/{tg}/{tg_id}")),
            ],
        )),
        _ => Err(format!(
            "ResourceLabel {label} is not of the form app/<load-balancer-name>/<id>/targetgroup/<target-group-name>/<id>"
        )),
    }
}

/// Whether a policy needs the CPU of the group's instances by [`HIGH_RESOLUTION_PERIOD_S`].
pub fn wants_high_resolution(policy: &ScalingPolicy) -> bool {
    let PolicyKind::TargetTracking(tracking) = &policy.kind else { return false };
    let TargetTrackingMetric::Predefined { metric_type, .. } = &tracking.metric else { return false };
    metric_type.starts_with("ASG") && metric_type.ends_with("HighResolution")
}

/// Whether this alarm of a target-tracking policy is its low one.
pub fn is_low_alarm(name: &str) -> bool {
    name.contains("-AlarmLow-")
}

/// The high alarm's name of a policy.
pub fn high_alarm_of(policy: &ScalingPolicy) -> Option<&str> {
    policy.alarms.iter().map(|a| a.name.as_str()).find(|name| !is_low_alarm(name))
}

/// The alarms of a target-tracking policy; none for other kinds.
pub fn target_tracking_alarms(
    policy: &ScalingPolicy,
    group: &Group,
    names: &AlarmNames,
    now: Timestamp,
) -> Result<Vec<Alarm>, String> {
    let PolicyKind::TargetTracking(tracking) = &policy.kind else { return Ok(Vec::new()) };
    let high = format!("TargetTracking-{}-AlarmHigh-{}", group.name, names.high_uuid);
    let low = format!("TargetTracking-{}-AlarmLow-{}", group.name, names.low_uuid);
    let mut alarms = vec![bare_alarm(high, policy, names, now)];
    if !tracking.disable_scale_in {
        alarms.push(bare_alarm(low, policy, names, now));
    }
    for alarm in &mut alarms {
        rewrite_alarms(tracking, group, alarm, now)?;
    }
    Ok(alarms)
}

/// Makes an alarm of a policy what it shall be for the group as it is now. Says whether anything changed; its state stays.
pub fn rewrite_alarms(
    tracking: &TargetTracking,
    group: &Group,
    alarm: &mut Alarm,
    now: Timestamp,
) -> Result<bool, String> {
    let reaction = Reaction::of(&group.tags);
    let (queries, period_s, target) = metric_of(tracking, &group.name, &reaction)?;
    let (comparison, threshold, datapoints) = if is_low_alarm(&alarm.name) {
        (Comparison::LessThanThreshold, target * low_ratio(group.desired), reaction.in_datapoints)
    } else {
        (Comparison::GreaterThanThreshold, target, reaction.out_datapoints)
    };
    let before = (alarm.threshold, alarm.period_s, alarm.evaluation_periods, alarm.comparison);
    let same = before == (threshold, period_s, datapoints, comparison) && alarm.queries == queries;
    if same {
        return Ok(false);
    }
    alarm.plain = matches!(&queries[..], [MetricQuery { source: MetricSource::Stat { .. }, .. }])
        && !matches!(&tracking.metric, TargetTrackingMetric::Customized { plain: false, .. });
    (alarm.threshold, alarm.period_s, alarm.evaluation_periods, alarm.comparison) =
        (threshold, period_s, datapoints, comparison);
    alarm.queries = queries;
    alarm.configured_at = now;
    Ok(true)
}

fn bare_alarm(name: String, policy: &ScalingPolicy, names: &AlarmNames, now: Timestamp) -> Alarm {
    Alarm {
        arn: format!("{}{name}", names.arn_prefix),
        name,
        description: Some(format!("DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {}.", policy.arn)),
        actions_enabled: true,
        ok_actions: Vec::new(),
        alarm_actions: vec![policy.arn.clone()],
        insufficient_data_actions: Vec::new(),
        queries: Vec::new(),
        plain: true,
        period_s: PERIOD_S,
        evaluation_periods: 1,
        datapoints_to_alarm: None,
        threshold: 0.0,
        comparison: Comparison::GreaterThanThreshold,
        treat_missing_data: TreatMissingData::Missing,
        ignore_low_samples: false,
        state: AlarmState::InsufficientData,
        state_reason: "Unchecked: Initial alarm creation".into(),
        state_reason_data: None,
        state_updated_at: now,
        state_transitioned_at: now,
        state_before: AlarmState::InsufficientData,
        has_transitioned: false,
        configured_at: now,
        actions_done_for: Some(now),
        owner: Some(policy.arn.clone()),
        tags: crate::Tags::new(),
    }
}
