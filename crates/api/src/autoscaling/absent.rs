//! Describe calls for what cannot be made yet: nothing of it exists, so an empty list is the truth. The calls that would
//! make it have no handler and answer `InvalidAction`.

use std::sync::Arc;

use puffer_inventory::groups;
use puffer_shapes::autoscaling as shape;

use super::error::required;
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::DescribeLoadBalancers, _>(load_balancers);
}

fn group_exists(cx: &Ctx, name: Option<String>) -> Result<(), ApiError> {
    let name = required(name, "autoScalingGroupName")?;
    Ok(cx.store.read(|r| groups::active(r, &name).map(drop))?)
}

async fn load_balancers(
    cx: Arc<Ctx>,
    input: shape::DescribeLoadBalancersRequest,
) -> Result<shape::DescribeLoadBalancersResponse, ApiError> {
    group_exists(&cx, input.auto_scaling_group_name)?;
    Ok(shape::DescribeLoadBalancersResponse { load_balancers: Some(Vec::new()), next_token: None })
}
