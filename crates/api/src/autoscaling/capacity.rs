use std::sync::Arc;

use puffer_inventory::group_members::{MemberError, Request};
use puffer_inventory::groups::{self, GroupError};
use puffer_shapes::autoscaling as shape;

use super::error::{natural, required};
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::SetDesiredCapacity, _>(set_desired_capacity);
    registry.serve::<shape::TerminateInstanceInAutoScalingGroup, _>(terminate_instance);
}

pub(super) async fn set_desired_capacity(
    cx: Arc<Ctx>,
    input: shape::SetDesiredCapacityType,
) -> Result<(), ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let desired = natural(required(input.desired_capacity, "desiredCapacity")?, "DesiredCapacity")?;
    let honor_cooldown = input.honor_cooldown.unwrap_or(false);
    let now = cx.clock.now();
    cx.store
        .transact::<_, GroupError>(|tx| {
            groups::set_desired_by_user(tx, &name, desired, honor_cooldown, now).map(drop)
        })
        .await?;
    Ok(())
}

/// Takes instances out for good, all or none. The activities are made here, because the answer shows them; the converger carries
/// them on.
pub(super) async fn terminate_instance(
    cx: Arc<Ctx>,
    input: shape::TerminateInstanceInAutoScalingGroupType,
) -> Result<shape::ActivityType, ApiError> {
    let several = input.instance_ids.filter(|ids| !ids.is_empty());
    let ids = match (input.instance_id, several.clone()) {
        (Some(_), Some(_)) => {
            return Err(ApiError::validation("Name instances by InstanceId or by InstanceIds, not by both."));
        }
        (Some(id), None) => vec![id],
        (None, Some(ids)) => ids,
        (None, None) => vec![required(None, "instanceId")?],
    };
    let decrement = required(input.should_decrement_desired_capacity, "shouldDecrementDesiredCapacity")?;
    let now = cx.clock.now();
    let mut rng = cx.fork_rng();
    let group = input.auto_scaling_group_name;
    let activities = cx
        .store
        .transact::<_, MemberError>(|tx| {
            let mut request = Request { tx, now, rng: &mut rng };
            ids.iter()
                .map(|id| request.terminate_of(group.as_deref(), id, decrement))
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let mut shapes = activities.iter().map(|a| super::activities::of_group(a));
    Ok(match several {
        Some(_) => shape::ActivityType { activity: None, activities: Some(shapes.collect()) },
        None => shape::ActivityType { activity: shapes.next(), activities: None },
    })
}
