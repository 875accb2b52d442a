//! What does not depend on a request: quotas.

use std::sync::Arc;

use puffer_core::elb::classic::{INSTANCES_MAX, LISTENERS_MAX, LOAD_BALANCERS_MAX};
use puffer_shapes::elb as shapes;

use crate::elbv2::page::page;
use crate::{ApiError, Ctx};

/// Quotas that this server really enforces, by AWS's names.
const LIMITS: &[(&str, usize)] = &[
    ("classic-load-balancers", LOAD_BALANCERS_MAX),
    ("classic-listeners", LISTENERS_MAX),
    ("classic-registered-instances", INSTANCES_MAX),
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
