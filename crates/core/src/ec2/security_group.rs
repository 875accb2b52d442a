use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::Cidr;
use crate::{Record, Tags, Timestamp};

/// Who the other end of a rule is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RulePeer {
    /// An IPv4 block.
    Ipv4(Cidr),
    /// An IPv6 block: kept and shown; instances have no IPv6 addresses, so it never matches.
    Ipv6(Ipv6Addr, u8),
    /// Every instance that has this security group.
    Group(String),
}

/// What a rule allows, without its identity: two rules with equal matches are duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleMatch {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, a protocol number, or `-1` for all.
    pub protocol: String,
    /// First port (or ICMP type); -1: all.
    pub from_port: i32,
    /// Last port (or ICMP code); -1: all.
    pub to_port: i32,
    /// The other end.
    pub peer: RulePeer,
}

/// A rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// `sgr-…`.
    pub id: String,
    /// Outbound rather than inbound.
    pub egress: bool,
    /// What it allows.
    pub allows: RuleMatch,
    /// Text for people.
    pub description: Option<String>,
    /// Tags.
    pub tags: Tags,
}

/// A security group: a stateful allow-list around interfaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: String,
    /// Name, unique in its VPC.
    pub name: String,
    /// `GroupDescription`.
    pub description: String,
    /// `vpc-…`.
    pub vpc_id: String,
    /// Rules in the order they were added.
    pub rules: Vec<SecurityGroupRule>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl SecurityGroup {
    /// Name of the group that each VPC has from the start.
    pub const DEFAULT_NAME: &'static str = "default";

    /// Index value by which a group is found by its name in a VPC.
    pub fn name_key(vpc_id: &str, name: &str) -> String {
        format!("{vpc_id}|{name}")
    }
}

impl Record for SecurityGroup {
    const COLLECTION: &'static str = "ec2-security-groups";
    const INDEXES: &'static [&'static str] = &["name", "refers", "rule", "vpc"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("name", &SecurityGroup::name_key(&self.vpc_id, &self.name));
        push("vpc", &self.vpc_id);
        for rule in &self.rules {
            push("rule", &rule.id);
            if let RulePeer::Group(id) = &rule.allows.peer {
                push("refers", id);
            }
        }
    }
}
