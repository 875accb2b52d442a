use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::ids;
use puffer_core::messaging::{SubscriptionProtocol, Topic};
use puffer_inventory::messaging::{self, MessagingError, Publication};
use puffer_shapes::sns as shape;

use super::{invalid, refused, unsupported};
use crate::{ApiError, Ctx, Registry};

/// Bytes of a message (AWS's limit).
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Characters of a subject (AWS's limit).
const SUBJECT_CHARS_MAX: usize = 100;

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::Publish, _>(publish);
}

async fn publish(cx: Arc<Ctx>, input: shape::PublishInput) -> Result<shape::PublishResponse, ApiError> {
    let refused_parts = [
        (input.phone_number.is_some(), "PhoneNumber"),
        (input.message_attributes.as_ref().is_some_and(|a| !a.is_empty()), "MessageAttributes"),
        (input.message_deduplication_id.is_some(), "MessageDeduplicationId"),
        (input.message_group_id.is_some(), "MessageGroupId"),
    ];
    if let Some((_, name)) = refused_parts.iter().find(|(given, _)| *given) {
        return Err(unsupported(name));
    }
    let arn = input.topic_arn.or(input.target_arn).ok_or_else(|| invalid("TopicArn or TargetArn"))?;
    let message = input.message.unwrap_or_default();
    if message.is_empty() || message.len() > MESSAGE_BYTES_MAX {
        return Err(invalid("Message"));
    }
    if input.subject.as_ref().is_some_and(|s| s.is_empty() || s.chars().count() > SUBJECT_CHARS_MAX) {
        return Err(invalid("Subject"));
    }
    let texts = by_protocol(input.message_structure.as_deref(), message)?;
    let text = |protocol: SubscriptionProtocol| {
        texts.get(protocol.name()).or_else(|| texts.get("default")).map_or("", String::as_str)
    };
    let (now, seed) = (cx.clock.now(), ids::uuid(&mut cx.fork_rng()));
    let id = cx
        .store
        .transact::<_, MessagingError>(|tx| {
            let topic = tx.get::<Topic>(&arn).ok_or(MessagingError::NoTopic)?;
            let publication = Publication { subject: input.subject.as_deref(), text: &text, seed: &seed };
            Ok(messaging::publish(tx, &topic, &publication, now))
        })
        .await
        .map_err(refused)?;
    Ok(shape::PublishResponse { message_id: Some(id), sequence_number: None })
}

/// The texts by protocol, with one for all others.
fn by_protocol(structure: Option<&str>, message: String) -> Result<BTreeMap<String, String>, ApiError> {
    match structure {
        None => Ok(BTreeMap::from([("default".to_owned(), message)])),
        Some("json") => {
            let texts: BTreeMap<String, String> = serde_json::from_str(&message)
                .map_err(|_| invalid("Message Structure - JSON message body failed to parse"))?;
            match texts.contains_key("default") {
                true => Ok(texts),
                false => Err(invalid("Message Structure - No default entry in JSON message body")),
            }
        }
        Some(_) => Err(invalid("MessageStructure")),
    }
}
