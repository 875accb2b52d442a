//! Actions of rules: from the wire, checked.
//!
//! What AWS takes and Puffer does not do (authentication, which needs TLS) is refused by name.

use std::collections::BTreeSet;

use puffer_core::elb::LoadBalancer;
use puffer_core::elb::limits::{TARGET_GROUPS_PER_ACTION_MAX, TARGET_GROUPS_PER_LOAD_BALANCER_MAX};
use puffer_core::elb::rule::{
    Action, FixedResponse, Forward, GroupStickiness, Redirect, WEIGHT_MAX, WeightedTargetGroup,
};
use puffer_core::elb::{Rule, target_groups_of};
use puffer_shapes::elbv2::{self as shapes, errors};
use puffer_store::Reader;

use super::lookup;
use crate::ApiError;

/// Characters of a fixed response's body.
const BODY_CHARS_MAX: usize = 1024;
/// Longest time for which a client stays with a target group, in seconds: seven days.
const STICKINESS_S_MAX: i32 = 604_800;
/// Content types of fixed responses.
const CONTENT_TYPES: &[&str] =
    &["text/plain", "text/css", "text/html", "application/javascript", "application/json"];

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::declared(&errors::INVALID_LOAD_BALANCER_ACTION_EXCEPTION, text)
}

/// The actions of a request: exactly one, since everything that may come before it needs TLS.
pub(super) fn parse(actions: Option<Vec<shapes::Action>>) -> Result<Vec<Action>, ApiError> {
    let mut actions = actions.unwrap_or_default();
    actions.sort_by_key(|a| a.order.unwrap_or(0));
    let parsed: Vec<Action> = actions.into_iter().map(one).collect::<Result<_, _>>()?;
    match parsed.len() {
        0 => Err(ApiError::validation("You must specify an action")),
        1 => Ok(parsed),
        _ => Err(invalid(
            "Exactly one action of type 'forward', 'redirect' or 'fixed-response' must be specified, and last",
        )),
    }
}

fn one(action: shapes::Action) -> Result<Action, ApiError> {
    match action.type_.as_deref().unwrap_or_default() {
        "forward" => forward(action.target_group_arn, action.forward_config).map(Action::Forward),
        "redirect" => redirect(action.redirect_config).map(Action::Redirect),
        "fixed-response" => fixed_response(action.fixed_response_config).map(Action::FixedResponse),
        other @ ("authenticate-oidc" | "authenticate-cognito" | "jwt-validation") => Err(invalid(format!(
            "Actions of type '{other}' need an HTTPS listener, which Puffer does not have yet"
        ))),
        other => Err(ApiError::validation(format!("The action type '{other}' is not valid"))),
    }
}

fn forward(single: Option<String>, config: Option<shapes::ForwardActionConfig>) -> Result<Forward, ApiError> {
    let (groups, sticky) = match config {
        Some(config) => (config.target_groups.unwrap_or_default(), config.target_group_stickiness_config),
        None => (Vec::new(), None),
    };
    let mut target_groups = Vec::with_capacity(groups.len().max(1));
    for group in groups {
        let arn = group.target_group_arn.unwrap_or_default();
        let weight = group.weight.map_or(Some(1), |w| u16::try_from(w).ok().filter(|w| *w <= WEIGHT_MAX));
        let weight = weight.ok_or_else(|| {
            ApiError::validation(format!("The weight of a target group must be from 0 to {WEIGHT_MAX}"))
        })?;
        target_groups.push(WeightedTargetGroup { arn, weight });
    }
    match (single, target_groups.as_slice()) {
        (None, []) => return Err(ApiError::validation("A forward action needs a target group")),
        (Some(arn), []) => target_groups.push(WeightedTargetGroup { arn, weight: 1 }),
        (None, _) => {}
        // Tools that read a rule and write it back send both forms.
        (Some(arn), [only]) if only.arn == arn => {}
        (Some(_), _) => {
            return Err(ApiError::validation(
                "You can specify both a target group ARN and a list of target groups only if they agree",
            ));
        }
    }
    if target_groups.len() > TARGET_GROUPS_PER_ACTION_MAX {
        return Err(ApiError::declared(
            &errors::TOO_MANY_TARGET_GROUPS_EXCEPTION,
            format!("A forward action can have at most {TARGET_GROUPS_PER_ACTION_MAX} target groups"),
        ));
    }
    let distinct: BTreeSet<_> = target_groups.iter().map(|g| &g.arn).collect();
    if distinct.len() < target_groups.len() {
        return Err(invalid("A target group can be specified only once in an action"));
    }
    Ok(Forward { target_groups, stickiness: sticky.map(stickiness).transpose()?.flatten() })
}

fn stickiness(config: shapes::TargetGroupStickinessConfig) -> Result<Option<GroupStickiness>, ApiError> {
    let enabled = config.enabled.unwrap_or(false);
    match (enabled, config.duration_seconds) {
        (false, None) => Ok(None),
        (_, Some(s)) if (1..=STICKINESS_S_MAX).contains(&s) => {
            Ok(Some(GroupStickiness { enabled, duration_s: s.unsigned_abs() }))
        }
        _ => Err(ApiError::validation(format!(
            "The duration of target group stickiness must be from 1 to {STICKINESS_S_MAX} seconds"
        ))),
    }
}

fn redirect(config: Option<shapes::RedirectActionConfig>) -> Result<Redirect, ApiError> {
    let config = config.ok_or_else(|| invalid("A redirect action needs a redirect configuration"))?;
    let part = |given: Option<String>, default: &str| given.unwrap_or_else(|| default.to_owned());
    let redirect = Redirect {
        protocol: part(config.protocol, "#{protocol}"),
        host: part(config.host, "#{host}"),
        port: part(config.port, "#{port}"),
        path: part(config.path, "/#{path}"),
        query: part(config.query, "#{query}"),
        status_code: match config.status_code.as_deref() {
            Some("HTTP_301") => 301,
            Some("HTTP_302") => 302,
            _ => return Err(ApiError::validation("The status code of a redirect is HTTP_301 or HTTP_302")),
        },
    };
    if !matches!(redirect.protocol.as_str(), "HTTP" | "HTTPS" | "#{protocol}") {
        return Err(invalid(format!("The redirect protocol '{}' is not valid", redirect.protocol)));
    }
    let port_is_good = redirect.port == "#{port}" || redirect.port.parse::<u16>().is_ok_and(|port| port > 0);
    if !port_is_good {
        return Err(invalid(format!("The redirect port '{}' is not valid", redirect.port)));
    }
    if !redirect.path.starts_with('/') {
        return Err(invalid("The redirect path must begin with '/'"));
    }
    let same = redirect.protocol == "#{protocol}"
        && redirect.host == "#{host}"
        && redirect.port == "#{port}"
        && redirect.path == "/#{path}";
    if same {
        return Err(invalid("The redirect configuration is not valid because it creates a loop"));
    }
    Ok(redirect)
}

fn fixed_response(config: Option<shapes::FixedResponseActionConfig>) -> Result<FixedResponse, ApiError> {
    let config = config.ok_or_else(|| invalid("A fixed-response action needs its configuration"))?;
    let status = config.status_code.unwrap_or_default();
    let status_code =
        status.parse::<u16>().ok().filter(|s| matches!(s, 200..=299 | 400..=599)).ok_or_else(|| {
            ApiError::validation(format!("The status code '{status}' must be 2XX, 4XX or 5XX"))
        })?;
    let message_body = config.message_body.unwrap_or_default();
    if message_body.len() > BODY_CHARS_MAX {
        return Err(ApiError::validation(format!(
            "The body of a fixed response can have at most {BODY_CHARS_MAX} characters"
        )));
    }
    if let Some(content_type) = &config.content_type
        && !CONTENT_TYPES.contains(&content_type.as_str())
    {
        return Err(ApiError::validation(format!("The content type '{content_type}' is not valid")));
    }
    Ok(FixedResponse { status_code, content_type: config.content_type, message_body })
}

/// Whether `balancer` may have a rule with these actions: every group exists, lives in its VPC and serves no other load
/// balancer. `replaced` is the rule whose actions they replace.
pub(super) fn check_target_groups(
    reader: &Reader<'_>,
    balancer: &LoadBalancer,
    actions: &[Action],
    replaced: Option<&str>,
) -> Result<(), ApiError> {
    for arn in target_groups_of(actions) {
        let group = lookup::target_group(reader, arn)?;
        if group.vpc_id != balancer.vpc_id {
            return Err(ApiError::declared(
                &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
                format!(
                    "The target group '{arn}' and the load balancer '{}' have different VPCs",
                    balancer.arn
                ),
            ));
        }
        if lookup::users_of(reader, arn).iter().any(|user| *user != balancer.arn) {
            return Err(ApiError::declared(
                &errors::TARGET_GROUP_ASSOCIATION_LIMIT_EXCEPTION,
                format!(
                    "The following target groups cannot be associated with more than one load balancer: {arn}"
                ),
            ));
        }
    }
    let rules = reader.list_by::<Rule>("load_balancer", &balancer.arn);
    let kept = rules.iter().filter(|r| Some(r.arn.as_str()) != replaced).flat_map(|r| r.target_groups());
    let distinct: BTreeSet<&str> = kept.chain(target_groups_of(actions)).collect();
    if distinct.len() > TARGET_GROUPS_PER_LOAD_BALANCER_MAX {
        return Err(ApiError::declared(
            &errors::TOO_MANY_UNIQUE_TARGET_GROUPS_PER_LOAD_BALANCER_EXCEPTION,
            format!(
                "A load balancer can forward to at most {TARGET_GROUPS_PER_LOAD_BALANCER_MAX} target groups"
            ),
        ));
    }
    Ok(())
}
