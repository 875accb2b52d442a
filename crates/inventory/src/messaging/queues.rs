use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use puffer_core::messaging::{
    BYTES_PER_QUEUE_MAX, MESSAGES_PER_QUEUE_MAX, MessageAttribute, Queue, QueueMessage,
};
use puffer_core::{Timestamp, ids};
use puffer_store::{Reader, Transaction};

use super::MessagingError;

/// The queue is full.
#[derive(Debug, thiserror::Error)]
#[error(
    "The queue is full: it holds {MESSAGES_PER_QUEUE_MAX} messages and {BYTES_PER_QUEUE_MAX} bytes at most."
)]
pub struct SendRefused;

/// A message to be sent.
#[derive(Debug, Clone, Default)]
pub struct NewMessage {
    /// Text.
    pub body: String,
    /// Attributes.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// `DelaySeconds`; `None`: the queue's.
    pub delay_s: Option<u32>,
    /// What makes this message differ from any other of the same moment: its id follows from it.
    pub seed: String,
}

/// Puts a message into a queue.
pub fn enqueue(
    tx: &mut Transaction<'_>,
    queue: &Queue,
    message: NewMessage,
    now: Timestamp,
) -> Result<Arc<QueueMessage>, SendRefused> {
    let waiting = tx.list_by::<QueueMessage>("queue", &queue.name);
    let bytes = waiting.iter().map(|m| m.body.len()).sum::<usize>() + message.body.len();
    if waiting.len() >= MESSAGES_PER_QUEUE_MAX || bytes > BYTES_PER_QUEUE_MAX {
        return Err(SendRefused);
    }
    let delay = Duration::from_secs(message.delay_s.unwrap_or(queue.delay_s).into());
    Ok(tx.put(QueueMessage {
        id: ids::uuid_v7_of(now, &format!("{}|{}", queue.name, message.seed)),
        queue: queue.name.clone(),
        body: message.body,
        attributes: message.attributes,
        sent_at: now,
        visible_at: now + delay,
        received: 0,
        first_received_at: None,
    }))
}

/// What a reception gives.
#[derive(Debug, Default)]
pub struct Received {
    /// The messages, oldest first.
    pub messages: Vec<Arc<QueueMessage>>,
    /// When the next one can be seen, if there is none now.
    pub next_visible_at: Option<Timestamp>,
}

/// Takes up to `most` messages for one receiver; others do not see them for `visibility_s`.
pub fn receive(
    tx: &mut Transaction<'_>,
    name: &str,
    most: usize,
    visibility_s: Option<u32>,
    now: Timestamp,
) -> Result<Received, MessagingError> {
    let queue = tx.get::<Queue>(name).ok_or(MessagingError::NoQueue)?;
    let hidden_until = now + Duration::from_secs(visibility_s.unwrap_or(queue.visibility_s).into());
    let mut received = Received::default();
    for message in tx.list_by::<QueueMessage>("queue", name) {
        if message.is_expired(&queue, now) {
            continue;
        }
        if now < message.visible_at {
            let next = received.next_visible_at.map_or(message.visible_at, |n| n.min(message.visible_at));
            received.next_visible_at = Some(next);
            continue;
        }
        let taken = tx.update::<QueueMessage>(&message.id, |m| {
            (m.visible_at, m.received) = (hidden_until, m.received + 1);
            m.first_received_at = m.first_received_at.or(Some(now));
        });
        received.messages.extend(taken);
        if received.messages.len() == most {
            break;
        }
    }
    Ok(received)
}

/// The message that a receipt handle names. Handles of earlier receptions name it still, as on AWS's standard queues.
fn by_receipt(tx: &Transaction<'_>, queue: &str, handle: &str) -> Result<Arc<QueueMessage>, MessagingError> {
    tx.get::<Queue>(queue).ok_or(MessagingError::NoQueue)?;
    let (id, n) = handle.rsplit_once('#').ok_or(MessagingError::BadReceipt)?;
    n.parse::<u32>().map_err(|_| MessagingError::BadReceipt)?;
    let message = tx.get::<QueueMessage>(id).filter(|m| m.queue == queue);
    message.ok_or(MessagingError::BadReceipt)
}

/// Removes a message that was dealt with. One that has gone already is no error: a receiver may repeat itself.
pub fn delete_message(tx: &mut Transaction<'_>, queue: &str, handle: &str) -> Result<(), MessagingError> {
    tx.get::<Queue>(queue).ok_or(MessagingError::NoQueue)?;
    let (id, _) = handle.rsplit_once('#').ok_or(MessagingError::BadReceipt)?;
    if tx.get::<QueueMessage>(id).is_some_and(|m| m.queue == queue) {
        tx.delete::<QueueMessage>(id);
    }
    Ok(())
}

/// Hides a received message for longer, or shows it at once.
pub fn change_visibility(
    tx: &mut Transaction<'_>,
    queue: &str,
    handle: &str,
    visibility_s: u32,
    now: Timestamp,
) -> Result<(), MessagingError> {
    let message = by_receipt(tx, queue, handle)?;
    if message.visible_at <= now {
        return Err(MessagingError::NotInFlight);
    }
    tx.update::<QueueMessage>(&message.id, |m| m.visible_at = now + Duration::from_secs(visibility_s.into()));
    Ok(())
}

/// Empties a queue.
pub fn purge(tx: &mut Transaction<'_>, queue: &str) -> Result<(), MessagingError> {
    tx.get::<Queue>(queue).ok_or(MessagingError::NoQueue)?;
    for message in tx.list_by::<QueueMessage>("queue", queue) {
        tx.delete::<QueueMessage>(&message.id);
    }
    Ok(())
}

/// Removes a queue with its messages.
pub fn delete_queue(tx: &mut Transaction<'_>, queue: &str) -> Result<(), MessagingError> {
    purge(tx, queue)?;
    tx.delete::<Queue>(queue);
    Ok(())
}

/// The ids of messages that were kept long enough, at most so many.
pub fn expired(r: &Reader<'_>, most: usize, now: Timestamp) -> Vec<String> {
    let of_queue = |queue: &Arc<Queue>| {
        let old = r.list_by::<QueueMessage>("queue", &queue.name);
        old.into_iter().filter(|m| m.is_expired(queue, now)).map(|m| m.id.clone()).collect::<Vec<_>>()
    };
    r.iter::<Queue>().flat_map(of_queue).take(most).collect()
}
