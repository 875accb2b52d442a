//! Auto Scaling groups: the transactions that change what is wanted of them. What follows from it is decided and done by
//! the reconcilers.

use std::sync::Arc;

use puffer_core::autoscaling::{CauseSentence, Group, GroupStatus, Member, texts};
use puffer_core::{Mutation, Timestamp};
use puffer_store::{Reader, StoreError, Transaction};

/// Why a group cannot be changed as asked. The texts are AWS's.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// No such group.
    #[error("AutoScalingGroup name not found - AutoScalingGroup '{0}' not found")]
    NotFound(String),
    /// The group is on its way out.
    #[error("AutoScalingGroup '{0}' is being deleted")]
    Deleting(String),
    /// Outside the bounds.
    #[error("New SetDesiredCapacity value {desired} is below min value {min} for the AutoScalingGroup.")]
    BelowMin {
        /// Asked.
        desired: u32,
        /// Bound.
        min: u32,
    },
    /// Outside the bounds.
    #[error("New SetDesiredCapacity value {desired} is above max value {max} for the AutoScalingGroup.")]
    AboveMax {
        /// Asked.
        desired: u32,
        /// Bound.
        max: u32,
    },
    /// `HonorCooldown`, and this activity (if it is known) is under way or cools down.
    #[error("{} is in progress and blocks this action", activity(.0.as_deref()))]
    Cooldown(Option<String>),
    /// The instance is in no group.
    #[error("Instance Id not found - No managed instance found for instance ID: {0}")]
    NoMember(String),
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn activity(id: Option<&str>) -> String {
    id.map_or_else(|| "A scaling activity".to_owned(), |id| format!("Scaling activity {id}"))
}

/// The group, unless it is being deleted.
pub fn active(reader: &Reader<'_>, name: &str) -> Result<Arc<Group>, GroupError> {
    match reader.get::<Group>(name) {
        None => Err(GroupError::NotFound(name.to_owned())),
        Some(group) if group.status == GroupStatus::Deleting => Err(GroupError::Deleting(name.to_owned())),
        Some(group) => Ok(group),
    }
}

/// Changes a group and counts the change, so that plans made before it are stale.
pub fn change(
    tx: &mut Transaction<'_>,
    name: &str,
    change: impl FnOnce(&mut Group),
) -> Result<Arc<Group>, GroupError> {
    let mut group = Group::clone(&*active(&tx.reader(), name)?);
    change(&mut group);
    group.generation += 1;
    Ok(tx.put(group))
}

/// Sets the wanted capacity within the bounds. The same value again is no change and has no cause.
pub fn set_desired(
    tx: &mut Transaction<'_>,
    name: &str,
    desired: u32,
    cause: impl FnOnce(u32, u32) -> CauseSentence,
    reasons: Vec<String>,
) -> Result<Arc<Group>, GroupError> {
    let group = active(&tx.reader(), name)?;
    if desired < group.min {
        return Err(GroupError::BelowMin { desired, min: group.min });
    }
    if desired > group.max && !Mutation::IgnoreMax.is_on() {
        return Err(GroupError::AboveMax { desired, max: group.max });
    }
    if desired == group.desired {
        return Ok(group);
    }
    let cause = cause(group.desired, desired);
    change(tx, name, |g| {
        g.desired = desired;
        texts::note_desired(g, cause, reasons);
    })
}

/// `SetDesiredCapacity`.
pub fn set_desired_by_user(
    tx: &mut Transaction<'_>,
    name: &str,
    desired: u32,
    honor_cooldown: bool,
    now: Timestamp,
) -> Result<Arc<Group>, GroupError> {
    let group = active(&tx.reader(), name)?;
    if honor_cooldown && desired != group.desired {
        if let Some(member) = members(&tx.reader(), name).iter().find(|m| m.is_under_way()) {
            return Err(GroupError::Cooldown(member.activity_id.clone()));
        }
        if group.cooldown_ends(now).is_some() {
            return Err(GroupError::Cooldown(group.cooldown_after.clone()));
        }
    }
    set_desired(
        tx,
        name,
        desired,
        |from, to| texts::sentence(now, texts::set_by_user(from, to)),
        vec![format!("SetDesiredCapacity asked for {desired}")],
    )
}

/// The group's members.
pub fn members(reader: &Reader<'_>, group: &str) -> Vec<Arc<Member>> {
    reader.list_by::<Member>("group", group)
}

/// The member, by its instance.
pub fn member(reader: &Reader<'_>, instance_id: &str) -> Result<Arc<Member>, GroupError> {
    reader.get::<Member>(instance_id).ok_or_else(|| GroupError::NoMember(instance_id.to_owned()))
}
