//! `AWS/AutoScaling`: a group's sizes, each minute, for the metrics that its collection is enabled for (Auto Scaling user
//! guide, "Amazon CloudWatch metrics for Amazon EC2 Auto Scaling").

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::{MetricId, Unit};
use puffer_core::autoscaling::{Group, LifecycleState, Member};
use puffer_metrics::{Metrics, Sample};
use puffer_store::Store;

/// Publishes for each of `groups`; gives the number of datapoints.
pub(super) fn publish(store: &Store, metrics: &Metrics, groups: &[Arc<Group>], at: Timestamp) -> usize {
    let mut n = 0;
    for group in groups {
        let members = store.list_by::<Member>("group", &group.name);
        let count =
            |wanted: fn(LifecycleState) -> bool| members.iter().filter(|m| wanted(m.state)).count() as f64;
        for name in &group.metrics_collection.metrics {
            let Some(value) = value(name, group, &count) else { continue };
            let id = MetricId::new("AWS/AutoScaling", name, &[("AutoScalingGroupName", &group.name)]);
            match metrics.put(&id, Unit::None, at, Sample::Value(value), 60) {
                Ok(()) => n += 1,
                Err(error) => {
                    tracing::warn!(group = group.name, metric = name, %error, "a group metric is lost")
                }
            }
        }
    }
    n
}

/// Every instance has the weight 1, so capacities equal numbers of instances.
fn value(name: &str, group: &Group, count: &dyn Fn(fn(LifecycleState) -> bool) -> f64) -> Option<f64> {
    use LifecycleState as L;
    let value = match name {
        "GroupMinSize" => f64::from(group.min),
        "GroupMaxSize" => f64::from(group.max),
        "GroupDesiredCapacity" => f64::from(group.desired),
        "GroupInServiceInstances" | "GroupInServiceCapacity" => count(|s| s == L::InService),
        "GroupPendingInstances" | "GroupPendingCapacity" => {
            count(|s| matches!(s, L::Pending | L::PendingWait | L::PendingProceed))
        }
        "GroupStandbyInstances" | "GroupStandbyCapacity" => {
            count(|s| matches!(s, L::EnteringStandby | L::Standby))
        }
        "GroupTerminatingInstances" | "GroupTerminatingCapacity" => {
            count(|s| matches!(s, L::Terminating | L::TerminatingWait | L::TerminatingProceed))
        }
        "GroupTotalInstances" | "GroupTotalCapacity" => count(|s| !matches!(s, L::Terminated | L::Detached)),
        _ => return None,
    };
    Some(value)
}
