//! Instance refreshes: start, look, cancel, turn back.

use std::cmp::Reverse;
use std::sync::Arc;

use puffer_core::autoscaling::maintenance::REFRESH_MIN_HEALTHY_PERCENT;
use puffer_core::autoscaling::refresh::{
    ALARMS_MAX, CHECKPOINT_DELAY_S, DesiredConfiguration, Progress, Reserved, Rollback, WAIT_MAX_S,
};
use puffer_core::autoscaling::{
    Group, InstanceRefresh, InstanceSource, RefreshPreferences, RefreshStatus, RefreshStrategy,
};
use puffer_core::{Timestamp, ids};
use puffer_inventory::groups;
use puffer_inventory::refreshes::{self, RefreshError};
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;
use puffer_wire::EpochMillis;

use super::describe_groups::signed;
use super::error::{Refused, natural, required};
use super::paging::{self, USUAL};
use super::{maintenance, mixed_policy, source, warm_pools};
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::StartInstanceRefresh, _>(start);
    registry.serve::<shape::DescribeInstanceRefreshes, _>(describe);
    registry.serve::<shape::CancelInstanceRefresh, _>(cancel);
    registry.serve::<shape::RollbackInstanceRefresh, _>(roll_back);
}

async fn start(
    cx: Arc<Ctx>,
    input: shape::StartInstanceRefreshType,
) -> Result<shape::StartInstanceRefreshAnswer, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let strategy = match input.strategy.as_deref() {
        None => RefreshStrategy::Rolling,
        Some(text) => RefreshStrategy::parse(text)
            .ok_or_else(|| ApiError::validation(format!("Invalid value for Strategy: {text}")))?,
    };
    let given = input.preferences.unwrap_or_default();
    let in_place = strategy == RefreshStrategy::ReplaceRootVolume;
    if in_place && given.max_healthy_percentage.is_some_and(|percent| percent > 100) {
        return Err(ApiError::validation(
            "MaxHealthyPercentage must not be more than 100 with the strategy ReplaceRootVolume: nothing is launched ahead.",
        ));
    }
    let id = ids::uuid(&mut **cx.rng.lock());
    let now = cx.clock.now();
    cx.store
        .transact::<_, Refused>(|tx| {
            let r = tx.reader();
            let group = groups::active(&r, &name)?;
            let mut preferences = preferences(&r, &group, &given)?;
            if in_place {
                preferences.max_healthy = None;
            }
            let desired = input.desired_configuration.as_ref().map(|d| desired(&r, &group, d)).transpose()?;
            if group.warm_pool.is_some() && desired.is_some() {
                warm_pools::check_source(&r, &refreshes::from_source(&group, desired.as_ref()))?;
            }
            refreshes::start(tx, &name, &id, preferences, desired, strategy, now).map_err(refused)?;
            Ok(())
        })
        .await?;
    Ok(shape::StartInstanceRefreshAnswer { instance_refresh_id: Some(id) })
}

/// The newest first.
async fn describe(
    cx: Arc<Ctx>,
    input: shape::DescribeInstanceRefreshesType,
) -> Result<shape::DescribeInstanceRefreshesAnswer, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let size = USUAL.of(input.max_records)?;
    let ids = input.instance_refresh_ids.unwrap_or_default();
    let mut found =
        cx.store.read(|r| Ok::<_, ApiError>(refreshes::of_group(r, &*groups::active(r, &name)?)))?;
    found.retain(|f| ids.is_empty() || ids.contains(&f.id));
    let order = |f: &Arc<InstanceRefresh>| (Reverse(f.created_at), f.id.clone());
    let (page, next_token) = paging::page(found, order, input.next_token.as_deref(), size)?;
    let instance_refreshes = Some(page.iter().map(|f| shape_of(f)).collect());
    Ok(shape::DescribeInstanceRefreshesAnswer { instance_refreshes, next_token })
}

async fn cancel(
    cx: Arc<Ctx>,
    input: shape::CancelInstanceRefreshType,
) -> Result<shape::CancelInstanceRefreshAnswer, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let waits = input.wait_for_transitioning_instances.unwrap_or(true);
    let now = cx.clock.now();
    let refresh = cx
        .store
        .transact::<_, Refused>(|tx| Ok(refreshes::cancel(tx, &name, waits, now).map_err(refused)?))
        .await?;
    Ok(shape::CancelInstanceRefreshAnswer { instance_refresh_id: Some(refresh.id.clone()) })
}

async fn roll_back(
    cx: Arc<Ctx>,
    input: shape::RollbackInstanceRefreshType,
) -> Result<shape::RollbackInstanceRefreshAnswer, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let now = cx.clock.now();
    let refresh = cx
        .store
        .transact::<_, Refused>(|tx| Ok(refreshes::roll_back(tx, &name, now).map_err(refused)?))
        .await?;
    Ok(shape::RollbackInstanceRefreshAnswer { instance_refresh_id: Some(refresh.id.clone()) })
}

fn refused(error: RefreshError) -> ApiError {
    let text = error.to_string();
    match error {
        RefreshError::Group(error) => error.into(),
        RefreshError::InProgress => ApiError::sender("InstanceRefreshInProgress", text),
        RefreshError::NotFound(_) => ApiError::sender("ActiveInstanceRefreshNotFound", text),
        RefreshError::RootVolume(_) => ApiError::validation(text),
        RefreshError::Irreversible(_) => ApiError::sender("IrreversibleInstanceRefresh", text),
        RefreshError::Store(error) => ApiError::internal(&error),
    }
}

/// A mixed instances policy says what changes of the group's own, as an update of the group does.
fn desired(
    r: &Reader<'_>,
    group: &Group,
    given: &shape::DesiredConfiguration,
) -> Result<DesiredConfiguration, ApiError> {
    match (&given.launch_template, &given.mixed_instances_policy) {
        (Some(template), None) => {
            Ok(DesiredConfiguration { source: source::launch_template(r, template)?, mixed: None })
        }
        (None, Some(policy)) => {
            let mut changed = group.clone();
            mixed_policy::update(r, &mut changed, policy)?;
            Ok(DesiredConfiguration { source: changed.source, mixed: changed.mixed })
        }
        _ => Err(ApiError::validation(
            "A desired configuration must contain either LaunchTemplate or MixedInstancesPolicy.",
        )),
    }
}

/// What is not given comes from the group, and else is what AWS has.
fn preferences(
    r: &Reader<'_>,
    group: &Group,
    given: &shape::RefreshPreferences,
) -> Result<RefreshPreferences, ApiError> {
    let (min_healthy, max_healthy) = healthy(group, given)?;
    let alarms = given.alarm_specification.as_ref().and_then(|s| s.alarms.clone()).unwrap_or_default();
    check_alarms(r, &alarms)?;
    let checkpoints = checkpoints(given)?;
    let wait = |value: Option<i32>, name: &str, default: u32| -> Result<u32, ApiError> {
        match value.map_or(Ok(default), |s| natural(s, name))? {
            s if s > WAIT_MAX_S => {
                Err(ApiError::validation(format!("{name} must not be more than {WAIT_MAX_S} seconds.")))
            }
            s => Ok(s),
        }
    };
    Ok(RefreshPreferences {
        min_healthy,
        max_healthy,
        warmup_s: given.instance_warmup.map_or(Ok(group.warmup_s()), |s| natural(s, "InstanceWarmup"))?,
        checkpoints,
        checkpoint_delay_s: wait(given.checkpoint_delay, "CheckpointDelay", CHECKPOINT_DELAY_S)?,
        skip_matching: given.skip_matching.unwrap_or(false),
        auto_rollback: given.auto_rollback.unwrap_or(false),
        protected: reserved(
            given.scale_in_protected_instances.as_deref(),
            "ScaleInProtectedInstances",
            "Refresh",
        )?,
        standby: reserved(given.standby_instances.as_deref(), "StandbyInstances", "Terminate")?,
        alarms,
        bake_s: wait(given.bake_time, "BakeTime", 0)?,
    })
}

fn healthy(group: &Group, given: &shape::RefreshPreferences) -> Result<(u32, Option<u32>), ApiError> {
    let policy = group.maintenance;
    match (given.min_healthy_percentage, given.max_healthy_percentage) {
        (Some(min), Some(max)) => maintenance::checked(min, max).map(|p| (p.min, Some(p.max))),
        (None, Some(_)) => Err(ApiError::validation(
            "MinHealthyPercentage must be specified when MaxHealthyPercentage is specified.",
        )),
        (Some(min), None) => {
            let min = maintenance::checked(min, 100)?.min;
            Ok((min, policy.map(|p| p.max.min(min + 100))))
        }
        (None, None) => Ok(policy.map_or((REFRESH_MIN_HEALTHY_PERCENT, None), |p| (p.min, Some(p.max)))),
    }
}

fn checkpoints(given: &shape::RefreshPreferences) -> Result<Vec<u32>, ApiError> {
    let percentages = given.checkpoint_percentages.as_deref().unwrap_or_default();
    if percentages.is_empty() && given.checkpoint_delay.is_some() {
        return Err(ApiError::validation("CheckpointDelay needs CheckpointPercentages."));
    }
    if percentages.windows(2).any(|pair| pair[0] >= pair[1])
        || percentages.iter().any(|percent| !(1..=100).contains(percent))
    {
        return Err(ApiError::validation(
            "CheckpointPercentages must be unique numbers from 1 to 100 in ascending order.",
        ));
    }
    percentages.iter().map(|percent| natural(*percent, "CheckpointPercentages")).collect()
}

fn check_alarms(r: &Reader<'_>, alarms: &[String]) -> Result<(), ApiError> {
    if alarms.len() > ALARMS_MAX {
        return Err(ApiError::validation(format!("At most {ALARMS_MAX} alarms can be specified.")));
    }
    match alarms.iter().find(|name| refreshes::alarm_state(r, name).is_none()) {
        Some(name) => Err(ApiError::validation(format!("The alarm {name} does not exist."))),
        None => Ok(()),
    }
}

fn reserved(value: Option<&str>, name: &str, replace: &str) -> Result<Reserved, ApiError> {
    match value {
        None | Some("Wait") => Ok(Reserved::Wait),
        Some("Ignore") => Ok(Reserved::Ignore),
        Some(other) if other == replace => Ok(Reserved::Replace),
        Some(other) => Err(ApiError::validation(format!("Invalid value for {name}: {other}"))),
    }
}

fn shape_of(f: &InstanceRefresh) -> shape::InstanceRefresh {
    let percent = if f.status == RefreshStatus::Pending { 0 } else { f.progress.percent() };
    shape::InstanceRefresh {
        instance_refresh_id: Some(f.id.clone()),
        auto_scaling_group_name: Some(f.group.clone()),
        status: Some(f.status.name().to_owned()),
        status_reason: f.reason.clone(),
        start_time: f.started_at.map(time),
        end_time: f.ended_at.map(time),
        percentage_complete: Some(signed(percent)),
        instances_to_update: Some(signed(f.progress.n_left)),
        progress_details: details(f.progress, f.warm_progress),
        preferences: Some(shape_of_preferences(&f.preferences)),
        desired_configuration: f.desired.as_ref().and_then(shape_of_desired),
        rollback_details: f.rollback.as_ref().map(shape_of_rollback),
        strategy: Some(f.strategy.name().to_owned()),
    }
}

fn time(at: Timestamp) -> EpochMillis {
    EpochMillis(at.as_millis())
}

/// Only where there is a warm pool is there more to say than the two numbers.
fn details(live: Progress, warm: Progress) -> Option<shape::InstanceRefreshProgressDetails> {
    (warm.n_total > 0).then(|| shape::InstanceRefreshProgressDetails {
        live_pool_progress: Some(shape::InstanceRefreshLivePoolProgress {
            percentage_complete: Some(signed(live.percent())),
            instances_to_update: Some(signed(live.n_left)),
        }),
        warm_pool_progress: Some(shape::InstanceRefreshWarmPoolProgress {
            percentage_complete: Some(signed(warm.percent())),
            instances_to_update: Some(signed(warm.n_left)),
        }),
    })
}

fn shape_of_preferences(p: &RefreshPreferences) -> shape::RefreshPreferences {
    let reserved = |value: Reserved, replace: &str| match value {
        Reserved::Replace => Some(replace.to_owned()),
        Reserved::Ignore => Some("Ignore".to_owned()),
        Reserved::Wait => Some("Wait".to_owned()),
    };
    let has_checkpoints = !p.checkpoints.is_empty();
    shape::RefreshPreferences {
        min_healthy_percentage: Some(signed(p.min_healthy)),
        max_healthy_percentage: p.max_healthy.map(signed),
        instance_warmup: Some(signed(p.warmup_s)),
        checkpoint_percentages: has_checkpoints.then(|| p.checkpoints.iter().map(|c| signed(*c)).collect()),
        checkpoint_delay: has_checkpoints.then(|| signed(p.checkpoint_delay_s)),
        skip_matching: Some(p.skip_matching),
        auto_rollback: Some(p.auto_rollback),
        scale_in_protected_instances: reserved(p.protected, "Refresh"),
        standby_instances: reserved(p.standby, "Terminate"),
        alarm_specification: (!p.alarms.is_empty())
            .then(|| shape::AlarmSpecification { alarms: Some(p.alarms.clone()) }),
        bake_time: (p.bake_s > 0).then(|| signed(p.bake_s)),
    }
}

fn shape_of_desired(desired: &DesiredConfiguration) -> Option<shape::DesiredConfiguration> {
    if let Some(policy) = &desired.mixed {
        let mixed_instances_policy = Some(mixed_policy::show(policy));
        return Some(shape::DesiredConfiguration { launch_template: None, mixed_instances_policy });
    }
    let InstanceSource::LaunchTemplate(t) = &desired.source else { return None };
    Some(shape::DesiredConfiguration {
        launch_template: Some(shape::LaunchTemplateSpecification {
            launch_template_id: Some(t.id.clone()),
            launch_template_name: Some(t.name.clone()),
            version: Some(t.version.clone()),
        }),
        mixed_instances_policy: None,
    })
}

fn shape_of_rollback(rollback: &Rollback) -> shape::RollbackDetails {
    shape::RollbackDetails {
        rollback_reason: Some(rollback.reason.clone()),
        rollback_start_time: Some(time(rollback.started_at)),
        percentage_complete_on_rollback: Some(signed(rollback.progress.percent())),
        instances_to_update_on_rollback: Some(signed(rollback.progress.n_left)),
        progress_details_on_rollback: details(rollback.progress, rollback.warm_progress),
    }
}
