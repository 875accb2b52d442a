use std::sync::Arc;

use puffer_core::autoscaling::Activity;
use puffer_inventory::group_members::{MemberError, Request};
use puffer_shapes::autoscaling as shape;

use super::activities::of_group;
use super::error::required;
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::AttachInstances, _>(attach);
    registry.serve::<shape::DetachInstances, _>(detach);
    registry.serve::<shape::EnterStandby, _>(enter_standby);
    registry.serve::<shape::ExitStandby, _>(exit_standby);
}

/// Runs `body` as one transaction.
async fn request<R>(
    cx: &Ctx,
    body: impl FnOnce(&mut Request<'_, '_>) -> Result<R, MemberError>,
) -> Result<R, ApiError> {
    let (now, mut rng) = (cx.clock.now(), cx.fork_rng());
    let done = cx.store.transact::<_, MemberError>(|tx| body(&mut Request { tx, now, rng: &mut rng })).await;
    Ok(done?)
}

fn shapes(activities: &[Arc<Activity>]) -> Option<Vec<shape::Activity>> {
    Some(activities.iter().map(|a| of_group(a)).collect())
}

async fn attach(cx: Arc<Ctx>, input: shape::AttachInstancesQuery) -> Result<(), ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let ids = input.instance_ids.unwrap_or_default();
    request(&cx, |r| r.attach(&group, &ids)).await
}

async fn detach(
    cx: Arc<Ctx>,
    input: shape::DetachInstancesQuery,
) -> Result<shape::DetachInstancesAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let decrement = required(input.should_decrement_desired_capacity, "shouldDecrementDesiredCapacity")?;
    let ids = input.instance_ids.unwrap_or_default();
    let activities = request(&cx, |r| r.detach(&group, &ids, decrement)).await?;
    Ok(shape::DetachInstancesAnswer { activities: shapes(&activities) })
}

async fn enter_standby(
    cx: Arc<Ctx>,
    input: shape::EnterStandbyQuery,
) -> Result<shape::EnterStandbyAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let decrement = required(input.should_decrement_desired_capacity, "shouldDecrementDesiredCapacity")?;
    let ids = input.instance_ids.unwrap_or_default();
    let activities = request(&cx, |r| r.enter_standby(&group, &ids, decrement)).await?;
    Ok(shape::EnterStandbyAnswer { activities: shapes(&activities) })
}

async fn exit_standby(
    cx: Arc<Ctx>,
    input: shape::ExitStandbyQuery,
) -> Result<shape::ExitStandbyAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let ids = input.instance_ids.unwrap_or_default();
    let activities = request(&cx, |r| r.exit_standby(&group, &ids)).await?;
    Ok(shape::ExitStandbyAnswer { activities: shapes(&activities) })
}
