//! Records as the wire shows them.

use std::sync::Arc;

use puffer_core::ec2::{Account, SecurityGroup};
use puffer_core::elb::Target;
use puffer_core::elb::classic::{
    ClassicHealthCheck, ClassicListener, ClassicLoadBalancer, Policy, PolicyKind,
};
use puffer_inventory::classic::registrations;
use puffer_shapes::elb as shapes;
use puffer_store::Reader;
use puffer_wire::EpochMillis;

use crate::elbv2::view::HOSTED_ZONE_ID;

pub(super) fn load_balancer(reader: &Reader<'_>, b: &ClassicLoadBalancer) -> shapes::LoadBalancerDescription {
    let backend = |(port, names): (&u16, &Vec<String>)| shapes::BackendServerDescription {
        instance_port: Some(i32::from(*port)),
        policy_names: Some(names.clone()),
    };
    shapes::LoadBalancerDescription {
        load_balancer_name: Some(b.name.clone()),
        dns_name: Some(b.dns_name.clone()),
        canonical_hosted_zone_name: Some(b.dns_name.clone()),
        canonical_hosted_zone_name_id: Some(HOSTED_ZONE_ID.to_owned()),
        listener_descriptions: Some(b.listeners.iter().map(listener).collect()),
        policies: Some(policies(b)),
        backend_server_descriptions: Some(b.backend_policies.iter().map(backend).collect()),
        availability_zones: Some(b.nodes.iter().map(|n| n.zone.clone()).collect()),
        subnets: Some(b.nodes.iter().map(|n| n.subnet_id.clone()).collect()),
        vpc_id: Some(b.vpc_id.clone()),
        instances: Some(instances(&registrations(reader, b))),
        health_check: Some(health_check(&b.health_check)),
        source_security_group: source_security_group(reader, b),
        security_groups: Some(b.security_groups.clone()),
        created_time: Some(EpochMillis(b.created_at.as_millis())),
        scheme: Some(b.scheme.name().to_owned()),
    }
}

/// The group from which instances see the load balancer's connections come, as rules of their groups name it.
fn source_security_group(
    reader: &Reader<'_>,
    b: &ClassicLoadBalancer,
) -> Option<shapes::SourceSecurityGroup> {
    let group = reader.get::<SecurityGroup>(b.security_groups.first()?)?;
    Some(shapes::SourceSecurityGroup {
        owner_alias: reader.get::<Account>(Account::KEY).map(|a| a.id.clone()),
        group_name: Some(group.name.clone()),
    })
}

fn listener(l: &ClassicListener) -> shapes::ListenerDescription {
    shapes::ListenerDescription {
        listener: Some(shapes::Listener {
            protocol: Some(l.protocol.name().to_owned()),
            load_balancer_port: Some(i32::from(l.port)),
            instance_protocol: Some(l.protocol.name().to_owned()),
            instance_port: Some(i32::from(l.instance_port)),
            ssl_certificate_id: None,
        }),
        policy_names: Some(l.policies.clone()),
    }
}

fn policies(b: &ClassicLoadBalancer) -> shapes::Policies {
    let (mut app, mut lb, mut other) = (Vec::new(), Vec::new(), Vec::new());
    for policy in &b.policies {
        let policy_name = Some(policy.name.clone());
        match &policy.kind {
            PolicyKind::AppCookie { cookie_name } => app.push(shapes::AppCookieStickinessPolicy {
                policy_name,
                cookie_name: Some(cookie_name.clone()),
            }),
            PolicyKind::LbCookie { expiration_s } => lb.push(shapes::LBCookieStickinessPolicy {
                policy_name,
                cookie_expiration_period: expiration_s.map(i64::from),
            }),
            PolicyKind::ProxyProtocol { .. } => other.extend(policy_name),
        }
    }
    shapes::Policies {
        app_cookie_stickiness_policies: Some(app),
        lb_cookie_stickiness_policies: Some(lb),
        other_policies: Some(other),
    }
}

pub(super) fn policy(policy: &Policy) -> shapes::PolicyDescription {
    let (name, value) = policy.kind.attribute();
    shapes::PolicyDescription {
        policy_name: Some(policy.name.clone()),
        policy_type_name: Some(policy.kind.type_name().to_owned()),
        policy_attribute_descriptions: Some(vec![shapes::PolicyAttributeDescription {
            attribute_name: Some(name.to_owned()),
            attribute_value: Some(value),
        }]),
    }
}

pub(super) fn health_check(check: &ClassicHealthCheck) -> shapes::HealthCheck {
    let number = |n: u32| i32::try_from(n).ok();
    shapes::HealthCheck {
        target: Some(check.target.to_string()),
        interval: number(check.interval_s),
        timeout: number(check.timeout_s),
        unhealthy_threshold: Some(i32::from(check.unhealthy_threshold)),
        healthy_threshold: Some(i32::from(check.healthy_threshold)),
    }
}

/// Those that are on their way out are no longer among a load balancer's instances.
pub(super) fn instances(registrations: &[Arc<Target>]) -> Vec<shapes::Instance> {
    let staying = registrations.iter().filter(|t| t.draining_since.is_none());
    staying.map(|t| shapes::Instance { instance_id: Some(t.id.clone()) }).collect()
}
