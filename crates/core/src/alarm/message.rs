//! What a topic is told when an alarm moves: the subject, and the JSON that CloudWatch sends.

use serde_json::{Value, json};

use super::{Alarm, AlarmState, CompositeAlarm, MetricSource, Statistic, TreatMissingData, json_time};

/// Longest subject of a notification, in characters.
const SUBJECT_CHARS_MAX: usize = 100;

/// The subject: state, name and region.
pub fn subject(state: AlarmState, name: &str, region: &str) -> String {
    let text = format!("{}: \"{name}\" in {region}", state.name());
    text.chars().take(SUBJECT_CHARS_MAX).collect()
}

/// Account and region in an alarm's ARN.
fn home(arn: &str) -> (&str, &str) {
    let mut parts = arn.split(':').skip(3);
    let region = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), region)
}

/// The region in an alarm's ARN.
pub fn region_of(arn: &str) -> &str {
    home(arn).1
}

/// The message for a metric alarm that has moved to its state.
pub fn metric_message(alarm: &Alarm) -> Value {
    let (account, region) = home(&alarm.arn);
    json!({
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": account,
        "AlarmConfigurationUpdatedTimestamp": json_time(alarm.configured_at),
        "NewStateValue": alarm.state.name(),
        "NewStateReason": alarm.state_reason,
        "StateChangeTime": json_time(alarm.state_transitioned_at),
        "Region": region,
        "AlarmArn": alarm.arn,
        "OldStateValue": alarm.state_before.name(),
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_data_actions,
        "Trigger": trigger(alarm),
    })
}

/// What the details of an Auto Scaling activity tell of the alarm behind it.
pub fn invoking_alarm(alarm: &Alarm) -> Value {
    let (account, region) = home(&alarm.arn);
    json!({
        "AlarmArn": alarm.arn,
        "Trigger": trigger(alarm),
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": account,
        "OldStateValue": alarm.state_before.name(),
        "Region": region,
        "NewStateValue": alarm.state.name(),
        "StateChangeTime": alarm.state_transitioned_at.as_millis(),
    })
}

fn trigger(alarm: &Alarm) -> Value {
    let mut trigger = json!({
        "Period": alarm.period_s,
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.m(),
        "ComparisonOperator": alarm.comparison.name(),
        "Threshold": alarm.threshold,
        "TreatMissingData": match alarm.treat_missing_data {
            TreatMissingData::Missing => "missing",
            other => other.name(),
        },
        "EvaluateLowSampleCountPercentile": if alarm.ignore_low_samples { "ignore" } else { "" },
    });
    match alarm.queries.first().map(|q| &q.source) {
        Some(MetricSource::Stat { metric, statistic, unit, .. }) if alarm.plain => {
            let classic = Statistic::parse(statistic).is_some_and(Statistic::is_classic);
            let dimension = |(name, value): &(String, String)| json!({ "value": value, "name": name });
            trigger["MetricName"] = json!(metric.name);
            trigger["Namespace"] = json!(metric.namespace);
            trigger["StatisticType"] = json!(if classic { "Statistic" } else { "ExtendedStatistic" });
            let name = if classic { statistic.to_uppercase() } else { statistic.clone() };
            trigger[if classic { "Statistic" } else { "ExtendedStatistic" }] = json!(name);
            trigger["Unit"] = json!(unit);
            trigger["Dimensions"] = metric.dimensions.iter().map(dimension).collect();
        }
        _ => {
            trigger["Metrics"] = alarm.queries.iter().map(query).collect();
        }
    }
    trigger
}

fn query(query: &super::MetricQuery) -> Value {
    let mut told = json!({ "Id": query.id, "Label": query.label, "ReturnData": query.return_data });
    match &query.source {
        MetricSource::Expression { expression, .. } => told["Expression"] = json!(expression),
        MetricSource::Stat { metric, statistic, period_s, unit } => {
            let dimension = |(name, value): &(String, String)| json!({ "value": value, "name": name });
            let dimensions: Vec<Value> = metric.dimensions.iter().map(dimension).collect();
            let named =
                json!({ "Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions });
            told["MetricStat"] =
                json!({ "Metric": named, "Period": period_s, "Stat": statistic, "Unit": unit });
        }
    }
    told
}

/// The message for a composite alarm that has moved to its state.
pub fn composite_message(alarm: &CompositeAlarm) -> Value {
    let (account, region) = home(&alarm.arn);
    json!({
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": account,
        "NewStateValue": alarm.state.name(),
        "NewStateReason": alarm.state_reason,
        "StateChangeTime": json_time(alarm.state_transitioned_at),
        "Region": region,
        "AlarmArn": alarm.arn,
        "OldStateValue": alarm.state_before.name(),
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_data_actions,
        "AlarmRule": alarm.rule_text,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::alarm;
    use super::*;

    #[test]
    fn a_message_names_states_and_metric() {
        let mut alarm = alarm(1, 3, TreatMissingData::Missing);
        alarm.arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:high".into();
        (alarm.state, alarm.state_before) = (AlarmState::Alarm, AlarmState::Ok);
        let told = metric_message(&alarm);
        assert_eq!(
            (told["NewStateValue"].as_str(), told["OldStateValue"].as_str()),
            (Some("ALARM"), Some("OK"))
        );
        assert_eq!(
            (told["AWSAccountId"].as_str(), told["Region"].as_str()),
            (Some("123456789012"), Some("us-east-1"))
        );
        assert_eq!(told["Trigger"]["EvaluationPeriods"], 3);
        assert_eq!(subject(AlarmState::Alarm, "high", "us-east-1"), "ALARM: \"high\" in us-east-1");
        assert_eq!(subject(AlarmState::Ok, &"n".repeat(300), "r").chars().count(), 100);
    }
}
