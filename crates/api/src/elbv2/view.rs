//! Records as the wire shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::elb::rule::{Action, Condition};
use puffer_core::elb::{Listener, LoadBalancer, Node, Rule, Target, TargetGroup};
use puffer_shapes::elbv2 as shapes;
use puffer_store::Reader;
use puffer_wire::EpochMillis;

use super::lookup;

/// Hosted zone of the load balancers' names. Puffer's own name server answers them; there is no Route 53.
pub(crate) const HOSTED_ZONE_ID: &str = "Z35SXDOTRQ7X7K";

pub(super) fn time(at: Timestamp) -> EpochMillis {
    EpochMillis(at.as_millis())
}

pub(super) fn load_balancer(balancer: &LoadBalancer) -> shapes::LoadBalancer {
    shapes::LoadBalancer {
        load_balancer_arn: Some(balancer.arn.clone()),
        dns_name: Some(balancer.dns_name.clone()),
        canonical_hosted_zone_id: Some(HOSTED_ZONE_ID.to_owned()),
        created_time: Some(time(balancer.created_at)),
        load_balancer_name: Some(balancer.name.clone()),
        scheme: Some(balancer.scheme.name().to_owned()),
        vpc_id: Some(balancer.vpc_id.clone()),
        state: Some(shapes::LoadBalancerState {
            code: Some(balancer.state.name().to_owned()),
            reason: balancer.state_reason.clone(),
        }),
        type_: Some("application".to_owned()),
        availability_zones: Some(zones(&balancer.nodes)),
        security_groups: Some(balancer.security_groups.clone()),
        ip_address_type: Some("ipv4".to_owned()),
        ..Default::default()
    }
}

pub(super) fn zones(nodes: &[Node]) -> Vec<shapes::AvailabilityZone> {
    let zone = |node: &Node| shapes::AvailabilityZone {
        zone_name: Some(node.zone.clone()),
        subnet_id: Some(node.subnet_id.clone()),
        load_balancer_addresses: Some(Vec::new()),
        ..Default::default()
    };
    nodes.iter().map(zone).collect()
}

pub(super) fn listener(listener: &Listener, default_rule: &Rule) -> shapes::Listener {
    shapes::Listener {
        listener_arn: Some(listener.arn.clone()),
        load_balancer_arn: Some(listener.load_balancer.clone()),
        port: Some(i32::from(listener.port)),
        protocol: Some(listener.protocol.name().to_owned()),
        default_actions: Some(default_rule.actions.iter().map(action).collect()),
        ..Default::default()
    }
}

pub(super) fn rule(rule: &Rule) -> shapes::Rule {
    shapes::Rule {
        rule_arn: Some(rule.arn.clone()),
        priority: Some(rule.priority.map_or_else(|| "default".to_owned(), |p| p.to_string())),
        conditions: Some(rule.conditions.iter().map(condition).collect()),
        actions: Some(rule.actions.iter().map(action).collect()),
        is_default: Some(rule.priority.is_none()),
        ..Default::default()
    }
}

pub(super) fn action(action: &Action) -> shapes::Action {
    match action {
        Action::Forward(forward) => {
            let tuple = |g: &puffer_core::elb::rule::WeightedTargetGroup| shapes::TargetGroupTuple {
                target_group_arn: Some(g.arn.clone()),
                weight: Some(i32::from(g.weight)),
            };
            let stickiness = shapes::TargetGroupStickinessConfig {
                enabled: Some(forward.stickiness.as_ref().is_some_and(|s| s.enabled)),
                duration_seconds: forward.stickiness.as_ref().and_then(|s| i32::try_from(s.duration_s).ok()),
            };
            shapes::Action {
                type_: Some("forward".to_owned()),
                // Only the simple form has it: several groups have no single ARN.
                target_group_arn: match forward.target_groups.as_slice() {
                    [only] => Some(only.arn.clone()),
                    _ => None,
                },
                forward_config: Some(shapes::ForwardActionConfig {
                    target_groups: Some(forward.target_groups.iter().map(tuple).collect()),
                    target_group_stickiness_config: Some(stickiness),
                }),
                ..Default::default()
            }
        }
        Action::Redirect(redirect) => shapes::Action {
            type_: Some("redirect".to_owned()),
            redirect_config: Some(shapes::RedirectActionConfig {
                protocol: Some(redirect.protocol.clone()),
                port: Some(redirect.port.clone()),
                host: Some(redirect.host.clone()),
                path: Some(redirect.path.clone()),
                query: Some(redirect.query.clone()),
                status_code: Some(format!("HTTP_{}", redirect.status_code)),
            }),
            ..Default::default()
        },
        Action::FixedResponse(fixed) => shapes::Action {
            type_: Some("fixed-response".to_owned()),
            fixed_response_config: Some(shapes::FixedResponseActionConfig {
                message_body: (!fixed.message_body.is_empty()).then(|| fixed.message_body.clone()),
                status_code: Some(fixed.status_code.to_string()),
                content_type: fixed.content_type.clone(),
            }),
            ..Default::default()
        },
    }
}

pub(super) fn condition(condition: &Condition) -> shapes::RuleCondition {
    let mut out = shapes::RuleCondition::default();
    let field = match condition {
        Condition::HostHeader { values } => {
            // Older tools read the plain values, newer ones the configuration.
            out.values = Some(values.clone());
            out.host_header_config = Some(shapes::HostHeaderConditionConfig {
                values: Some(values.clone()),
                ..Default::default()
            });
            "host-header"
        }
        Condition::PathPattern { values } => {
            out.values = Some(values.clone());
            out.path_pattern_config = Some(shapes::PathPatternConditionConfig {
                values: Some(values.clone()),
                ..Default::default()
            });
            "path-pattern"
        }
        Condition::HttpRequestMethod { values } => {
            out.http_request_method_config =
                Some(shapes::HttpRequestMethodConditionConfig { values: Some(values.clone()) });
            "http-request-method"
        }
        Condition::SourceIp { values } => {
            let values = values.iter().map(ToString::to_string).collect();
            out.source_ip_config =
                Some(shapes::SourceIpConditionConfig { values: Some(values), ..Default::default() });
            "source-ip"
        }
        Condition::HttpHeader { name, values } => {
            out.http_header_config = Some(shapes::HttpHeaderConditionConfig {
                http_header_name: Some(name.clone()),
                values: Some(values.clone()),
                ..Default::default()
            });
            "http-header"
        }
        Condition::QueryString { values } => {
            let pair = |p: &puffer_core::elb::rule::QueryPair| shapes::QueryStringKeyValuePair {
                key: p.key.clone(),
                value: Some(p.value.clone()),
            };
            out.query_string_config =
                Some(shapes::QueryStringConditionConfig { values: Some(values.iter().map(pair).collect()) });
            "query-string"
        }
    };
    out.field = Some(field.to_owned());
    out
}

pub(super) fn target_group(reader: &Reader<'_>, group: &TargetGroup) -> shapes::TargetGroup {
    let check = &group.health_check;
    let number = |n: u32| i32::try_from(n).ok();
    shapes::TargetGroup {
        target_group_arn: Some(group.arn.clone()),
        target_group_name: Some(group.name.clone()),
        protocol: Some(group.protocol.name().to_owned()),
        protocol_version: Some("HTTP1".to_owned()),
        port: Some(i32::from(group.port)),
        vpc_id: Some(group.vpc_id.clone()),
        health_check_protocol: Some("HTTP".to_owned()),
        health_check_port: Some(health_check_port(group)),
        health_check_enabled: Some(check.enabled),
        health_check_interval_seconds: number(check.interval_s),
        health_check_timeout_seconds: number(check.timeout_s),
        healthy_threshold_count: Some(i32::from(check.healthy_threshold)),
        unhealthy_threshold_count: Some(i32::from(check.unhealthy_threshold)),
        health_check_path: Some(check.path.clone()),
        matcher: Some(shapes::Matcher { http_code: Some(check.matcher.clone()), grpc_code: None }),
        load_balancer_arns: Some(lookup::users_of(reader, &group.arn)),
        target_type: Some(group.target_type.name().to_owned()),
        ip_address_type: Some("ipv4".to_owned()),
        ..Default::default()
    }
}

fn health_check_port(group: &TargetGroup) -> String {
    group.health_check.port.map_or_else(|| "traffic-port".to_owned(), |p| p.to_string())
}

pub(super) fn target(group: &TargetGroup, target: &Target) -> shapes::TargetHealthDescription {
    shapes::TargetHealthDescription {
        target: Some(shapes::TargetDescription {
            id: Some(target.id.clone()),
            port: Some(i32::from(target.port)),
            availability_zone: (group.target_type == puffer_core::elb::TargetType::Ip)
                .then(|| target.zone.clone()),
            ..Default::default()
        }),
        health_check_port: Some(group.health_check.port.unwrap_or(target.port).to_string()),
        target_health: Some(shapes::TargetHealth {
            state: Some(target.state.name().to_owned()),
            reason: target.reason.clone(),
            description: target.description.clone(),
        }),
        ..Default::default()
    }
}

pub(super) fn tags(tags: &BTreeMap<String, String>) -> Vec<shapes::Tag> {
    tags.iter().map(|(k, v)| shapes::Tag { key: Some(k.clone()), value: Some(v.clone()) }).collect()
}

pub(super) fn load_balancers(all: &[Arc<LoadBalancer>]) -> Vec<shapes::LoadBalancer> {
    all.iter().map(|b| load_balancer(b)).collect()
}
