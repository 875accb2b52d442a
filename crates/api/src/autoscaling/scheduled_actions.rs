use std::sync::Arc;

use puffer_core::autoscaling::schedule::{Due, ScheduledAction, Sizes, Timing};
use puffer_core::autoscaling::texts;
use puffer_core::{Record, Timestamp, ids};
use puffer_inventory::groups::{self, GroupError};
use puffer_inventory::scheduled_actions::{self, ScheduleError, Wanted};
use puffer_shapes::autoscaling as shape;
use puffer_wire::EpochMillis;

use super::describe_groups::signed;
use super::error::{Refused, natural, required};
use super::paging::{self, USUAL};
use crate::{ApiError, Ctx, Registry};

/// Actions in one batch call, and names in one describe call (the API reference's limit).
const BATCH_MAX: usize = 50;

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::PutScheduledUpdateGroupAction, _>(put);
    registry.serve::<shape::DescribeScheduledActions, _>(describe);
    registry.serve::<shape::DeleteScheduledAction, _>(delete);
    registry.serve::<shape::BatchPutScheduledUpdateGroupAction, _>(batch_put);
    registry.serve::<shape::BatchDeleteScheduledAction, _>(batch_delete);
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        let text = error.to_string();
        match error {
            ScheduleError::Group(error) => error.into(),
            ScheduleError::Store(error) => ApiError::internal(&error),
            ScheduleError::SameTime(_) => ApiError::declared(&shape::errors::ALREADY_EXISTS_FAULT, text),
            ScheduleError::TooMany => ApiError::declared(&shape::errors::LIMIT_EXCEEDED_FAULT, text),
            ScheduleError::Timing(_) | ScheduleError::Sizes(_) | ScheduleError::NotFound(_) => {
                ApiError::validation(text)
            }
        }
    }
}

fn time(at: EpochMillis) -> Timestamp {
    // Schedules are in whole seconds.
    Timestamp::from_millis(at.0).floor_to(1)
}

/// What is common to the single and the batch call.
fn wanted<'a>(
    cx: &Ctx,
    group: &str,
    input: &'a shape::ScheduledUpdateGroupActionRequest,
) -> Result<Wanted<'a>, ApiError> {
    let name = required(input.scheduled_action_name.as_deref(), "scheduledActionName")?;
    let size = |n: Option<i32>, what| n.map(|n| natural(n, what)).transpose();
    let given = |text: &'a Option<String>| text.as_deref().filter(|t| !t.is_empty());
    let uuid = ids::uuid(&mut **cx.rng.lock());
    Ok(Wanted {
        name,
        arn: texts::scheduled_action_arn(&cx.region, &cx.account, &uuid, group, name),
        timing: Timing {
            start: input.start_time.map(time),
            end: input.end_time.map(time),
            recurrence: given(&input.recurrence),
            time_zone: given(&input.time_zone),
        },
        sizes: Sizes {
            min: size(input.min_size, "MinSize")?,
            max: size(input.max_size, "MaxSize")?,
            desired: size(input.desired_capacity, "DesiredCapacity")?,
        },
    })
}

async fn put(cx: Arc<Ctx>, input: shape::PutScheduledUpdateGroupActionType) -> Result<(), ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    if let (Some(old), Some(new)) = (input.time, input.start_time)
        && old != new
    {
        return Err(ApiError::validation("Time and StartTime are the same setting and must not differ"));
    }
    let request = shape::ScheduledUpdateGroupActionRequest {
        scheduled_action_name: input.scheduled_action_name,
        start_time: input.start_time.or(input.time),
        end_time: input.end_time,
        recurrence: input.recurrence,
        min_size: input.min_size,
        max_size: input.max_size,
        desired_capacity: input.desired_capacity,
        time_zone: input.time_zone,
    };
    let wanted = wanted(&cx, &group, &request)?;
    let now = cx.clock.now();
    cx.store
        .transact::<_, ScheduleError>(|tx| scheduled_actions::put(tx, &group, &wanted, now).map(drop))
        .await?;
    Ok(())
}

async fn batch_put(
    cx: Arc<Ctx>,
    input: shape::BatchPutScheduledUpdateGroupActionType,
) -> Result<shape::BatchPutScheduledUpdateGroupActionAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let requests = required(input.scheduled_update_group_actions, "scheduledUpdateGroupActions")?;
    check_batch(requests.len(), "scheduledUpdateGroupActions")?;
    let now = cx.clock.now();
    let failed = cx
        .store
        .transact::<_, Refused>(|tx| {
            groups::active(&tx.reader(), &group)?;
            let mut failed = Vec::new();
            for request in &requests {
                let made = wanted(&cx, &group, request).and_then(|wanted| {
                    scheduled_actions::put(tx, &group, &wanted, now).map(drop).map_err(ApiError::from)
                });
                failed.extend(made.err().map(|e| failure(request.scheduled_action_name.as_deref(), e)));
            }
            Ok(failed)
        })
        .await?;
    Ok(shape::BatchPutScheduledUpdateGroupActionAnswer {
        failed_scheduled_update_group_actions: Some(failed),
    })
}

fn check_batch(n: usize, what: &str) -> Result<(), ApiError> {
    match n {
        0 => Err(ApiError::validation(format!("{what} must not be empty"))),
        n if n > BATCH_MAX => {
            Err(ApiError::validation(format!("{what} has {n} elements, but at most {BATCH_MAX} are allowed")))
        }
        _ => Ok(()),
    }
}

fn failure(name: Option<&str>, error: ApiError) -> shape::FailedScheduledUpdateGroupActionRequest {
    shape::FailedScheduledUpdateGroupActionRequest {
        scheduled_action_name: name.map(str::to_owned),
        error_code: Some(error.code.into_owned()),
        error_message: Some(error.message),
    }
}

async fn delete(cx: Arc<Ctx>, input: shape::DeleteScheduledActionType) -> Result<(), ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let name = required(input.scheduled_action_name, "scheduledActionName")?;
    cx.store.transact::<_, ScheduleError>(|tx| scheduled_actions::remove(tx, &group, &name)).await?;
    Ok(())
}

async fn batch_delete(
    cx: Arc<Ctx>,
    input: shape::BatchDeleteScheduledActionType,
) -> Result<shape::BatchDeleteScheduledActionAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let names = required(input.scheduled_action_names, "scheduledActionNames")?;
    check_batch(names.len(), "scheduledActionNames")?;
    let failed = cx
        .store
        .transact::<_, Refused>(|tx| {
            groups::active(&tx.reader(), &group)?;
            let remove = |name: &String| match scheduled_actions::remove(tx, &group, name) {
                Ok(()) => None,
                Err(error) => Some(failure(Some(name), error.into())),
            };
            Ok(names.iter().filter_map(remove).collect())
        })
        .await?;
    Ok(shape::BatchDeleteScheduledActionAnswer { failed_scheduled_actions: Some(failed) })
}

async fn describe(
    cx: Arc<Ctx>,
    input: shape::DescribeScheduledActionsType,
) -> Result<shape::ScheduledActionsType, ApiError> {
    let size = USUAL.of(input.max_records)?;
    let names = input.scheduled_action_names.unwrap_or_default();
    if names.len() > BATCH_MAX {
        return Err(ApiError::validation(format!("At most {BATCH_MAX} scheduled action names may be given")));
    }
    let (from, to) = (input.start_time.map(time), input.end_time.map(time));
    let found = cx.store.read(|r| {
        let mut found = match &input.auto_scaling_group_name {
            Some(group) => {
                groups::active(r, group)?;
                scheduled_actions::of_group(r, group)
            }
            None => r.list::<ScheduledAction>(),
        };
        match names.is_empty() {
            // The times narrow the list only when no names do.
            true => found.retain(|a| {
                from.is_none_or(|from| a.due.at() >= from) && to.is_none_or(|to| a.due.at() <= to)
            }),
            false => found.retain(|a| names.contains(&a.name) || names.contains(&a.arn)),
        }
        Ok::<_, GroupError>(found)
    })?;
    let (page, next_token) = paging::page(found, |a| a.key(), input.next_token.as_deref(), size)?;
    let shapes = page.iter().map(|a| shape_of(a)).collect();
    Ok(shape::ScheduledActionsType { scheduled_update_group_actions: Some(shapes), next_token })
}

/// `StartTime` is when the action runs next, as on AWS, where it moves on with each run; `Time` mirrors it.
fn shape_of(a: &ScheduledAction) -> shape::ScheduledUpdateGroupAction {
    let start = match a.due {
        Due::Run(at) => Some(EpochMillis(at.as_millis())),
        Due::Expire(_) => a.start.map(|at| EpochMillis(at.as_millis())),
    };
    shape::ScheduledUpdateGroupAction {
        auto_scaling_group_name: Some(a.group.clone()),
        scheduled_action_name: Some(a.name.clone()),
        scheduled_action_arn: Some(a.arn.clone()),
        time: start,
        start_time: start,
        end_time: a.end.map(|at| EpochMillis(at.as_millis())),
        recurrence: a.recurrence.clone(),
        min_size: a.sizes.min.map(signed),
        max_size: a.sizes.max.map(signed),
        desired_capacity: a.sizes.desired.map(signed),
        time_zone: a.time_zone.clone(),
    }
}
