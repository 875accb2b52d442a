//! Events as EventBridge knows them: what happened, for whoever listens. Puffer keeps a log of the newest ones.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Record, Timestamp};

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// UUID.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// `aws.autoscaling`, `aws.ec2`.
    pub source: String,
    /// `EC2 Instance Launch Successful`, ….
    pub detail_type: String,
    /// ARNs of what it is about.
    pub resources: Vec<String>,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// What the type says more.
    pub detail: Value,
    /// Name of the group it is about, if any.
    pub group: Option<String>,
}

impl Event {
    /// The event as it is sent.
    pub fn to_json(&self) -> Value {
        json!({
            "version": "0",
            "id": self.id,
            "detail-type": self.detail_type,
            "source": self.source,
            "account": self.account,
            "time": self.at.to_rfc3339_secs(),
            "region": self.region,
            "resources": self.resources,
            "detail": self.detail,
        })
    }
}

impl Record for Event {
    const COLLECTION: &'static str = "events";
    const INDEXES: &'static [&'static str] = &["group"];

    /// Sorts by time.
    fn key(&self) -> String {
        format!("{:015}-{}", self.at.as_millis(), self.id)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        if let Some(group) = &self.group {
            push("group", group);
        }
    }
}
