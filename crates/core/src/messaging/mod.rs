//! Topics and queues: who is told of what happens, and the messages that wait to be fetched.
//!
//! A topic has no messages of its own: what is published goes to its subscriptions at once, in the publisher's own
//! transaction. A queue's messages are records that one receiver at a time may see. What goes to an HTTP endpoint is a
//! record, too, until the endpoint has taken it.
//! Source: the SNS and SQS developer guides and API references.

mod delivery;
mod queue;
mod topic;

pub use delivery::{ATTEMPTS_MAX, HttpDelivery, HttpTarget, retry_wait};
pub use queue::{
    BYTES_PER_QUEUE_MAX, MESSAGES_PER_QUEUE_MAX, MessageAttribute, Queue, QueueMessage, RETENTION_DEFAULT_S,
};
pub use topic::{SUBSCRIPTIONS_PER_TOPIC_MAX, SubscriptionProtocol, Topic, TopicSubscription, envelope};

/// ARN of a topic.
pub fn topic_arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:sns:{region}:{account}:{name}")
}

/// ARN of a queue.
pub fn queue_arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:sqs:{region}:{account}:{name}")
}

/// Whether an ARN names a topic.
pub fn is_topic_arn(arn: &str) -> bool {
    let mut parts = arn.split(':');
    parts.next() == Some("arn") && parts.nth(1) == Some("sns") && parts.count() == 3
}

/// The name at the end of a topic's or queue's ARN.
pub fn name_of_arn(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}
