//! Root volumes that are replaced.
//!
//! Each root volume of an instance has a number. [`RootReplacement`] in the instance's record says which one it shall have, the driver
//! reports which one it has, and [`RootVolumeTask`] is what EC2 tells of the replacement.

use serde::{Deserialize, Serialize};

use crate::{Record, Tags, Timestamp};

/// The replacement of an instance's root volume that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootReplacement {
    /// `replacevol-…`.
    pub task_id: String,
    /// The image that the new volume is made from.
    pub image_id: String,
    /// The new volume's number.
    pub serial: u32,
}

/// `TaskState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootTaskState {
    /// Recorded.
    Pending,
    /// The machine is at it.
    InProgress,
    /// The guest runs from the new volume.
    Succeeded,
    /// The guest runs from the volume that it had.
    Failed,
    /// The guest runs no more.
    FailedDetached,
}

impl RootTaskState {
    /// EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            RootTaskState::Pending => "pending",
            RootTaskState::InProgress => "in-progress",
            RootTaskState::Succeeded => "succeeded",
            RootTaskState::Failed => "failed",
            RootTaskState::FailedDetached => "failed-detached",
        }
    }

    /// Nothing follows.
    pub fn is_over(self) -> bool {
        !matches!(self, RootTaskState::Pending | RootTaskState::InProgress)
    }
}

/// `ReplaceRootVolumeTask`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootVolumeTask {
    /// `replacevol-…`.
    pub id: String,
    /// `i-…`.
    pub instance_id: String,
    /// The image that the volume is made from.
    pub image_id: String,
    /// The snapshot that was named instead.
    pub snapshot_id: Option<String>,
    /// How far it is.
    pub state: RootTaskState,
    /// Why it failed.
    pub reason: Option<String>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it was over.
    pub completed_at: Option<Timestamp>,
    /// Idempotency token, and a digest of what was asked with it.
    pub client_token: Option<String>,
    /// See there.
    pub client_digest: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Record for RootVolumeTask {
    const COLLECTION: &'static str = "ec2-root-volume-tasks";
    const INDEXES: &'static [&'static str] = &["client_token", "instance"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        if let Some(token) = &self.client_token {
            push("client_token", token);
        }
        push("instance", &self.instance_id);
    }
}
