//! What is asked of instances that exist, and what `instance_converge` reports of them.
//!
//! A request changes `intent` and the transitional state in one transaction; the converger acts and records the outcome
//! with the `mark_*` functions. Those check the state they come from, so that a late report about what an instance did
//! before the newest request changes nothing.

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::ec2::{Instance, InstanceIntent, InstanceState, StateReason, StatusCheck};
use puffer_store::{StoreError, Transaction};

use crate::{root_volumes, zones};

/// Why an instance cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// No such instance, or none any more.
    #[error("The instance ID{} '{}' do{} not exist", if .0.len() == 1 { "" } else { "s" }, .0.join(", "), if .0.len() == 1 { "es" } else { "" })]
    NotFound(Vec<String>),
    /// Its state does not allow it.
    #[error("The instance '{id}' is not in a state from which it can be {what}.")]
    IncorrectState {
        /// `i-…`.
        id: String,
        /// `stopped`, `started`, `rebooted`.
        what: &'static str,
    },
    /// `DisableApiTermination`.
    #[error(
        "The instance '{0}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
    )]
    TerminationProtected(String),
    /// `DisableApiStop`.
    #[error(
        "The instance '{0}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."
    )]
    StopProtected(String),
    /// Its one-time Spot request would end with it.
    #[error("The Spot instance '{0}' cannot be stopped, because its Spot request is one-time.")]
    OneTimeSpot(String),
    /// Its zone is down.
    #[error(
        "There is not enough capacity in the Availability Zone {zone} to start the instance '{id}': the zone is down."
    )]
    ZoneDown {
        /// `i-…`.
        id: String,
        /// The zone.
        zone: String,
    },
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An instance before and after a request.
#[derive(Debug, Clone, PartialEq)]
pub struct StateChange {
    /// The instance as it is now.
    pub instance: Arc<Instance>,
    /// State before.
    pub previous: InstanceState,
}

fn find_all(tx: &Transaction<'_>, ids: &[String]) -> Result<Vec<Arc<Instance>>, InstanceError> {
    let found: Vec<_> = ids.iter().map(|id| tx.get::<Instance>(id)).collect();
    let missing: Vec<String> =
        ids.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(id, _)| id.clone()).collect();
    if missing.is_empty() {
        Ok(found.into_iter().flatten().collect())
    } else {
        Err(InstanceError::NotFound(missing))
    }
}

fn user_initiated(now: Timestamp) -> String {
    let text = now.to_rfc3339_secs();
    format!("User initiated ({} GMT)", text.trim_end_matches('Z').replace('T', " "))
}

fn user_shutdown() -> StateReason {
    StateReason {
        code: "Client.UserInitiatedShutdown".into(),
        message: "Client.UserInitiatedShutdown: User initiated shutdown".into(),
    }
}

pub(crate) fn not_checked(instance: &mut Instance) {
    instance.instance_status = StatusCheck::Initializing;
    instance.system_status = StatusCheck::Initializing;
}

/// Asks instances to stop, `hard` without time for their guests to shut down. All or none.
pub fn request_stop(
    tx: &mut Transaction<'_>,
    ids: &[String],
    hard: bool,
    now: Timestamp,
) -> Result<Vec<StateChange>, InstanceError> {
    let instances = find_all(tx, ids)?;
    for i in &instances {
        match i.state {
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {}
            _ => return Err(InstanceError::IncorrectState { id: i.id.clone(), what: "stopped" }),
        }
        if i.state == InstanceState::Running && i.root_replacement.is_some() {
            // The guest will be booted from its new root volume yet.
            return Err(InstanceError::IncorrectState { id: i.id.clone(), what: "stopped" });
        }
        if i.spot.is_some() {
            return Err(InstanceError::OneTimeSpot(i.id.clone()));
        }
        if i.stop_protected && i.state == InstanceState::Running {
            return Err(InstanceError::StopProtected(i.id.clone()));
        }
    }
    Ok(change_all(tx, instances, |i| {
        // Also for one whose guest does not come to its end.
        i.stop_hard |= hard && i.state != InstanceState::Stopped;
        if i.state == InstanceState::Running {
            i.state = InstanceState::Stopping;
            i.intent = InstanceIntent::Stop;
            i.state_reason = Some(user_shutdown());
            i.transition_reason = Some(user_initiated(now));
        }
    }))
}

/// Asks stopped instances to run again. All or none.
pub fn request_start(
    tx: &mut Transaction<'_>,
    ids: &[String],
    now: Timestamp,
) -> Result<Vec<StateChange>, InstanceError> {
    let instances = find_all(tx, ids)?;
    for i in &instances {
        match i.state {
            InstanceState::Stopped | InstanceState::Pending | InstanceState::Running => {}
            _ => return Err(InstanceError::IncorrectState { id: i.id.clone(), what: "started" }),
        }
        if i.state == InstanceState::Stopped && zones::is_down(&tx.reader(), &i.zone) {
            return Err(InstanceError::ZoneDown { id: i.id.clone(), zone: i.zone.clone() });
        }
    }
    Ok(change_all(tx, instances, |i| begin_start(i, now)))
}

fn begin_start(i: &mut Instance, now: Timestamp) {
    if i.state == InstanceState::Stopped {
        i.state = InstanceState::Pending;
        i.intent = InstanceIntent::Run;
        i.state_reason = None;
        i.transition_reason = None;
        i.launched_at = now;
        i.running_at = None;
        i.stop_hard = false;
        not_checked(i);
    }
}

/// Asks running instances to restart their guests. All or none.
pub fn request_reboot(tx: &mut Transaction<'_>, ids: &[String]) -> Result<Vec<StateChange>, InstanceError> {
    let instances = find_all(tx, ids)?;
    for i in &instances {
        if !matches!(i.state, InstanceState::Running | InstanceState::Pending) {
            return Err(InstanceError::IncorrectState { id: i.id.clone(), what: "rebooted" });
        }
    }
    Ok(change_all(tx, instances, |i| i.reboot_requests = i.reboot_requests.wrapping_add(1)))
}

/// Asks instances to end, honouring termination protection. All or none.
pub fn request_terminate(
    tx: &mut Transaction<'_>,
    ids: &[String],
    now: Timestamp,
) -> Result<Vec<StateChange>, InstanceError> {
    let instances = find_all(tx, ids)?;
    if let Some(i) = instances.iter().find(|i| i.termination_protected && i.state.is_alive()) {
        return Err(InstanceError::TerminationProtected(i.id.clone()));
    }
    Ok(change_all(tx, instances, |i| end(i, user_shutdown(), now)))
}

/// Ends an instance whatever its protection: what Auto Scaling does. `None` if there is no such instance.
pub fn terminate(tx: &mut Transaction<'_>, id: &str, now: Timestamp) -> Option<StateChange> {
    let instance = tx.get::<Instance>(id)?;
    change_all(tx, vec![instance], |i| end(i, user_shutdown(), now)).pop()
}

/// Stops an instance whatever its protection: what Auto Scaling does with those of a warm pool. Nothing happens to one that is about to
/// be booted from another root volume.
pub fn stop(tx: &mut Transaction<'_>, id: &str, now: Timestamp) -> Option<StateChange> {
    let instance = tx.get::<Instance>(id)?;
    let stop = |i: &mut Instance| {
        if i.state == InstanceState::Running && i.root_replacement.is_none() {
            i.state = InstanceState::Stopping;
            i.intent = InstanceIntent::Stop;
            i.state_reason = Some(user_shutdown());
            i.transition_reason = Some(user_initiated(now));
        }
    };
    change_all(tx, vec![instance], stop).pop()
}

/// Starts an instance if it is stopped. In a zone that is down that fails later, on its record, as any start may.
pub fn start(tx: &mut Transaction<'_>, id: &str, now: Timestamp) -> Option<StateChange> {
    let instance = tx.get::<Instance>(id)?;
    change_all(tx, vec![instance], |i| begin_start(i, now)).pop()
}

fn end(i: &mut Instance, reason: StateReason, now: Timestamp) {
    i.intent = InstanceIntent::Terminate;
    if !matches!(i.state, InstanceState::ShuttingDown | InstanceState::Terminated) {
        i.state = InstanceState::ShuttingDown;
        i.state_reason = Some(reason);
        i.transition_reason = Some(user_initiated(now));
    }
}

fn change_all(
    tx: &mut Transaction<'_>,
    instances: Vec<Arc<Instance>>,
    change: impl Fn(&mut Instance),
) -> Vec<StateChange> {
    let one = |before: Arc<Instance>| {
        let mut after = Instance::clone(&before);
        change(&mut after);
        let previous = before.state;
        let instance = if after == *before { before } else { tx.put(after) };
        StateChange { instance, previous }
    };
    instances.into_iter().map(one).collect()
}

fn mark(
    tx: &mut Transaction<'_>,
    id: &str,
    from: &[InstanceState],
    change: impl FnOnce(&mut Instance),
) -> Option<Arc<Instance>> {
    if !from.contains(&tx.get::<Instance>(id)?.state) {
        return None;
    }
    tx.update::<Instance>(id, change)
}

/// Its init runs. `reboots` are the reboot requests that this start already satisfies.
pub fn mark_running(
    tx: &mut Transaction<'_>,
    id: &str,
    reboots: u32,
    now: Timestamp,
) -> Option<Arc<Instance>> {
    mark(tx, id, &[InstanceState::Pending], |i| {
        i.state = InstanceState::Running;
        i.running_at = Some(now);
        i.has_disk = true;
        i.reboots_done = reboots;
        not_checked(i);
    })
}

/// It stopped, as asked or by itself; `reason` replaces the one on record.
pub fn mark_stopped(
    tx: &mut Transaction<'_>,
    id: &str,
    reason: Option<StateReason>,
) -> Option<Arc<Instance>> {
    use InstanceState as S;
    mark(tx, id, &[S::Pending, S::Running, S::Stopping], |i| {
        i.state = S::Stopped;
        i.intent = InstanceIntent::Stop;
        i.running_at = None;
        not_checked(i);
        if let Some(reason) = reason {
            i.transition_reason = Some(reason.message.clone());
            i.state_reason = Some(reason);
        }
    })
}

/// It shall be removed though nobody asked: a failed launch, a guest that powered off and asked for it.
pub fn mark_ending(tx: &mut Transaction<'_>, id: &str, reason: StateReason) -> Option<Arc<Instance>> {
    use InstanceState as S;
    mark(tx, id, &[S::Pending, S::Running, S::Stopping, S::Stopped], |i| {
        i.state = S::ShuttingDown;
        i.intent = InstanceIntent::Terminate;
        i.transition_reason = Some(reason.message.clone());
        i.state_reason = Some(reason);
    })
}

/// It is gone. A `reason` given replaces the one on record.
pub fn mark_terminated(
    tx: &mut Transaction<'_>,
    id: &str,
    reason: Option<StateReason>,
    now: Timestamp,
) -> Option<Arc<Instance>> {
    use InstanceState as S;
    root_volumes::abandon(tx, id, now);
    mark(tx, id, &[S::Pending, S::Running, S::Stopping, S::Stopped, S::ShuttingDown], |i| {
        i.state = S::Terminated;
        i.intent = InstanceIntent::Terminate;
        i.terminated_at = Some(now);
        if let Some(reason) = reason {
            i.transition_reason = Some(reason.message.clone());
            i.state_reason = Some(reason);
        }
    })
}

/// The guest was restarted `reboots` times in all.
pub fn mark_rebooted(tx: &mut Transaction<'_>, id: &str, reboots: u32) -> Option<Arc<Instance>> {
    mark(tx, id, &[InstanceState::Running], |i| {
        i.reboots_done = reboots;
        not_checked(i);
    })
}

/// Status checks of a running instance.
pub fn mark_status(
    tx: &mut Transaction<'_>,
    id: &str,
    instance: StatusCheck,
    system: StatusCheck,
) -> Option<Arc<Instance>> {
    mark(tx, id, &[InstanceState::Running], |i| {
        i.instance_status = instance;
        i.system_status = system;
    })
}
