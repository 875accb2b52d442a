use serde::{Deserialize, Serialize};

use super::StateReason;
use crate::{Record, Tags, Timestamp};

/// `State` of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ImageState {
    Pending,
    Available,
    Failed,
    /// Being removed from the image store; no longer shown.
    Deregistered,
}

impl ImageState {
    /// EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            ImageState::Pending => "pending",
            ImageState::Available => "available",
            ImageState::Failed => "failed",
            ImageState::Deregistered => "deregistered",
        }
    }
}

/// An image (AMI): what its files are is the image store's matter, by the image's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// `ami-…`.
    pub id: String,
    /// Name, unique in the account among images not deregistered.
    pub name: String,
    /// Text for people.
    pub description: Option<String>,
    /// State.
    pub state: ImageState,
    /// Why it failed.
    pub state_reason: Option<StateReason>,
    /// `x86_64`, `arm64`.
    pub architecture: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The instance it is made from.
    pub source_instance_id: Option<String>,
    /// Whether the instance keeps running while it is copied (`NoReboot`).
    pub no_reboot: bool,
    /// Whether the instance's guest has been shut down for the copy.
    #[serde(default)]
    pub source_at_rest: bool,
    /// Size of its files, GiB, rounded up: shown as the root volume's size.
    pub root_volume_gib: u32,
    /// Launchable by other accounts; only shown, as there is one account.
    pub public: bool,
    /// Idempotency token.
    pub client_token: Option<String>,
    /// When it was last launched is not kept; when deprecated is.
    pub deprecated_at: Option<Timestamp>,
    /// Tags.
    pub tags: Tags,
}

impl Image {
    /// `snap-…` of its root: derived, as a snapshot is nothing apart from its image here.
    pub fn snapshot_id(&self) -> String {
        super::sibling_id("snap", &self.id)
    }
}

impl Record for Image {
    const COLLECTION: &'static str = "ec2-images";
    const INDEXES: &'static [&'static str] = &["name", "state"];
    fn key(&self) -> String {
        self.id.clone()
    }
    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("name", &self.name);
        push("state", self.state.name());
    }
}
