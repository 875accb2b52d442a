//! What does not depend on a request: quotas, and what Puffer has none of.

use std::sync::Arc;

use puffer_core::elb::limits;
use puffer_shapes::elbv2::{self as shapes, errors};

use super::lookup;
use super::page::page;
use crate::{ApiError, Ctx};

/// Quotas that this server really enforces, by AWS's names.
const LIMITS: &[(&str, usize)] = &[
    ("application-load-balancers", limits::LOAD_BALANCERS_MAX),
    ("listeners-per-application-load-balancer", limits::LISTENERS_PER_LOAD_BALANCER_MAX),
    ("rules-per-application-load-balancer", limits::RULES_PER_LOAD_BALANCER_MAX),
    ("target-groups", limits::TARGET_GROUPS_MAX),
    ("target-groups-per-action-on-application-load-balancer", limits::TARGET_GROUPS_PER_ACTION_MAX),
    ("target-groups-per-application-load-balancer", limits::TARGET_GROUPS_PER_LOAD_BALANCER_MAX),
    ("target-id-registrations-per-application-load-balancer", limits::REGISTRATIONS_PER_TARGET_MAX),
    ("targets-per-target-group", limits::TARGETS_PER_TARGET_GROUP_MAX),
    ("condition-values-per-alb-rule", limits::CONDITION_VALUES_PER_RULE_MAX),
    ("condition-wildcards-per-alb-rule", limits::CONDITION_WILDCARDS_PER_RULE_MAX),
];

pub(super) async fn account_limits(
    _: Arc<Ctx>,
    input: shapes::DescribeAccountLimitsInput,
) -> Result<shapes::DescribeAccountLimitsOutput, ApiError> {
    let (found, next_marker) = page(LIMITS.to_vec(), |l| l.0, input.marker.as_deref(), input.page_size);
    let limit = |(name, max): (&str, usize)| shapes::Limit {
        name: Some(name.to_owned()),
        max: Some(max.to_string()),
    };
    Ok(shapes::DescribeAccountLimitsOutput {
        limits: Some(found.into_iter().map(limit).collect()),
        next_marker,
    })
}

/// There is no TLS yet, so there is no policy that a listener could have.
pub(super) async fn ssl_policies(
    _: Arc<Ctx>,
    input: shapes::DescribeSSLPoliciesInput,
) -> Result<shapes::DescribeSSLPoliciesOutput, ApiError> {
    match input.names.unwrap_or_default().first() {
        Some(name) => Err(ApiError::declared(
            &errors::SSL_POLICY_NOT_FOUND_EXCEPTION,
            format!("SSL policy '{name}' not found: Puffer has no TLS listeners yet"),
        )),
        None => Ok(shapes::DescribeSSLPoliciesOutput { ssl_policies: Some(Vec::new()), next_marker: None }),
    }
}

/// Nobody can reserve capacity here, so no load balancer has a reservation.
pub(super) async fn capacity_reservation(
    cx: Arc<Ctx>,
    input: shapes::DescribeCapacityReservationInput,
) -> Result<shapes::DescribeCapacityReservationOutput, ApiError> {
    cx.store.read(|r| lookup::load_balancer(r, &input.load_balancer_arn.unwrap_or_default()))?;
    Ok(shapes::DescribeCapacityReservationOutput::default())
}
