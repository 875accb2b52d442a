//! Alarms that tell a topic of the notification service that they moved.

use std::sync::Arc;

use async_trait::async_trait;
use puffer_core::Clock;
use puffer_core::alarm::{Alarm, CompositeAlarm, composite_message, metric_message, region_of, subject};
use puffer_core::messaging::{SubscriptionProtocol, Topic, is_topic_arn};
use puffer_inventory::messaging::{self, Publication};
use puffer_store::{Reader, Store, StoreError, Transaction};

use crate::{ActionOutcome, AlarmAction, FiredAlarm};

/// Takes the actions of alarms that are topics.
pub struct TopicAction {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl TopicAction {
    /// Over the topics of this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> TopicAction {
        TopicAction { store, clock }
    }

    async fn publish(&self, fired: &FiredAlarm) -> Result<String, String> {
        let now = self.clock.now();
        let publish = |tx: &mut Transaction<'_>| {
            let told = told(&tx.reader(), &fired.alarm);
            let (Some(topic), Some((subject, text, seed))) = (tx.get::<Topic>(&fired.action), told) else {
                return Ok::<_, StoreError>(None);
            };
            let text = |_: SubscriptionProtocol| text.as_str();
            let publication = Publication { subject: Some(&subject), text: &text, seed: &seed };
            Ok(Some(messaging::publish(tx, &topic, &publication, now)))
        };
        match self.store.transact(publish).await {
            Ok(Some(id)) => Ok(format!("published as {id}")),
            Ok(None) => Err("There is no such topic".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Subject, text and what makes the message of this transition differ from any other.
fn told(r: &Reader<'_>, name: &str) -> Option<(String, String, String)> {
    if let Some(alarm) = r.get::<Alarm>(name) {
        let text = metric_message(&alarm).to_string();
        let seed = format!("{}|{}", alarm.arn, alarm.state_transitioned_at.as_millis());
        return Some((subject(alarm.state, name, region_of(&alarm.arn)), text, seed));
    }
    let alarm = r.get::<CompositeAlarm>(name)?;
    let text = composite_message(&alarm).to_string();
    let seed = format!("{}|{}", alarm.arn, alarm.state_transitioned_at.as_millis());
    Some((subject(alarm.state, name, region_of(&alarm.arn)), text, seed))
}

#[async_trait]
impl AlarmAction for TopicAction {
    fn takes(&self, action: &str) -> bool {
        is_topic_arn(action)
    }

    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome> {
        let mut outcomes = Vec::with_capacity(fired.len());
        for one in &fired {
            outcomes.push(self.publish(one).await.into());
        }
        outcomes
    }
}
