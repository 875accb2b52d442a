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
        let count = |wanted: fn(LifecycleState) -> bool| {
            let found = members.iter().filter(|m| wanted(m.state));
            let (n, units) =
                found.fold((0_u32, 0_u32), |(n, units), m| (n + 1, units.saturating_add(m.weight)));
            (f64::from(n), f64::from(units))
        };
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

/// `count` gives numbers of instances and their units of capacity.
fn value(name: &str, group: &Group, count: &dyn Fn(fn(LifecycleState) -> bool) -> (f64, f64)) -> Option<f64> {
    use LifecycleState as L;
    let (kind, capacity) = match (name.strip_suffix("Instances"), name.strip_suffix("Capacity")) {
        (Some(kind), _) => (kind, false),
        (_, Some(kind)) => (kind, true),
        _ => (name, false),
    };
    let (instances, units) = match kind {
        "GroupMinSize" => return Some(f64::from(group.min)),
        "GroupMaxSize" => return Some(f64::from(group.max)),
        "WarmPoolMinSize" => return Some(f64::from(group.warm_pool.as_ref().map_or(0, |p| p.min_size))),
        "WarmPoolDesired" => return Some(f64::from(pool_wanted(group))),
        "GroupAndWarmPoolDesired" => {
            return Some(f64::from(group.desired.saturating_add(pool_wanted(group))));
        }
        "WarmPoolPending" => count(L::is_coming_to_pool),
        "WarmPoolPendingRetained" => count(|s| s == L::WarmedPendingRetained),
        "WarmPoolTerminatingRetained" => count(|s| s == L::WarmedTerminatingRetained),
        "WarmPoolTerminating" => count(|s| {
            matches!(s, L::WarmedTerminating | L::WarmedTerminatingWait | L::WarmedTerminatingProceed)
        }),
        "WarmPoolWarmed" => count(|s| matches!(s, L::WarmedStopped | L::WarmedRunning)),
        "WarmPoolTotal" => count(L::is_of_pool),
        "GroupAndWarmPoolTotal" => count(|s| !matches!(s, L::Terminated | L::Detached)),
        "GroupDesired" if capacity => return Some(f64::from(group.desired)),
        "GroupInService" => count(|s| s == L::InService),
        "GroupPending" => count(|s| matches!(s, L::Pending | L::PendingWait | L::PendingProceed)),
        "GroupStandby" => count(|s| matches!(s, L::EnteringStandby | L::Standby)),
        "GroupTerminating" => {
            count(|s| matches!(s, L::Terminating | L::TerminatingWait | L::TerminatingProceed))
        }
        "GroupTerminatingRetained" => count(|s| s == L::TerminatingRetained),
        "GroupTotal" => count(|s| !s.is_of_pool() && !matches!(s, L::Terminated | L::Detached)),
        _ => return None,
    };
    Some(if capacity { units } else { instances })
}

fn pool_wanted(group: &Group) -> u32 {
    group.warm_pool.as_ref().map_or(0, |p| p.wanted(group.desired, group.max))
}

#[cfg(test)]
mod tests {
    use puffer_core::autoscaling::{InstanceSource, LifecycleState as L};

    use super::*;

    /// One member of each state, of two units: what each metric of members counts.
    #[test]
    fn metrics_count_the_states_that_they_name() {
        let states = [
            L::Pending,
            L::InService,
            L::TerminatingWait,
            L::TerminatingRetained,
            L::Standby,
            L::WarmedPendingWait,
            L::WarmedPendingRetained,
            L::WarmedTerminating,
            L::WarmedTerminatingRetained,
            L::WarmedStopped,
        ];
        let count = |wanted: fn(LifecycleState) -> bool| {
            let n = states.iter().filter(|s| wanted(**s)).count() as f64;
            (n, 2.0 * n)
        };
        let group = Group::new(
            "g",
            "u",
            "arn:g",
            InstanceSource::LaunchConfiguration("lc".into()),
            Timestamp::from_secs(1),
        );
        let table = [
            ("GroupInServiceInstances", 1.0),
            ("GroupPendingCapacity", 2.0),
            ("GroupTerminatingInstances", 1.0),
            ("GroupTerminatingRetainedInstances", 1.0),
            ("GroupTerminatingRetainedCapacity", 2.0),
            ("GroupTotalInstances", 5.0),
            ("WarmPoolPendingCapacity", 2.0),
            ("WarmPoolPendingRetainedCapacity", 2.0),
            ("WarmPoolTerminatingCapacity", 2.0),
            ("WarmPoolTerminatingRetainedCapacity", 2.0),
            ("WarmPoolTotalCapacity", 10.0),
            ("GroupAndWarmPoolTotalCapacity", 20.0),
        ];
        for (name, want) in table {
            assert_eq!(value(name, &group, &count), Some(want), "{name}");
        }
        assert_eq!(value("GroupNothingInstances", &group, &count), None);
    }
}
