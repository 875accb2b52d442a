use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Record, Tags, Timestamp};

/// `MessageRetentionPeriod` when a queue does not say: four days.
pub const RETENTION_DEFAULT_S: u32 = 345_600;
/// Messages of one queue, seen or not: a queue that nobody reads must not fill the store. At most 256 KiB each, usually 1.
pub const MESSAGES_PER_QUEUE_MAX: usize = 10_000;
/// Bytes of all bodies that one queue holds, for the same reason.
pub const BYTES_PER_QUEUE_MAX: usize = 64 << 20;

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Name, unique in the account.
    pub name: String,
    /// Full ARN.
    pub arn: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its attributes last changed.
    pub modified_at: Timestamp,
    /// `VisibilityTimeout`.
    pub visibility_s: u32,
    /// `DelaySeconds`.
    pub delay_s: u32,
    /// `MessageRetentionPeriod`.
    pub retention_s: u32,
    /// `ReceiveMessageWaitTimeSeconds`.
    pub wait_s: u32,
    /// `MaximumMessageSize`.
    pub message_bytes_max: u32,
    /// Tags.
    pub tags: Tags,
}

impl Record for Queue {
    const COLLECTION: &'static str = "sqs-queues";

    fn key(&self) -> String {
        self.name.clone()
    }
}

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAttribute {
    /// `String`, `Number`, `Binary`, with an optional suffix.
    pub data_type: String,
    /// The value, unless it is binary.
    pub string: Option<String>,
    /// The value, if it is binary.
    pub binary: Option<Vec<u8>>,
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueMessage {
    /// UUID that sorts by time.
    pub id: String,
    /// The queue's name.
    pub queue: String,
    /// Text.
    pub body: String,
    /// Attributes by name.
    #[serde(default)]
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// When it came.
    pub sent_at: Timestamp,
    /// From when on a receiver may see it.
    pub visible_at: Timestamp,
    /// How often it was received.
    pub received: u32,
    /// When it was received for the first time.
    pub first_received_at: Option<Timestamp>,
}

impl QueueMessage {
    /// Whether nobody may want it any more.
    pub fn is_expired(&self, queue: &Queue, now: Timestamp) -> bool {
        self.sent_at + Duration::from_secs(queue.retention_s.into()) <= now
    }

    /// The handle of its latest reception. A new one comes with each, so that a late deletion by an earlier receiver is known as
    /// such.
    pub fn receipt(&self) -> String {
        format!("{}#{}", self.id, self.received)
    }
}

impl Record for QueueMessage {
    const COLLECTION: &'static str = "sqs-messages";
    const INDEXES: &'static [&'static str] = &["queue"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("queue", &self.queue);
    }
}
