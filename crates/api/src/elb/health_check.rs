//! The health check of a load balancer's instances.

use std::sync::Arc;

use puffer_core::elb::classic::{CheckTarget, ClassicHealthCheck};
use puffer_shapes::elb as shapes;

use super::{change, view};
use crate::{ApiError, Ctx};

pub(crate) async fn configure(
    cx: Arc<Ctx>,
    input: shapes::ConfigureHealthCheckInput,
) -> Result<shapes::ConfigureHealthCheckOutput, ApiError> {
    let check = parse(input.health_check.unwrap_or_default())?;
    let shown = change(&cx, input.load_balancer_name, |balancer| {
        balancer.health_check = check;
        Ok(view::health_check(&balancer.health_check))
    })
    .await?;
    Ok(shapes::ConfigureHealthCheckOutput { health_check: Some(shown) })
}

/// All members are there: the model's constraints require them, and bound the numbers.
fn parse(given: shapes::HealthCheck) -> Result<ClassicHealthCheck, ApiError> {
    let target: CheckTarget =
        given.target.unwrap_or_default().parse().map_err(|e| ApiError::validation(format!("{e}")))?;
    let ranged = |what: &str, value: Option<i32>, low: u32, high: u32| {
        let value = value.unwrap_or_default();
        u32::try_from(value).ok().filter(|n| (low..=high).contains(n)).ok_or_else(|| {
            ApiError::validation(format!("HealthCheck {what} '{value}' must be from {low} to {high}"))
        })
    };
    let threshold =
        |what: &str, value| ranged(what, value, 2, 10).map(|n| u8::try_from(n).unwrap_or(u8::MAX));
    let check = ClassicHealthCheck {
        target,
        interval_s: ranged("Interval", given.interval, 5, 300)?,
        timeout_s: ranged("Timeout", given.timeout, 2, 60)?,
        unhealthy_threshold: threshold("UnhealthyThreshold", given.unhealthy_threshold)?,
        healthy_threshold: threshold("HealthyThreshold", given.healthy_threshold)?,
    };
    match check.timeout_s < check.interval_s {
        true => Ok(check),
        false => Err(ApiError::validation("HealthCheck timeout must be less than interval.")),
    }
}
