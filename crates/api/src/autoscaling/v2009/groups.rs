use std::sync::Arc;

use puffer_core::autoscaling::Group;
use puffer_shapes::{autoscaling as now, autoscaling_2009 as then};

use super::super::{activities, capacity, describe_groups, groups};
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<then::CreateAutoScalingGroup, _>(create);
    registry.serve::<then::UpdateAutoScalingGroup, _>(update);
    registry.serve::<then::DeleteAutoScalingGroup, _>(delete);
    registry.serve::<then::DescribeAutoScalingGroups, _>(describe);
    registry.serve::<then::SetDesiredCapacity, _>(set_desired_capacity);
    registry.serve::<then::TerminateInstanceInAutoScalingGroup, _>(terminate_instance);
    registry.serve::<then::DescribeScalingActivities, _>(describe_activities);
}

async fn create(cx: Arc<Ctx>, input: then::CreateAutoScalingGroupType) -> Result<(), ApiError> {
    let input = now::CreateAutoScalingGroupType {
        auto_scaling_group_name: input.auto_scaling_group_name,
        launch_configuration_name: input.launch_configuration_name,
        min_size: input.min_size,
        max_size: input.max_size,
        default_cooldown: input.cooldown,
        availability_zones: input.availability_zones,
        load_balancer_names: input.load_balancer_names,
        ..Default::default()
    };
    groups::create(cx, input).await
}

/// New bounds move the capacity into them. (The documents of 2009 say that it goes to the new maximum, which their clients'
/// users took for a mistake.)
async fn update(cx: Arc<Ctx>, input: then::UpdateAutoScalingGroupType) -> Result<(), ApiError> {
    let input = now::UpdateAutoScalingGroupType {
        auto_scaling_group_name: input.auto_scaling_group_name,
        launch_configuration_name: input.launch_configuration_name,
        min_size: input.min_size,
        max_size: input.max_size,
        default_cooldown: input.cooldown,
        availability_zones: input.availability_zones.filter(|z| !z.is_empty()),
        ..Default::default()
    };
    groups::update(cx, input).await
}

async fn delete(cx: Arc<Ctx>, input: then::AutoScalingGroupNameType) -> Result<(), ApiError> {
    let input = now::DeleteAutoScalingGroupType {
        auto_scaling_group_name: input.auto_scaling_group_name,
        force_delete: None,
    };
    groups::delete(cx, input).await
}

/// All groups, or those named; this version has no pages of groups.
async fn describe(
    cx: Arc<Ctx>,
    input: then::AutoScalingGroupNamesType,
) -> Result<then::AutoScalingGroupsType, ApiError> {
    let names = input.auto_scaling_group_names.unwrap_or_default();
    let groups = cx.store.read(|r| {
        let found: Vec<Arc<Group>> = match names.is_empty() {
            true => r.list(),
            false => names.iter().filter_map(|n| r.get(n)).collect(),
        };
        found.iter().map(|g| group(describe_groups::group(r, g, true))).collect()
    });
    Ok(then::AutoScalingGroupsType { auto_scaling_groups: Some(groups) })
}

fn group(g: now::AutoScalingGroup) -> then::AutoScalingGroup {
    then::AutoScalingGroup {
        auto_scaling_group_name: g.auto_scaling_group_name,
        launch_configuration_name: g.launch_configuration_name,
        min_size: g.min_size,
        max_size: g.max_size,
        desired_capacity: g.desired_capacity,
        cooldown: g.default_cooldown,
        availability_zones: g.availability_zones,
        load_balancer_names: g.load_balancer_names,
        instances: g.instances.map(|all| all.into_iter().map(instance).collect()),
        created_time: g.created_time,
    }
}

/// The states of 2009 have no second part: `Pending:Wait` was `Pending`.
fn instance(i: now::Instance) -> then::Instance {
    let state = i.lifecycle_state.map(|s| s.split(':').next().unwrap_or_default().to_owned());
    then::Instance {
        instance_id: i.instance_id,
        availability_zone: i.availability_zone,
        lifecycle_state: state,
    }
}

async fn set_desired_capacity(cx: Arc<Ctx>, input: then::SetDesiredCapacityType) -> Result<(), ApiError> {
    let input = now::SetDesiredCapacityType {
        auto_scaling_group_name: input.auto_scaling_group_name,
        desired_capacity: input.desired_capacity,
        honor_cooldown: None,
    };
    capacity::set_desired_capacity(cx, input).await
}

async fn terminate_instance(
    cx: Arc<Ctx>,
    input: then::TerminateInstanceType,
) -> Result<then::ActivityType, ApiError> {
    let input = now::TerminateInstanceInAutoScalingGroupType {
        instance_id: input.instance_id,
        should_decrement_desired_capacity: input.should_decrement_desired_capacity,
        ..Default::default()
    };
    let answer = capacity::terminate_instance(cx, input).await?;
    Ok(then::ActivityType { activity: answer.activity.map(activity) })
}

async fn describe_activities(
    cx: Arc<Ctx>,
    input: then::DescribeScalingActivitiesType,
) -> Result<then::ActivitiesType, ApiError> {
    let input = now::DescribeScalingActivitiesType {
        activity_ids: input.activity_ids,
        auto_scaling_group_name: input.auto_scaling_group_name,
        max_records: input.max_records,
        next_token: input.next_token.filter(|t| !t.is_empty()),
        ..Default::default()
    };
    let answer = activities::describe(cx, input).await?;
    Ok(then::ActivitiesType {
        activities: answer.activities.map(|all| all.into_iter().map(activity).collect()),
        next_token: answer.next_token,
    })
}

fn activity(a: now::Activity) -> then::Activity {
    then::Activity {
        activity_id: a.activity_id,
        description: a.description,
        cause: a.cause,
        start_time: a.start_time,
        end_time: a.end_time,
        status_code: a.status_code,
        status_message: a.status_message,
        progress: a.progress,
    }
}
