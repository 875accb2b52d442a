use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::messaging::{Queue, QueueMessage, RETENTION_DEFAULT_S, queue_arn};
use puffer_inventory::messaging::{self, MessagingError};
use puffer_shapes::sqs as shape;
use puffer_store::Transaction;

use super::{invalid, name_in, refused, url_of};
use crate::{ApiError, Ctx, Registry};

/// Queues of the account: bounds the list.
const QUEUES_MAX: usize = 1_000;
/// Tags of a queue (AWS's limit).
const TAGS_MAX: usize = 50;
/// Characters of a name (AWS's limit).
const NAME_CHARS_MAX: usize = 80;
/// Queues on a page (AWS's limit).
const PAGE_SIZE_MAX: usize = 1_000;

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::CreateQueue, _>(create);
    registry.serve::<shape::DeleteQueue, _>(delete);
    registry.serve::<shape::GetQueueUrl, _>(url);
    registry.serve::<shape::ListQueues, _>(list);
    registry.serve::<shape::GetQueueAttributes, _>(attributes);
    registry.serve::<shape::SetQueueAttributes, _>(set_attributes);
    registry.serve::<shape::PurgeQueue, _>(purge);
    registry.serve::<shape::TagQueue, _>(tag);
    registry.serve::<shape::UntagQueue, _>(untag);
    registry.serve::<shape::ListQueueTags, _>(tags);
}

fn set(queue: &mut Queue, name: &str, value: &str) -> Result<(), ApiError> {
    let number = |min: u32, max: u32| {
        value.parse::<u32>().ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| {
            let message = format!("Invalid value for the parameter {name}: it is between {min} and {max}.");
            ApiError::declared(&shape::errors::INVALID_ATTRIBUTE_VALUE, message)
        })
    };
    match name {
        "VisibilityTimeout" => queue.visibility_s = number(0, 43_200)?,
        "DelaySeconds" => queue.delay_s = number(0, 900)?,
        "MessageRetentionPeriod" => queue.retention_s = number(60, 1_209_600)?,
        "ReceiveMessageWaitTimeSeconds" => queue.wait_s = number(0, 20)?,
        "MaximumMessageSize" => queue.message_bytes_max = number(1_024, 262_144)?,
        other => {
            let message = format!("The attribute {other} is not supported by Puffer.");
            return Err(ApiError::declared(&shape::errors::INVALID_ATTRIBUTE_NAME, message));
        }
    }
    Ok(())
}

/// Making a queue that exists gives it, if the request says nothing else of it.
async fn create(
    cx: Arc<Ctx>,
    input: shape::CreateQueueRequest,
) -> Result<shape::CreateQueueResult, ApiError> {
    let name = input.queue_name.unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
        return Err(invalid(format!(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to {NAME_CHARS_MAX} in length. FIFO \
             queues are not supported by Puffer."
        )));
    }
    let now = cx.clock.now();
    let mut queue = Queue {
        arn: queue_arn(&cx.region, &cx.account, &name),
        name: name.clone(),
        created_at: now,
        modified_at: now,
        visibility_s: 30,
        delay_s: 0,
        retention_s: RETENTION_DEFAULT_S,
        wait_s: 0,
        message_bytes_max: 262_144,
        tags: input.tags.unwrap_or_default().into_iter().collect::<Tags>(),
    };
    check_tags(&queue.tags)?;
    let given = input.attributes.unwrap_or_default();
    for (name, value) in &given {
        set(&mut queue, name, value)?;
    }
    cx.store
        .transact::<_, Refused>(|tx| {
            if let Some(old) = tx.get::<Queue>(&name) {
                let mut wanted = Queue::clone(&old);
                for (name, value) in &given {
                    set(&mut wanted, name, value)?;
                }
                return match wanted == *old {
                    true => Ok(()),
                    false => Err(ApiError::declared(
                        &shape::errors::QUEUE_NAME_EXISTS,
                        "A queue already exists with the same name and a different value for an attribute",
                    )
                    .into()),
                };
            }
            if tx.reader().count::<Queue>() >= QUEUES_MAX {
                let message = format!("There are {QUEUES_MAX} queues already.");
                return Err(ApiError::declared(&shape::errors::OVER_LIMIT, message).into());
            }
            tx.put(queue);
            Ok(())
        })
        .await?;
    Ok(shape::CreateQueueResult { queue_url: Some(url_of(&cx, &name)) })
}

fn check_tags(tags: &Tags) -> Result<(), ApiError> {
    match tags.len() > TAGS_MAX {
        true => Err(invalid(format!("A queue can have at most {TAGS_MAX} tags."))),
        false => Ok(()),
    }
}

async fn delete(cx: Arc<Ctx>, input: shape::DeleteQueueRequest) -> Result<(), ApiError> {
    on_queue(&cx, input.queue_url, messaging::delete_queue).await
}

async fn purge(cx: Arc<Ctx>, input: shape::PurgeQueueRequest) -> Result<(), ApiError> {
    on_queue(&cx, input.queue_url, messaging::purge).await
}

async fn on_queue(
    cx: &Ctx,
    url: Option<String>,
    body: impl FnOnce(&mut Transaction<'_>, &str) -> Result<(), MessagingError>,
) -> Result<(), ApiError> {
    let name = name_in(cx, url.as_deref())?;
    cx.store.transact::<_, MessagingError>(|tx| body(tx, &name)).await.map_err(refused)
}

async fn url(cx: Arc<Ctx>, input: shape::GetQueueUrlRequest) -> Result<shape::GetQueueUrlResult, ApiError> {
    let name = input.queue_name.unwrap_or_default();
    let foreign = input.queue_owner_aws_account_id.is_some_and(|owner| owner != cx.account);
    if foreign || cx.store.get::<Queue>(&name).is_none() {
        return Err(refused(MessagingError::NoQueue));
    }
    Ok(shape::GetQueueUrlResult { queue_url: Some(url_of(&cx, &name)) })
}

async fn list(cx: Arc<Ctx>, input: shape::ListQueuesRequest) -> Result<shape::ListQueuesResult, ApiError> {
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let after = input.next_token.unwrap_or_default();
    let size = input.max_results.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE_SIZE_MAX);
    let size = size.clamp(1, PAGE_SIZE_MAX);
    let mut names: Vec<String> = cx.store.read(|r| {
        let named = r.after::<Queue>(&after).filter(|q| q.name.starts_with(&prefix));
        named.take(size + 1).map(|q| q.name.clone()).collect()
    });
    let more = names.len() > size;
    names.truncate(size);
    // Without MaxResults there is one page and no token, as on AWS.
    let next_token = names.last().filter(|_| more && input.max_results.is_some()).cloned();
    let urls = names.iter().map(|name| url_of(&cx, name)).collect();
    Ok(shape::ListQueuesResult { queue_urls: Some(urls), next_token })
}

async fn attributes(
    cx: Arc<Ctx>,
    input: shape::GetQueueAttributesRequest,
) -> Result<shape::GetQueueAttributesResult, ApiError> {
    let name = name_in(&cx, input.queue_url.as_deref())?;
    let now = cx.clock.now();
    let all = cx.store.read(|r| {
        let q = r.get::<Queue>(&name).ok_or_else(|| refused(MessagingError::NoQueue))?;
        let (mut visible, mut delayed, mut hidden) = (0, 0, 0);
        for m in r.list_by::<QueueMessage>("queue", &name).iter().filter(|m| !m.is_expired(&q, now)) {
            match (m.visible_at <= now, m.received) {
                (true, _) => visible += 1,
                (false, 0) => delayed += 1,
                (false, _) => hidden += 1,
            }
        }
        Ok::<_, ApiError>([
            ("QueueArn", q.arn.clone()),
            ("ApproximateNumberOfMessages", visible.to_string()),
            ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", hidden.to_string()),
            ("CreatedTimestamp", q.created_at.as_secs().to_string()),
            ("LastModifiedTimestamp", q.modified_at.as_secs().to_string()),
            ("VisibilityTimeout", q.visibility_s.to_string()),
            ("DelaySeconds", q.delay_s.to_string()),
            ("MessageRetentionPeriod", q.retention_s.to_string()),
            ("ReceiveMessageWaitTimeSeconds", q.wait_s.to_string()),
            ("MaximumMessageSize", q.message_bytes_max.to_string()),
        ])
    })?;
    let wanted = input.attribute_names.unwrap_or_default();
    let every = wanted.iter().any(|n| n == "All");
    let shown: BTreeMap<String, String> = all
        .into_iter()
        .filter(|(name, _)| every || wanted.iter().any(|w| w == name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Ok(shape::GetQueueAttributesResult { attributes: (!shown.is_empty()).then_some(shown) })
}

async fn set_attributes(cx: Arc<Ctx>, input: shape::SetQueueAttributesRequest) -> Result<(), ApiError> {
    let now = cx.clock.now();
    let given = input.attributes.unwrap_or_default();
    change(&cx, input.queue_url, |queue| {
        queue.modified_at = now;
        given.iter().try_for_each(|(name, value)| set(queue, name, value))
    })
    .await
}

async fn change(
    cx: &Ctx,
    url: Option<String>,
    change: impl FnOnce(&mut Queue) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let name = name_in(cx, url.as_deref())?;
    cx.store
        .transact::<_, Refused>(|tx| {
            let found = tx.get::<Queue>(&name).ok_or(refused(MessagingError::NoQueue))?;
            let mut queue = Queue::clone(&found);
            change(&mut queue)?;
            tx.put(queue);
            Ok(())
        })
        .await?;
    Ok(())
}

async fn tag(cx: Arc<Ctx>, input: shape::TagQueueRequest) -> Result<(), ApiError> {
    let new = input.tags.unwrap_or_default();
    change(&cx, input.queue_url, |queue| {
        queue.tags.extend(new);
        check_tags(&queue.tags)
    })
    .await
}

async fn untag(cx: Arc<Ctx>, input: shape::UntagQueueRequest) -> Result<(), ApiError> {
    let keys = input.tag_keys.unwrap_or_default();
    change(&cx, input.queue_url, |queue| {
        queue.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    })
    .await
}

async fn tags(
    cx: Arc<Ctx>,
    input: shape::ListQueueTagsRequest,
) -> Result<shape::ListQueueTagsResult, ApiError> {
    let name = name_in(&cx, input.queue_url.as_deref())?;
    let queue = cx.store.get::<Queue>(&name).ok_or_else(|| refused(MessagingError::NoQueue))?;
    Ok(shape::ListQueueTagsResult { tags: (!queue.tags.is_empty()).then(|| queue.tags.clone()) })
}

/// What a transaction here can fail with.
struct Refused(ApiError);

impl From<puffer_store::StoreError> for Refused {
    fn from(e: puffer_store::StoreError) -> Self {
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
