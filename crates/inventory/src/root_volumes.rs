//! Root volumes are replaced: what is asked, and what `instance_converge` reports of it.
//!
//! A replacement is recorded in the instance, with the number that the new volume shall have, before the driver hears of it; the
//! driver keeps the number with the disk. So whatever was cut short is made again, and made once. There is one at a time
//! for an instance; each has a task, which tells what became of it.

use std::sync::Arc;

use puffer_core::autoscaling::Member;
use puffer_core::ec2::{
    Image, Instance, InstanceState, RootReplacement, RootTaskState, RootVolumeTask, StateReason, sibling_id,
};
use puffer_core::{Tags, Timestamp, ids};
use puffer_store::{Reader, Transaction};
use rand::Rng;

use crate::instances::{self, InstanceError};
use crate::launch::ClientToken;

/// Prefix of the ids of tasks.
pub const TASK_PREFIX: &str = "replacevol";
/// Tasks that are over and kept for an instance: bounds what is stored for one that is given a new root every minute.
pub const TASKS_KEPT_MAX: usize = 20;

/// A replacement that is asked for.
#[derive(Debug, Clone, Default)]
pub struct RootRequest {
    /// `i-…`.
    pub instance_id: String,
    /// The image that the volume is made from.
    pub image_id: String,
    /// The snapshot that was named instead.
    pub snapshot_id: Option<String>,
    /// Idempotency token.
    pub client_token: Option<ClientToken>,
    /// Tags of the task.
    pub tags: Tags,
}

/// Asks for another root volume of a running instance.
pub fn begin(
    tx: &mut Transaction<'_>,
    request: RootRequest,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Arc<RootVolumeTask>, InstanceError> {
    let id = request.instance_id;
    let instance = tx.get::<Instance>(&id).ok_or_else(|| InstanceError::NotFound(vec![id.clone()]))?;
    if instance.state != InstanceState::Running || instance.root_replacement.is_some() {
        return Err(InstanceError::IncorrectState { id, what: "given another root volume" });
    }
    forget_oldest(tx, &id);
    let task = tx.put(RootVolumeTask {
        id: ids::resource_id(TASK_PREFIX, rng),
        instance_id: id.clone(),
        image_id: request.image_id,
        snapshot_id: request.snapshot_id,
        state: RootTaskState::Pending,
        reason: None,
        started_at: now,
        completed_at: None,
        client_digest: request.client_token.as_ref().map(|t| t.digest.clone()),
        client_token: request.client_token.map(|t| t.token),
        tags: request.tags,
    });
    tx.update::<Instance>(&id, |i| {
        i.n_root_replacements += 1;
        i.root_replacement = Some(RootReplacement {
            task_id: task.id.clone(),
            image_id: task.image_id.clone(),
            serial: i.n_root_replacements,
        });
    });
    Ok(task)
}

/// The tasks of an instance, oldest first.
pub fn of_instance(r: &Reader<'_>, id: &str) -> Vec<Arc<RootVolumeTask>> {
    let mut found = r.list_by::<RootVolumeTask>("instance", id);
    found.sort_by(|a, b| a.started_at.cmp(&b.started_at).then_with(|| a.id.cmp(&b.id)));
    found
}

fn forget_oldest(tx: &mut Transaction<'_>, id: &str) {
    let over: Vec<_> = of_instance(&tx.reader(), id).into_iter().filter(|t| t.state.is_over()).collect();
    for old in over.iter().rev().skip(TASKS_KEPT_MAX - 1) {
        tx.delete::<RootVolumeTask>(&old.id);
    }
}

/// Forgets the tasks of an instance that is forgotten.
pub fn forget(tx: &mut Transaction<'_>, id: &str) {
    for task in tx.list_by::<RootVolumeTask>("instance", id) {
        tx.delete::<RootVolumeTask>(&task.id);
    }
}

/// The instance that has the volume.
pub fn owner_of(r: &Reader<'_>, volume_id: &str) -> Option<Arc<Instance>> {
    let named = r.list_by::<Instance>("volume", volume_id).pop();
    let first = || r.get::<Instance>(&sibling_id("i", volume_id));
    named.or_else(first).filter(|i| i.state.is_alive() && i.root_volume_id() == volume_id)
}

/// Whether the machine has begun with what the record asks for: the disk may be the old one, the new one, or neither.
pub fn is_begun(r: &Reader<'_>, instance: &Instance) -> bool {
    let task = instance.root_replacement.as_ref().and_then(|asked| r.get::<RootVolumeTask>(&asked.task_id));
    task.is_some_and(|task| task.state == RootTaskState::InProgress)
}

/// An image that an instance cannot run from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The image '{image_id}' is for {gets}, the instance '{instance_id}' for {has}.")]
pub struct ForeignImage {
    /// `ami-…`.
    pub image_id: String,
    /// Its architecture.
    pub gets: String,
    /// `i-…`.
    pub instance_id: String,
    /// Its architecture.
    pub has: String,
}

/// Whether the instance can run from the image: it is of the architecture of the one that it runs from. An account that takes any
/// well-formed id has no record of most.
pub fn check_architecture(r: &Reader<'_>, instance: &Instance, image_id: &str) -> Result<(), ForeignImage> {
    let architecture = |id: &str| r.get::<Image>(id).map(|image| image.architecture.clone());
    match (architecture(&instance.image_id), architecture(image_id)) {
        (Some(has), Some(gets)) if has != gets => {
            Err(ForeignImage { image_id: image_id.to_owned(), gets, instance_id: instance.id.clone(), has })
        }
        _ => Ok(()),
    }
}

/// The machine is at it.
pub fn mark_begun(tx: &mut Transaction<'_>, task_id: &str) {
    if tx.get::<RootVolumeTask>(task_id).is_some_and(|t| t.state == RootTaskState::Pending) {
        tx.update::<RootVolumeTask>(task_id, |t| t.state = RootTaskState::InProgress);
    }
}

/// The guest runs from the new root volume. Whatever was asked of the instance meanwhile, that is so.
pub fn mark_replaced(tx: &mut Transaction<'_>, id: &str, done: &RootReplacement, now: Timestamp) {
    if is_awaited(tx, id, done) {
        close(tx, id, RootTaskState::Succeeded, None, now);
        take_on(tx, id, done, now);
    }
}

/// It failed. `has_new`: the disk is the new one all the same, and the guest does not run from it; `stopped`: nor from the old one.
pub fn mark_failed(
    tx: &mut Transaction<'_>,
    id: &str,
    failed: &RootReplacement,
    reason: StateReason,
    (has_new, stopped): (bool, bool),
    now: Timestamp,
) {
    if !is_awaited(tx, id, failed) {
        return;
    }
    let state = if stopped { RootTaskState::FailedDetached } else { RootTaskState::Failed };
    close(tx, id, state, Some(reason.message.clone()), now);
    if has_new {
        take_on(tx, id, failed, now);
    }
    if stopped {
        instances::mark_stopped(tx, id, Some(reason));
    }
}

/// The instance has ended: what was to be replaced is not any more.
pub fn abandon(tx: &mut Transaction<'_>, id: &str, now: Timestamp) {
    let reason = "The instance was terminated.".to_owned();
    close(tx, id, RootTaskState::Failed, Some(reason), now);
}

fn is_awaited(tx: &Transaction<'_>, id: &str, replacement: &RootReplacement) -> bool {
    let alive = tx.get::<Instance>(id).filter(|i| i.state.is_alive());
    alive.is_some_and(|i| i.root_replacement.as_ref() == Some(replacement))
}

fn close(tx: &mut Transaction<'_>, id: &str, state: RootTaskState, reason: Option<String>, now: Timestamp) {
    let Some(replacement) = tx.get::<Instance>(id).and_then(|i| i.root_replacement.clone()) else { return };
    tx.update::<RootVolumeTask>(&replacement.task_id, |t| {
        (t.state, t.reason, t.completed_at) = (state, reason, Some(now));
    });
    tx.update::<Instance>(id, |i| i.root_replacement = None);
    // Whoever waits for this one goes by what became of it, whatever is asked of the instance next.
    let waits = |m: &Arc<Member>| {
        m.root_target.as_ref().is_some_and(|t| t.task_id.as_ref() == Some(&replacement.task_id))
    };
    if tx.get::<Member>(id).is_some_and(|m| waits(&m)) {
        tx.update::<Member>(id, |m| {
            if let Some(target) = &mut m.root_target {
                target.outcome = Some(state);
            }
        });
    }
}

/// The instance has the new disk.
fn take_on(tx: &mut Transaction<'_>, id: &str, new: &RootReplacement, now: Timestamp) {
    let gib = tx.get::<Image>(&new.image_id).map_or(0, |image| image.root_volume_gib);
    tx.update::<Instance>(id, |i| {
        i.image_id.clone_from(&new.image_id);
        (i.root_serial, i.root_since) = (new.serial, Some(now));
        i.root_volume_gib = i.root_volume_gib.max(gib);
        if i.state == InstanceState::Running {
            instances::not_checked(i);
        }
    });
}
