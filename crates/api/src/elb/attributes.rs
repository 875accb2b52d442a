//! Attributes of a load balancer. Access logs would go to S3, which is not here, so they can only be off.

use std::sync::Arc;

use puffer_core::elb::classic::ClassicAttributes;
use puffer_shapes::elb::{self as shapes, errors};

use super::{change, found, invalid_configuration};
use crate::{ApiError, Ctx};

/// The only attribute that has no structure of its own.
const DESYNC_MODE: &str = "elb.http.desyncmitigationmode";
/// Longest time that draining and silence may take, in seconds (AWS's bound).
const SECONDS_MAX: i32 = 3_600;
/// Minutes between access logs that AWS knows.
const LOG_INTERVALS: [i32; 2] = [5, 60];

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeLoadBalancerAttributesInput,
) -> Result<shapes::DescribeLoadBalancerAttributesOutput, ApiError> {
    let balancer = cx.store.read(|r| found(r, &input.load_balancer_name.unwrap_or_default()))?;
    Ok(shapes::DescribeLoadBalancerAttributesOutput {
        load_balancer_attributes: Some(shown(&balancer.attributes)),
    })
}

fn shown(set: &ClassicAttributes) -> shapes::LoadBalancerAttributes {
    shapes::LoadBalancerAttributes {
        cross_zone_load_balancing: Some(shapes::CrossZoneLoadBalancing { enabled: Some(set.cross_zone) }),
        access_log: Some(shapes::AccessLog { enabled: Some(false), ..Default::default() }),
        connection_draining: Some(shapes::ConnectionDraining {
            enabled: Some(set.draining),
            timeout: i32::try_from(set.draining_s).ok(),
        }),
        connection_settings: Some(shapes::ConnectionSettings {
            idle_timeout: i32::try_from(set.idle_timeout_s).ok(),
        }),
        additional_attributes: Some(vec![shapes::AdditionalAttribute {
            key: Some(DESYNC_MODE.to_owned()),
            value: Some(set.desync_mode.clone()),
        }]),
    }
}

/// Answers with the attributes that were named, as they are now.
pub(super) async fn modify(
    cx: Arc<Ctx>,
    input: shapes::ModifyLoadBalancerAttributesInput,
) -> Result<shapes::ModifyLoadBalancerAttributesOutput, ApiError> {
    let given = input.load_balancer_attributes.unwrap_or_default();
    let name = input.load_balancer_name.clone();
    let all = change(&cx, input.load_balancer_name, |balancer| {
        apply(&mut balancer.attributes, &given)?;
        Ok(shown(&balancer.attributes))
    })
    .await?;
    let named = shapes::LoadBalancerAttributes {
        cross_zone_load_balancing: all
            .cross_zone_load_balancing
            .filter(|_| given.cross_zone_load_balancing.is_some()),
        access_log: all.access_log.filter(|_| given.access_log.is_some()),
        connection_draining: all.connection_draining.filter(|_| given.connection_draining.is_some()),
        connection_settings: all.connection_settings.filter(|_| given.connection_settings.is_some()),
        additional_attributes: all.additional_attributes.filter(|_| given.additional_attributes.is_some()),
    };
    Ok(shapes::ModifyLoadBalancerAttributesOutput {
        load_balancer_name: name,
        load_balancer_attributes: Some(named),
    })
}

fn apply(set: &mut ClassicAttributes, given: &shapes::LoadBalancerAttributes) -> Result<(), ApiError> {
    if let Some(cross_zone) = &given.cross_zone_load_balancing {
        set.cross_zone = cross_zone.enabled.unwrap_or(false);
    }
    if let Some(log) = &given.access_log {
        let named = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
        if log.enabled == Some(true) || named(&log.s3_bucket_name) || named(&log.s3_bucket_prefix) {
            return Err(invalid_configuration("Access logs go to S3 buckets, which Puffer does not have"));
        }
        if log.emit_interval.is_some_and(|minutes| !LOG_INTERVALS.contains(&minutes)) {
            return Err(ApiError::validation("Access log EmitInterval must be 5 or 60 minutes"));
        }
    }
    if let Some(draining) = &given.connection_draining {
        set.draining = draining.enabled.unwrap_or(false);
        if let Some(timeout) = draining.timeout {
            set.draining_s = seconds("ConnectionDraining Timeout", timeout)?;
        }
    }
    if let Some(timeout) = given.connection_settings.as_ref().and_then(|s| s.idle_timeout) {
        set.idle_timeout_s = seconds("ConnectionSettings IdleTimeout", timeout)?;
    }
    for attribute in given.additional_attributes.iter().flatten() {
        let (key, value) = (attribute.key.as_deref(), attribute.value.as_deref().unwrap_or_default());
        if key != Some(DESYNC_MODE) {
            return Err(ApiError::declared(
                &errors::LOAD_BALANCER_ATTRIBUTE_NOT_FOUND_EXCEPTION,
                format!("There is no attribute '{}'", key.unwrap_or_default()),
            ));
        }
        if !matches!(value, "monitor" | "defensive" | "strictest") {
            return Err(ApiError::validation(format!(
                "{DESYNC_MODE} must be monitor, defensive or strictest, not '{value}'"
            )));
        }
        set.desync_mode = value.to_owned();
    }
    Ok(())
}

fn seconds(what: &str, value: i32) -> Result<u32, ApiError> {
    u32::try_from(value).ok().filter(|_| (1..=SECONDS_MAX).contains(&value)).ok_or_else(|| {
        ApiError::validation(format!("{what} must be from 1 to {SECONDS_MAX} seconds, not {value}"))
    })
}
