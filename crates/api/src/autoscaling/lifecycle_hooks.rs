//! Lifecycle hooks, and what is said to those who wait for them.

use std::sync::Arc;

use puffer_core::autoscaling::Group;
use puffer_core::autoscaling::hook::{HookResult, LifecycleHook, Transition};
use puffer_core::ids;
use puffer_inventory::lifecycle_hooks::{self, ActionAddress, HookError, HookSettings};
use puffer_inventory::{groups, notices};
use puffer_shapes::autoscaling as shape;
use puffer_store::Transaction;

use super::describe_groups::signed;
use super::error::{Refused, required};
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::PutLifecycleHook, _>(put);
    registry.serve::<shape::DescribeLifecycleHooks, _>(describe);
    registry.serve::<shape::DeleteLifecycleHook, _>(delete);
    registry.serve::<shape::CompleteLifecycleAction, _>(complete);
    registry.serve::<shape::RecordLifecycleActionHeartbeat, _>(heartbeat);
}

impl From<HookError> for ApiError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Group(error) => error.into(),
            HookError::Store(error) => ApiError::internal(&error),
            HookError::TooMany => ApiError::sender("LimitExceeded", error.to_string()),
            other => ApiError::validation(other.to_string()),
        }
    }
}

/// `LifecycleHookSpecificationList` of a new group.
pub(super) fn add(group: &mut Group, list: &[shape::LifecycleHookSpecification]) -> Result<(), ApiError> {
    for spec in list {
        let name = required(spec.lifecycle_hook_name.clone(), "lifecycleHookName")?;
        if group.hooks.contains_key(&name) {
            return Err(ApiError::validation(format!("The lifecycle hook name {name} is given twice.")));
        }
        let settings = HookSettings {
            transition: transition(spec.lifecycle_transition.as_deref())?,
            heartbeat_s: spec.heartbeat_timeout.map(i64::from),
            default_result: spec.default_result.as_deref().map(result).transpose()?,
            target: spec.notification_target_arn.clone(),
            role: spec.role_arn.clone(),
            metadata: spec.notification_metadata.clone(),
        };
        lifecycle_hooks::apply(group, &name, &settings)?;
    }
    Ok(())
}

/// `InstanceLifecyclePolicy` of a request: whether instances of abandoned termination hooks stay.
pub(super) fn retains(policy: &shape::InstanceLifecyclePolicy) -> Result<bool, ApiError> {
    let triggers = policy.retention_triggers.as_ref();
    match triggers.and_then(|t| t.terminate_hook_abandon.as_deref()) {
        None | Some("terminate") => Ok(false),
        Some("retain") => Ok(true),
        Some(other) => Err(ApiError::validation(format!("Invalid TerminateHookAbandon: {other}"))),
    }
}

/// The group's `InstanceLifecyclePolicy`, if it is not the default.
pub(super) fn lifecycle_policy(group: &Group) -> Option<shape::InstanceLifecyclePolicy> {
    group.retain_on_abandon.then(|| shape::InstanceLifecyclePolicy {
        retention_triggers: Some(shape::RetentionTriggers {
            terminate_hook_abandon: Some("retain".to_owned()),
        }),
    })
}

fn transition(name: Option<&str>) -> Result<Option<Transition>, ApiError> {
    name.map(|name| {
        Transition::parse(name)
            .ok_or_else(|| ApiError::validation(format!("Invalid lifecycle transition: {name}")))
    })
    .transpose()
}

fn result(name: &str) -> Result<HookResult, ApiError> {
    HookResult::parse(name).ok_or_else(|| {
        ApiError::validation(format!(
            "Invalid lifecycle action result: {name}. It is {} or {}.",
            HookResult::Continue.name(),
            HookResult::Abandon.name()
        ))
    })
}

/// Whoever is to be told of a hook's waits is told so at once; a target that does not exist is refused.
pub(super) fn test_target(
    cx: &Ctx,
    tx: &mut Transaction<'_>,
    group: &Group,
    hook: &LifecycleHook,
) -> Result<(), ApiError> {
    let Some(target) = &hook.target else { return Ok(()) };
    let request = ids::uuid(&mut cx.fork_rng());
    match notices::test(tx, group, target, &request, cx.clock.now()) {
        true => Ok(()),
        false => Err(ApiError::validation(format!(
            "Unable to publish test message to notification target {target} using IAM role {}. Please check your target \
             and role configuration and try to put lifecycle hook again.",
            hook.role.as_deref().unwrap_or("none")
        ))),
    }
}

async fn put(
    cx: Arc<Ctx>,
    input: shape::PutLifecycleHookType,
) -> Result<shape::PutLifecycleHookAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let name = required(input.lifecycle_hook_name, "lifecycleHookName")?;
    let settings = HookSettings {
        transition: transition(input.lifecycle_transition.as_deref())?,
        heartbeat_s: input.heartbeat_timeout.map(i64::from),
        default_result: input.default_result.as_deref().map(result).transpose()?,
        target: input.notification_target_arn,
        role: input.role_arn,
        metadata: input.notification_metadata,
    };
    let is_new = settings.target.as_ref().is_some_and(|t| !t.is_empty());
    cx.store
        .transact::<_, Refused>(|tx| {
            let group = lifecycle_hooks::put(tx, &group, &name, &settings).map_err(ApiError::from)?;
            match group.hooks.get(&name) {
                Some(hook) if is_new => Ok(test_target(&cx, tx, &group, hook)?),
                _ => Ok(()),
            }
        })
        .await?;
    Ok(shape::PutLifecycleHookAnswer::default())
}

async fn describe(
    cx: Arc<Ctx>,
    input: shape::DescribeLifecycleHooksType,
) -> Result<shape::DescribeLifecycleHooksAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let names = input.lifecycle_hook_names.unwrap_or_default();
    let group = cx.store.read(|r| groups::active(r, &group))?;
    let wanted = group.hooks.iter().filter(|(name, _)| names.is_empty() || names.contains(name));
    Ok(shape::DescribeLifecycleHooksAnswer {
        lifecycle_hooks: Some(wanted.map(|(name, hook)| shape_of(&group.name, name, hook)).collect()),
    })
}

fn shape_of(group: &str, name: &str, hook: &LifecycleHook) -> shape::LifecycleHook {
    shape::LifecycleHook {
        lifecycle_hook_name: Some(name.to_owned()),
        auto_scaling_group_name: Some(group.to_owned()),
        lifecycle_transition: Some(hook.transition.name().to_owned()),
        notification_target_arn: hook.target.clone(),
        role_arn: hook.role.clone(),
        notification_metadata: hook.metadata.clone(),
        heartbeat_timeout: Some(signed(hook.heartbeat_s)),
        global_timeout: Some(signed(hook.global_timeout_s())),
        default_result: Some(hook.default_result.name().to_owned()),
    }
}

async fn delete(
    cx: Arc<Ctx>,
    input: shape::DeleteLifecycleHookType,
) -> Result<shape::DeleteLifecycleHookAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let name = required(input.lifecycle_hook_name, "lifecycleHookName")?;
    let now = cx.clock.now();
    cx.store.transact::<_, HookError>(|tx| lifecycle_hooks::delete(tx, &group, &name, now)).await?;
    Ok(shape::DeleteLifecycleHookAnswer::default())
}

async fn complete(
    cx: Arc<Ctx>,
    input: shape::CompleteLifecycleActionType,
) -> Result<shape::CompleteLifecycleActionAnswer, ApiError> {
    let address = ActionAddress {
        group: required(input.auto_scaling_group_name, "autoScalingGroupName")?,
        hook: required(input.lifecycle_hook_name, "lifecycleHookName")?,
        token: input.lifecycle_action_token,
        instance_id: input.instance_id,
    };
    let result = result(&required(input.lifecycle_action_result, "lifecycleActionResult")?)?;
    let address = by_arn(&cx, address);
    let now = cx.clock.now();
    cx.store.transact::<_, HookError>(|tx| lifecycle_hooks::complete(tx, &address, result, now)).await?;
    Ok(shape::CompleteLifecycleActionAnswer::default())
}

async fn heartbeat(
    cx: Arc<Ctx>,
    input: shape::RecordLifecycleActionHeartbeatType,
) -> Result<shape::RecordLifecycleActionHeartbeatAnswer, ApiError> {
    let address = ActionAddress {
        group: required(input.auto_scaling_group_name, "autoScalingGroupName")?,
        hook: required(input.lifecycle_hook_name, "lifecycleHookName")?,
        token: input.lifecycle_action_token,
        instance_id: input.instance_id,
    };
    let address = by_arn(&cx, address);
    let now = cx.clock.now();
    cx.store.transact::<_, HookError>(|tx| lifecycle_hooks::heartbeat(tx, &address, now)).await?;
    Ok(shape::RecordLifecycleActionHeartbeatAnswer::default())
}

/// These two calls take a group's ARN in place of its name.
fn by_arn(cx: &Ctx, address: ActionAddress) -> ActionAddress {
    let name = address.group.rsplit_once(":autoScalingGroupName/").map(|(_, name)| name.to_owned());
    let group = name.filter(|n| cx.store.get::<Group>(n).is_some_and(|g| g.arn == address.group));
    ActionAddress { group: group.unwrap_or(address.group), ..address }
}
