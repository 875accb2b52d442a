//! Instance refreshes: begun, cancelled and turned back by users. How one goes on is decided in `puffer_core` and recorded by
//! the group's step.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use puffer_core::Timestamp;
use puffer_core::alarm::{Alarm, AlarmState, CompositeAlarm, HistoryItem, HistoryKind};
use puffer_core::autoscaling::mixed::Override;
use puffer_core::autoscaling::refresh::{DesiredConfiguration, Event, Progress};
use puffer_core::autoscaling::{
    Group, InstanceRefresh, InstanceSource, LaunchTemplateRef, Member, RefreshPreferences, RefreshStatus,
    RefreshStrategy, backoff,
};
use puffer_core::ec2::{Instance, instance_types};
use puffer_store::{Reader, StoreError, Transaction};

use crate::groups::{self, GroupError};
use crate::images::{self, RESOLVE_PREFIX};
use crate::launch::TemplateRef;
use crate::{launch_templates, notices, root_volumes};

/// How long refreshes that are over can be described: six weeks.
const KEPT: Duration = Duration::from_secs(42 * 86_400);

/// Why a refresh cannot be begun, cancelled or turned back.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// One at a time.
    #[error("An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.")]
    InProgress,
    /// Nothing to cancel or turn back.
    #[error("No in progress or pending Instance Refresh found for Auto Scaling group {0}")]
    NotFound(String),
    /// What the strategy `ReplaceRootVolume` needs.
    #[error("{0}")]
    RootVolume(String),
    /// There is no way back.
    #[error("{0}")]
    Irreversible(&'static str),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The group's refresh that is going on.
pub fn active(r: &Reader<'_>, group: &str) -> Option<Arc<InstanceRefresh>> {
    r.list_by::<InstanceRefresh>("active", group).into_iter().next()
}

/// The group's refreshes, newest first.
pub fn of_group(r: &Reader<'_>, group: &Group) -> Vec<Arc<InstanceRefresh>> {
    let mut found = r.list_by::<InstanceRefresh>("group", &group.name);
    found.retain(|f| f.group_arn == group.arn);
    found.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
    found
}

/// The group as launches see it: a refresh may launch from its own desired configuration.
pub fn launching<'g>(group: &'g Group, refresh: Option<&InstanceRefresh>) -> Cow<'g, Group> {
    from_source(group, refresh.filter(|r| r.launches()).and_then(|r| r.desired.as_ref()))
}

/// The group with what its instances are made from replaced.
pub fn from_source<'g>(group: &'g Group, desired: Option<&DesiredConfiguration>) -> Cow<'g, Group> {
    match desired {
        Some(desired) if desired.source != group.source || desired.mixed != group.mixed => {
            Cow::Owned(Group {
                source: desired.source.clone(),
                mixed: desired.mixed.clone(),
                ..group.clone()
            })
        }
        _ => Cow::Borrowed(group),
    }
}

/// Begins a refresh; the group's step takes it on.
pub fn start(
    tx: &mut Transaction<'_>,
    group: &str,
    id: &str,
    preferences: RefreshPreferences,
    desired: Option<DesiredConfiguration>,
    strategy: RefreshStrategy,
    now: Timestamp,
) -> Result<Arc<InstanceRefresh>, RefreshError> {
    let group = groups::active(&tx.reader(), group)?;
    if active(&tx.reader(), &group.name).is_some() {
        return Err(RefreshError::InProgress);
    }
    if strategy == RefreshStrategy::ReplaceRootVolume {
        check_roots(tx, &group, desired.as_ref()).map_err(RefreshError::RootVolume)?;
    }
    let refresh = InstanceRefresh { desired, strategy, ..InstanceRefresh::new(id, &group, preferences, now) };
    if refresh.preferences.auto_rollback {
        check_reversible(&tx.reader(), &group, &refresh).map_err(RefreshError::Irreversible)?;
    }
    for old in tx.list_by::<InstanceRefresh>("group", &group.name) {
        if old.ended_at.is_some_and(|at| at + KEPT < now) {
            tx.delete::<InstanceRefresh>(&old.id);
        }
    }
    let members = tx.list_by::<Member>("group", &group.name);
    let n = u32::try_from(members.iter().filter(|m| m.counts()).count()).unwrap_or(u32::MAX);
    let refresh = tx.put(InstanceRefresh { progress: Progress { n_total: n, n_left: n }, ..refresh });
    wake(tx, &group.name)?;
    Ok(refresh)
}

/// What AWS asks of a group whose root volumes are to be replaced: each of its instances must know its next image, and neither that nor
/// the way back may change meanwhile.
fn check_roots(
    tx: &Transaction<'_>,
    group: &Group,
    desired: Option<&DesiredConfiguration>,
) -> Result<(), String> {
    let policy = desired.and_then(|d| d.mixed.as_ref());
    let (Some(own), Some(policy)) = (&group.mixed, policy) else {
        return Err(
            "The strategy ReplaceRootVolume needs a group with a mixed instances policy and a desired \
                    configuration with one."
                .to_owned(),
        );
    };
    if own.templates().chain(policy.templates()).any(|t| t.version.starts_with('$')) {
        return Err("The strategy ReplaceRootVolume needs launch templates with version numbers, not $Latest or $Default."
            .to_owned());
    }
    let images: Option<Vec<&String>> = policy.overrides.iter().map(|o| o.image_id.as_ref()).collect();
    let Some(images) = images.filter(|images| !images.is_empty()) else {
        return Err("The strategy ReplaceRootVolume needs an ImageId in each override of the desired configuration's \
                    mixed instances policy."
            .to_owned());
    };
    if let Some(image) = images.into_iter().find(|image| !images::is_launchable(&tx.reader(), image)) {
        return Err(format!("The image {image} does not exist or is not available."));
    }
    if group.warm_pool.is_some() {
        return Err("The strategy ReplaceRootVolume cannot be used with a warm pool.".to_owned());
    }
    for m in tx.list_by::<Member>("group", &group.name).iter().filter(|m| m.counts()) {
        let kind = instance_types::find(&m.instance_type);
        let of = |o: &&Override| {
            o.instance_type.as_ref() == Some(&m.instance_type)
                || o.requirements.as_ref().zip(kind.as_ref()).is_some_and(|(r, t)| r.match_type(t))
        };
        let Some(image) = policy.overrides.iter().find(of).and_then(|o| o.image_id.as_ref()) else {
            return Err(format!(
                "The instance {} is of the type {}, for which the desired configuration has no override.",
                m.instance_id, m.instance_type
            ));
        };
        if let Some(instance) = tx.get::<Instance>(&m.instance_id) {
            root_volumes::check_architecture(&tx.reader(), &instance, image).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// Begins no more replacements, or, without waiting for those that have begun, ends the refresh at once.
pub fn cancel(
    tx: &mut Transaction<'_>,
    group: &str,
    waits: bool,
    now: Timestamp,
) -> Result<Arc<InstanceRefresh>, RefreshError> {
    let mut refresh = begun(tx, group)?;
    let text = "Cancelled due to user request.".to_owned();
    if waits && refresh.status != RefreshStatus::Pending {
        (refresh.status, refresh.reason) = (RefreshStatus::Cancelling, Some(text));
        (refresh.checkpoint_until, refresh.bake_until) = (None, None);
    } else {
        refresh.end(RefreshStatus::Cancelled, Some(text), now);
    }
    if !refresh.status.is_active() {
        let of = groups::active(&tx.reader(), group)?;
        announce(tx, &of, &refresh, Event::Ended, now);
    }
    let refresh = tx.put(refresh);
    wake(tx, group)?;
    Ok(refresh)
}

/// Replaces what the refresh has launched by what the group had before.
pub fn roll_back(
    tx: &mut Transaction<'_>,
    group: &str,
    now: Timestamp,
) -> Result<Arc<InstanceRefresh>, RefreshError> {
    let mut refresh = begun(tx, group)?;
    if matches!(refresh.status, RefreshStatus::RollbackInProgress | RefreshStatus::Cancelling) {
        return Err(RefreshError::NotFound(group.to_owned()));
    }
    let of = groups::active(&tx.reader(), group)?;
    check_reversible(&tx.reader(), &of, &refresh).map_err(RefreshError::Irreversible)?;
    refresh.started_at.get_or_insert(now);
    refresh.roll_back("Rollback due to user request.", now);
    let refresh = tx.put(refresh);
    wake(tx, group)?;
    Ok(refresh)
}

/// Writes what happened into the log of events.
pub(crate) fn announce(
    tx: &mut Transaction<'_>,
    group: &Group,
    refresh: &InstanceRefresh,
    event: Event,
    now: Timestamp,
) {
    use RefreshStatus as S;
    let mut detail =
        serde_json::json!({ "InstanceRefreshId": refresh.id, "AutoScalingGroupName": group.name });
    let what = match (event, refresh.status) {
        (Event::Started, _) => "Started",
        (Event::CheckpointReached(percent), _) => {
            detail["CheckpointPercentage"] = percent.to_string().into();
            detail["CheckpointDelay"] = refresh.preferences.checkpoint_delay_s.to_string().into();
            "Checkpoint Reached"
        }
        (Event::Ended, S::Successful) => "Succeeded",
        (Event::Ended, S::Cancelled) => "Cancelled",
        (Event::Ended, S::RollbackSuccessful) => "Rollback Succeeded",
        (Event::Ended, S::RollbackFailed) => "Rollback Failed",
        (Event::Ended, _) => "Failed",
    };
    let status = refresh.status.name();
    tracing::info!(group = group.name, refresh = refresh.id, status, what, "instance refresh");
    let seed = format!("{}|{event:?}", refresh.id);
    let detail_type = format!("EC2 Auto Scaling Instance Refresh {what}");
    notices::record(tx, group, &detail_type, vec![group.arn.clone()], detail, &seed, now);
}

/// Forgets the refreshes of a group that goes.
pub fn forget(tx: &mut Transaction<'_>, group: &str) {
    for refresh in tx.list_by::<InstanceRefresh>("group", group) {
        tx.delete::<InstanceRefresh>(&refresh.id);
    }
}

/// Whether what the group had before the refresh can be had again: it must say the same now as it said then.
pub fn check_reversible(
    r: &Reader<'_>,
    group: &Group,
    refresh: &InstanceRefresh,
) -> Result<(), &'static str> {
    if refresh.desired.is_none() {
        return Err("A rollback needs an instance refresh with a desired configuration.");
    }
    let own = match (&group.mixed, &group.source) {
        (Some(policy), _) => policy.templates().collect(),
        (None, InstanceSource::LaunchTemplate(template)) => vec![template],
        (None, InstanceSource::LaunchConfiguration(_)) => Vec::new(),
    };
    if own.iter().any(|t| t.version.starts_with('$')) {
        return Err(
            "A rollback needs a group whose launch template has a version number, not $Latest or $Default.",
        );
    }
    let by_parameter = |template: &&LaunchTemplateRef| {
        let found = launch_templates::find_version(r, &TemplateRef::from(*template));
        found.is_ok_and(|(_, v)| v.data.image_id.as_ref().is_some_and(|i| i.starts_with(RESOLVE_PREFIX)))
    };
    match own.iter().any(by_parameter) {
        true => {
            Err("A rollback needs a launch template that names an image, not a Systems Manager parameter.")
        }
        false => Ok(()),
    }
}

/// An alarm of the refresh that is in ALARM, or was for a while since the refresh began.
pub(crate) fn alarm_of<'f>(r: &Reader<'_>, refresh: &'f InstanceRefresh) -> Option<&'f str> {
    let since = refresh.started_at.unwrap_or(refresh.created_at);
    let went = |item: &HistoryItem| {
        item.at >= since && item.kind == HistoryKind::StateUpdate && item.summary.ends_with(" to ALARM")
    };
    let rings = |name: &str| {
        alarm_state(r, name) == Some(AlarmState::Alarm)
            || r.list_by::<HistoryItem>("alarm", name).iter().any(|item| went(item))
    };
    refresh.preferences.alarms.iter().map(String::as_str).find(|name| rings(name))
}

/// The state of a metric or composite alarm; `None`: there is no such alarm.
pub fn alarm_state(r: &Reader<'_>, name: &str) -> Option<AlarmState> {
    let metric = r.get::<Alarm>(name).map(|a| a.state);
    metric.or_else(|| r.get::<CompositeAlarm>(name).map(|a| a.state))
}

fn begun(tx: &Transaction<'_>, group: &str) -> Result<InstanceRefresh, RefreshError> {
    groups::active(&tx.reader(), group)?;
    let found = active(&tx.reader(), group);
    found.map(|r| InstanceRefresh::clone(&r)).ok_or_else(|| RefreshError::NotFound(group.to_owned()))
}

/// The group's converger follows groups, so a changed refresh shows as a changed group. Launches are made from something else
/// from now on, so those that failed before say nothing.
fn wake(tx: &mut Transaction<'_>, group: &str) -> Result<(), RefreshError> {
    groups::change(tx, group, backoff::forget)?;
    Ok(())
}
