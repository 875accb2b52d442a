//! Where a load balancer sits: its subnets with a node in each, and its security groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::ec2::{SecurityGroup, Subnet, Vpc};
use puffer_core::elb::limits::SECURITY_GROUPS_PER_LOAD_BALANCER_MAX;
use puffer_core::elb::{LoadBalancer, Node, arn};
use puffer_inventory::nodes;
use puffer_shapes::elbv2::{self as shapes, errors};
use puffer_store::{Reader, Transaction};
use rand::Rng;

use super::{lookup, view};
use crate::{ApiError, Ctx};

/// Zones that an application load balancer needs at least.
const ZONES_MIN: usize = 2;

/// The ids of the subnets that a request names in one of its two forms.
pub(super) fn subnet_ids(
    subnets: Option<Vec<String>>,
    mappings: Option<Vec<shapes::SubnetMapping>>,
) -> Result<Vec<String>, ApiError> {
    let invalid =
        |text: &str| Err(ApiError::declared(&errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION, text));
    let ids = match (subnets.unwrap_or_default(), mappings.unwrap_or_default()) {
        (subnets, mappings) if !subnets.is_empty() && !mappings.is_empty() => {
            return invalid("You must specify either subnets or subnet mappings, but not both");
        }
        (subnets, mappings) if mappings.is_empty() => subnets,
        (_, mappings) => {
            let plain = |m: &shapes::SubnetMapping| {
                m.allocation_id.is_none()
                    && m.private_ipv4_address.is_none()
                    && m.ipv6_address.is_none()
                    && m.source_nat_ipv6_prefix.is_none()
            };
            if !mappings.iter().all(plain) {
                return invalid(
                    "Addresses cannot be chosen for the subnets of load balancers of type 'application'",
                );
            }
            mappings.into_iter().filter_map(|m| m.subnet_id).collect()
        }
    };
    if ids.is_empty() {
        return Err(ApiError::validation("You must specify subnets"));
    }
    Ok(ids)
}

/// The subnets, if a load balancer can have them together: each in a zone of its own, all in one VPC.
pub(super) fn subnets(reader: &Reader<'_>, ids: &[String]) -> Result<Vec<Arc<Subnet>>, ApiError> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let subnet = reader.get::<Subnet>(id).ok_or_else(|| {
            ApiError::declared(
                &errors::SUBNET_NOT_FOUND_EXCEPTION,
                format!("The subnet ID '{id}' does not exist"),
            )
        })?;
        found.push(subnet);
    }
    let zones: BTreeSet<_> = found.iter().map(|s| s.zone.as_str()).collect();
    let vpcs: BTreeSet<_> = found.iter().map(|s| s.vpc_id.as_str()).collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    if zones.len() < found.len() {
        let text = match distinct.len() < ids.len() {
            true => "A subnet can be specified only once",
            false => "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        };
        return Err(ApiError::declared(&errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION, text));
    }
    if vpcs.len() > 1 {
        return Err(ApiError::declared(
            &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
            "All subnets of a load balancer must belong to the same VPC",
        ));
    }
    if zones.len() < ZONES_MIN {
        return Err(ApiError::validation(
            "At least two subnets in two different Availability Zones must be specified",
        ));
    }
    found.sort_by(|a, b| a.zone.cmp(&b.zone));
    Ok(found)
}

/// The security groups, or the VPC's default one if none is named.
pub(crate) fn security_groups(
    reader: &Reader<'_>,
    vpc_id: &str,
    ids: Vec<String>,
) -> Result<Vec<String>, ApiError> {
    let invalid = |text: String| Err(ApiError::declared(&errors::INVALID_SECURITY_GROUP_EXCEPTION, text));
    if ids.is_empty() {
        let name = SecurityGroup::name_key(vpc_id, SecurityGroup::DEFAULT_NAME);
        let groups = reader.list_by::<SecurityGroup>("name", &name);
        return Ok(groups.iter().map(|g| g.id.clone()).collect());
    }
    if ids.len() > SECURITY_GROUPS_PER_LOAD_BALANCER_MAX {
        return invalid(format!(
            "A load balancer can have at most {SECURITY_GROUPS_PER_LOAD_BALANCER_MAX} security groups"
        ));
    }
    let mut seen = BTreeSet::new();
    for id in &ids {
        match reader.get::<SecurityGroup>(id) {
            None => return invalid(format!("The security group '{id}' does not exist")),
            Some(group) if group.vpc_id != vpc_id => {
                return invalid(format!("The security group '{id}' does not belong to VPC '{vpc_id}'"));
            }
            Some(_) if !seen.insert(id) => {
                return invalid(format!("The security group '{id}' is specified more than once"));
            }
            Some(_) => {}
        }
    }
    Ok(ids)
}

/// Only IPv4 exists on Puffer's networks.
pub(super) fn only_ipv4(ip_address_type: Option<&str>) -> Result<(), ApiError> {
    match ip_address_type {
        None | Some("" | "ipv4") => Ok(()),
        Some(other) => Err(ApiError::declared(
            &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
            format!("The IP address type '{other}' is not supported by Puffer; use 'ipv4'"),
        )),
    }
}

/// An internet-facing load balancer needs a way to the internet.
pub(crate) fn reaches_internet(reader: &Reader<'_>, vpc_id: &str) -> Result<(), ApiError> {
    let gateway = reader.get::<Vpc>(vpc_id).is_some_and(|vpc| vpc.internet_gateway_id.is_some());
    match gateway {
        true => Ok(()),
        false => Err(ApiError::declared(
            &errors::INVALID_SUBNET_EXCEPTION,
            format!("VPC {vpc_id} has no internet gateway"),
        )),
    }
}

/// Takes an address in each subnet.
pub(crate) fn place_nodes(
    tx: &mut Transaction<'_>,
    balancer_arn: &str,
    security_groups: &[String],
    subnets: &[Arc<Subnet>],
    rng: &mut dyn Rng,
    now: Timestamp,
) -> Result<Vec<Node>, ApiError> {
    let description = format!("ELB {}", arn::load_balancer_dimension(balancer_arn));
    let holder = nodes::Holder { arn: balancer_arn, description: &description, security_groups };
    let mut placed = Vec::with_capacity(subnets.len());
    for subnet in subnets {
        let address = nodes::hold(tx, subnet, holder, rng, now)
            .map_err(|e| ApiError::declared(&errors::INVALID_SUBNET_EXCEPTION, e.to_string()))?;
        placed.push(Node { zone: subnet.zone.clone(), subnet_id: subnet.id.clone(), address });
    }
    Ok(placed)
}

pub(super) async fn set_subnets(
    cx: Arc<Ctx>,
    input: shapes::SetSubnetsInput,
) -> Result<shapes::SetSubnetsOutput, ApiError> {
    only_ipv4(input.ip_address_type.as_deref())?;
    if input.enable_prefix_for_ipv6_source_nat.as_deref() == Some("on") {
        return Err(ApiError::declared(
            &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
            "Source NAT of IPv6 is not supported by Puffer; use 'off'",
        ));
    }
    let balancer_arn = input.load_balancer_arn.unwrap_or_default();
    let ids = subnet_ids(input.subnets, input.subnet_mappings)?;
    let now = cx.clock.now();
    let placed = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let balancer = lookup::load_balancer(&tx.reader(), &balancer_arn)?;
            let subnets = subnets(&tx.reader(), &ids)?;
            if subnets.iter().any(|s| s.vpc_id != balancer.vpc_id) {
                return Err(ApiError::declared(
                    &errors::INVALID_SUBNET_EXCEPTION,
                    format!("The subnets must belong to VPC '{}'", balancer.vpc_id),
                ));
            }
            for node in balancer.nodes.iter().filter(|n| !ids.contains(&n.subnet_id)) {
                nodes::release(tx, &node.subnet_id, node.address, now);
            }
            let mut rng = cx.rng.lock();
            let placed =
                place_nodes(tx, &balancer_arn, &balancer.security_groups, &subnets, &mut **rng, now)?;
            tx.update::<LoadBalancer>(&balancer_arn, |b| b.nodes.clone_from(&placed));
            Ok(placed)
        })
        .await?;
    Ok(shapes::SetSubnetsOutput {
        availability_zones: Some(view::zones(&placed)),
        ip_address_type: Some("ipv4".to_owned()),
        ..Default::default()
    })
}

pub(super) async fn set_security_groups(
    cx: Arc<Ctx>,
    input: shapes::SetSecurityGroupsInput,
) -> Result<shapes::SetSecurityGroupsOutput, ApiError> {
    let balancer_arn = input.load_balancer_arn.unwrap_or_default();
    let wanted = input.security_groups.unwrap_or_default();
    if input.enforce_security_group_inbound_rules_on_private_link_traffic.is_some() {
        return Err(ApiError::declared(
            &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
            "Traffic over PrivateLink exists only for load balancers of type 'network'",
        ));
    }
    if wanted.is_empty() {
        return Err(ApiError::validation("You must specify at least one security group"));
    }
    let groups = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let balancer = lookup::load_balancer(&tx.reader(), &balancer_arn)?;
            let groups = security_groups(&tx.reader(), &balancer.vpc_id, wanted)?;
            nodes::set_security_groups(tx, &balancer_arn, &groups);
            tx.update::<LoadBalancer>(&balancer_arn, |b| b.security_groups.clone_from(&groups));
            Ok(groups)
        })
        .await?;
    Ok(shapes::SetSecurityGroupsOutput { security_group_ids: Some(groups), ..Default::default() })
}

pub(super) async fn set_ip_address_type(
    cx: Arc<Ctx>,
    input: shapes::SetIpAddressTypeInput,
) -> Result<shapes::SetIpAddressTypeOutput, ApiError> {
    let balancer_arn = input.load_balancer_arn.unwrap_or_default();
    cx.store.read(|r| lookup::load_balancer(r, &balancer_arn))?;
    only_ipv4(input.ip_address_type.as_deref())?;
    Ok(shapes::SetIpAddressTypeOutput { ip_address_type: Some("ipv4".to_owned()) })
}
