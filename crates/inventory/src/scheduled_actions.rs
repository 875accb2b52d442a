//! Scheduled actions: made, removed, and run when their time has come.

use std::sync::Arc;

use puffer_core::autoscaling::schedule::{
    ACTIONS_PER_GROUP_MAX, Due, ScheduledAction, Sizes, Timing, TimingError, first_due,
};
use puffer_core::autoscaling::{Activity, ActivityStatus, Group, process, texts};
use puffer_core::{Record, Timestamp, ids};
use puffer_store::{Reader, StoreError, Transaction};
use rand::Rng;

use crate::groups::{self, GroupError};

/// Why an action cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// Its times make no sense.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// Its sizes make no sense.
    #[error("{0}")]
    Sizes(String),
    /// Another action of the group is due at the same time.
    #[error("A scheduled action with this start time already exists: {0}")]
    SameTime(String),
    /// The group has as many as it may.
    #[error("A group can have at most {ACTIONS_PER_GROUP_MAX} scheduled actions")]
    TooMany,
    /// No such action.
    #[error("Scheduled action name not found - no scheduled action '{0}' in this group")]
    NotFound(String),
    /// The group is not there, or on its way out.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An action as a request describes it.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Name.
    pub name: &'a str,
    /// Its ARN, should it be new.
    pub arn: String,
    /// When.
    pub timing: Timing<'a>,
    /// What.
    pub sizes: Sizes,
}

/// The actions of a group, by name.
pub fn of_group(reader: &Reader<'_>, group: &str) -> Vec<Arc<ScheduledAction>> {
    reader.list_by::<ScheduledAction>("group", group)
}

/// Makes an action, or another one of the same name in its place.
pub fn put(
    tx: &mut Transaction<'_>,
    group: &str,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<Arc<ScheduledAction>, ScheduleError> {
    groups::active(&tx.reader(), group)?;
    check_sizes(&wanted.sizes)?;
    let due = first_due(&wanted.timing, now)?;
    let others = of_group(&tx.reader(), group);
    let old = others.iter().find(|a| a.name == wanted.name);
    if let Some(same) = others.iter().find(|a| a.name != wanted.name && a.due == due) {
        return Err(ScheduleError::SameTime(same.name.clone()));
    }
    if old.is_none() && others.len() >= ACTIONS_PER_GROUP_MAX {
        return Err(ScheduleError::TooMany);
    }
    let last = others.iter().map(|a| a.position).max();
    let action = ScheduledAction {
        name: wanted.name.to_owned(),
        group: group.to_owned(),
        arn: old.map_or_else(|| wanted.arn.clone(), |old| old.arn.clone()),
        position: old.map_or_else(|| last.map_or(0, |n| n + 1), |old| old.position),
        start: wanted.timing.start,
        end: wanted.timing.end,
        recurrence: wanted.timing.recurrence.map(str::to_owned),
        time_zone: wanted.timing.time_zone.map(str::to_owned),
        sizes: wanted.sizes,
        due,
    };
    Ok(tx.put(action))
}

fn check_sizes(sizes: &Sizes) -> Result<(), ScheduleError> {
    let refuse = |text: String| Err(ScheduleError::Sizes(text));
    let Sizes { min, max, desired } = *sizes;
    if min.is_none() && max.is_none() && desired.is_none() {
        return refuse("At least one of MinSize, MaxSize and DesiredCapacity must be specified".into());
    }
    match (min, max, desired) {
        (Some(min), Some(max), _) if min > max => {
            refuse(format!("Min bound, {min}, must be less than or equal to max bound, {max}"))
        }
        (Some(min), _, Some(n)) if n < min => refuse(format!(
            "Desired capacity:{n} must be greater than or equal to the specified min size:{min}"
        )),
        (_, Some(max), Some(n)) if n > max => {
            refuse(format!("Desired capacity:{n} must be less than or equal to the specified max size:{max}"))
        }
        _ => Ok(()),
    }
}

/// Removes an action.
pub fn remove(tx: &mut Transaction<'_>, group: &str, name: &str) -> Result<(), ScheduleError> {
    groups::active(&tx.reader(), group)?;
    let found = of_group(&tx.reader(), group).into_iter().find(|a| a.name == name);
    let action = found.ok_or_else(|| ScheduleError::NotFound(name.to_owned()))?;
    tx.delete::<ScheduledAction>(&action.key());
    Ok(())
}

/// Removes all actions of a group that goes.
pub fn remove_all(tx: &mut Transaction<'_>, group: &str) {
    for action in of_group(&tx.reader(), group) {
        tx.delete::<ScheduledAction>(&action.key());
    }
}

/// What became of an action whose time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It set the group's sizes (perhaps to what they were).
    Done,
    /// It contradicts the group's bounds.
    Failed,
    /// The group's scheduled actions are suspended.
    Suspended,
    /// Its time passed while nobody was there to run it.
    Missed,
    /// It came to its end time.
    Expired,
}

/// Runs the actions of a group that are due, in the order of their times and, at one time, in the order they were made.
pub fn run_due(
    tx: &mut Transaction<'_>,
    group: &str,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Vec<(String, Run)> {
    let mut runs = Vec::new();
    loop {
        // Read anew each time: an action may be due again at once after a clock that leapt.
        let mut due = of_group(&tx.reader(), group);
        due.retain(|a| a.due.at() <= now);
        let Some(action) = due.into_iter().min_by_key(|a| (a.due.at(), a.position)) else { return runs };
        let run = run(tx, &action, now, rng);
        match action.next(now) {
            Some(next) => drop(tx.update::<ScheduledAction>(&action.key(), |a| a.due = next)),
            None => drop(tx.delete::<ScheduledAction>(&action.key())),
        }
        runs.push((action.name.clone(), run));
    }
}

fn run(tx: &mut Transaction<'_>, action: &ScheduledAction, now: Timestamp, rng: &mut dyn Rng) -> Run {
    if matches!(action.due, Due::Expire(_)) {
        return Run::Expired;
    }
    // A group that is being deleted has nothing to run any more; its actions go with it.
    let Ok(group) = groups::active(&tx.reader(), &action.group) else { return Run::Expired };
    if action.is_missed(now) {
        return Run::Missed;
    }
    if group.is_suspended(process::SCHEDULED_ACTIONS) {
        return Run::Suspended;
    }
    let (min, max, desired) = match action.sizes.applied_to(&group) {
        Ok(sizes) => sizes,
        Err(message) => {
            fail(tx, &group, action, message, now, rng);
            return Run::Failed;
        }
    };
    if (min, max, desired) == (group.min, group.max, group.desired) {
        return Run::Done;
    }
    let changed = groups::change(tx, &group.name, |g| {
        (g.min, g.max) = (min, max);
        if g.desired != desired {
            let text = texts::scheduled(min, max, g.desired, desired);
            let reason = format!("scheduled action {} set {desired} within {min}–{max}", action.name);
            texts::note_desired(g, texts::sentence(now, text), vec![reason]);
            g.desired = desired;
        }
    });
    if changed.is_ok() { Run::Done } else { Run::Expired }
}

/// A run that cannot be is an activity that failed, so that somebody sees it.
fn fail(
    tx: &mut Transaction<'_>,
    group: &Group,
    action: &ScheduledAction,
    message: String,
    now: Timestamp,
    rng: &mut dyn Rng,
) {
    tx.put(Activity {
        id: ids::uuid_v7(now, rng),
        group: group.name.clone(),
        group_arn: group.arn.clone(),
        instance_id: None,
        description: texts::executing_scheduled(&action.name),
        cause: vec![texts::sentence(now, texts::scheduled_failed(&action.name))],
        started_at: now,
        ended_at: Some(now),
        status: ActivityStatus::Failed,
        status_message: Some(message),
        progress: 100,
        details: "{}".to_owned(),
        reasons: Vec::new(),
    });
}
