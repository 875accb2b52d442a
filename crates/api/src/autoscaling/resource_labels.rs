//! Labels that name a target group of a load balancer: policies that follow its requests may only name one that serves the group.
//!
//! A policy on another target group would follow somebody else's load, and one on a target group that is not there none at all.

use puffer_core::autoscaling::predict::{MetricChoice, Specification};
use puffer_core::autoscaling::{Group, PolicyKind, TargetTrackingMetric};
use puffer_core::elb::LoadBalancer;
use puffer_core::elb::arn::{load_balancer_dimension, target_group_dimension};
use puffer_store::Reader;

use crate::ApiError;

/// Predefined metrics with a label begin so.
const LABELLED: &str = "ALB";

/// Refuses a policy whose label names no load balancer, or a target group that is not attached to the group.
pub(super) fn check(r: &Reader<'_>, group: &Group, kind: &PolicyKind) -> Result<(), ApiError> {
    for label in labels(kind) {
        // Labels of another form are refused where the policy's metric is made of them.
        let Some((balancer, target_group)) = parts(label) else { continue };
        if !r.iter::<LoadBalancer>().any(|b| load_balancer_dimension(&b.arn) == balancer) {
            return Err(ApiError::validation(format!(
                "The load balancer of ResourceLabel {label} does not exist"
            )));
        }
        if !is_attached(group, target_group) {
            return Err(ApiError::validation(format!(
                "The target group of ResourceLabel {label} is not attached to the Auto Scaling group {}",
                group.name
            )));
        }
    }
    Ok(())
}

/// `app/<lb>/<id>` and `targetgroup/<tg>/<id>`.
fn parts(label: &str) -> Option<(&str, &str)> {
    let at = label.find("/targetgroup/")?;
    Some((&label[..at], &label[at + 1..]))
}

fn is_attached(group: &Group, target_group: &str) -> bool {
    group.target_groups.iter().any(|arn| target_group_dimension(arn) == target_group)
}

fn labels(kind: &PolicyKind) -> Vec<&str> {
    let labelled = |name: &str, label: &'_ Option<String>| name.starts_with(LABELLED) && label.is_some();
    let choice = |choice: &'_ MetricChoice| match choice {
        MetricChoice::Predefined { metric_type, .. } => metric_type.starts_with(LABELLED),
        MetricChoice::Customized(_) => false,
    };
    let mut found = Vec::new();
    match kind {
        PolicyKind::TargetTracking(t) => {
            if let TargetTrackingMetric::Predefined { metric_type, resource_label } = &t.metric
                && labelled(metric_type, resource_label)
            {
                found.extend(resource_label.as_deref());
            }
        }
        PolicyKind::Predictive(p) => match &p.specification {
            Specification::Pair { pair_type, resource_label } if labelled(pair_type, resource_label) => {
                found.extend(resource_label.as_deref());
            }
            Specification::Pair { .. } => {}
            Specification::Apart { load, scaling, .. } => {
                for one in [load, scaling].into_iter().filter(|one| choice(one)) {
                    if let MetricChoice::Predefined { resource_label, .. } = one {
                        found.extend(resource_label.as_deref());
                    }
                }
            }
        },
        PolicyKind::Simple { .. } | PolicyKind::Step { .. } => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use puffer_core::Timestamp;
    use puffer_core::autoscaling::{InstanceSource, TargetTracking};

    use super::*;

    const LABEL: &str = "app/web/0123456789abcdef/targetgroup/tg/fedcba9876543210";

    #[test]
    fn labels_are_those_of_request_counts() {
        let tracking = |metric_type: &str, label: Option<&str>| {
            PolicyKind::TargetTracking(TargetTracking {
                metric: TargetTrackingMetric::Predefined {
                    metric_type: metric_type.into(),
                    resource_label: label.map(Into::into),
                },
                target: 1.0,
                disable_scale_in: false,
            })
        };
        assert_eq!(labels(&tracking("ALBRequestCountPerTargetHighResolution", Some(LABEL))), [LABEL]);
        assert!(labels(&tracking("ALBRequestCountPerTarget", None)).is_empty());
        assert!(labels(&tracking("ASGAverageCPUUtilization", None)).is_empty());
        assert_eq!(parts(LABEL), Some(("app/web/0123456789abcdef", "targetgroup/tg/fedcba9876543210")));
        assert_eq!(parts("nonsense"), None);
        let source = InstanceSource::LaunchConfiguration("lc".into());
        let mut group = Group::new("g", "u", "arn", source, Timestamp::from_secs(0));
        assert!(!is_attached(&group, "targetgroup/tg/fedcba9876543210"));
        group.target_groups =
            vec!["arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/tg/fedcba9876543210".into()];
        assert!(is_attached(&group, "targetgroup/tg/fedcba9876543210"));
        assert!(!is_attached(&group, "targetgroup/t/fedcba9876543210"));
    }
}
