use serde::{Deserialize, Serialize};

use super::group::CauseSentence;
use crate::{Record, Timestamp};

/// `StatusCode` of an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ActivityStatus {
    PreInService,
    InProgress,
    WaitingForElbConnectionDraining,
    MidLifecycleAction,
    Successful,
    Failed,
    Cancelled,
}

impl ActivityStatus {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            ActivityStatus::PreInService => "PreInService",
            ActivityStatus::InProgress => "InProgress",
            ActivityStatus::WaitingForElbConnectionDraining => "WaitingForELBConnectionDraining",
            ActivityStatus::MidLifecycleAction => "MidLifecycleAction",
            ActivityStatus::Successful => "Successful",
            ActivityStatus::Failed => "Failed",
            ActivityStatus::Cancelled => "Cancelled",
        }
    }

    /// Nothing will change it any more.
    pub fn is_final(self) -> bool {
        matches!(self, ActivityStatus::Successful | ActivityStatus::Failed | ActivityStatus::Cancelled)
    }
}

/// A scaling activity: one launch, termination or move of one instance, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// UUID.
    pub id: String,
    /// The group's name.
    pub group: String,
    /// The group's ARN (the name may be used again after deletion).
    pub group_arn: String,
    /// The instance, once known.
    pub instance_id: Option<String>,
    /// `Launching a new EC2 instance: i-…`.
    pub description: String,
    /// Sentences of the cause.
    pub cause: Vec<CauseSentence>,
    /// Began.
    pub started_at: Timestamp,
    /// Ended.
    pub ended_at: Option<Timestamp>,
    /// Status.
    pub status: ActivityStatus,
    /// Message on failure.
    pub status_message: Option<String>,
    /// Percent.
    pub progress: u8,
    /// JSON text: subnet and zone.
    pub details: String,
    /// What Puffer knows beyond AWS's cause: the numbers behind the decision, for `puffer explain`.
    pub reasons: Vec<String>,
}

impl Activity {
    /// AWS's cause text: `At <time> <text>.` joined by two spaces.
    pub fn cause_text(&self) -> String {
        let sentences: Vec<_> =
            self.cause.iter().map(|s| format!("At {} {}.", s.at.to_rfc3339_secs(), s.text)).collect();
        sentences.join("  ")
    }
}

impl Record for Activity {
    const COLLECTION: &'static str = "autoscaling-activities";
    const INDEXES: &'static [&'static str] = &["group", "open"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("group", &self.group);
        if !self.status.is_final() {
            push("open", &self.group);
        }
    }
}
