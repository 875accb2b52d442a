use std::cmp::Reverse;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::autoscaling::{Activity, Group};
use puffer_shapes::autoscaling as shape;
use puffer_wire::EpochMillis;

use super::paging::{self, PageSize};
use crate::{ApiError, Ctx, Registry};

/// This list alone has pages of 100 when the request does not say.
const PAGE: PageSize = PageSize { default: 100, max: 100 };

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::DescribeScalingActivities, _>(describe);
}

/// Those in progress first, then the newest first.
pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shape::DescribeScalingActivitiesType,
) -> Result<shape::ActivitiesType, ApiError> {
    let size = PAGE.of(input.max_records)?;
    let filters = Filters::of(input.filters.as_deref().unwrap_or_default())?;
    let with_deleted = input.include_deleted_groups.unwrap_or(false);
    let ids = input.activity_ids.unwrap_or_default();
    let found = cx.store.read(|r| {
        let mut found: Vec<Arc<Activity>> = match (&input.auto_scaling_group_name, ids.is_empty()) {
            (Some(group), _) => {
                if r.get::<Group>(group).is_none() && !with_deleted {
                    return Err(ApiError::validation(format!(
                        "AutoScalingGroup name not found - AutoScalingGroup '{group}' not found"
                    )));
                }
                r.list_by("group", group)
            }
            (None, false) => ids.iter().filter_map(|id| r.get(id)).collect(),
            (None, true) => r.list(),
        };
        found.retain(|a| (ids.is_empty() || ids.contains(&a.id)) && filters.pass(a));
        // A group made anew under an old name has its own history.
        found.retain(|a| with_deleted || r.get::<Group>(&a.group).is_some_and(|g| g.arn == a.group_arn));
        Ok(found)
    })?;
    let order = |a: &Arc<Activity>| (a.status.is_final(), Reverse(a.started_at), a.id.clone());
    let (page, next_token) = paging::page(found, order, input.next_token.as_deref(), size)?;
    let activities = cx.store.read(|r| {
        let is_of_old = |a: &Activity| r.get::<Group>(&a.group).is_none_or(|g| g.arn != a.group_arn);
        page.iter().map(|a| shape_of(a, if is_of_old(a) { "Deleted" } else { "InService" })).collect()
    });
    Ok(shape::ActivitiesType { activities: Some(activities), next_token })
}

/// What `Filters` asks for: each bound holds, and one of the statuses if any is named.
#[derive(Default)]
struct Filters {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    statuses: Vec<String>,
}

impl Filters {
    fn of(given: &[shape::Filter]) -> Result<Filters, ApiError> {
        let mut filters = Filters::default();
        for filter in given {
            let name = filter.name.as_deref().unwrap_or_default();
            let values = filter.values.as_deref().unwrap_or_default();
            let time = || match values {
                [one] => Timestamp::parse_rfc3339(one).ok_or_else(|| {
                    ApiError::validation(format!(
                        "The value {one} of the filter {name} is no time with a zone."
                    ))
                }),
                _ => Err(ApiError::validation(format!("The filter {name} takes one value."))),
            };
            match name {
                "StartTimeLowerBound" => filters.from = Some(time()?),
                "StartTimeUpperBound" => filters.to = Some(time()?),
                "Status" => filters.statuses.extend_from_slice(values),
                other => return Err(ApiError::validation(format!("Filter type {other} is not correct."))),
            }
        }
        Ok(filters)
    }

    fn pass(&self, a: &Activity) -> bool {
        self.from.is_none_or(|from| from <= a.started_at)
            && self.to.is_none_or(|to| a.started_at <= to)
            && (self.statuses.is_empty() || self.statuses.iter().any(|s| s == a.status.name()))
    }
}

/// An activity of a group that exists, as the API shows it.
pub(super) fn of_group(a: &Activity) -> shape::Activity {
    shape_of(a, "InService")
}

fn shape_of(a: &Activity, group_state: &str) -> shape::Activity {
    shape::Activity {
        activity_id: Some(a.id.clone()),
        auto_scaling_group_name: Some(a.group.clone()),
        description: Some(a.description.clone()),
        cause: Some(a.cause_text()),
        start_time: Some(EpochMillis(a.started_at.as_millis())),
        end_time: a.ended_at.map(|t| EpochMillis(t.as_millis())),
        status_code: Some(a.status.name().to_owned()),
        status_message: a.status_message.clone(),
        progress: Some(i32::from(a.progress)),
        details: Some(a.details.clone()),
        auto_scaling_group_state: Some(group_state.to_owned()),
        auto_scaling_group_arn: Some(a.group_arn.clone()),
    }
}
