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

/// Takes one instance out for good. The activity is made here, because the answer shows it; the converger carries it on.
pub(super) async fn terminate_instance(
    cx: Arc<Ctx>,
    input: shape::TerminateInstanceInAutoScalingGroupType,
) -> Result<shape::ActivityType, ApiError> {
    if input.instance_ids.as_ref().is_some_and(|ids| !ids.is_empty()) {
        return Err(super::error::unsupported("TerminateInstanceInAutoScalingGroup with InstanceIds"));
    }
    let id = required(input.instance_id, "instanceId")?;
    let decrement = required(input.should_decrement_desired_capacity, "shouldDecrementDesiredCapacity")?;
    let now = cx.clock.now();
    let mut rng = cx.fork_rng();
    let activity = cx
        .store
        .transact::<_, MemberError>(|tx| Request { tx, now, rng: &mut rng }.terminate(&id, decrement))
        .await?;
    Ok(shape::ActivityType { activity: Some(super::activities::shape_of(&activity)), activities: None })
}
