//! Warm pools.

use std::sync::Arc;

use puffer_core::autoscaling::warm_pool::{PoolState, Unfit, WarmPool, check_mixed};
use puffer_core::autoscaling::{Group, Member, RefreshStrategy};
use puffer_inventory::{group_step, groups, refreshes};
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;

use super::describe_groups::{member, signed};
use super::error::{Refused, natural, required};
use super::paging::{self, PageSize};
use crate::{ApiError, Ctx, Registry};

/// Instances on a page.
const PAGE: PageSize = PageSize { default: 50, max: 50 };

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::PutWarmPool, _>(put);
    registry.serve::<shape::DescribeWarmPool, _>(describe);
    registry.serve::<shape::DeleteWarmPool, _>(delete);
}

/// Makes or changes a pool; what is not given stays as it is.
async fn put(cx: Arc<Ctx>, input: shape::PutWarmPoolType) -> Result<shape::PutWarmPoolAnswer, ApiError> {
    let name = required(input.auto_scaling_group_name.clone(), "autoScalingGroupName")?;
    cx.store
        .transact::<_, Refused>(|tx| {
            let group = groups::active(&tx.reader(), &name)?;
            check_source(&tx.reader(), &group)?;
            if let Some(refresh) = refreshes::active(&tx.reader(), &name) {
                if refresh.strategy == RefreshStrategy::ReplaceRootVolume {
                    return Err(ApiError::validation(
                        "An instance refresh with the strategy ReplaceRootVolume is in progress. Such a group cannot have a warm pool.",
                    )
                    .into());
                }
                if let Some(desired) = &refresh.desired {
                    check_source(&tx.reader(), &refreshes::from_source(&group, Some(desired)))?;
                }
            }
            let mut pool = group.warm_pool.clone().unwrap_or_default();
            if pool.deleting {
                return Err(ApiError::validation("The warm pool of this group is being deleted.").into());
            }
            apply(&mut pool, &input)?;
            groups::change(tx, &name, |g| g.warm_pool = Some(pool))?;
            Ok(())
        })
        .await?;
    Ok(shape::PutWarmPoolAnswer::default())
}

/// Whether what a group launches, now or by its instance refresh, can wait in a warm pool: for all that make a pool, or change
/// what a group with one launches.
pub(super) fn check_source(r: &Reader<'_>, group: &Group) -> Result<(), ApiError> {
    check_mixed(group).map_err(|unfit| {
        ApiError::validation(match unfit {
            Unfit::Weights => {
                "An Auto Scaling group whose mixed instances policy weights instances (WeightedCapacity, or a \
                 DesiredCapacityType other than units) cannot have a warm pool."
            }
            Unfit::Spot => {
                "An Auto Scaling group whose mixed instances policy launches Spot Instances cannot have a warm pool: its \
                 OnDemandPercentageAboveBaseCapacity must be 100."
            }
        })
    })?;
    match group_step::launch_request(r, group) {
        Ok(request) if request.spot.is_some() => Err(ApiError::validation(
            "An Auto Scaling group that launches Spot Instances cannot have a warm pool.",
        )),
        _ => Ok(()),
    }
}

fn apply(pool: &mut WarmPool, input: &shape::PutWarmPoolType) -> Result<(), ApiError> {
    if let Some(min) = input.min_size {
        pool.min_size = natural(min, "MinSize")?;
    }
    match input.max_group_prepared_capacity {
        None => {}
        // -1 takes the setting away: the group's maximum holds again.
        Some(-1) => pool.max_prepared = None,
        Some(n) => pool.max_prepared = Some(natural(n, "MaxGroupPreparedCapacity")?),
    }
    pool.state = match input.pool_state.as_deref() {
        None => pool.state,
        Some("Stopped") => PoolState::Stopped,
        Some("Running") => PoolState::Running,
        // A frozen guest would be back as soon, but would keep its memory and would not outlive the host: that is not hibernation.
        Some("Hibernated") => {
            return Err(ApiError::sender(
                "UnsupportedOperation",
                "PoolState Hibernated is not supported by Puffer: nothing writes the memory of an instance to its disk, so no \
                 launch template can have HibernationOptions. PoolState Running is the quickest to come, Stopped the cheapest \
                 to keep.",
            ));
        }
        Some(other) => return Err(ApiError::validation(format!("Invalid pool state: {other}"))),
    };
    if let Some(policy) = &input.instance_reuse_policy {
        pool.reuse_on_scale_in = policy.reuse_on_scale_in.unwrap_or(false);
    }
    Ok(())
}

/// A pool's settings as the API shows them.
pub(super) fn configuration(pool: &WarmPool) -> shape::WarmPoolConfiguration {
    shape::WarmPoolConfiguration {
        max_group_prepared_capacity: pool.max_prepared.map(signed),
        min_size: Some(signed(pool.min_size)),
        pool_state: Some(pool.state.name().to_owned()),
        status: pool.deleting.then(|| "PendingDelete".to_owned()),
        instance_reuse_policy: pool
            .reuse_on_scale_in
            .then_some(shape::InstanceReusePolicy { reuse_on_scale_in: Some(true) }),
    }
}

async fn describe(
    cx: Arc<Ctx>,
    input: shape::DescribeWarmPoolType,
) -> Result<shape::DescribeWarmPoolAnswer, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let size = PAGE.of(input.max_records)?;
    cx.store.read(|r| {
        let group = groups::active(r, &name)?;
        let mut found: Vec<Arc<Member>> = groups::members(r, &name);
        found.retain(|m| m.state.is_of_pool());
        let (page, next_token) =
            paging::page(found, |m| m.instance_id.clone(), input.next_token.as_deref(), size)?;
        Ok(shape::DescribeWarmPoolAnswer {
            warm_pool_configuration: group.warm_pool.as_ref().map(configuration),
            instances: Some(page.iter().map(|m| member(r, &group, m)).collect()),
            next_token,
        })
    })
}

/// Without force, only an empty pool goes; with it, its instances go first.
async fn delete(
    cx: Arc<Ctx>,
    input: shape::DeleteWarmPoolType,
) -> Result<shape::DeleteWarmPoolAnswer, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let force = input.force_delete.unwrap_or(false);
    cx.store
        .transact::<_, Refused>(|tx| {
            let group = groups::active(&tx.reader(), &name)?;
            if group.warm_pool.is_none() {
                return Err(ApiError::validation(format!("No warm pool found for Auto Scaling group {name}.")).into());
            }
            let holds = groups::members(&tx.reader(), &name).iter().any(|m| m.state.is_of_pool());
            if holds && !force {
                return Err(ApiError::sender(
                    "ResourceInUse",
                    "You cannot delete a warm pool while there are instances in it. Use ForceDelete to end them.",
                )
                .into());
            }
            groups::change(tx, &name, |g| match &mut g.warm_pool {
                Some(pool) if holds => {
                    (pool.deleting, pool.min_size) = (true, 0);
                }
                pool => *pool = None,
            })?;
            Ok(())
        })
        .await?;
    Ok(shape::DeleteWarmPoolAnswer::default())
}
