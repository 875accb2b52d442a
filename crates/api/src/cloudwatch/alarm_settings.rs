//! From a `PutMetricAlarm` request to an alarm's settings: the checks that the service's model does not make.

use puffer_core::alarm::math::Program;
use puffer_core::alarm::{
    Alarm, AlarmState, Comparison, InstanceVerb, MetricQuery, MetricSource, Statistic, TreatMissingData, Unit,
};
use puffer_core::elb::METRIC_PERIOD_TAG;
use puffer_core::messaging::{Topic, is_topic_arn};
use puffer_core::{Tags, Timestamp};
use puffer_shapes::cloudwatch as shapes;
use puffer_store::Reader;

use super::queries;
use crate::ApiError;

/// Most seconds that an alarm looks back: a day, or a week for periods of an hour and more.
const LOOKBACK_MAX_S: u64 = 86_400;
const LOOKBACK_LONG_MAX_S: u64 = 7 * 86_400;
const LONG_PERIOD_S: u32 = 3600;
/// Queries in an alarm on an expression.
const ALARM_QUERIES_MAX: usize = 20;
/// Actions for one state.
const ACTIONS_MAX: usize = 5;

/// The account and region whose ARNs are known here.
pub(super) struct Home<'a> {
    pub(super) account: &'a str,
    pub(super) region: &'a str,
}

impl Home<'_> {
    pub(super) fn alarm_arn(&self, name: &str) -> String {
        format!("arn:aws:cloudwatch:{}:{}:alarm:{name}", self.region, self.account)
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::validation(message))
}

/// Checks the request and makes a new alarm of it. `tags` are those of the request or, for an alarm that exists, its own.
pub(super) fn alarm(
    home: &Home<'_>,
    input: shapes::PutMetricAlarmInput,
    tags: Tags,
    now: Timestamp,
) -> Result<Alarm, ApiError> {
    refuse_unsupported(&input)?;
    let name = input.alarm_name.clone().unwrap_or_default();
    let comparison = comparison(input.comparison_operator.as_deref().unwrap_or_default())?;
    let treat_missing_data = match input.treat_missing_data.as_deref() {
        None => TreatMissingData::Missing,
        Some(text) => match TreatMissingData::parse(text) {
            Some(treatment) => treatment,
            None => {
                return refuse(format!(
                    "Option {text} is not supported for TreatMissingData. Supported options are: [breaching, \
                     notBreaching, ignore, missing]"
                ));
            }
        },
    };
    let (queries, plain, period_s) = match &input.metrics {
        Some(list) if !list.is_empty() => {
            let (queries, period_s) = expression_queries(home, &input, list)?;
            (queries, false, period_s)
        }
        _ => plain_query(&input)?,
    };
    check_period(&queries, period_s, &tags)?;
    let (n, m) = periods(&input, period_s)?;
    let Some(threshold) = input.threshold.filter(|t| t.is_finite()) else {
        return refuse("The parameter Threshold is required.");
    };
    let ignore_low_samples = low_samples(&input)?;
    let text = "Unchecked: Initial alarm creation";
    let alarm = Alarm {
        arn: home.alarm_arn(&name),
        name,
        description: input.alarm_description,
        actions_enabled: input.actions_enabled.unwrap_or(true),
        ok_actions: actions("OKActions", input.ok_actions, metric_action)?,
        alarm_actions: actions("AlarmActions", input.alarm_actions, metric_action)?,
        insufficient_data_actions: actions(
            "InsufficientDataActions",
            input.insufficient_data_actions,
            metric_action,
        )?,
        queries,
        plain,
        period_s,
        evaluation_periods: n,
        datapoints_to_alarm: m,
        threshold,
        comparison,
        treat_missing_data,
        ignore_low_samples,
        state: AlarmState::InsufficientData,
        state_reason: text.to_owned(),
        state_reason_data: None,
        state_updated_at: now,
        state_transitioned_at: now,
        state_before: AlarmState::InsufficientData,
        has_transitioned: false,
        configured_at: now,
        actions_done_for: Some(now),
        owner: None,
        tags,
    };
    if let Some(action) = instance_actions(&alarm).next()
        && alarm.watched_instance().is_none()
    {
        return refuse(format!(
            "Invalid use of EC2 action {action}: the alarm must watch metrics with one and the same InstanceId dimension"
        ));
    }
    Ok(alarm)
}

fn instance_actions(alarm: &Alarm) -> impl Iterator<Item = &String> {
    let all = alarm.ok_actions.iter().chain(&alarm.alarm_actions).chain(&alarm.insufficient_data_actions);
    all.filter(|a| InstanceVerb::of_arn(a).is_some())
}

fn refuse_unsupported(input: &shapes::PutMetricAlarmInput) -> Result<(), ApiError> {
    let unsupported = [
        (input.threshold_metric_id.is_some(), "ThresholdMetricId: anomaly detection"),
        (input.evaluation_window.is_some(), "EvaluationWindow"),
        (input.warm_up_configuration.is_some(), "WarmUpConfiguration"),
        (input.evaluation_criteria.is_some(), "EvaluationCriteria"),
        (input.evaluation_interval.is_some(), "EvaluationInterval"),
        (input.action_configuration.is_some(), "ActionConfiguration"),
    ];
    match unsupported.into_iter().find(|(given, _)| *given) {
        Some((_, what)) => refuse(format!("{what} is not supported by Puffer")),
        None => Ok(()),
    }
}

fn comparison(name: &str) -> Result<Comparison, ApiError> {
    match Comparison::parse(name) {
        Some(comparison) => Ok(comparison),
        None if name.contains("UpperThreshold") || name.contains("LowerThreshold") => {
            refuse(format!("The comparison {name} needs anomaly detection, which Puffer does not support"))
        }
        None => refuse(format!("The value {name} for parameter ComparisonOperator is invalid")),
    }
}

fn plain_query(input: &shapes::PutMetricAlarmInput) -> Result<(Vec<MetricQuery>, bool, u32), ApiError> {
    let (Some(namespace), Some(_)) = (&input.namespace, &input.metric_name) else {
        return refuse("Either MetricName and Namespace or Metrics must be specified");
    };
    let statistic = match (&input.statistic, &input.extended_statistic) {
        (Some(name), None) if Statistic::parse(name).is_some_and(Statistic::is_classic) => name,
        (None, Some(name)) if Statistic::parse(name).is_some_and(|s| !s.is_classic()) => name,
        (Some(_), Some(_)) => {
            return refuse("The parameters Statistic and ExtendedStatistic are mutually exclusive");
        }
        (None, None) => {
            return refuse("Exactly one element of Statistic or ExtendedStatistic must be specified");
        }
        (Some(name), None) | (None, Some(name)) => {
            return refuse(format!("The value {name} is not a supported statistic"));
        }
    };
    let Some(period_s) = input.period.and_then(|p| u32::try_from(p).ok()) else {
        return refuse("The parameter Period is required");
    };
    if let Some(unit) = input.unit.as_deref().filter(|u| Unit::parse(u).is_none()) {
        return refuse(format!("The value {unit} for parameter Unit is invalid"));
    }
    let source = MetricSource::Stat {
        metric: queries::metric_id(namespace, &input.metric_name, &input.dimensions),
        statistic: statistic.clone(),
        period_s,
        unit: input.unit.clone(),
    };
    Ok((vec![MetricQuery { id: "m1".into(), source, label: None, return_data: true }], true, period_s))
}

fn expression_queries(
    home: &Home<'_>,
    input: &shapes::PutMetricAlarmInput,
    list: &[shapes::MetricDataQuery],
) -> Result<(Vec<MetricQuery>, u32), ApiError> {
    let plain = [
        ("MetricName", input.metric_name.is_some()),
        ("Namespace", input.namespace.is_some()),
        ("Dimensions", input.dimensions.as_ref().is_some_and(|d| !d.is_empty())),
        ("Period", input.period.is_some()),
        ("Statistic", input.statistic.is_some()),
        ("ExtendedStatistic", input.extended_statistic.is_some()),
        ("Unit", input.unit.is_some()),
    ];
    if let Some((name, _)) = plain.into_iter().find(|(_, given)| *given) {
        return refuse(format!("{name} must not be specified if Metrics is specified"));
    }
    if list.len() > ALARM_QUERIES_MAX {
        return refuse(format!("Metrics list must not have more than {ALARM_QUERIES_MAX} entries"));
    }
    let queries = queries::read(home.account, list, "Metrics")?;
    let program = Program::new(&queries).map_err(|e| ApiError::validation(e.to_string()))?;
    let mut answers = queries.iter().filter(|q| q.return_data);
    let (Some(answer), None) = (answers.next(), answers.next()) else {
        return refuse("Exactly one element of the metrics list should return data");
    };
    if !program.is_one_series(&answer.id) {
        return refuse(format!("The expression '{}' must return a single time series", answer.id));
    }
    let mut periods: Vec<u32> = queries
        .iter()
        .filter_map(|q| match &q.source {
            MetricSource::Stat { period_s, .. } => Some(*period_s),
            MetricSource::Expression { period_s, .. } => *period_s,
        })
        .collect();
    periods.sort_unstable();
    periods.dedup();
    match periods.as_slice() {
        [period_s] => Ok((queries.clone(), *period_s)),
        [] => refuse("The metrics list must name a period"),
        _ => refuse("All metrics of an alarm must have the same period"),
    }
}

/// 10, 20, 30 or a multiple of 60 seconds. Puffer's own tag allows 1 to 9 s, and short periods on the metrics of services,
/// which have such data only where that tag is on their resources too.
fn check_period(queries: &[MetricQuery], period_s: u32, tags: &Tags) -> Result<(), ApiError> {
    let is_tagged = tags.contains_key(METRIC_PERIOD_TAG);
    let good = matches!(period_s, 10 | 20 | 30)
        || (period_s >= 60 && period_s.is_multiple_of(60))
        || (is_tagged && (1..=9).contains(&period_s));
    if !good {
        return refuse(format!(
            "Metric period {period_s} is invalid: it must be 10, 20, 30 or any multiple of 60"
        ));
    }
    let of_service = |q: &MetricQuery| matches!(&q.source, MetricSource::Stat { metric, .. } if metric.namespace.starts_with("AWS/"));
    if period_s < 60 && !is_tagged && queries.iter().any(of_service) {
        return refuse(
            "Only a period greater than or equal to 60s is supported for metrics in the \"AWS/\" namespaces",
        );
    }
    Ok(())
}

fn periods(input: &shapes::PutMetricAlarmInput, period_s: u32) -> Result<(u32, Option<u32>), ApiError> {
    let Some(n) = input.evaluation_periods.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) else {
        return refuse("The parameter EvaluationPeriods must be at least 1");
    };
    let most = if period_s >= LONG_PERIOD_S { LOOKBACK_LONG_MAX_S } else { LOOKBACK_MAX_S };
    if u64::from(n) * u64::from(period_s) > most {
        let what = if most == LOOKBACK_MAX_S { "a day" } else { "a week" };
        return refuse(format!(
            "Metrics cannot be checked across more than {what} (EvaluationPeriods * Period must be <= {most})."
        ));
    }
    let m = input.datapoints_to_alarm.map(|m| u32::try_from(m).unwrap_or(0));
    match m {
        Some(m) if m < 1 || m > n => {
            refuse(format!("DatapointsToAlarm ({m}) must be between 1 and EvaluationPeriods ({n})"))
        }
        m => Ok((n, m)),
    }
}

fn low_samples(input: &shapes::PutMetricAlarmInput) -> Result<bool, ApiError> {
    let Some(option) = input.evaluate_low_sample_count_percentile.as_deref() else { return Ok(false) };
    let statistic = input.extended_statistic.as_deref().and_then(Statistic::parse);
    if !matches!(statistic, Some(Statistic::Percentile(_))) {
        return refuse("EvaluateLowSampleCountPercentile is only for alarms on a percentile");
    }
    match option {
        "evaluate" => Ok(false),
        "ignore" => Ok(true),
        other => refuse(format!(
            "Option {other} is not supported for EvaluateLowSampleCountPercentile. Supported options are: \
             [evaluate, ignore]"
        )),
    }
}

/// What a metric alarm can set off here: scaling policies, EC2's actions on the instance it watches, and topics. Anything else would be
/// a promise that nobody keeps.
fn metric_action(arn: &str) -> bool {
    puffer_core::autoscaling::texts::is_policy_arn(arn)
        || InstanceVerb::of_arn(arn).is_some()
        || is_topic_arn(arn)
}

/// Refuses topics that do not exist.
pub(super) fn check_topics<'a>(
    r: &Reader<'_>,
    actions: impl IntoIterator<Item = &'a Vec<String>>,
) -> Result<(), ApiError> {
    let mut topics = actions.into_iter().flatten().filter(|a| is_topic_arn(a));
    match topics.find(|arn| r.get::<Topic>(arn).is_none()) {
        Some(arn) => refuse(format!("The topic {arn} does not exist")),
        None => Ok(()),
    }
}

/// Checks a list of actions, each of which must be one that `is_known`.
pub(super) fn actions(
    parameter: &str,
    list: Option<Vec<String>>,
    is_known: fn(&str) -> bool,
) -> Result<Vec<String>, ApiError> {
    let list = list.unwrap_or_default();
    if list.len() > ACTIONS_MAX {
        return refuse(format!("{parameter} must not have more than {ACTIONS_MAX} entries"));
    }
    for action in &list {
        if !action.starts_with("arn:") || action.split(':').count() < 6 {
            return refuse(format!("Invalid arn syntax: {action}"));
        }
        if !is_known(action) {
            return refuse(format!("The action {action} is not supported by Puffer for this kind of alarm"));
        }
    }
    Ok(list)
}
