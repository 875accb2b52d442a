use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp};

/// `TargetHealth.State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum TargetState {
    Initial,
    Healthy,
    Unhealthy,
    Unused,
    Draining,
    Unavailable,
}

impl TargetState {
    /// ELB's name.
    pub fn name(self) -> &'static str {
        match self {
            TargetState::Initial => "initial",
            TargetState::Healthy => "healthy",
            TargetState::Unhealthy => "unhealthy",
            TargetState::Unused => "unused",
            TargetState::Draining => "draining",
            TargetState::Unavailable => "unavailable",
        }
    }
}

/// A registered target and its health as the balancer last saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Target group's ARN.
    pub target_group: String,
    /// Instance id, or address for `ip` groups.
    pub id: String,
    /// Port as registered.
    pub port: u16,
    /// Where traffic goes.
    pub address: Ipv4Addr,
    /// Zone of the target.
    pub zone: String,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Since when it is being deregistered.
    pub draining_since: Option<Timestamp>,
    /// State.
    pub state: TargetState,
    /// `Target.FailedHealthChecks`, ….
    pub reason: Option<String>,
    /// Text for people.
    pub description: Option<String>,
}

impl Target {
    /// The key of a target: a target may be registered once for each port.
    pub fn key_of(target_group: &str, id: &str, port: u16) -> String {
        format!("{target_group}|{id}|{port}")
    }
}

impl Record for Target {
    const COLLECTION: &'static str = "elb-targets";
    const INDEXES: &'static [&'static str] = &["target_group", "id"];

    fn key(&self) -> String {
        Target::key_of(&self.target_group, &self.id, self.port)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("target_group", &self.target_group);
        push("id", &self.id);
    }
}
