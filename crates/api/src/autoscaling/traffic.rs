//! Traffic sources of a group: target groups and classic load balancers, by either of the API's families of calls.
//!
//! A group keeps both by ARN, since a classic load balancer is the target group of its instances; the API calls it by its name.

use std::sync::Arc;

use puffer_core::autoscaling::{Group, LifecycleState, Member};
use puffer_core::elb::TargetGroup;
use puffer_core::elb::arn::classic_name;
use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_inventory::groups;
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;

use super::error::{Refused, required, unsupported};
use super::paging::{self, USUAL};
use crate::{ApiError, Ctx, Registry};

/// Target groups of a group, and classic load balancers (AWS's quotas).
const SOURCES_OF_A_TYPE_MAX: usize = 50;
/// The type of target groups.
const ELBV2: &str = "elbv2";
/// The type of classic load balancers.
const ELB: &str = "elb";

/// A traffic source as requests name it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// By ARN.
    TargetGroup(&'a str),
    /// By name.
    Classic(&'a str),
}

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::AttachLoadBalancerTargetGroups, _>(attach_target_groups);
    registry.serve::<shape::DetachLoadBalancerTargetGroups, _>(detach_target_groups);
    registry.serve::<shape::DescribeLoadBalancerTargetGroups, _>(describe_target_groups);
    registry.serve::<shape::AttachTrafficSources, _>(attach_traffic_sources);
    registry.serve::<shape::DetachTrafficSources, _>(detach_traffic_sources);
    registry.serve::<shape::DescribeTrafficSources, _>(describe_traffic_sources);
}

/// Attaches one traffic source; again is no change.
pub(super) fn attach(r: &Reader<'_>, group: &mut Group, source: Source<'_>) -> Result<(), ApiError> {
    let arn = &arn_of(r, source)?;
    if !group.target_groups.iter().any(|a| a == arn) {
        group.target_groups.push(arn.to_owned());
    }
    group.traffic_removing.remove(arn);
    if target_group_arns(group).len().max(classic_names(group).len()) > SOURCES_OF_A_TYPE_MAX {
        return Err(ApiError::sender(
            "LimitExceeded",
            format!("A group can have at most {SOURCES_OF_A_TYPE_MAX} traffic sources of a type."),
        ));
    }
    Ok(())
}

fn arn_of(r: &Reader<'_>, source: Source<'_>) -> Result<String, ApiError> {
    match source {
        Source::TargetGroup(arn) => {
            let known = classic_name(arn).is_none() && r.get::<TargetGroup>(arn).is_some();
            known.then(|| arn.to_owned()).ok_or_else(|| {
                ApiError::validation(format!("Target group ARN {arn} is not valid: no such target group."))
            })
        }
        Source::Classic(name) => r.get::<ClassicLoadBalancer>(name).map(|b| b.arn.clone()).ok_or_else(|| {
            ApiError::validation(
                "Provided Load Balancers may not be valid. Please ensure they exist and try again.",
            )
        }),
    }
}

/// The attached target groups that are not those of classic load balancers.
pub(super) fn target_group_arns(group: &Group) -> Vec<String> {
    group.target_groups.iter().filter(|arn| classic_name(arn).is_none()).cloned().collect()
}

/// Names of the attached classic load balancers.
pub(super) fn classic_names(group: &Group) -> Vec<String> {
    group.target_groups.iter().filter_map(|arn| classic_name(arn)).map(str::to_owned).collect()
}

/// Identifier and type of a traffic source by its ARN.
fn identity(arn: &str) -> (&str, &'static str) {
    classic_name(arn).map_or((arn, ELBV2), |name| (name, ELB))
}

/// Attaches traffic sources given by type and identifier.
pub(super) fn attach_sources(
    r: &Reader<'_>,
    group: &mut Group,
    sources: &[shape::TrafficSourceIdentifier],
) -> Result<(), ApiError> {
    for source in sources {
        attach(r, group, parse(source)?)?;
    }
    Ok(())
}

/// A group's traffic sources as the API shows them.
pub(super) fn sources_of(group: &Group) -> Vec<shape::TrafficSourceIdentifier> {
    let one = |arn: &String| {
        let (identifier, kind) = identity(arn);
        shape::TrafficSourceIdentifier {
            identifier: Some(identifier.to_owned()),
            type_: Some(kind.to_owned()),
        }
    };
    group.target_groups.iter().map(one).collect()
}

fn parse(source: &shape::TrafficSourceIdentifier) -> Result<Source<'_>, ApiError> {
    let identifier = source.identifier.as_deref().unwrap_or_default();
    let is_target_group = identifier.contains(":targetgroup/");
    match source.type_.as_deref() {
        Some(ELBV2) => Ok(Source::TargetGroup(identifier)),
        None if is_target_group => Ok(Source::TargetGroup(identifier)),
        // Without a type only an ARN says what it is, and a classic load balancer has a name.
        Some(ELB) | None => Ok(Source::Classic(identifier)),
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
    let sources: Vec<Source<'_>> = arns.iter().map(|a| Source::TargetGroup(a)).collect();
    change(&cx, &name, &sources, true).await?;
    Ok(shape::AttachLoadBalancerTargetGroupsResultType::default())
}

async fn detach_target_groups(
    cx: Arc<Ctx>,
    input: shape::DetachLoadBalancerTargetGroupsType,
) -> Result<shape::DetachLoadBalancerTargetGroupsResultType, ApiError> {
    let arns = required(input.target_group_arns, "targetGroupARNs")?;
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let sources: Vec<Source<'_>> = arns.iter().map(|a| Source::TargetGroup(a)).collect();
    change(&cx, &name, &sources, false).await?;
    Ok(shape::DetachLoadBalancerTargetGroupsResultType::default())
}

async fn attach_traffic_sources(
    cx: Arc<Ctx>,
    input: shape::AttachTrafficSourcesType,
) -> Result<shape::AttachTrafficSourcesResultType, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let given = required(input.traffic_sources, "trafficSources")?;
    let sources: Vec<Source<'_>> = given.iter().map(parse).collect::<Result<_, _>>()?;
    change(&cx, &name, &sources, true).await?;
    Ok(shape::AttachTrafficSourcesResultType::default())
}

async fn detach_traffic_sources(
    cx: Arc<Ctx>,
    input: shape::DetachTrafficSourcesType,
) -> Result<shape::DetachTrafficSourcesResultType, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let given = required(input.traffic_sources, "trafficSources")?;
    let sources: Vec<Source<'_>> = given.iter().map(parse).collect::<Result<_, _>>()?;
    change(&cx, &name, &sources, false).await?;
    Ok(shape::DetachTrafficSourcesResultType::default())
}

/// Attaches or detaches traffic sources, all or none.
pub(super) async fn change(
    cx: &Ctx,
    name: &str,
    sources: &[Source<'_>],
    attaching: bool,
) -> Result<(), ApiError> {
    cx.store
        .transact::<_, Refused>(|tx| {
            let mut group = Group::clone(&*groups::active(&tx.reader(), name)?);
            for source in sources {
                if attaching {
                    attach(&tx.reader(), &mut group, *source)?;
                } else {
                    detach(&mut group, *source)?;
                }
            }
            group.generation += 1;
            tx.put(group);
            Ok(())
        })
        .await?;
    Ok(())
}

/// The converger deregisters the members and forgets the traffic source when the last one has gone. One that was deleted meanwhile
/// can be detached all the same.
fn detach(group: &mut Group, source: Source<'_>) -> Result<(), ApiError> {
    let position = match source {
        Source::TargetGroup(arn) => {
            group.target_groups.iter().position(|a| a == arn && classic_name(a).is_none())
        }
        Source::Classic(name) => group.target_groups.iter().position(|a| classic_name(a) == Some(name)),
    };
    let Some(at) = position else {
        return Err(ApiError::validation(match source {
            Source::TargetGroup(arn) => {
                format!("Trying to remove Target Groups that are not part of the group: {arn}")
            }
            Source::Classic(name) => {
                format!("Trying to remove Load Balancers that are not part of the group: {name}")
            }
        }));
    };
    let arn = group.target_groups.remove(at);
    group.traffic_in_service.remove(&arn);
    group.traffic_removing.insert(arn);
    Ok(())
}

/// Traffic sources by ARN with their states of attachment.
pub(super) fn states(r: &Reader<'_>, group: &Group) -> Vec<(String, &'static str)> {
    let members = r.list_by::<Member>("group", &group.name);
    let serving = || members.iter().filter(|m| m.state == LifecycleState::InService);
    let attached = group.target_groups.iter().map(|arn| {
        let state = if group.traffic_in_service.contains(arn) {
            "InService"
        } else if serving().all(|m| m.traffic_sources.contains(arn)) {
            "Added"
        } else {
            "Adding"
        };
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
    let mut found = cx.store.read(|r| groups::active(r, &name).map(|g| states(r, &g)))?;
    found.retain(|(arn, _)| classic_name(arn).is_none());
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
    let mut found = cx.store.read(|r| groups::active(r, &name).map(|g| states(r, &g)))?;
    if let Some(kind) = input.traffic_source_type.as_deref() {
        found.retain(|(arn, _)| identity(arn).1 == kind);
    }
    let (page, next_token) = paging::page(found, |(arn, _)| arn.clone(), input.next_token.as_deref(), size)?;
    let one = |(arn, state): (String, &str)| {
        let (identifier, kind) = identity(&arn);
        shape::TrafficSourceState {
            traffic_source: Some(identifier.to_owned()),
            state: Some(state.to_owned()),
            identifier: Some(identifier.to_owned()),
            type_: Some(kind.to_owned()),
        }
    };
    Ok(shape::DescribeTrafficSourcesResponse {
        traffic_sources: Some(page.into_iter().map(one).collect()),
        next_token,
    })
}

/// Traffic sources on a page.
const PAGE_OF_SOURCES: paging::PageSize = paging::PageSize { default: 50, max: 50 };
