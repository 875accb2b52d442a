use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Record, Tags, Timestamp};

/// Subscriptions of a topic: bounds what one publication writes in its transaction.
pub const SUBSCRIPTIONS_PER_TOPIC_MAX: usize = 100;

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Full ARN.
    pub arn: String,
    /// Name, unique in the account.
    pub name: String,
    /// `DisplayName`.
    pub display_name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Record for Topic {
    const COLLECTION: &'static str = "sns-topics";

    fn key(&self) -> String {
        self.arn.clone()
    }
}

/// How a subscription is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscriptionProtocol {
    /// POST requests to a URL.
    Http,
    /// The same over TLS.
    Https,
    /// Messages into a queue.
    Sqs,
}

impl SubscriptionProtocol {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            SubscriptionProtocol::Http => "http",
            SubscriptionProtocol::Https => "https",
            SubscriptionProtocol::Sqs => "sqs",
        }
    }
}

/// Somebody who is told what is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSubscription {
    /// Full ARN: the topic's and a UUID.
    pub arn: String,
    /// The topic's ARN.
    pub topic_arn: String,
    /// How.
    pub protocol: SubscriptionProtocol,
    /// URL, or a queue's ARN.
    pub endpoint: String,
    /// `RawMessageDelivery`: the message alone, without the envelope.
    pub raw: bool,
    /// An HTTP endpoint must say once that it wants to be told.
    pub confirmed: bool,
    /// What it says it with.
    pub token: String,
}

impl Record for TopicSubscription {
    const COLLECTION: &'static str = "sns-subscriptions";
    const INDEXES: &'static [&'static str] = &["topic"];

    fn key(&self) -> String {
        self.arn.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("topic", &self.topic_arn);
    }
}

/// A message as subscribers get it. It is not signed: there is no certificate that would mean anything here.
pub fn envelope(topic_arn: &str, id: &str, subject: Option<&str>, message: &str, at: Timestamp) -> String {
    let mut value = json!({
        "Type": "Notification",
        "MessageId": id,
        "TopicArn": topic_arn,
        "Message": message,
        "Timestamp": at.to_rfc3339_millis(),
    });
    if let Some(subject) = subject {
        value["Subject"] = subject.into();
    }
    value.to_string()
}
