use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rule::{Action, Condition};
use crate::{Record, Tags, Timestamp};

/// Protocol of a listener. Others than HTTP have no room yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ListenerProtocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
}

impl ListenerProtocol {
    /// ELB's name.
    pub fn name(self) -> &'static str {
        match self {
            ListenerProtocol::Http => "HTTP",
        }
    }
}

/// A listener: a port of a load balancer. What it does is in its rules; its default rule always exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Full ARN.
    pub arn: String,
    /// ARN of its load balancer.
    pub load_balancer: String,
    /// Port, unique in its load balancer.
    pub port: u16,
    /// Protocol.
    pub protocol: ListenerProtocol,
    /// ARN of its default rule.
    pub default_rule: String,
    /// Attributes that differ from [`super::attributes::LISTENER`]'s defaults, by AWS's keys.
    pub attributes: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Record for Listener {
    const COLLECTION: &'static str = "elb-listeners";
    const INDEXES: &'static [&'static str] = &["load_balancer"];

    fn key(&self) -> String {
        self.arn.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("load_balancer", &self.load_balancer);
    }
}

/// A rule of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Full ARN.
    pub arn: String,
    /// ARN of its listener.
    pub listener: String,
    /// ARN of its load balancer.
    pub load_balancer: String,
    /// 1–50,000, unique in its listener; the default rule has none.
    pub priority: Option<u32>,
    /// All must hold; the default rule has none.
    pub conditions: Vec<Condition>,
    /// The last one is the terminal one.
    pub actions: Vec<Action>,
    /// Tags.
    pub tags: Tags,
}

impl Rule {
    /// The target groups that its actions name, in order, repeated ones included.
    pub fn target_groups(&self) -> impl Iterator<Item = &str> {
        target_groups_of(&self.actions)
    }
}

/// The target groups that `actions` name, in order, repeated ones included.
pub fn target_groups_of(actions: &[Action]) -> impl Iterator<Item = &str> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::FixedResponse(_) => None,
        })
        .flat_map(|forward| forward.target_groups.iter().map(|group| group.arn.as_str()))
}

impl Record for Rule {
    const COLLECTION: &'static str = "elb-rules";
    const INDEXES: &'static [&'static str] = &["listener", "load_balancer", "target_group"];

    fn key(&self) -> String {
        self.arn.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("listener", &self.listener);
        push("load_balancer", &self.load_balancer);
        for group in self.target_groups() {
            push("target_group", group);
        }
    }
}
