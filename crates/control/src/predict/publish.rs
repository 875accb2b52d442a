//! The forecast of each hour as metrics of the group, when the hour begins.
//! Source: EC2 Auto Scaling guide, "Monitor predictive scaling metrics with CloudWatch".

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::{MetricId, Unit};
use puffer_core::autoscaling::ScalingPolicy;
use puffer_inventory::forecasts;
use puffer_metrics::{Metrics, Sample};
use puffer_store::Store;

const NAMESPACE: &str = "AWS/AutoScaling";
/// A policy has one pair of metrics.
const PAIR_INDEX: &str = "0";

/// Publishes what is forecast for `hour`.
pub(super) fn hour(store: &Store, metrics: &Metrics, policies: &[Arc<ScalingPolicy>], hour: Timestamp) {
    for policy in policies {
        let Some(forecast) = store.read(|r| forecasts::of_policy(r, policy)) else { continue };
        let Some(point) = forecast.of_hour(hour) else { continue };
        let of_policy =
            [("AutoScalingGroupName", policy.group.as_str()), ("PolicyName", policy.name.as_str())];
        let [group, name] = of_policy;
        let of_pair = [group, name, ("PairIndex", PAIR_INDEX)];
        let put = |name: &str, dimensions: &[(&str, &str)], value: f64| {
            let metric = MetricId::new(NAMESPACE, name, dimensions);
            if let Err(error) = metrics.put(&metric, Unit::None, hour, Sample::Value(value), 60) {
                tracing::debug!(%error, metric = name, "a forecast is not published");
            }
        };
        put("PredictiveScalingLoadForecast", &of_pair, point.load);
        put("PredictiveScalingCapacityForecast", &of_policy, f64::from(point.capacity));
        if let Some(correlation) = forecast.correlation {
            put("PredictiveScalingMetricPairCorrelation", &of_pair, correlation);
        }
    }
}
