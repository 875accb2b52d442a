//! Topics and queues: publishing, sending, receiving. A publication is fanned out in the publisher's transaction, so whoever
//! announces a change in the transaction that makes it announces exactly what happened.

mod queues;
mod topics;

use puffer_core::messaging::{Queue, Topic};
use puffer_store::{Reader, StoreError};

pub use queues::{
    NewMessage, Received, SendRefused, change_visibility, delete_message, delete_queue, enqueue, expired,
    purge, receive,
};
pub use topics::{Publication, confirm, delete_topic, publish, subscribe};

/// Why a topic or queue cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum MessagingError {
    /// No such topic.
    #[error("Topic does not exist")]
    NoTopic,
    /// No such queue.
    #[error("The specified queue does not exist.")]
    NoQueue,
    /// No such subscription.
    #[error("Subscription does not exist")]
    NoSubscription,
    /// A token that fits nothing.
    #[error("Invalid token")]
    BadToken,
    /// A receipt handle that fits nothing, or an older reception.
    #[error("The input receipt handle is invalid.")]
    BadReceipt,
    /// The message waits for a receiver.
    #[error("The message is not in flight.")]
    NotInFlight,
    /// Too many messages.
    #[error(transparent)]
    Full(#[from] SendRefused),
    /// Too many subscriptions.
    #[error("A topic can have at most {0} subscriptions.")]
    TooManySubscriptions(usize),
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A place that messages can be sent to by ARN.
pub enum Target {
    /// A topic of this account.
    Topic(std::sync::Arc<Topic>),
    /// A queue of this account.
    Queue(std::sync::Arc<Queue>),
}

/// The topic or queue with this ARN, if it exists.
pub fn target(r: &Reader<'_>, arn: &str) -> Option<Target> {
    if let Some(topic) = r.get::<Topic>(arn) {
        return Some(Target::Topic(topic));
    }
    let queue = r.get::<Queue>(puffer_core::messaging::name_of_arn(arn))?;
    (queue.arn == arn).then_some(Target::Queue(queue))
}
