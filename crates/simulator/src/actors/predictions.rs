//! Predictive scaling: two days of a load that comes and goes with the hours, and a policy that forecasts from it.

use std::time::Duration;

use super::Stage;

/// Hours of history.
const HISTORY_H: u64 = 48;
/// Namespace of the metrics.
const NAMESPACE: &str = "Sim";

/// Publishes history and puts the policy.
pub(super) async fn put(stage: &Stage<'_>, group: &str) {
    history(stage, group).await;
    let mut params: Vec<(String, String)> = vec![
        ("AutoScalingGroupName".into(), group.into()),
        ("PolicyName".into(), "forecast".into()),
        ("PolicyType".into(), "PredictiveScaling".into()),
        ("PredictiveScalingConfiguration.Mode".into(), "ForecastAndScale".into()),
    ];
    let specification = "PredictiveScalingConfiguration.MetricSpecifications.member.1";
    params.push((format!("{specification}.TargetValue"), "50".into()));
    for (kind, name, statistic) in
        [("Scaling", "Utilization", "Average"), ("Load", "Load", "Sum"), ("Capacity", "Capacity", "Average")]
    {
        let query = format!("{specification}.Customized{kind}MetricSpecification.MetricDataQueries.member.1");
        let stat = format!("{query}.MetricStat");
        params.extend([
            (format!("{query}.Id"), name.to_lowercase()),
            (format!("{stat}.Metric.Namespace"), NAMESPACE.into()),
            (format!("{stat}.Metric.MetricName"), name.into()),
            (format!("{stat}.Metric.Dimensions.member.1.Name"), "group".into()),
            (format!("{stat}.Metric.Dimensions.member.1.Value"), group.into()),
            (format!("{stat}.Stat"), statistic.into()),
        ]);
    }
    let _ = stage.client.autoscaling("PutScalingPolicy", &crate::mix::borrowed(&params)).await;
}

async fn history(stage: &Stage<'_>, group: &str) {
    let hour = Duration::from_secs(3600);
    let now = stage.world.time.wall();
    let mut params: Vec<(String, String)> = vec![("Namespace".into(), NAMESPACE.into())];
    let mut n = 0;
    for h in 1..=u32::try_from(HISTORY_H).unwrap_or(1) {
        let at = (now - hour * h).to_rfc3339_secs();
        let load = f64::from(4 + (h % 24) / 3) * 50.0;
        for (name, value) in [("Utilization", 50.0), ("Load", load), ("Capacity", load / 50.0)] {
            n += 1;
            let datum = format!("MetricData.member.{n}");
            params.extend([
                (format!("{datum}.MetricName"), name.into()),
                (format!("{datum}.Timestamp"), at.clone()),
                (format!("{datum}.Value"), value.to_string()),
                (format!("{datum}.Dimensions.member.1.Name"), "group".into()),
                (format!("{datum}.Dimensions.member.1.Value"), group.into()),
            ]);
        }
    }
    let _ = stage.client.cloudwatch("PutMetricData", &crate::mix::borrowed(&params)).await;
}
