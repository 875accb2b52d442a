//! Finding resources by ARN or name, with AWS's error for each kind that is absent.

use std::sync::Arc;

use puffer_core::elb::arn::classic_name;
use puffer_core::elb::{Listener, LoadBalancer, Rule, TargetGroup};
use puffer_shapes::elbv2::errors;
use puffer_store::Reader;

use crate::ApiError;

pub(super) fn load_balancer(reader: &Reader<'_>, arn: &str) -> Result<Arc<LoadBalancer>, ApiError> {
    reader.get(arn).ok_or_else(|| {
        ApiError::declared(
            &errors::LOAD_BALANCER_NOT_FOUND_EXCEPTION,
            format!("Load balancer '{arn}' not found"),
        )
    })
}

pub(super) fn load_balancer_named(reader: &Reader<'_>, name: &str) -> Option<Arc<LoadBalancer>> {
    reader.list_by("name", name).pop()
}

pub(super) fn listener(reader: &Reader<'_>, arn: &str) -> Result<Arc<Listener>, ApiError> {
    reader.get(arn).ok_or_else(|| {
        ApiError::declared(&errors::LISTENER_NOT_FOUND_EXCEPTION, format!("Listener '{arn}' not found"))
    })
}

pub(super) fn rule(reader: &Reader<'_>, arn: &str) -> Result<Arc<Rule>, ApiError> {
    reader.get(arn).ok_or_else(|| {
        ApiError::declared(&errors::RULE_NOT_FOUND_EXCEPTION, format!("Rule '{arn}' not found"))
    })
}

/// The listener's default rule, which always exists.
pub(super) fn default_rule(reader: &Reader<'_>, listener: &Listener) -> Result<Arc<Rule>, ApiError> {
    rule(reader, &listener.default_rule)
}

pub(super) fn target_group(reader: &Reader<'_>, arn: &str) -> Result<Arc<TargetGroup>, ApiError> {
    reader.get(arn).filter(is_own).ok_or_else(|| target_group_not_found(arn))
}

pub(super) fn target_group_named(reader: &Reader<'_>, name: &str) -> Option<Arc<TargetGroup>> {
    reader.list_by("name", name).pop().filter(is_own)
}

/// All target groups that were made by this service.
pub(super) fn target_groups(reader: &Reader<'_>) -> Vec<Arc<TargetGroup>> {
    reader.iter::<TargetGroup>().filter(|g| is_own(g)).cloned().collect()
}

/// Whether a target group is not that of a classic load balancer's instances, of which this version knows nothing.
fn is_own(group: &Arc<TargetGroup>) -> bool {
    classic_name(&group.arn).is_none()
}

pub(super) fn target_group_not_found(arn: &str) -> ApiError {
    ApiError::declared(&errors::TARGET_GROUP_NOT_FOUND_EXCEPTION, format!("Target groups '{arn}' not found"))
}

/// Load balancers that forward to a target group, by ARN. AWS allows one.
pub(super) fn users_of(reader: &Reader<'_>, target_group: &str) -> Vec<String> {
    let rules = reader.list_by::<Rule>("target_group", target_group);
    let mut users: Vec<_> = rules.iter().map(|r| r.load_balancer.clone()).collect();
    users.sort();
    users.dedup();
    users
}
