//! Users who want to be told of launches and terminations, by a topic and a queue behind it; some read what they are told.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt;
use rand_pcg::Pcg64;

use super::{Actor, Stage};
use crate::dice::{chance, one_of};
use crate::setup::{QUEUE_URL, TOPIC_ARN};

pub(crate) struct Notifications;

#[async_trait]
impl Actor for Notifications {
    fn name(&self) -> &'static str {
        "notifications"
    }

    fn pause(&self, dice: &mut Pcg64) -> Duration {
        Duration::from_secs(dice.random_range(20..150))
    }

    async fn act(&mut self, stage: &Stage<'_>, dice: &mut Pcg64) {
        let Some(group) = stage.group(dice) else { return };
        let topic = ("TopicARN", TOPIC_ARN);
        match dice.random_range(0..6) {
            0 => stage.ask("DeleteNotificationConfiguration", &group, &[topic]).await,
            1 => {
                let body = format!(r#"{{"QueueUrl": "{QUEUE_URL}"}}"#);
                let service = &puffer_shapes::sqs::SERVICE;
                let _ = stage.client.json(service, "PurgeQueue", body.as_bytes()).await;
            }
            _ => {
                let all = ["LAUNCH", "LAUNCH_ERROR", "TERMINATE", "TERMINATE_ERROR"];
                let mut wanted: Vec<&str> = all.into_iter().filter(|_| chance(dice, 0.7)).collect();
                wanted.extend(one_of(dice, &all).filter(|_| wanted.is_empty()));
                let types: Vec<(String, String)> = wanted
                    .iter()
                    .enumerate()
                    .map(|(n, t)| {
                        (
                            format!("NotificationTypes.member.{}", n + 1),
                            format!("autoscaling:EC2_INSTANCE_{t}"),
                        )
                    })
                    .collect();
                let mut params = vec![topic];
                params.extend(types.iter().map(|(k, v)| (k.as_str(), v.as_str())));
                stage.ask("PutNotificationConfiguration", &group, &params).await;
            }
        }
    }
}
