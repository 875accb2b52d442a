use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::messaging::{Topic, TopicSubscription, topic_arn};
use puffer_inventory::messaging::{self, MessagingError};
use puffer_shapes::sns::{self as shape, errors};
use puffer_store::StoreError;

use super::{invalid, page, refused, unsupported};
use crate::{ApiError, Ctx, Registry};

/// Topics of the account: bounds the list.
const TOPICS_MAX: usize = 1_000;
/// Tags of a topic (AWS's limit).
const TAGS_MAX: usize = 50;
/// Characters of a name (AWS's limit).
const NAME_CHARS_MAX: usize = 256;

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::CreateTopic, _>(create);
    registry.serve::<shape::DeleteTopic, _>(delete);
    registry.serve::<shape::ListTopics, _>(list);
    registry.serve::<shape::GetTopicAttributes, _>(attributes);
    registry.serve::<shape::SetTopicAttributes, _>(set_attribute);
    registry.serve::<shape::TagResource, _>(tag);
    registry.serve::<shape::UntagResource, _>(untag);
    registry.serve::<shape::ListTagsForResource, _>(list_tags);
}

fn set(topic: &mut Topic, name: &str, value: &str) -> Result<(), ApiError> {
    match name {
        "DisplayName" => {
            topic.display_name = value.to_owned();
            Ok(())
        }
        "FifoTopic" if value == "false" => Ok(()),
        other => Err(unsupported(&format!("the attribute {other}"))),
    }
}

fn add_tags(tags: &mut Tags, new: &[shape::Tag]) -> Result<(), ApiError> {
    for tag in new {
        tags.insert(tag.key.clone().unwrap_or_default(), tag.value.clone().unwrap_or_default());
    }
    match tags.len() > TAGS_MAX {
        true => Err(ApiError::declared(
            &shape::errors::TAG_LIMIT_EXCEEDED_EXCEPTION,
            format!("A topic can have at most {TAGS_MAX} tags."),
        )),
        false => Ok(()),
    }
}

/// Making a topic that exists gives it, if the request says nothing else of it.
async fn create(
    cx: Arc<Ctx>,
    input: shape::CreateTopicInput,
) -> Result<shape::CreateTopicResponse, ApiError> {
    let name = input.name.unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
        return Err(invalid("Topic Name"));
    }
    if input.data_protection_policy.is_some() {
        return Err(unsupported("DataProtectionPolicy"));
    }
    let arn = topic_arn(&cx.region, &cx.account, &name);
    let mut topic = Topic {
        arn: arn.clone(),
        name,
        display_name: String::new(),
        created_at: cx.clock.now(),
        tags: Tags::new(),
    };
    let given = input.attributes.unwrap_or_default();
    for (name, value) in &given {
        set(&mut topic, name, value)?;
    }
    add_tags(&mut topic.tags, input.tags.as_deref().unwrap_or_default())?;
    cx.store
        .transact::<_, Refused>(|tx| {
            if let Some(old) = tx.get::<Topic>(&arn) {
                let differs = (!given.is_empty() && old.display_name != topic.display_name)
                    || (!topic.tags.is_empty() && old.tags != topic.tags);
                return match differs {
                    true => {
                        Err(invalid("Attributes Reason: Topic already exists with different attributes")
                            .into())
                    }
                    false => Ok(()),
                };
            }
            if tx.reader().count::<Topic>() >= TOPICS_MAX {
                return Err(ApiError::declared(
                    &shape::errors::TOPIC_LIMIT_EXCEEDED_EXCEPTION,
                    format!("There are {TOPICS_MAX} topics already."),
                )
                .into());
            }
            tx.put(topic);
            Ok(())
        })
        .await?;
    Ok(shape::CreateTopicResponse { topic_arn: Some(arn) })
}

async fn delete(cx: Arc<Ctx>, input: shape::DeleteTopicInput) -> Result<(), ApiError> {
    let arn = input.topic_arn.unwrap_or_default();
    cx.store
        .transact::<_, StoreError>(|tx| {
            messaging::delete_topic(tx, &arn);
            Ok(())
        })
        .await?;
    Ok(())
}

async fn list(cx: Arc<Ctx>, input: shape::ListTopicsInput) -> Result<shape::ListTopicsResponse, ApiError> {
    let after = input.next_token.unwrap_or_default();
    cx.store.read(|r| {
        let (found, next_token) = page(r.after::<Topic>(&after), |t| t.arn.clone());
        let topics = found.iter().map(|t| shape::Topic { topic_arn: Some(t.arn.clone()) }).collect();
        Ok(shape::ListTopicsResponse { topics: Some(topics), next_token })
    })
}

fn find(cx: &Ctx, arn: Option<String>) -> Result<Arc<Topic>, ApiError> {
    cx.store.get::<Topic>(&arn.unwrap_or_default()).ok_or_else(|| refused(MessagingError::NoTopic))
}

async fn attributes(
    cx: Arc<Ctx>,
    input: shape::GetTopicAttributesInput,
) -> Result<shape::GetTopicAttributesResponse, ApiError> {
    let topic = find(&cx, input.topic_arn)?;
    let subscriptions = cx.store.list_by::<TopicSubscription>("topic", &topic.arn);
    let confirmed = subscriptions.iter().filter(|s| s.confirmed).count();
    let attributes = BTreeMap::from(
        [
            ("TopicArn", topic.arn.clone()),
            ("Owner", cx.account.clone()),
            ("DisplayName", topic.display_name.clone()),
            ("SubscriptionsConfirmed", confirmed.to_string()),
            ("SubscriptionsPending", (subscriptions.len() - confirmed).to_string()),
            ("SubscriptionsDeleted", "0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(shape::GetTopicAttributesResponse { attributes: Some(attributes) })
}

async fn set_attribute(cx: Arc<Ctx>, input: shape::SetTopicAttributesInput) -> Result<(), ApiError> {
    let name = input.attribute_name.unwrap_or_default();
    let value = input.attribute_value.unwrap_or_default();
    change(&cx, input.topic_arn, |topic| set(topic, &name, &value)).await
}

async fn change(
    cx: &Ctx,
    arn: Option<String>,
    change: impl FnOnce(&mut Topic) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let arn = arn.unwrap_or_default();
    cx.store
        .transact::<_, Refused>(|tx| {
            let found = tx.get::<Topic>(&arn).ok_or(refused(MessagingError::NoTopic))?;
            let mut topic = Topic::clone(&found);
            change(&mut topic)?;
            tx.put(topic);
            Ok(())
        })
        .await?;
    Ok(())
}

/// The calls for tags have a word of their own for a topic that does not exist.
fn of_tags(error: ApiError) -> ApiError {
    match error.code == errors::NOT_FOUND_EXCEPTION.code {
        true => ApiError::declared(&errors::RESOURCE_NOT_FOUND_EXCEPTION, error.message),
        false => error,
    }
}

async fn tag(cx: Arc<Ctx>, input: shape::TagResourceRequest) -> Result<shape::TagResourceResponse, ApiError> {
    let tags = input.tags.unwrap_or_default();
    change(&cx, input.resource_arn, |topic| add_tags(&mut topic.tags, &tags)).await.map_err(of_tags)?;
    Ok(shape::TagResourceResponse::default())
}

async fn untag(
    cx: Arc<Ctx>,
    input: shape::UntagResourceRequest,
) -> Result<shape::UntagResourceResponse, ApiError> {
    let keys = input.tag_keys.unwrap_or_default();
    change(&cx, input.resource_arn, |topic| {
        topic.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    })
    .await
    .map_err(of_tags)?;
    Ok(shape::UntagResourceResponse::default())
}

async fn list_tags(
    cx: Arc<Ctx>,
    input: shape::ListTagsForResourceRequest,
) -> Result<shape::ListTagsForResourceResponse, ApiError> {
    let topic = find(&cx, input.resource_arn).map_err(of_tags)?;
    let one =
        |(key, value): (&String, &String)| shape::Tag { key: Some(key.clone()), value: Some(value.clone()) };
    Ok(shape::ListTagsForResourceResponse { tags: Some(topic.tags.iter().map(one).collect()) })
}

/// What a transaction here can fail with.
pub(super) struct Refused(pub(super) ApiError);

impl From<StoreError> for Refused {
    fn from(e: StoreError) -> Self {
        Refused(e.into())
    }
}

impl From<ApiError> for Refused {
    fn from(e: ApiError) -> Self {
        Refused(e)
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        refused.0
    }
}
