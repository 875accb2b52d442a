//! How a group uses its zones: their ids, the strategy of distribution, and what an impaired zone means.

use puffer_core::autoscaling::Group;
use puffer_core::ec2::Account;
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;

use super::error::unsupported;
use crate::ApiError;

/// The zones of a request that may name them by id.
pub(super) fn names(
    r: &Reader<'_>,
    zones: Option<&[String]>,
    ids: Option<&[String]>,
) -> Result<Option<Vec<String>>, ApiError> {
    let Some(ids) = ids.filter(|ids| !ids.is_empty()) else { return Ok(zones.map(<[String]>::to_vec)) };
    if zones.is_some_and(|z| !z.is_empty()) {
        return Err(ApiError::validation(
            "AvailabilityZones and AvailabilityZoneIds cannot be given together.",
        ));
    }
    let account = r.get::<Account>(Account::KEY).ok_or_else(|| ApiError::internal(&"there is no account"))?;
    let name = |id: &String| {
        account
            .zones
            .iter()
            .find(|zone| account.zone_id(zone) == *id)
            .cloned()
            .ok_or_else(|| ApiError::validation(format!("Invalid availability zone id: [{id}]")))
    };
    ids.iter().map(name).collect::<Result<_, _>>().map(Some)
}

/// `AvailabilityZoneDistribution`.
pub(super) fn distribute(
    group: &mut Group,
    given: Option<&shape::AvailabilityZoneDistribution>,
) -> Result<(), ApiError> {
    match given.and_then(|d| d.capacity_distribution_strategy.as_deref()) {
        None => {}
        Some("balanced-best-effort") => group.balanced_only = false,
        Some("balanced-only") => group.balanced_only = true,
        Some(other) => return Err(unsupported(&format!("The CapacityDistributionStrategy {other}"))),
    }
    Ok(())
}

/// `AvailabilityZoneImpairmentPolicy`. Following zonal shifts needs a choice of what becomes of unhealthy instances.
pub(super) fn impair(
    group: &mut Group,
    given: Option<&shape::AvailabilityZoneImpairmentPolicy>,
) -> Result<(), ApiError> {
    let Some(given) = given else { return Ok(()) };
    let before = group.zone_impairment;
    if let Some(enabled) = given.zonal_shift_enabled {
        group.zone_impairment.shift_enabled = enabled;
    }
    match given.impaired_zone_health_check_behavior.as_deref() {
        Some("IgnoreUnhealthy") => group.zone_impairment.ignore_unhealthy = true,
        Some("ReplaceUnhealthy") => group.zone_impairment.ignore_unhealthy = false,
        Some(other) => {
            return Err(ApiError::validation(format!("Invalid ImpairedZoneHealthCheckBehavior: {other}")));
        }
        None if group.zone_impairment.shift_enabled && !before.shift_enabled => {
            return Err(ApiError::validation(
                "ImpairedZoneHealthCheckBehavior must be given when ZonalShiftEnabled is true.",
            ));
        }
        None => {}
    }
    if !group.zone_impairment.shift_enabled {
        group.zonal_shift = None;
    }
    Ok(())
}

/// The distribution as the API shows it.
pub(super) fn show_distribution(group: &Group) -> shape::AvailabilityZoneDistribution {
    let strategy = if group.balanced_only { "balanced-only" } else { "balanced-best-effort" };
    shape::AvailabilityZoneDistribution { capacity_distribution_strategy: Some(strategy.to_owned()) }
}

/// The impairment policy as the API shows it.
pub(super) fn show_impairment(group: &Group) -> shape::AvailabilityZoneImpairmentPolicy {
    let policy = group.zone_impairment;
    let behavior = if policy.ignore_unhealthy { "IgnoreUnhealthy" } else { "ReplaceUnhealthy" };
    shape::AvailabilityZoneImpairmentPolicy {
        zonal_shift_enabled: Some(policy.shift_enabled),
        impaired_zone_health_check_behavior: policy.shift_enabled.then(|| behavior.to_owned()),
    }
}
