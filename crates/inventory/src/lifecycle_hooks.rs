//! Lifecycle hooks: put, deleted, completed. What a hook holds up goes on with the group's next step.

use puffer_core::Timestamp;
use puffer_core::autoscaling::hook::{
    HEARTBEAT_MAX_S, HEARTBEAT_MIN_S, HOOKS_PER_GROUP_MAX, HookAction, HookResult, HookStand, LifecycleHook,
    Transition, result_of_deletion,
};
use puffer_core::autoscaling::{Group, Member};
use puffer_store::{StoreError, Transaction};

use crate::groups::{self, GroupError};

/// Why a hook or an action cannot be what is asked. The texts are AWS's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Too many.
    #[error("A group can have at most {HOOKS_PER_GROUP_MAX} lifecycle hooks.")]
    TooMany,
    /// A new hook without its transition.
    #[error("LifecycleTransition is required for a new lifecycle hook.")]
    NoTransition,
    /// A new hook that tells somebody without a role to do so.
    #[error("RoleARN is required for a new lifecycle hook with a NotificationTargetARN.")]
    NoRole,
    /// Out of range.
    #[error("HeartbeatTimeout must be between {HEARTBEAT_MIN_S} and {HEARTBEAT_MAX_S} seconds, but is {0}.")]
    Heartbeat(i64),
    /// No such hook.
    #[error("No lifecycle hook found with name {0}")]
    NotFound(String),
    /// Neither token nor instance, or a token that does not fit.
    #[error("Either a LifecycleActionToken or an InstanceId is required.")]
    NoAddress,
    /// Nobody waits under this token.
    #[error("No active Lifecycle Action found with token {0}")]
    NoToken(String),
    /// The instance waits for no such hook.
    #[error("No active Lifecycle Action found with instance ID {0}")]
    NoInstance(String),
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a request says of a hook; `None`: as it is, or AWS's default for a new one.
#[derive(Debug, Clone, Default)]
pub struct HookSettings {
    /// Which way.
    pub transition: Option<Transition>,
    /// Seconds.
    pub heartbeat_s: Option<i64>,
    /// `DefaultResult`.
    pub default_result: Option<HookResult>,
    /// `NotificationTargetARN`; empty: no longer.
    pub target: Option<String>,
    /// `RoleARN`; empty: no longer.
    pub role: Option<String>,
    /// `NotificationMetadata`.
    pub metadata: Option<String>,
}

/// Writes a hook into a group, new or changed.
pub fn apply(group: &mut Group, name: &str, settings: &HookSettings) -> Result<(), HookError> {
    let mut hook = match (group.hooks.get(name), settings.transition) {
        (Some(hook), _) => hook.clone(),
        (None, Some(transition)) => LifecycleHook::new(transition),
        (None, None) => return Err(HookError::NoTransition),
    };
    if let Some(transition) = settings.transition {
        hook.transition = transition;
    }
    if let Some(s) = settings.heartbeat_s {
        let in_range = |s: &u32| (HEARTBEAT_MIN_S..=HEARTBEAT_MAX_S).contains(s);
        hook.heartbeat_s = u32::try_from(s).ok().filter(in_range).ok_or(HookError::Heartbeat(s))?;
    }
    if let Some(result) = settings.default_result {
        hook.default_result = result;
    }
    let given = |new: &Option<String>, old: Option<String>| match new {
        Some(text) => Some(text.clone()).filter(|t| !t.is_empty()),
        None => old,
    };
    hook.target = given(&settings.target, hook.target.take());
    hook.role = given(&settings.role, hook.role.take());
    hook.metadata = given(&settings.metadata, hook.metadata.take());
    if !group.hooks.contains_key(name) && hook.target.is_some() && hook.role.is_none() {
        return Err(HookError::NoRole);
    }
    group.hooks.insert(name.to_owned(), hook);
    if group.hooks.len() > HOOKS_PER_GROUP_MAX {
        return Err(HookError::TooMany);
    }
    Ok(())
}

/// `PutLifecycleHook`.
pub fn put(
    tx: &mut Transaction<'_>,
    group: &str,
    name: &str,
    settings: &HookSettings,
) -> Result<std::sync::Arc<Group>, HookError> {
    let mut changed = Group::clone(&*groups::active(&tx.reader(), group)?);
    apply(&mut changed, name, settings)?;
    changed.generation += 1;
    Ok(tx.put(changed))
}

/// `DeleteLifecycleHook`. Whoever waits for it goes on: a launch is given up, a termination continues.
pub fn delete(tx: &mut Transaction<'_>, group: &str, name: &str, now: Timestamp) -> Result<(), HookError> {
    let found = groups::active(&tx.reader(), group)?;
    let hook = found.hooks.get(name).ok_or_else(|| HookError::NotFound(name.to_owned()))?;
    let result = result_of_deletion(hook.transition);
    for member in groups::members(&tx.reader(), group) {
        let waits = |a: &HookAction| a.hook == name && a.is_active(now);
        if member.hooks.actions().iter().any(waits) {
            change_action(tx, &member, waits, |a| a.result = Some(result));
        }
    }
    groups::change(tx, group, |g| drop(g.hooks.remove(name)))?;
    Ok(())
}

/// Names the action that a request is about: by token, or by instance.
#[derive(Debug, Clone, Default)]
pub struct ActionAddress {
    /// The group's name.
    pub group: String,
    /// The hook's name.
    pub hook: String,
    /// `LifecycleActionToken`.
    pub token: Option<String>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
}

/// `CompleteLifecycleAction`.
pub fn complete(
    tx: &mut Transaction<'_>,
    address: &ActionAddress,
    result: HookResult,
    now: Timestamp,
) -> Result<(), HookError> {
    act(tx, address, now, |a| a.result = Some(result))
}

/// `RecordLifecycleActionHeartbeat`.
pub fn heartbeat(tx: &mut Transaction<'_>, address: &ActionAddress, now: Timestamp) -> Result<(), HookError> {
    act(tx, address, now, |a| a.beat(now))
}

fn act(
    tx: &mut Transaction<'_>,
    address: &ActionAddress,
    now: Timestamp,
    change: impl Fn(&mut HookAction),
) -> Result<(), HookError> {
    let group = groups::active(&tx.reader(), &address.group)?;
    let missing = match (&address.token, &address.instance_id) {
        (Some(token), _) => HookError::NoToken(token.clone()),
        (None, Some(id)) => HookError::NoInstance(id.clone()),
        (None, None) => return Err(HookError::NoAddress),
    };
    let members = match &address.instance_id {
        Some(id) => tx.get::<Member>(id).into_iter().filter(|m| m.group == group.name).collect(),
        None => groups::members(&tx.reader(), &group.name),
    };
    let is_meant = |a: &HookAction| {
        a.hook == address.hook && a.is_active(now) && address.token.as_ref().is_none_or(|t| *t == a.token)
    };
    let member = members.iter().find(|m| m.hooks.actions().iter().any(is_meant)).ok_or(missing)?;
    change_action(tx, member, is_meant, change);
    Ok(())
}

fn change_action(
    tx: &mut Transaction<'_>,
    member: &Member,
    is_meant: impl Fn(&HookAction) -> bool,
    change: impl Fn(&mut HookAction),
) {
    tx.update::<Member>(&member.instance_id, |m| {
        if let HookStand::Waiting(actions) = &mut m.hooks {
            actions.iter_mut().filter(|a| is_meant(a)).for_each(change);
        }
    });
}
