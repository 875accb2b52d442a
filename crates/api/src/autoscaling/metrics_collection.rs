use std::sync::Arc;

use puffer_inventory::groups::{self, GroupError};
use puffer_shapes::autoscaling as shape;

use super::error::required;
use crate::{ApiError, Ctx, Registry};

/// The metrics of a group that this version publishes.
pub(super) const METRICS: &[&str] = &[
    "GroupDesiredCapacity",
    "GroupInServiceCapacity",
    "GroupInServiceInstances",
    "GroupMaxSize",
    "GroupMinSize",
    "GroupPendingCapacity",
    "GroupPendingInstances",
    "GroupStandbyCapacity",
    "GroupStandbyInstances",
    "GroupTerminatingCapacity",
    "GroupTerminatingInstances",
    "GroupTerminatingRetainedCapacity",
    "GroupTerminatingRetainedInstances",
    "GroupTotalCapacity",
    "GroupTotalInstances",
    "GroupAndWarmPoolDesiredCapacity",
    "GroupAndWarmPoolTotalCapacity",
    "WarmPoolDesiredCapacity",
    "WarmPoolMinSize",
    "WarmPoolPendingCapacity",
    "WarmPoolPendingRetainedCapacity",
    "WarmPoolTerminatingCapacity",
    "WarmPoolTerminatingRetainedCapacity",
    "WarmPoolTotalCapacity",
    "WarmPoolWarmedCapacity",
];

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::EnableMetricsCollection, _>(enable);
    registry.serve::<shape::DisableMetricsCollection, _>(disable);
}

async fn enable(cx: Arc<Ctx>, input: shape::EnableMetricsCollectionQuery) -> Result<(), ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let granularity = required(input.granularity, "granularity")?;
    if granularity != "1Minute" {
        return Err(ApiError::validation(format!(
            "Invalid granularity {granularity}: the only one is 1Minute."
        )));
    }
    let metrics = chosen(input.metrics)?;
    cx.store
        .transact::<_, GroupError>(|tx| {
            groups::change(tx, &group, |g| {
                g.metrics_collection.metrics.extend(metrics.iter().map(|m| (*m).to_owned()));
            })
            .map(drop)
        })
        .await?;
    Ok(())
}

async fn disable(cx: Arc<Ctx>, input: shape::DisableMetricsCollectionQuery) -> Result<(), ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let metrics = chosen(input.metrics)?;
    cx.store
        .transact::<_, GroupError>(|tx| {
            groups::change(tx, &group, |g| {
                g.metrics_collection.metrics.retain(|m| !metrics.contains(&m.as_str()));
            })
            .map(drop)
        })
        .await?;
    Ok(())
}

fn chosen(names: Option<Vec<String>>) -> Result<Vec<&'static str>, ApiError> {
    let names = names.unwrap_or_default();
    if names.is_empty() {
        return Ok(METRICS.to_vec());
    }
    names
        .iter()
        .map(|name| {
            METRICS.iter().copied().find(|known| known == name).ok_or_else(|| {
                ApiError::validation(format!(
                    "Group metric {name} is not known. Known: {}",
                    METRICS.join(", ")
                ))
            })
        })
        .collect()
}
