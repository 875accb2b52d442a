//! Topics that are told of a group's launches and terminations.

use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::autoscaling::Group;
use puffer_core::autoscaling::notice::{NOTIFICATION_TYPES, TOPICS_PER_GROUP_MAX};
use puffer_core::ids;
use puffer_core::messaging::Topic;
use puffer_inventory::{groups, notices};
use puffer_shapes::autoscaling as shape;

use super::error::{Refused, required};
use super::paging::{self, USUAL};
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::PutNotificationConfiguration, _>(put);
    registry.serve::<shape::DescribeNotificationConfigurations, _>(describe);
    registry.serve::<shape::DeleteNotificationConfiguration, _>(delete);
}

/// Sets the types that a topic is told of, and tells it so.
async fn put(cx: Arc<Ctx>, input: shape::PutNotificationConfigurationType) -> Result<(), ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let topic = required(input.topic_arn, "topicARN")?;
    let types: BTreeSet<String> =
        required(input.notification_types, "notificationTypes")?.into_iter().collect();
    if let Some(unknown) = types.iter().find(|t| !NOTIFICATION_TYPES.contains(&t.as_str())) {
        return Err(ApiError::validation(format!("\"{unknown}\" is not a valid Notification Type.")));
    }
    if types.is_empty() {
        return Err(ApiError::validation("At least one notification type is required."));
    }
    let (now, request) = (cx.clock.now(), ids::uuid(&mut cx.fork_rng()));
    cx.store
        .transact::<_, Refused>(|tx| {
            let group = groups::active(&tx.reader(), &name)?;
            if tx.get::<Topic>(&topic).is_none() || !notices::test(tx, &group, &topic, &request, now) {
                return Err(ApiError::validation(format!(
                    "Unable to publish test message to notification target {topic}: there is no such topic."
                ))
                .into());
            }
            let group = groups::change(tx, &name, |g| drop(g.notifications.insert(topic.clone(), types)))?;
            if group.notifications.len() > TOPICS_PER_GROUP_MAX {
                return Err(ApiError::sender(
                    "LimitExceeded",
                    format!("A group can have at most {TOPICS_PER_GROUP_MAX} notification topics."),
                )
                .into());
            }
            Ok(())
        })
        .await?;
    Ok(())
}

/// One line for each group, topic and type.
async fn describe(
    cx: Arc<Ctx>,
    input: shape::DescribeNotificationConfigurationsType,
) -> Result<shape::DescribeNotificationConfigurationsAnswer, ApiError> {
    let size = USUAL.of(input.max_records)?;
    let names = input.auto_scaling_group_names.unwrap_or_default();
    let lines = cx.store.read(|r| {
        let groups: Vec<Arc<Group>> = match names.is_empty() {
            true => r.list(),
            false => names.iter().collect::<BTreeSet<_>>().into_iter().filter_map(|n| r.get(n)).collect(),
        };
        let mut lines = Vec::new();
        for group in groups {
            for (topic, types) in &group.notifications {
                lines.extend(types.iter().map(|t| [group.name.clone(), topic.clone(), t.clone()]));
            }
        }
        lines
    });
    let (page, next_token) = paging::page(lines, Clone::clone, input.next_token.as_deref(), size)?;
    let one = |[group, topic, kind]: [String; 3]| shape::NotificationConfiguration {
        auto_scaling_group_name: Some(group),
        topic_arn: Some(topic),
        notification_type: Some(kind),
    };
    Ok(shape::DescribeNotificationConfigurationsAnswer {
        notification_configurations: Some(page.into_iter().map(one).collect()),
        next_token,
    })
}

async fn delete(cx: Arc<Ctx>, input: shape::DeleteNotificationConfigurationType) -> Result<(), ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let topic = required(input.topic_arn, "topicARN")?;
    cx.store
        .transact::<_, Refused>(|tx| {
            groups::change(tx, &name, |g| drop(g.notifications.remove(&topic)))?;
            Ok(())
        })
        .await?;
    Ok(())
}
