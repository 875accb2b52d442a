use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::ids;
use puffer_core::messaging::{
    HttpTarget, Queue, SubscriptionProtocol, Topic, TopicSubscription, name_of_arn,
};
use puffer_inventory::messaging::{self, MessagingError};
use puffer_shapes::sns as shape;
use puffer_store::StoreError;

use super::topics::Refused;
use super::{invalid, page, refused, unsupported};
use crate::{ApiError, Ctx, Registry};

/// What AWS shows instead of the ARN of a subscription that is not confirmed.
const PENDING: &str = "pending confirmation";

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::Subscribe, _>(subscribe);
    registry.serve::<shape::ConfirmSubscription, _>(confirm);
    registry.serve::<shape::Unsubscribe, _>(unsubscribe);
    registry.serve::<shape::ListSubscriptions, _>(list);
    registry.serve::<shape::ListSubscriptionsByTopic, _>(list_by_topic);
    registry.serve::<shape::GetSubscriptionAttributes, _>(attributes);
    registry.serve::<shape::SetSubscriptionAttributes, _>(set_attribute);
}

fn set(subscription: &mut TopicSubscription, name: &str, value: &str) -> Result<(), ApiError> {
    match (name, value) {
        ("RawMessageDelivery", "true" | "false") => {
            subscription.raw = value == "true";
            Ok(())
        }
        ("RawMessageDelivery", _) => Err(invalid("Attributes Reason: RawMessageDelivery is true or false")),
        (other, _) => Err(unsupported(&format!("the attribute {other}"))),
    }
}

async fn subscribe(cx: Arc<Ctx>, input: shape::SubscribeInput) -> Result<shape::SubscribeResponse, ApiError> {
    let topic_arn = input.topic_arn.unwrap_or_default();
    let endpoint = input.endpoint.unwrap_or_default();
    let protocol = match input.protocol.as_deref() {
        Some(scheme @ ("http" | "https")) => {
            // The URL must say the same as the protocol.
            let tls = scheme == "https";
            HttpTarget::parse(&endpoint).filter(|t| t.tls == tls).ok_or_else(|| invalid("Endpoint"))?;
            if tls { SubscriptionProtocol::Https } else { SubscriptionProtocol::Http }
        }
        Some("sqs") => SubscriptionProtocol::Sqs,
        Some(known @ ("email" | "email-json" | "sms" | "application" | "lambda" | "firehose")) => {
            return Err(unsupported(&format!("the protocol {known}")));
        }
        _ => return Err(invalid("Protocol")),
    };
    let (token, uuid) = {
        let mut rng = cx.fork_rng();
        (format!("{}{}", ids::hex16(&mut rng), ids::hex16(&mut rng)), ids::uuid(&mut rng))
    };
    let mut new = TopicSubscription {
        arn: format!("{topic_arn}:{uuid}"),
        topic_arn,
        protocol,
        endpoint,
        raw: false,
        confirmed: protocol == SubscriptionProtocol::Sqs,
        token,
    };
    for (name, value) in input.attributes.iter().flatten() {
        set(&mut new, name, value)?;
    }
    let now = cx.clock.now();
    let url = format!("http://{}", cx.endpoint);
    let made = cx
        .store
        .transact::<_, Refused>(|tx| {
            if protocol == SubscriptionProtocol::Sqs {
                let queue = tx.get::<Queue>(name_of_arn(&new.endpoint));
                queue
                    .filter(|q| q.arn == new.endpoint)
                    .ok_or_else(|| invalid("Endpoint Reason: the queue does not exist"))?;
            }
            messaging::subscribe(tx, new, &url, now).map_err(|e| Refused(refused(e)))
        })
        .await?;
    let arn = match made.confirmed || input.return_subscription_arn == Some(true) {
        true => made.arn.clone(),
        false => PENDING.to_owned(),
    };
    Ok(shape::SubscribeResponse { subscription_arn: Some(arn) })
}

async fn confirm(
    cx: Arc<Ctx>,
    input: shape::ConfirmSubscriptionInput,
) -> Result<shape::ConfirmSubscriptionResponse, ApiError> {
    if input.authenticate_on_unsubscribe.as_deref() == Some("true") {
        return Err(unsupported("AuthenticateOnUnsubscribe"));
    }
    let (topic, token) = (input.topic_arn.unwrap_or_default(), input.token.unwrap_or_default());
    let arn = cx
        .store
        .transact::<_, MessagingError>(|tx| messaging::confirm(tx, &topic, &token))
        .await
        .map_err(refused)?;
    Ok(shape::ConfirmSubscriptionResponse { subscription_arn: Some(arn) })
}

async fn unsubscribe(cx: Arc<Ctx>, input: shape::UnsubscribeInput) -> Result<(), ApiError> {
    let arn = input.subscription_arn.unwrap_or_default();
    cx.store.transact::<_, StoreError>(|tx| Ok(tx.delete::<TopicSubscription>(&arn))).await?;
    Ok(())
}

fn shape_of(cx: &Ctx, s: &TopicSubscription) -> shape::Subscription {
    shape::Subscription {
        subscription_arn: Some(if s.confirmed { s.arn.clone() } else { "PendingConfirmation".to_owned() }),
        owner: Some(cx.account.clone()),
        protocol: Some(s.protocol.name().to_owned()),
        endpoint: Some(s.endpoint.clone()),
        topic_arn: Some(s.topic_arn.clone()),
    }
}

async fn list(
    cx: Arc<Ctx>,
    input: shape::ListSubscriptionsInput,
) -> Result<shape::ListSubscriptionsResponse, ApiError> {
    let after = input.next_token.unwrap_or_default();
    cx.store.read(|r| {
        let (found, next_token) = page(r.after::<TopicSubscription>(&after), |s| s.arn.clone());
        let subscriptions = Some(found.iter().map(|s| shape_of(&cx, s)).collect());
        Ok(shape::ListSubscriptionsResponse { subscriptions, next_token })
    })
}

async fn list_by_topic(
    cx: Arc<Ctx>,
    input: shape::ListSubscriptionsByTopicInput,
) -> Result<shape::ListSubscriptionsByTopicResponse, ApiError> {
    let topic = input.topic_arn.unwrap_or_default();
    let after = input.next_token.unwrap_or_default();
    cx.store.read(|r| {
        r.get::<Topic>(&topic).ok_or_else(|| refused(MessagingError::NoTopic))?;
        let all = r.list_by::<TopicSubscription>("topic", &topic);
        let (found, next_token) = page(all.into_iter().filter(|s| s.arn > after), |s| s.arn.clone());
        let subscriptions = Some(found.iter().map(|s| shape_of(&cx, s)).collect());
        Ok(shape::ListSubscriptionsByTopicResponse { subscriptions, next_token })
    })
}

async fn attributes(
    cx: Arc<Ctx>,
    input: shape::GetSubscriptionAttributesInput,
) -> Result<shape::GetSubscriptionAttributesResponse, ApiError> {
    let arn = input.subscription_arn.unwrap_or_default();
    let s = cx.store.get::<TopicSubscription>(&arn).ok_or_else(|| refused(MessagingError::NoSubscription))?;
    let attributes = [
        ("SubscriptionArn", s.arn.clone()),
        ("TopicArn", s.topic_arn.clone()),
        ("Owner", cx.account.clone()),
        ("Protocol", s.protocol.name().to_owned()),
        ("Endpoint", s.endpoint.clone()),
        ("RawMessageDelivery", s.raw.to_string()),
        ("PendingConfirmation", (!s.confirmed).to_string()),
        ("ConfirmationWasAuthenticated", (s.protocol == SubscriptionProtocol::Sqs).to_string()),
    ];
    let attributes: BTreeMap<String, String> =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(shape::GetSubscriptionAttributesResponse { attributes: Some(attributes) })
}

async fn set_attribute(cx: Arc<Ctx>, input: shape::SetSubscriptionAttributesInput) -> Result<(), ApiError> {
    let arn = input.subscription_arn.unwrap_or_default();
    let name = input.attribute_name.unwrap_or_default();
    let value = input.attribute_value.unwrap_or_default();
    cx.store
        .transact::<_, Refused>(|tx| {
            let found = tx.get::<TopicSubscription>(&arn).ok_or(refused(MessagingError::NoSubscription))?;
            let mut subscription = TopicSubscription::clone(&found);
            set(&mut subscription, &name, &value)?;
            tx.put(subscription);
            Ok(())
        })
        .await?;
    Ok(())
}
