//! Classic load balancers of groups. There are none to attach, so attaching and detaching are refused in AWS's words for names
//! that do not exist, and the list of those attached is empty.

use std::sync::Arc;

use puffer_inventory::groups;
use puffer_shapes::autoscaling as shape;

use super::error::required;
use super::paging;
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::AttachLoadBalancers, _>(attach);
    registry.serve::<shape::DetachLoadBalancers, _>(detach);
    registry.serve::<shape::DescribeLoadBalancers, _>(load_balancers);
}

async fn attach(
    cx: Arc<Ctx>,
    input: shape::AttachLoadBalancersType,
) -> Result<shape::AttachLoadBalancersResultType, ApiError> {
    group_exists(&cx, input.auto_scaling_group_name)?;
    match input.load_balancer_names.unwrap_or_default().is_empty() {
        true => Ok(shape::AttachLoadBalancersResultType {}),
        false => Err(ApiError::validation(
            "Provided Load Balancers may not be valid. Please ensure they exist and try again.",
        )),
    }
}

async fn detach(
    cx: Arc<Ctx>,
    input: shape::DetachLoadBalancersType,
) -> Result<shape::DetachLoadBalancersResultType, ApiError> {
    group_exists(&cx, input.auto_scaling_group_name)?;
    match input.load_balancer_names.unwrap_or_default().is_empty() {
        true => Ok(shape::DetachLoadBalancersResultType {}),
        false => Err(ApiError::validation("Trying to remove Load Balancers that are not part of the group.")),
    }
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
    paging::empty(input.next_token.as_deref(), input.max_records)?;
    Ok(shape::DescribeLoadBalancersResponse { load_balancers: Some(Vec::new()), next_token: None })
}
