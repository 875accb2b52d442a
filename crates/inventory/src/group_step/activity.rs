//! Activities of a step: begun, moved on, closed.

use std::sync::Arc;

use puffer_core::autoscaling::{Activity, ActivityStatus, CauseSentence, Group, texts};
use puffer_core::{Mutation, Timestamp, ids};
use puffer_store::Transaction;
use rand::Rng;

use crate::notices;

/// A new activity.
pub(crate) struct Begin<'a> {
    pub(crate) group: &'a Group,
    pub(crate) instance_id: Option<&'a str>,
    pub(crate) description: String,
    pub(crate) cause: Vec<CauseSentence>,
    pub(crate) reasons: Vec<String>,
    pub(crate) subnet: &'a str,
    pub(crate) zone: &'a str,
    pub(crate) status: ActivityStatus,
}

/// Records an activity that begins now.
pub(crate) fn begin(
    tx: &mut Transaction<'_>,
    b: Begin<'_>,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Arc<Activity> {
    // What follows from the wanted capacity tells of the alarms that set it.
    let wanted = &b.group.desired_cause;
    let alarms = match !wanted.is_empty() && b.cause.starts_with(wanted) {
        true => b.group.desired_alarms.as_slice(),
        false => &[],
    };
    let details = texts::details(b.subnet, b.zone, alarms);
    tx.put(Activity {
        id: ids::uuid_v7(now, rng),
        group: b.group.name.clone(),
        group_arn: b.group.arn.clone(),
        instance_id: b.instance_id.map(str::to_owned),
        description: b.description,
        cause: b.cause,
        started_at: now,
        ended_at: None,
        status: b.status,
        status_message: None,
        progress: progress(b.status),
        details,
        reasons: b.reasons,
    })
}

/// Moves an activity on.
pub(crate) fn set_status(tx: &mut Transaction<'_>, id: &str, status: ActivityStatus) {
    let same = tx.get::<Activity>(id).is_none_or(|a| a.status == status || a.status.is_final());
    if !same {
        tx.update::<Activity>(id, |a| {
            a.status = status;
            a.progress = progress(status).max(a.progress);
        });
    }
}

/// Ends an activity.
pub(crate) fn close(tx: &mut Transaction<'_>, id: &str, status: ActivityStatus, now: Timestamp) {
    finish(tx, id, status, now, |_| ());
}

/// Ends an activity with a message.
pub(crate) fn close_with(
    tx: &mut Transaction<'_>,
    id: &str,
    status: ActivityStatus,
    message: String,
    now: Timestamp,
) {
    finish(tx, id, status, now, |a| a.status_message = Some(message));
}

/// Ends a launch that a lifecycle hook gave up.
pub(crate) fn give_up_launch(tx: &mut Transaction<'_>, id: &str, message: &str, now: Timestamp) {
    finish(tx, id, ActivityStatus::Cancelled, now, |a| {
        a.description = texts::launch_given_up(&a.description, message);
        a.status_message = Some(message.to_owned());
    });
}

/// Ends a launch that failed.
pub(crate) fn fail_launch(tx: &mut Transaction<'_>, id: &str, message: &str, now: Timestamp) {
    finish(tx, id, ActivityStatus::Failed, now, |a| {
        a.description = texts::launch_failed(message);
        a.status_message = Some(texts::launch_failed_status(message));
    });
}

/// Ends an activity that has not ended, and announces it.
fn finish(
    tx: &mut Transaction<'_>,
    id: &str,
    status: ActivityStatus,
    now: Timestamp,
    change: impl FnOnce(&mut Activity),
) {
    if tx.get::<Activity>(id).is_none_or(|a| a.status.is_final()) {
        return;
    }
    let ended = tx.update::<Activity>(id, |a| {
        a.status = status;
        a.progress = 100;
        a.ended_at = Some(now);
        change(a);
    });
    if let Some(activity) = ended.filter(|_| !Mutation::ForgetToAnnounce.is_on()) {
        notices::activity_ended(tx, &activity, now);
    }
}

/// Percent shown for a status.
fn progress(status: ActivityStatus) -> u8 {
    match status {
        ActivityStatus::PreInService => 30,
        ActivityStatus::InProgress => 50,
        ActivityStatus::MidLifecycleAction | ActivityStatus::WaitingForElbConnectionDraining => 40,
        ActivityStatus::Successful | ActivityStatus::Failed | ActivityStatus::Cancelled => 100,
    }
}
