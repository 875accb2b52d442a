use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Record, Tags, Timestamp};

/// What a target's id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// An instance's id.
    #[default]
    Instance,
    /// An address.
    Ip,
}

impl TargetType {
    /// ELB's name.
    pub fn name(self) -> &'static str {
        match self {
            TargetType::Instance => "instance",
            TargetType::Ip => "ip",
        }
    }
}

/// Protocol towards targets. Others than HTTP have no room yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TargetProtocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
}

impl TargetProtocol {
    /// ELB's name.
    pub fn name(self) -> &'static str {
        match self {
            TargetProtocol::Http => "HTTP",
        }
    }
}

/// What a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthCheckProtocol {
    /// `GET` of the path.
    #[default]
    Http,
    /// A connection is enough; of classic load balancers only.
    Tcp,
}

/// How the targets of a group are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Off makes every target `unavailable`, which takes requests.
    pub enabled: bool,
    /// What a check is.
    #[serde(default)]
    pub protocol: HealthCheckProtocol,
    /// A port, or none for the port on which each target takes traffic (`traffic-port`).
    pub port: Option<u16>,
    /// Path, with a query if any.
    pub path: String,
    /// Statuses that count as success.
    pub matcher: String,
    /// Time between checks, 5–300 s.
    pub interval_s: u32,
    /// Longest time for an answer, 2–120 s.
    pub timeout_s: u32,
    /// Successes in a row that make an unhealthy target healthy, 2–10.
    pub healthy_threshold: u8,
    /// Failures in a row that make a target unhealthy, 2–10.
    pub unhealthy_threshold: u8,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck {
            enabled: true,
            protocol: HealthCheckProtocol::Http,
            port: None,
            path: "/".to_owned(),
            matcher: "200".to_owned(),
            interval_s: 30,
            timeout_s: 5,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
        }
    }
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// Full ARN.
    pub arn: String,
    /// Name, unique in the account.
    pub name: String,
    /// Protocol towards targets.
    pub protocol: TargetProtocol,
    /// Port of targets registered without one.
    pub port: u16,
    /// `vpc-…`.
    pub vpc_id: String,
    /// What its targets are.
    pub target_type: TargetType,
    /// How its targets are checked.
    pub health_check: HealthCheck,
    /// Attributes that differ from [`super::attributes::TARGET_GROUP`]'s defaults, by AWS's keys.
    pub attributes: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl TargetGroup {
    /// Longest time for which requests under way at a deregistered target may go on, in seconds.
    pub fn deregistration_delay_s(&self) -> u32 {
        super::attributes::number(
            &self.attributes,
            super::attributes::TARGET_GROUP,
            "deregistration_delay.timeout_seconds",
        )
    }
}

impl Record for TargetGroup {
    const COLLECTION: &'static str = "elb-target-groups";
    const INDEXES: &'static [&'static str] = &["name", "vpc"];

    fn key(&self) -> String {
        self.arn.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("name", &self.name);
        push("vpc", &self.vpc_id);
    }
}
