//! Classic load balancers: the kind of 2009, with listeners and a health check of their own instead of rules and target groups.
//!
//! A classic load balancer is kept as one record, and beside it as the [`TargetGroup`] that its instances are targets of
//! ([`ClassicLoadBalancer::target_group`]), under the same ARN. So checks, draining, the members of Auto Scaling groups and metrics
//! are those of every target group; only the listeners tell on which port of an instance they want to be served. The calls of
//! version 2 do not show that target group.
//!
//! Source: the guide for classic load balancers.

mod check_target;
mod policy;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use check_target::{CheckTarget, CheckTargetError};
pub use policy::{Policy, PolicyKind};
pub use verdict::{InstanceVerdict, verdict};

use super::{
    HealthCheck, HealthCheckProtocol, Node, Scheme, TargetGroup, TargetProtocol, TargetType,
    attributes::CROSS_ZONE, limits::TARGETS_PER_TARGET_GROUP_MAX,
};
use crate::{Record, Tags, Timestamp};

/// Classic load balancers in the region (AWS's quota).
pub const LOAD_BALANCERS_MAX: usize = 20;
/// Listeners of one (AWS's quota).
pub const LISTENERS_MAX: usize = 100;
/// Instances registered with one (AWS's quota, the same as for the target group that they are kept in).
pub const INSTANCES_MAX: usize = TARGETS_PER_TARGET_GROUP_MAX;
/// Policies of one (AWS's quota is 100).
pub const POLICIES_MAX: usize = 100;
/// Port of registrations: an instance is registered as a whole, each listener names the port that it wants.
pub const WHOLE_INSTANCE: u16 = 0;

/// What a listener speaks with its clients and with the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// HTTP/1.1 in clear, request by request.
    Http,
    /// Bytes, connection by connection.
    Tcp,
}

impl Protocol {
    /// ELB's name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http => "HTTP",
            Protocol::Tcp => "TCP",
        }
    }
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicListener {
    /// Port of the load balancer.
    pub port: u16,
    /// What it speaks on both sides; HTTP and TCP cannot be mixed.
    pub protocol: Protocol,
    /// Port of the instances.
    pub instance_port: u16,
    /// Names of its policies.
    pub policies: Vec<String>,
}

/// How instances are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicHealthCheck {
    /// What is asked.
    pub target: CheckTarget,
    /// Time between checks, 5–300 s.
    pub interval_s: u32,
    /// Longest time for an answer, 2–60 s, less than the interval.
    pub timeout_s: u32,
    /// Failures in a row that take an instance out of service, 2–10.
    pub unhealthy_threshold: u8,
    /// Successes in a row that bring it back into service, 2–10; a new one serves after its first.
    pub healthy_threshold: u8,
}

impl ClassicHealthCheck {
    /// The check of a new load balancer: a connection to its first listener's instance port.
    pub fn of_new(instance_port: u16) -> Self {
        ClassicHealthCheck {
            target: CheckTarget::Tcp { port: instance_port },
            interval_s: 30,
            timeout_s: 5,
            unhealthy_threshold: 2,
            healthy_threshold: 10,
        }
    }
}

/// Attributes, with the API's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicAttributes {
    /// Whether a node also uses instances of other zones than its own.
    pub cross_zone: bool,
    /// Whether what is under way at a deregistered instance may go on.
    pub draining: bool,
    /// For how long, 1–3600 s.
    pub draining_s: u32,
    /// Longest silence on a connection, 1–3600 s.
    pub idle_timeout_s: u32,
    /// `elb.http.desyncmitigationmode`: `monitor`, `defensive` or `strictest`.
    pub desync_mode: String,
}

impl Default for ClassicAttributes {
    fn default() -> Self {
        ClassicAttributes {
            cross_zone: false,
            draining: false,
            draining_s: 300,
            idle_timeout_s: 60,
            desync_mode: "defensive".to_owned(),
        }
    }
}

/// A classic load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassicLoadBalancer {
    /// Name, unique in the account: what the API knows it by.
    pub name: String,
    /// Full ARN, which ends in the name.
    pub arn: String,
    /// `<name>-<number>.<region>.elb.amazonaws.com`, lower case.
    pub dns_name: String,
    /// Who may reach it.
    pub scheme: Scheme,
    /// `vpc-…`.
    pub vpc_id: String,
    /// One node for each enabled zone, by zone.
    pub nodes: Vec<Node>,
    /// `sg-…`, as given.
    pub security_groups: Vec<String>,
    /// Listeners, in the order in which they were made.
    pub listeners: Vec<ClassicListener>,
    /// How its instances are checked.
    pub health_check: ClassicHealthCheck,
    /// Attributes.
    pub attributes: ClassicAttributes,
    /// Policies, as made.
    pub policies: Vec<Policy>,
    /// Names of the policies that hold towards instance ports.
    pub backend_policies: BTreeMap<u16, Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl ClassicLoadBalancer {
    /// The listener on a port.
    pub fn listener(&self, port: u16) -> Option<&ClassicListener> {
        self.listeners.iter().find(|l| l.port == port)
    }

    /// The policy of a name.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|p| p.name == name)
    }

    /// What keeps a client of `listener` on its instance.
    pub fn stickiness(&self, listener: &ClassicListener) -> Option<&PolicyKind> {
        let mut policies = listener.policies.iter().filter_map(|name| self.policy(name));
        policies.find(|p| p.kind.is_stickiness()).map(|p| &p.kind)
    }

    /// Whether connections to an instance port begin with a line that tells the client's address.
    pub fn has_proxy_protocol(&self, instance_port: u16) -> bool {
        let mut names = self.backend_policies.get(&instance_port).into_iter().flatten();
        names.any(|name| {
            self.policy(name).is_some_and(|p| matches!(p.kind, PolicyKind::ProxyProtocol { on: true }))
        })
    }

    /// The target group of its instances; see the module.
    pub fn target_group(&self) -> TargetGroup {
        let check = &self.health_check;
        let (protocol, path) = match &check.target {
            CheckTarget::Http { path, .. } => (HealthCheckProtocol::Http, path.clone()),
            CheckTarget::Tcp { .. } => (HealthCheckProtocol::Tcp, "/".to_owned()),
        };
        let draining_s = if self.attributes.draining { self.attributes.draining_s } else { 0 };
        let attributes = [
            ("deregistration_delay.timeout_seconds", draining_s.to_string()),
            ("load_balancing.algorithm.type", "least_outstanding_requests".to_owned()),
            (CROSS_ZONE, self.attributes.cross_zone.to_string()),
        ];
        TargetGroup {
            arn: self.arn.clone(),
            // No target group that people make can have a slash in its name.
            name: format!("classic/{}", self.name),
            protocol: TargetProtocol::Http,
            port: WHOLE_INSTANCE,
            vpc_id: self.vpc_id.clone(),
            target_type: TargetType::Instance,
            health_check: HealthCheck {
                enabled: true,
                protocol,
                port: Some(check.target.port()),
                path,
                matcher: "200".to_owned(),
                interval_s: check.interval_s,
                timeout_s: check.timeout_s,
                healthy_threshold: check.healthy_threshold,
                unhealthy_threshold: check.unhealthy_threshold,
            },
            attributes: attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            created_at: self.created_at,
            tags: self.tags.clone(),
        }
    }
}

impl Record for ClassicLoadBalancer {
    const COLLECTION: &'static str = "elb-classic-load-balancers";
    const INDEXES: &'static [&'static str] = &["dns_name"];

    fn key(&self) -> String {
        self.name.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("dns_name", &self.dns_name);
    }
}
