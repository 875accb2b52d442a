//! Classic load balancers of a group, by name. They are traffic sources like target groups; see [`super::traffic`].

use std::sync::Arc;

use puffer_core::elb::arn::classic_name;
use puffer_inventory::groups;
use puffer_shapes::autoscaling as shape;

use super::error::required;
use super::paging::{self, USUAL};
use super::traffic::{self, Source};
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
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let names = required(input.load_balancer_names, "loadBalancerNames")?;
    let sources: Vec<Source<'_>> = names.iter().map(|n| Source::Classic(n)).collect();
    traffic::change(&cx, &name, &sources, true).await?;
    Ok(shape::AttachLoadBalancersResultType {})
}

async fn detach(
    cx: Arc<Ctx>,
    input: shape::DetachLoadBalancersType,
) -> Result<shape::DetachLoadBalancersResultType, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let names = required(input.load_balancer_names, "loadBalancerNames")?;
    let sources: Vec<Source<'_>> = names.iter().map(|n| Source::Classic(n)).collect();
    traffic::change(&cx, &name, &sources, false).await?;
    Ok(shape::DetachLoadBalancersResultType {})
}

async fn load_balancers(
    cx: Arc<Ctx>,
    input: shape::DescribeLoadBalancersRequest,
) -> Result<shape::DescribeLoadBalancersResponse, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let size = USUAL.of(input.max_records)?;
    let states = cx.store.read(|r| groups::active(r, &group).map(|g| traffic::states(r, &g)))?;
    let named = |(arn, state): (String, &'static str)| Some((classic_name(&arn)?.to_owned(), state));
    let found: Vec<(String, &str)> = states.into_iter().filter_map(named).collect();
    let (page, next_token) = paging::page(found, |(n, _)| n.clone(), input.next_token.as_deref(), size)?;
    let one = |(load_balancer_name, state): (String, &str)| shape::LoadBalancerState {
        load_balancer_name: Some(load_balancer_name),
        state: Some(state.to_owned()),
    };
    Ok(shape::DescribeLoadBalancersResponse {
        load_balancers: Some(page.into_iter().map(one).collect()),
        next_token,
    })
}
