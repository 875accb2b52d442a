use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Record, Tags, Timestamp};

/// Who may reach a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// From everywhere.
    #[default]
    InternetFacing,
    /// From its VPC.
    Internal,
}

impl Scheme {
    /// ELB's name.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::InternetFacing => "internet-facing",
            Scheme::Internal => "internal",
        }
    }
}

/// `LoadBalancer.State.Code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancerState {
    /// Recorded; the data plane has not confirmed it yet.
    #[default]
    Provisioning,
    /// The data plane serves it.
    Active,
    /// It serves in part: a listener could not be bound, or the data plane is away. The reason says which.
    ActiveImpaired,
    /// It could not be set up.
    Failed,
}

impl LoadBalancerState {
    /// ELB's name.
    pub fn name(self) -> &'static str {
        match self {
            LoadBalancerState::Provisioning => "provisioning",
            LoadBalancerState::Active => "active",
            LoadBalancerState::ActiveImpaired => "active_impaired",
            LoadBalancerState::Failed => "failed",
        }
    }
}

/// A load balancer's presence in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Zone name.
    pub zone: String,
    /// Subnet of its address.
    pub subnet_id: String,
    /// Where it listens and where its connections to targets come from; held by an
    /// [`crate::ec2::AddressHold`].
    pub address: Ipv4Addr,
}

/// An application load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Full ARN.
    pub arn: String,
    /// Name, unique in the account.
    pub name: String,
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
    /// Attributes that differ from [`super::attributes::LOAD_BALANCER`]'s defaults, by AWS's keys.
    pub attributes: BTreeMap<String, String>,
    /// State.
    pub state: LoadBalancerState,
    /// Why it is impaired or failed.
    pub state_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl LoadBalancer {
    /// DNS name of a new load balancer; `number` tells namesakes apart.
    pub fn dns_name_of(name: &str, scheme: Scheme, number: u32, region: &str) -> String {
        let internal = if scheme == Scheme::Internal { "internal-" } else { "" };
        format!("{internal}{name}-{number}.{region}.elb.amazonaws.com").to_ascii_lowercase()
    }
}

impl Record for LoadBalancer {
    const COLLECTION: &'static str = "elb-load-balancers";
    const INDEXES: &'static [&'static str] = &["dns_name", "name", "security_group", "subnet", "vpc"];

    fn key(&self) -> String {
        self.arn.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("dns_name", &self.dns_name);
        push("name", &self.name);
        push("vpc", &self.vpc_id);
        for group in &self.security_groups {
            push("security_group", group);
        }
        for node in &self.nodes {
            push("subnet", &node.subnet_id);
        }
    }
}
