//! Calls of `LaunchInstances` that were answered, so that a repeated call launches nothing anew.

use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp};

/// A `LaunchInstances` call that was answered: the same call again gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchCall {
    /// The group's name.
    pub group: String,
    /// `ClientToken`.
    pub token: String,
    /// When it was answered.
    pub at: Timestamp,
    /// What was asked.
    pub asked: LaunchCallAsked,
    /// What was launched.
    pub launched: Vec<LaunchCallPart>,
    /// What was refused: error code and text.
    pub refused: Vec<(LaunchCallPart, String, String)>,
}

/// The parameters of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchCallAsked {
    /// `RequestedCapacity`.
    pub capacity: u32,
    /// The zone, if one was named.
    pub zone: Option<String>,
    /// The subnet, if one was named.
    pub subnet: Option<String>,
    /// `RetryStrategy` = `retry-with-group-configuration`.
    pub retry: bool,
}

/// Instances of one type in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchCallPart {
    /// Type.
    pub instance_type: String,
    /// Bought as Spot capacity.
    pub spot: bool,
    /// Subnet.
    pub subnet: String,
    /// Zone.
    pub zone: String,
    /// Instances; none where they were refused.
    pub instance_ids: Vec<String>,
}

impl LaunchCall {
    /// The key of a group's call.
    pub fn key_of(group: &str, token: &str) -> String {
        // A token has no such sign, a group's name may.
        format!("{token}|{group}")
    }
}

impl Record for LaunchCall {
    const COLLECTION: &'static str = "autoscaling-launch-calls";
    const INDEXES: &'static [&'static str] = &["group"];

    fn key(&self) -> String {
        LaunchCall::key_of(&self.group, &self.token)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("group", &self.group);
    }
}
