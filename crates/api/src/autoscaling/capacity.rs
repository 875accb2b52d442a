use std::sync::Arc;

use puffer_core::autoscaling::{Activity, ActivityStatus, LifecycleState, Member, texts};
use puffer_core::ec2::Instance;
use puffer_core::ids;
use puffer_inventory::groups::{self, GroupError};
use puffer_shapes::autoscaling as shape;
use puffer_store::Transaction;

use super::error::{Refused, natural, required};
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::SetDesiredCapacity, _>(set_desired_capacity);
    registry.serve::<shape::TerminateInstanceInAutoScalingGroup, _>(terminate_instance);
}

async fn set_desired_capacity(cx: Arc<Ctx>, input: shape::SetDesiredCapacityType) -> Result<(), ApiError> {
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
async fn terminate_instance(
    cx: Arc<Ctx>,
    input: shape::TerminateInstanceInAutoScalingGroupType,
) -> Result<shape::ActivityType, ApiError> {
    if input.instance_ids.as_ref().is_some_and(|ids| !ids.is_empty()) {
        return Err(super::error::unsupported("TerminateInstanceInAutoScalingGroup with InstanceIds"));
    }
    let id = required(input.instance_id, "instanceId")?;
    let decrement = required(input.should_decrement_desired_capacity, "shouldDecrementDesiredCapacity")?;
    let now = cx.clock.now();
    let activity_id = ids::uuid(&mut **cx.rng.lock());
    let activity = cx
        .store
        .transact::<_, Refused>(|tx| {
            let member = groups::member(&tx.reader(), &id)?;
            let group = groups::active(&tx.reader(), &member.group)?;
            if member.is_terminating() {
                return Err(ApiError::validation(format!("Instance {id} is already being terminated.")).into());
            }
            let shrinking = decrement.then(|| (group.desired, group.desired.saturating_sub(1)));
            if decrement {
                if group.desired <= group.min {
                    return Err(ApiError::validation(format!(
                        "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will \
                         violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to \
                         false or lower group's min size.",
                        group.min
                    ))
                    .into());
                }
                groups::change(tx, &group.name, |g| g.desired -= 1)?;
            }
            let cause = texts::sentence(now, texts::taken_by_user(&id, "taken out of service", shrinking));
            let activity = Activity {
                id: activity_id,
                group: group.name.clone(),
                group_arn: group.arn.clone(),
                instance_id: Some(id.clone()),
                description: texts::terminating(&id),
                cause: vec![cause],
                started_at: now,
                ended_at: None,
                status: ActivityStatus::InProgress,
                status_message: None,
                progress: 0,
                details: details_of(tx, &member),
                reasons: vec!["TerminateInstanceInAutoScalingGroup asked for it".to_owned()],
            };
            tx.update::<Member>(&id, |m| {
                m.state = LifecycleState::Terminating;
                m.state_since = now;
                m.activity_id = Some(activity.id.clone());
            });
            // The converger looks at groups; a change of a member alone must reach it too.
            groups::change(tx, &group.name, |_| ())?;
            Ok(Activity::clone(&*tx.put(activity)))
        })
        .await?;
    Ok(shape::ActivityType { activity: Some(super::activities::shape_of(&activity)), activities: None })
}

fn details_of(tx: &Transaction<'_>, member: &Member) -> String {
    let subnet = tx.get::<Instance>(&member.instance_id).map(|i| i.subnet_id.clone()).unwrap_or_default();
    texts::details(&subnet, &member.zone)
}
