use puffer_core::messaging::{
    HttpDelivery, Queue, SUBSCRIPTIONS_PER_TOPIC_MAX, SubscriptionProtocol, Topic, TopicSubscription,
    envelope, name_of_arn,
};
use puffer_core::{Timestamp, ids};
use puffer_store::Transaction;
use serde_json::json;

use super::queues::{NewMessage, enqueue};
use super::{MessagingError, SendRefused};

/// Deliveries to HTTP endpoints that may wait: endpoints that are down must not fill the store.
const DELIVERIES_MAX: usize = 10_000;

/// A message to be published.
pub struct Publication<'a> {
    /// For those who show one.
    pub subject: Option<&'a str>,
    /// The text for a protocol.
    pub text: &'a dyn Fn(SubscriptionProtocol) -> &'a str,
    /// What makes this publication differ from any other of the same moment: its id follows from it.
    pub seed: &'a str,
}

/// Publishes to all subscriptions of a topic; gives the message's id. A queue that is full loses the message, which is
/// logged: whoever publishes must not be held up by a reader who went away.
pub fn publish(
    tx: &mut Transaction<'_>,
    topic: &Topic,
    publication: &Publication<'_>,
    now: Timestamp,
) -> String {
    let id = ids::uuid_v7_of(now, &format!("{}|{}", topic.arn, publication.seed));
    for subscription in tx.list_by::<TopicSubscription>("topic", &topic.arn) {
        if !subscription.confirmed {
            continue;
        }
        let text = (publication.text)(subscription.protocol);
        let body = match subscription.raw {
            true => text.to_owned(),
            false => envelope(&topic.arn, &id, publication.subject, text, now),
        };
        match subscription.protocol {
            SubscriptionProtocol::Sqs => {
                let Some(queue) = tx.get::<Queue>(name_of_arn(&subscription.endpoint)) else { continue };
                let seed = format!("{id}|{}", subscription.arn);
                if let Err(error @ SendRefused) =
                    enqueue(tx, &queue, NewMessage { body, seed, ..NewMessage::default() }, now)
                {
                    tracing::warn!(queue = queue.name, topic = topic.arn, %error, "a notification is lost");
                }
            }
            SubscriptionProtocol::Http | SubscriptionProtocol::Https => {
                post(tx, &subscription, "Notification", &id, body, now)
            }
        }
    }
    id
}

fn post(
    tx: &mut Transaction<'_>,
    subscription: &TopicSubscription,
    message_type: &str,
    message_id: &str,
    body: String,
    now: Timestamp,
) {
    if tx.reader().count::<HttpDelivery>() >= DELIVERIES_MAX {
        tracing::warn!(endpoint = subscription.endpoint, "too many deliveries wait: a notification is lost");
        return;
    }
    tx.put(HttpDelivery {
        id: ids::uuid_v7_of(now, &format!("{message_id}|{}", subscription.arn)),
        endpoint: subscription.endpoint.clone(),
        message_type: message_type.to_owned(),
        message_id: message_id.to_owned(),
        topic_arn: subscription.topic_arn.clone(),
        subscription_arn: subscription.arn.clone(),
        raw: subscription.raw && message_type == "Notification",
        body,
        attempts: 0,
        due_at: now,
    });
}

/// Records a subscription, or gives the one that is there for the same endpoint. An HTTP endpoint is asked to confirm at
/// `confirm_url`, to which topic and token are added.
pub fn subscribe(
    tx: &mut Transaction<'_>,
    new: TopicSubscription,
    confirm_url: &str,
    now: Timestamp,
) -> Result<std::sync::Arc<TopicSubscription>, MessagingError> {
    tx.get::<Topic>(&new.topic_arn).ok_or(MessagingError::NoTopic)?;
    let there = tx.list_by::<TopicSubscription>("topic", &new.topic_arn);
    let same =
        |s: &&std::sync::Arc<TopicSubscription>| s.protocol == new.protocol && s.endpoint == new.endpoint;
    if let Some(old) = there.iter().find(same) {
        if !old.confirmed {
            ask_to_confirm(tx, old, confirm_url, now);
        }
        return Ok(std::sync::Arc::clone(old));
    }
    if there.len() >= SUBSCRIPTIONS_PER_TOPIC_MAX {
        return Err(MessagingError::TooManySubscriptions(SUBSCRIPTIONS_PER_TOPIC_MAX));
    }
    let made = tx.put(new);
    if !made.confirmed {
        ask_to_confirm(tx, &made, confirm_url, now);
    }
    Ok(made)
}

fn ask_to_confirm(tx: &mut Transaction<'_>, s: &TopicSubscription, confirm_url: &str, now: Timestamp) {
    let id = ids::uuid_v7_of(now, &format!("confirm|{}", s.arn));
    let url = format!(
        "{confirm_url}/?Action=ConfirmSubscription&Version=2010-03-31&TopicArn={}&Token={}",
        s.topic_arn, s.token
    );
    let body = json!({
        "Type": "SubscriptionConfirmation",
        "MessageId": id,
        "Token": s.token,
        "TopicArn": s.topic_arn,
        "Message": format!(
            "You have chosen to subscribe to the topic {}. To confirm the subscription, visit the SubscribeURL.",
            s.topic_arn
        ),
        "SubscribeURL": url,
        "Timestamp": now.to_rfc3339_millis(),
    });
    post(tx, s, "SubscriptionConfirmation", &id, body.to_string(), now);
}

/// Confirms a subscription with the token that its endpoint was sent; gives its ARN.
pub fn confirm(tx: &mut Transaction<'_>, topic_arn: &str, token: &str) -> Result<String, MessagingError> {
    tx.get::<Topic>(topic_arn).ok_or(MessagingError::NoTopic)?;
    let there = tx.list_by::<TopicSubscription>("topic", topic_arn);
    let found = there.iter().find(|s| s.token == token).ok_or(MessagingError::BadToken)?;
    tx.update::<TopicSubscription>(&found.arn, |s| s.confirmed = true);
    Ok(found.arn.clone())
}

/// Removes a topic with its subscriptions. One that does not exist is gone already.
pub fn delete_topic(tx: &mut Transaction<'_>, arn: &str) {
    for subscription in tx.list_by::<TopicSubscription>("topic", arn) {
        tx.delete::<TopicSubscription>(&subscription.arn);
    }
    tx.delete::<Topic>(arn);
}
