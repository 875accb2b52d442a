use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use md5::{Digest, Md5};
use puffer_core::ids;
use puffer_core::messaging::{MessageAttribute, Queue, QueueMessage};
use puffer_inventory::messaging::{self, MessagingError, NewMessage, Received};
use puffer_shapes::sqs as shape;
use puffer_wire::value::Blob;

use super::{invalid, name_in, refused};
use crate::{ApiError, Ctx, Registry};

/// Messages of one reception (AWS's limit).
const MESSAGES_MAX: i32 = 10;
/// Entries of a batch (AWS's limit).
const BATCH_MAX: usize = 10;
/// Longest poll in seconds (AWS's limit).
const WAIT_MAX_S: i32 = 20;
/// Longest visibility time-out in seconds (AWS's limit).
const VISIBILITY_MAX_S: i32 = 43_200;
/// Attributes of a message (AWS's limit).
const ATTRIBUTES_MAX: usize = 10;
/// Longest time between two looks of a poll, should a change go unheard.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::SendMessage, _>(send);
    registry.serve::<shape::ReceiveMessage, _>(receive);
    registry.serve::<shape::DeleteMessage, _>(delete);
    registry.serve::<shape::DeleteMessageBatch, _>(delete_batch);
    registry.serve::<shape::ChangeMessageVisibility, _>(change_visibility);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn md5_of(text: &str) -> String {
    hex(&Md5::digest(text.as_bytes()))
}

/// The digest that clients compare (SQS developer guide, "Calculating the MD5 message digest for message attributes").
fn md5_of_attributes(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, attribute) in attributes {
        let (kind, value): (u8, &[u8]) = match &attribute.binary {
            Some(bytes) => (2, bytes),
            None => (1, attribute.string.as_deref().unwrap_or_default().as_bytes()),
        };
        for bytes in [name.as_bytes(), attribute.data_type.as_bytes()] {
            digest.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            digest.update(bytes);
        }
        digest.update([kind]);
        digest.update(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        digest.update(value);
    }
    Some(hex(&digest.finalize()))
}

fn attributes_of(
    given: Option<BTreeMap<String, shape::MessageAttributeValue>>,
) -> Result<BTreeMap<String, MessageAttribute>, ApiError> {
    let given = given.unwrap_or_default();
    if given.len() > ATTRIBUTES_MAX {
        return Err(invalid(format!("A message can have at most {ATTRIBUTES_MAX} attributes.")));
    }
    let one = |(name, value): (String, shape::MessageAttributeValue)| {
        let data_type = value.data_type.unwrap_or_default();
        let binary = match data_type.split('.').next() {
            Some("String" | "Number") => None,
            Some("Binary") => Some(value.binary_value.map(|b| b.0).unwrap_or_default()),
            _ => return Err(invalid(format!("The type of the message attribute '{name}' is invalid."))),
        };
        if binary.is_none() && value.string_value.as_ref().is_none_or(String::is_empty) {
            return Err(invalid(format!("The message attribute '{name}' must contain a non-empty value.")));
        }
        Ok((name, MessageAttribute { data_type, string: value.string_value, binary }))
    };
    given.into_iter().map(one).collect()
}

fn attribute_shapes(
    attributes: &BTreeMap<String, MessageAttribute>,
    wanted: &[String],
) -> Option<BTreeMap<String, shape::MessageAttributeValue>> {
    let is_wanted = |name: &str| {
        wanted.iter().any(|w| {
            let prefix = w.strip_suffix(".*").or(w.strip_suffix('*'));
            w == "All" || w == name || prefix.is_some_and(|p| name.starts_with(p))
        })
    };
    let shapes: BTreeMap<_, _> = attributes
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, a)| {
            let value = shape::MessageAttributeValue {
                data_type: Some(a.data_type.clone()),
                string_value: a.string.clone(),
                binary_value: a.binary.clone().map(Blob),
                ..Default::default()
            };
            (name.clone(), value)
        })
        .collect();
    (!shapes.is_empty()).then_some(shapes)
}

async fn send(cx: Arc<Ctx>, input: shape::SendMessageRequest) -> Result<shape::SendMessageResult, ApiError> {
    let name = name_in(&cx, input.queue_url.as_deref())?;
    let given = [
        (input.message_system_attributes.is_some_and(|a| !a.is_empty()), "MessageSystemAttributes"),
        (input.message_deduplication_id.is_some(), "MessageDeduplicationId"),
        (input.message_group_id.is_some(), "MessageGroupId"),
    ];
    if let Some((_, what)) = given.iter().find(|(given, _)| *given) {
        return Err(invalid(format!("{what} is not supported by Puffer.")));
    }
    let delay_s = match input.delay_seconds {
        None => None,
        Some(s @ 0..=900) => Some(s.unsigned_abs()),
        Some(_) => return Err(invalid("DelaySeconds must be between 0 and 900.")),
    };
    let body = input.message_body.unwrap_or_default();
    let attributes = attributes_of(input.message_attributes)?;
    let (now, seed) = (cx.clock.now(), ids::uuid(&mut cx.fork_rng()));
    let (digest, attribute_digest) = (md5_of(&body), md5_of_attributes(&attributes));
    if body.is_empty() {
        return Err(ApiError::sender(
            "MissingParameter",
            "The request must contain the parameter MessageBody.",
        ));
    }
    let sent = cx
        .store
        .transact::<_, SendError>(|tx| {
            let queue = tx.get::<Queue>(&name).ok_or(MessagingError::NoQueue)?;
            if body.len() > queue.message_bytes_max as usize {
                return Err(SendError::TooLong(queue.message_bytes_max));
            }
            let message = NewMessage { body, attributes, delay_s, seed };
            Ok(messaging::enqueue(tx, &queue, message, now).map_err(MessagingError::from)?)
        })
        .await
        .map_err(|e| match e {
            SendError::Messaging(error) => refused(error),
            SendError::TooLong(max) => invalid(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {max} bytes."
            )),
        })?;
    Ok(shape::SendMessageResult {
        message_id: Some(sent.id.clone()),
        md5_of_message_body: Some(digest),
        md5_of_message_attributes: attribute_digest,
        ..Default::default()
    })
}

enum SendError {
    Messaging(MessagingError),
    TooLong(u32),
}

impl From<MessagingError> for SendError {
    fn from(e: MessagingError) -> Self {
        SendError::Messaging(e)
    }
}

impl From<puffer_store::StoreError> for SendError {
    fn from(e: puffer_store::StoreError) -> Self {
        SendError::Messaging(e.into())
    }
}

/// Gives what there is, or waits for something to come, as long as the request or the queue says.
async fn receive(
    cx: Arc<Ctx>,
    input: shape::ReceiveMessageRequest,
) -> Result<shape::ReceiveMessageResult, ApiError> {
    let name = name_in(&cx, input.queue_url.as_deref())?;
    let queue = cx.store.get::<Queue>(&name).ok_or_else(|| refused(MessagingError::NoQueue))?;
    let most = input.max_number_of_messages.unwrap_or(1);
    let wait = input.wait_time_seconds.unwrap_or(i32::try_from(queue.wait_s).unwrap_or(0));
    let visibility = input.visibility_timeout;
    let in_range = (1..=MESSAGES_MAX).contains(&most)
        && (0..=WAIT_MAX_S).contains(&wait)
        && visibility.is_none_or(|v| (0..=VISIBILITY_MAX_S).contains(&v));
    if !in_range {
        return Err(invalid(format!(
            "MaxNumberOfMessages is between 1 and {MESSAGES_MAX}, WaitTimeSeconds between 0 and {WAIT_MAX_S}, \
             VisibilityTimeout between 0 and {VISIBILITY_MAX_S}."
        )));
    }
    let visibility = visibility.map(i32::unsigned_abs);
    let changes = cx.store.subscribe::<QueueMessage>();
    let until = tokio::time::Instant::now() + Duration::from_secs(u64::from(wait.unsigned_abs()));
    let received = loop {
        let now = cx.clock.now();
        let most = usize::try_from(most).unwrap_or(1);
        let received: Received = cx
            .store
            .transact::<_, MessagingError>(|tx| messaging::receive(tx, &name, most, visibility, now))
            .await
            .map_err(refused)?;
        if !received.messages.is_empty() || tokio::time::Instant::now() >= until {
            break received;
        }
        let next = received.next_visible_at.map_or(LOOK_PERIOD, |at| at.since(now).min(LOOK_PERIOD));
        let look = (tokio::time::Instant::now() + next).min(until);
        let _ = tokio::time::timeout_at(look, changes.next()).await;
    };
    let mut system = input.attribute_names.unwrap_or_default();
    system.extend(input.message_system_attribute_names.unwrap_or_default());
    let named = input.message_attribute_names.unwrap_or_default();
    let shapes: Vec<_> = received.messages.iter().map(|m| message_shape(&cx, m, &system, &named)).collect();
    Ok(shape::ReceiveMessageResult { messages: (!shapes.is_empty()).then_some(shapes) })
}

fn message_shape(cx: &Ctx, m: &QueueMessage, system: &[String], named: &[String]) -> shape::Message {
    let first = m.first_received_at.unwrap_or_default();
    let all = [
        ("SentTimestamp", m.sent_at.as_millis().to_string()),
        ("ApproximateReceiveCount", m.received.to_string()),
        ("ApproximateFirstReceiveTimestamp", first.as_millis().to_string()),
        ("SenderId", cx.account.clone()),
    ];
    let every = system.iter().any(|n| n == "All");
    let shown: BTreeMap<String, String> = all
        .into_iter()
        .filter(|(name, _)| every || system.iter().any(|n| n == name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let attributes = attribute_shapes(&m.attributes, named);
    shape::Message {
        message_id: Some(m.id.clone()),
        receipt_handle: Some(m.receipt()),
        md5_of_body: Some(md5_of(&m.body)),
        body: Some(m.body.clone()),
        attributes: (!shown.is_empty()).then_some(shown),
        md5_of_message_attributes: attributes.as_ref().and_then(|_| md5_of_attributes(&m.attributes)),
        message_attributes: attributes,
    }
}

async fn delete(cx: Arc<Ctx>, input: shape::DeleteMessageRequest) -> Result<(), ApiError> {
    let name = name_in(&cx, input.queue_url.as_deref())?;
    let handle = input.receipt_handle.unwrap_or_default();
    cx.store
        .transact::<_, MessagingError>(|tx| messaging::delete_message(tx, &name, &handle))
        .await
        .map_err(refused)
}

async fn delete_batch(
    cx: Arc<Ctx>,
    input: shape::DeleteMessageBatchRequest,
) -> Result<shape::DeleteMessageBatchResult, ApiError> {
    use shape::errors;
    let name = name_in(&cx, input.queue_url.as_deref())?;
    let entries = input.entries.unwrap_or_default();
    if entries.is_empty() {
        return Err(ApiError::declared(
            &errors::EMPTY_BATCH_REQUEST,
            "There should be at least one entry in the request.",
        ));
    }
    if entries.len() > BATCH_MAX {
        let message = format!("Maximum number of entries per request are {BATCH_MAX}.");
        return Err(ApiError::declared(&errors::TOO_MANY_ENTRIES_IN_BATCH_REQUEST, message));
    }
    let mut ids: Vec<&Option<String>> = entries.iter().map(|e| &e.id).collect();
    ids.sort();
    ids.dedup();
    if ids.len() < entries.len() {
        return Err(ApiError::declared(&errors::BATCH_ENTRY_IDS_NOT_DISTINCT, "An entry's Id is repeated."));
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    cx.store
        .transact::<_, MessagingError>(|tx| {
            for entry in &entries {
                let handle = entry.receipt_handle.as_deref().unwrap_or_default();
                match messaging::delete_message(tx, &name, handle) {
                    Ok(()) => successful.push(shape::DeleteMessageBatchResultEntry { id: entry.id.clone() }),
                    Err(error @ MessagingError::BadReceipt) => failed.push(shape::BatchResultErrorEntry {
                        id: entry.id.clone(),
                        sender_fault: Some(true),
                        code: Some("ReceiptHandleIsInvalid".to_owned()),
                        message: Some(error.to_string()),
                    }),
                    Err(other) => return Err(other),
                }
            }
            Ok(())
        })
        .await
        .map_err(refused)?;
    Ok(shape::DeleteMessageBatchResult { successful: Some(successful), failed: Some(failed) })
}

async fn change_visibility(
    cx: Arc<Ctx>,
    input: shape::ChangeMessageVisibilityRequest,
) -> Result<(), ApiError> {
    let name = name_in(&cx, input.queue_url.as_deref())?;
    let handle = input.receipt_handle.unwrap_or_default();
    let visibility = input.visibility_timeout.unwrap_or_default();
    if !(0..=VISIBILITY_MAX_S).contains(&visibility) {
        return Err(invalid(format!("VisibilityTimeout is between 0 and {VISIBILITY_MAX_S}.")));
    }
    let now = cx.clock.now();
    cx.store
        .transact::<_, MessagingError>(|tx| {
            messaging::change_visibility(tx, &name, &handle, visibility.unsigned_abs(), now)
        })
        .await
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sqs() {
        assert_eq!(md5_of("This is a test message"), "fafb00f5732ab283681e124bf8747ed1");
        let attribute =
            MessageAttribute { data_type: "String".into(), string: Some("John".into()), binary: None };
        let one = BTreeMap::from([("Name".to_owned(), attribute)]);
        assert_eq!(md5_of_attributes(&one).map(|d| d.len()), Some(32));
        assert_eq!(md5_of_attributes(&BTreeMap::new()), None);
    }
}
