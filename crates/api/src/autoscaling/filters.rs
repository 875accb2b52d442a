//! Filters of the describe calls for groups and tags.

use puffer_core::autoscaling::{Group, GroupTag};
use puffer_shapes::autoscaling::Filter;

use crate::ApiError;

/// A group passes if it passes every filter; a filter if any of its values matches.
pub(super) fn group_passes(group: &Group, filters: &[Filter]) -> Result<bool, ApiError> {
    for filter in filters {
        let name = filter.name.as_deref().unwrap_or_default();
        let values = filter.values.as_deref().unwrap_or_default();
        let any = |has: &dyn Fn(&str) -> bool| values.iter().any(|v| has(v));
        let passes = match name {
            "tag-key" => any(&|v| group.tags.contains_key(v)),
            "tag-value" => any(&|v| group.tags.values().any(|t| t.value == v)),
            _ => match name.strip_prefix("tag:") {
                Some(key) => any(&|v| group.tags.get(key).is_some_and(|t| t.value == v)),
                None => return Err(unknown(name)),
            },
        };
        if !passes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same for one tag of a group.
pub(super) fn tag_passes(
    group: &str,
    key: &str,
    tag: &GroupTag,
    filters: &[Filter],
) -> Result<bool, ApiError> {
    for filter in filters {
        let name = filter.name.as_deref().unwrap_or_default();
        let value = match name {
            "auto-scaling-group" => group,
            "key" => key,
            "value" => &tag.value,
            "propagate-at-launch" => match tag.propagate_at_launch {
                true => "true",
                false => "false",
            },
            _ => return Err(unknown(name)),
        };
        if !filter.values.iter().flatten().any(|v| v == value) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn unknown(name: &str) -> ApiError {
    ApiError::validation(format!("Filter type {name} is not correct."))
}
