//! Traffic sources of a group: target groups of Elastic Load Balancing, by either of the API's two families of calls.

use std::sync::Arc;

use puffer_core::autoscaling::Group;
use puffer_core::elb::TargetGroup;
use puffer_inventory::groups;
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;

use super::error::{Refused, required, unsupported};
use super::paging::{self, USUAL};
use crate::{ApiError, Ctx, Registry};

/// Target groups of a group (AWS's quota).
const TARGET_GROUPS_PER_GROUP_MAX: usize = 50;
/// The type of traffic source that is served.
const ELBV2: &str = "elbv2";

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::AttachLoadBalancerTargetGroups, _>(attach_target_groups);
    registry.serve::<shape::DetachLoadBalancerTargetGroups, _>(detach_target_groups);
    registry.serve::<shape::DescribeLoadBalancerTargetGroups, _>(describe_target_groups);
    registry.serve::<shape::AttachTrafficSources, _>(attach_traffic_sources);
    registry.serve::<shape::DetachTrafficSources, _>(detach_traffic_sources);
    registry.serve::<shape::DescribeTrafficSources, _>(describe_traffic_sources);
}

/// Attaches one target group; again is no change.
pub(super) fn attach(r: &Reader<'_>, group: &mut Group, arn: &str) -> Result<(), ApiError> {
    if r.get::<TargetGroup>(arn).is_none() {
        return Err(ApiError::validation(format!(
            "Target group ARN {arn} is not valid: no such target group."
        )));
    }
    if !group.target_groups.iter().any(|a| a == arn) {
        group.target_groups.push(arn.to_owned());
    }
    group.traffic_removing.remove(arn);
    if group.target_groups.len() > TARGET_GROUPS_PER_GROUP_MAX {
        return Err(ApiError::sender(
            "LimitExceeded",
            format!("A group can have at most {TARGET_GROUPS_PER_GROUP_MAX} target groups."),
        ));
    }
    Ok(())
}

/// Attaches traffic sources given by type and identifier.
pub(super) fn attach_sources(
    r: &Reader<'_>,
    group: &mut Group,
    sources: &[shape::TrafficSourceIdentifier],
) -> Result<(), ApiError> {
    for source in sources {
        attach(r, group, target_group_of(source)?)?;
    }
    Ok(())
}

/// A group's traffic sources as the API shows them.
pub(super) fn sources_of(group: &Group) -> Vec<shape::TrafficSourceIdentifier> {
    let one = |arn: &String| shape::TrafficSourceIdentifier {
        identifier: Some(arn.clone()),
        type_: Some(ELBV2.to_owned()),
    };
    group.target_groups.iter().map(one).collect()
}

fn target_group_of(source: &shape::TrafficSourceIdentifier) -> Result<&str, ApiError> {
    let identifier = source.identifier.as_deref().unwrap_or_default();
    let is_target_group = identifier.contains(":targetgroup/");
    match source.type_.as_deref() {
        Some(ELBV2) => Ok(identifier),
        None if is_target_group => Ok(identifier),
        Some("elb") | None => Err(unsupported("A classic load balancer as traffic source")),
        Some("vpc-lattice") => Err(unsupported("VPC Lattice as traffic source")),
        Some(other) => Err(ApiError::validation(format!("Invalid traffic source type: {other}"))),
    }
}

async fn attach_target_groups(
    cx: Arc<Ctx>,
    input: shape::AttachLoadBalancerTargetGroupsType,
) -> Result<shape::AttachLoadBalancerTargetGroupsResultType, ApiError> {
    let arns = required(input.target_group_arns, "targetGroupARNs")?;
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    change(&cx, &name, &arns, true).await?;
    Ok(shape::AttachLoadBalancerTargetGroupsResultType::default())
}

async fn detach_target_groups(
    cx: Arc<Ctx>,
    input: shape::DetachLoadBalancerTargetGroupsType,
) -> Result<shape::DetachLoadBalancerTargetGroupsResultType, ApiError> {
    let arns = required(input.target_group_arns, "targetGroupARNs")?;
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    change(&cx, &name, &arns, false).await?;
    Ok(shape::DetachLoadBalancerTargetGroupsResultType::default())
}

async fn attach_traffic_sources(
    cx: Arc<Ctx>,
    input: shape::AttachTrafficSourcesType,
) -> Result<shape::AttachTrafficSourcesResultType, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let arns = arns_of(&required(input.traffic_sources, "trafficSources")?)?;
    change(&cx, &name, &arns, true).await?;
    Ok(shape::AttachTrafficSourcesResultType::default())
}

async fn detach_traffic_sources(
    cx: Arc<Ctx>,
    input: shape::DetachTrafficSourcesType,
) -> Result<shape::DetachTrafficSourcesResultType, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let arns = arns_of(&required(input.traffic_sources, "trafficSources")?)?;
    change(&cx, &name, &arns, false).await?;
    Ok(shape::DetachTrafficSourcesResultType::default())
}

fn arns_of(sources: &[shape::TrafficSourceIdentifier]) -> Result<Vec<String>, ApiError> {
    sources.iter().map(|s| target_group_of(s).map(str::to_owned)).collect()
}

async fn change(cx: &Ctx, name: &str, arns: &[String], attaching: bool) -> Result<(), ApiError> {
    cx.store
        .transact::<_, Refused>(|tx| {
            let mut group = Group::clone(&*groups::active(&tx.reader(), name)?);
            for arn in arns {
                if attaching {
                    attach(&tx.reader(), &mut group, arn)?;
                } else {
                    detach(&mut group, arn)?;
                }
            }
            group.generation += 1;
            tx.put(group);
            Ok(())
        })
        .await?;
    Ok(())
}

/// The converger deregisters the members and forgets the target group when the last one has gone.
fn detach(group: &mut Group, arn: &str) -> Result<(), ApiError> {
    let Some(at) = group.target_groups.iter().position(|a| a == arn) else {
        return Err(ApiError::validation(format!(
            "Trying to remove Target Groups that are not part of the group: {arn}"
        )));
    };
    group.target_groups.remove(at);
    group.traffic_in_service.remove(arn);
    group.traffic_removing.insert(arn.to_owned());
    Ok(())
}

/// Target groups with their states of attachment.
fn states(group: &Group) -> Vec<(String, &'static str)> {
    let attached = group.target_groups.iter().map(|arn| {
        let state = if group.traffic_in_service.contains(arn) { "InService" } else { "Added" };
        (arn.clone(), state)
    });
    attached.chain(group.traffic_removing.iter().map(|arn| (arn.clone(), "Removing"))).collect()
}

async fn describe_target_groups(
    cx: Arc<Ctx>,
    input: shape::DescribeLoadBalancerTargetGroupsRequest,
) -> Result<shape::DescribeLoadBalancerTargetGroupsResponse, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let size = USUAL.of(input.max_records)?;
    let found = states(&*cx.store.read(|r| groups::active(r, &name))?);
    let (page, next_token) = paging::page(found, |(arn, _)| arn.clone(), input.next_token.as_deref(), size)?;
    let one = |(arn, state): (String, &str)| shape::LoadBalancerTargetGroupState {
        load_balancer_target_group_arn: Some(arn),
        state: Some(state.to_owned()),
    };
    Ok(shape::DescribeLoadBalancerTargetGroupsResponse {
        load_balancer_target_groups: Some(page.into_iter().map(one).collect()),
        next_token,
    })
}

async fn describe_traffic_sources(
    cx: Arc<Ctx>,
    input: shape::DescribeTrafficSourcesRequest,
) -> Result<shape::DescribeTrafficSourcesResponse, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let size = PAGE_OF_SOURCES.of(input.max_records)?;
    let mut found = states(&*cx.store.read(|r| groups::active(r, &name))?);
    if input.traffic_source_type.as_deref().is_some_and(|t| t != ELBV2) {
        found.clear();
    }
    let (page, next_token) = paging::page(found, |(arn, _)| arn.clone(), input.next_token.as_deref(), size)?;
    let one = |(arn, state): (String, &str)| shape::TrafficSourceState {
        traffic_source: Some(arn.clone()),
        state: Some(state.to_owned()),
        identifier: Some(arn),
        type_: Some(ELBV2.to_owned()),
    };
    Ok(shape::DescribeTrafficSourcesResponse {
        traffic_sources: Some(page.into_iter().map(one).collect()),
        next_token,
    })
}

/// Traffic sources on a page.
const PAGE_OF_SOURCES: paging::PageSize = paging::PageSize { default: 50, max: 50 };
