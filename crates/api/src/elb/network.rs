//! Where a load balancer sits: its zones or subnets with a node in each, and its security groups.
//!
//! A zone is a word for its default subnet, so both families of calls change the same nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::ec2::{Account, Subnet};
use puffer_core::elb::Node;
use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_inventory::{classic, nodes};
use puffer_shapes::elb::{self as shapes, errors};
use puffer_store::Reader;

use super::{found, invalid_configuration};
use crate::elbv2::network::{place_nodes, security_groups};
use crate::{ApiError, Ctx};

/// The default subnets of zones, in `vpc` or else the default VPC.
pub(super) fn default_subnets(
    reader: &Reader<'_>,
    vpc: Option<&str>,
    zones: &[String],
) -> Result<Vec<Arc<Subnet>>, ApiError> {
    let account = reader.get::<Account>(Account::KEY);
    let default_vpc = account.and_then(|a| a.default_vpc_id.clone());
    let vpc = vpc.map(str::to_owned).or(default_vpc);
    let zones: BTreeSet<&String> = zones.iter().collect();
    let of_zone = |zone: &String| {
        let mut subnets = reader.list_by::<Subnet>("default_zone", zone).into_iter();
        subnets.find(|s| Some(&s.vpc_id) == vpc.as_ref()).ok_or_else(|| {
            ApiError::validation(format!("Invalid availability zone: {zone} has no default subnet here"))
        })
    };
    zones.into_iter().map(of_zone).collect()
}

/// The subnets of these ids.
pub(super) fn subnets(reader: &Reader<'_>, ids: &[String]) -> Result<Vec<Arc<Subnet>>, ApiError> {
    let ids: BTreeSet<&String> = ids.iter().collect();
    let of_id = |id: &String| {
        reader.get::<Subnet>(id).ok_or_else(|| {
            ApiError::declared(
                &errors::SUBNET_NOT_FOUND_EXCEPTION,
                format!("The subnet ID '{id}' does not exist"),
            )
        })
    };
    ids.into_iter().map(of_id).collect()
}

/// Whether a load balancer in `vpc` with these nodes can have these subnets too: one in each zone.
pub(super) fn check_together(vpc: &str, nodes: &[Node], new: &[Arc<Subnet>]) -> Result<(), ApiError> {
    let mut zones: BTreeSet<&str> = nodes.iter().map(|n| n.zone.as_str()).collect();
    for subnet in new {
        if subnet.vpc_id != vpc {
            return Err(ApiError::declared(
                &errors::INVALID_SUBNET_EXCEPTION,
                format!("The subnet '{}' does not belong to VPC '{vpc}'", subnet.id),
            ));
        }
        if !zones.insert(&subnet.zone) {
            return Err(invalid_configuration(format!(
                "ELB cannot be attached to multiple subnets in the same AZ: {}",
                subnet.zone
            )));
        }
    }
    Ok(())
}

/// Adds nodes in subnets; gives the load balancer with them.
async fn grow(
    cx: &Ctx,
    name: Option<String>,
    choose: impl FnOnce(&Reader<'_>, &ClassicLoadBalancer) -> Result<Vec<Arc<Subnet>>, ApiError>,
) -> Result<Arc<ClassicLoadBalancer>, ApiError> {
    let name = name.unwrap_or_default();
    let now = cx.clock.now();
    cx.store
        .transact::<_, ApiError>(|tx| {
            let mut balancer = ClassicLoadBalancer::clone(&*found(&tx.reader(), &name)?);
            let mut new = choose(&tx.reader(), &balancer)?;
            new.retain(|s| balancer.nodes.iter().all(|n| n.subnet_id != s.id));
            check_together(&balancer.vpc_id, &balancer.nodes, &new)?;
            let mut rng = cx.rng.lock();
            let placed = place_nodes(tx, &balancer.arn, &balancer.security_groups, &new, &mut **rng, now)?;
            balancer.nodes.extend(placed);
            balancer.nodes.sort_by(|a, b| a.zone.cmp(&b.zone));
            Ok(classic::put(tx, balancer))
        })
        .await
}

/// Takes nodes away, but not the last; gives the load balancer without them.
async fn shrink(
    cx: &Ctx,
    name: Option<String>,
    what: &str,
    leaves: impl Fn(&Node) -> bool,
) -> Result<Arc<ClassicLoadBalancer>, ApiError> {
    let name = name.unwrap_or_default();
    let now = cx.clock.now();
    cx.store
        .transact::<_, ApiError>(|tx| {
            let mut balancer = ClassicLoadBalancer::clone(&*found(&tx.reader(), &name)?);
            let (gone, stay): (Vec<Node>, Vec<Node>) =
                std::mem::take(&mut balancer.nodes).into_iter().partition(&leaves);
            if stay.is_empty() {
                return Err(invalid_configuration(format!(
                    "You cannot remove all {what} of a load balancer"
                )));
            }
            for node in gone {
                nodes::release(tx, &node.subnet_id, node.address, now);
            }
            balancer.nodes = stay;
            Ok(classic::put(tx, balancer))
        })
        .await
}

fn zones_of(balancer: &ClassicLoadBalancer) -> Vec<String> {
    balancer.nodes.iter().map(|n| n.zone.clone()).collect()
}

fn subnets_of(balancer: &ClassicLoadBalancer) -> Vec<String> {
    balancer.nodes.iter().map(|n| n.subnet_id.clone()).collect()
}

/// Zones that are enabled already stay as they are, whatever their subnet.
pub(crate) async fn enable_zones(
    cx: Arc<Ctx>,
    input: shapes::EnableAvailabilityZonesForLoadBalancerInput,
) -> Result<shapes::EnableAvailabilityZonesForLoadBalancerOutput, ApiError> {
    let mut zones = input.availability_zones.unwrap_or_default();
    let balancer = grow(&cx, input.load_balancer_name, |reader, balancer| {
        zones.retain(|zone| balancer.nodes.iter().all(|n| n.zone != *zone));
        default_subnets(reader, Some(&balancer.vpc_id), &zones)
    })
    .await?;
    Ok(shapes::EnableAvailabilityZonesForLoadBalancerOutput { availability_zones: Some(zones_of(&balancer)) })
}

pub(crate) async fn disable_zones(
    cx: Arc<Ctx>,
    input: shapes::DisableAvailabilityZonesForLoadBalancerInput,
) -> Result<shapes::DisableAvailabilityZonesForLoadBalancerOutput, ApiError> {
    let zones = input.availability_zones.unwrap_or_default();
    let leaves = |node: &Node| zones.contains(&node.zone);
    let balancer = shrink(&cx, input.load_balancer_name, "Availability Zones", leaves).await?;
    Ok(shapes::DisableAvailabilityZonesForLoadBalancerOutput {
        availability_zones: Some(zones_of(&balancer)),
    })
}

pub(super) async fn attach_subnets(
    cx: Arc<Ctx>,
    input: shapes::AttachLoadBalancerToSubnetsInput,
) -> Result<shapes::AttachLoadBalancerToSubnetsOutput, ApiError> {
    let ids = input.subnets.unwrap_or_default();
    let balancer = grow(&cx, input.load_balancer_name, |reader, _| subnets(reader, &ids)).await?;
    Ok(shapes::AttachLoadBalancerToSubnetsOutput { subnets: Some(subnets_of(&balancer)) })
}

pub(super) async fn detach_subnets(
    cx: Arc<Ctx>,
    input: shapes::DetachLoadBalancerFromSubnetsInput,
) -> Result<shapes::DetachLoadBalancerFromSubnetsOutput, ApiError> {
    let ids = input.subnets.unwrap_or_default();
    let leaves = |node: &Node| ids.contains(&node.subnet_id);
    let balancer = shrink(&cx, input.load_balancer_name, "subnets", leaves).await?;
    Ok(shapes::DetachLoadBalancerFromSubnetsOutput { subnets: Some(subnets_of(&balancer)) })
}

pub(super) async fn apply_security_groups(
    cx: Arc<Ctx>,
    input: shapes::ApplySecurityGroupsToLoadBalancerInput,
) -> Result<shapes::ApplySecurityGroupsToLoadBalancerOutput, ApiError> {
    let name = input.load_balancer_name.unwrap_or_default();
    let wanted = input.security_groups.unwrap_or_default();
    if wanted.is_empty() {
        return Err(invalid_configuration("At least one security group must be specified"));
    }
    let groups = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let mut balancer = ClassicLoadBalancer::clone(&*found(&tx.reader(), &name)?);
            let groups = security_groups(&tx.reader(), &balancer.vpc_id, wanted)?;
            nodes::set_security_groups(tx, &balancer.arn, &groups);
            balancer.security_groups.clone_from(&groups);
            classic::put(tx, balancer);
            Ok(groups)
        })
        .await?;
    Ok(shapes::ApplySecurityGroupsToLoadBalancerOutput { security_groups: Some(groups) })
}
