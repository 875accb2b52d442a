//! What governs replacements: the instance maintenance policy and the maximum instance lifetime.

use puffer_core::autoscaling::maintenance::{HEALTHY_RANGE_MAX, MAX_HEALTHY_PERCENT_MAX};
use puffer_core::autoscaling::{Group, HealthyPercentages};
use puffer_shapes::autoscaling as shape;

use super::describe_groups::signed;
use super::error::natural;
use crate::ApiError;

/// The shortest maximum lifetime, seconds: a day.
const LIFETIME_MIN_S: u32 = 86_400;

/// Sets what is given.
pub(super) fn apply(
    group: &mut Group,
    policy: Option<&shape::InstanceMaintenancePolicy>,
    lifetime_s: Option<i32>,
) -> Result<(), ApiError> {
    if let Some(policy) = policy {
        group.maintenance = percentages(policy)?;
    }
    if let Some(lifetime_s) = lifetime_s {
        let lifetime_s = natural(lifetime_s, "MaxInstanceLifetime")?;
        if (1..LIFETIME_MIN_S).contains(&lifetime_s) {
            return Err(ApiError::validation(format!(
                "MaxInstanceLifetime must be 0 or at least {LIFETIME_MIN_S} seconds, but is {lifetime_s}."
            )));
        }
        group.max_instance_lifetime_s = lifetime_s;
    }
    Ok(())
}

/// -1 for both takes the policy away.
fn percentages(policy: &shape::InstanceMaintenancePolicy) -> Result<Option<HealthyPercentages>, ApiError> {
    let (Some(min), Some(max)) = (policy.min_healthy_percentage, policy.max_healthy_percentage) else {
        return Err(ApiError::validation(
            "An instance maintenance policy needs both MinHealthyPercentage and MaxHealthyPercentage.",
        ));
    };
    match (min, max) {
        (-1, -1) => Ok(None),
        (-1, _) | (_, -1) => Err(ApiError::validation(
            "MinHealthyPercentage and MaxHealthyPercentage must both be -1 to remove the instance maintenance policy.",
        )),
        _ => checked(min, max).map(Some),
    }
}

/// The two percentages within their ranges.
pub(super) fn checked(min: i32, max: i32) -> Result<HealthyPercentages, ApiError> {
    let percent = HealthyPercentages {
        min: natural(min, "MinHealthyPercentage")?,
        max: natural(max, "MaxHealthyPercentage")?,
    };
    if percent.min > 100 || !(100..=MAX_HEALTHY_PERCENT_MAX).contains(&percent.max) {
        return Err(ApiError::validation(
            "MinHealthyPercentage must be between 0 and 100, and MaxHealthyPercentage between 100 and 200.",
        ));
    }
    if percent.max - percent.min > HEALTHY_RANGE_MAX {
        return Err(ApiError::validation(
            "The difference between MinHealthyPercentage and MaxHealthyPercentage cannot be greater than 100.",
        ));
    }
    Ok(percent)
}

/// The policy as the API shows it.
pub(super) fn shape_of(group: &Group) -> Option<shape::InstanceMaintenancePolicy> {
    group.maintenance.map(|p| shape::InstanceMaintenancePolicy {
        min_healthy_percentage: Some(signed(p.min)),
        max_healthy_percentage: Some(signed(p.max)),
    })
}

/// The lifetime as the API shows it.
pub(super) fn lifetime_of(group: &Group) -> Option<i32> {
    (group.max_instance_lifetime_s > 0).then(|| signed(group.max_instance_lifetime_s))
}
