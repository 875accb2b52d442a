//! Targets: registered, deregistered and looked at.

use std::net::Ipv4Addr;
use std::sync::Arc;

use puffer_core::ec2::{Instance, InstanceState, Subnet, Vpc};
use puffer_core::elb::health::Reason;
use puffer_core::elb::{Target, TargetGroup, TargetState, TargetType};
use puffer_inventory::targets::{self, TargetDescription, TargetsError, ZONE_ALL};
use puffer_shapes::elbv2::{self as shapes, errors};
use puffer_store::Reader;

use super::{lookup, view};
use crate::{ApiError, Ctx};

fn failed(error: TargetsError) -> ApiError {
    let declared = match &error {
        TargetsError::TargetGroupNotFound(_) => &errors::TARGET_GROUP_NOT_FOUND_EXCEPTION,
        TargetsError::NoAddress(_) => return ApiError::validation(error.to_string()),
        TargetsError::Unknown(_)
        | TargetsError::NotRunning(_)
        | TargetsError::OtherVpc { .. }
        | TargetsError::NotRegistered(_) => &errors::INVALID_TARGET_EXCEPTION,
        TargetsError::TooManyTargets => &errors::TOO_MANY_TARGETS_EXCEPTION,
        TargetsError::TooManyRegistrations(_) => &errors::TOO_MANY_REGISTRATIONS_FOR_TARGET_ID_EXCEPTION,
    };
    ApiError::declared(declared, error.to_string())
}

fn parse(given: Option<Vec<shapes::TargetDescription>>) -> Result<Vec<TargetDescription>, ApiError> {
    let one = |t: shapes::TargetDescription| {
        if t.quic_server_id.is_some() {
            return Err(ApiError::validation("QUIC server ids need a load balancer of type 'network'"));
        }
        let port = t.port.map(|port| {
            u16::try_from(port)
                .ok()
                .filter(|p| *p > 0)
                .ok_or_else(|| ApiError::validation(format!("Target port '{port}' must be from 1 to 65535")))
        });
        Ok(TargetDescription {
            id: t.id.unwrap_or_default(),
            port: port.transpose()?,
            zone: t.availability_zone,
        })
    };
    given.unwrap_or_default().into_iter().map(one).collect()
}

pub(super) async fn register(
    cx: Arc<Ctx>,
    input: shapes::RegisterTargetsInput,
) -> Result<shapes::RegisterTargetsOutput, ApiError> {
    let group_arn = input.target_group_arn.unwrap_or_default();
    let mut wanted = parse(input.targets)?;
    let now = cx.clock.now();
    cx.store
        .transact::<_, ApiError>(|tx| {
            let reader = tx.reader();
            let group = lookup::target_group(&reader, &group_arn)?;
            match group.target_type {
                TargetType::Instance => all_running(&reader, &wanted)?,
                TargetType::Ip => {
                    for target in &mut wanted {
                        place_address(&reader, &group, target)?;
                    }
                }
            }
            targets::register(tx, &group_arn, &wanted, now).map_err(failed)
        })
        .await?;
    Ok(shapes::RegisterTargetsOutput {})
}

/// A request registers running instances only; an Auto Scaling group may be earlier, since it waits for health.
fn all_running(reader: &Reader<'_>, wanted: &[TargetDescription]) -> Result<(), ApiError> {
    let starting = |t: &&TargetDescription| {
        reader.get::<Instance>(&t.id).is_some_and(|i| i.state == InstanceState::Pending)
    };
    let idle: Vec<String> = wanted.iter().filter(starting).map(|t| t.id.clone()).collect();
    if idle.is_empty() { Ok(()) } else { Err(failed(TargetsError::NotRunning(idle))) }
}

/// Finds an address's zone: that of its subnet within the VPC; outside of it the zone must be given as `all`.
fn place_address(
    reader: &Reader<'_>,
    group: &TargetGroup,
    target: &mut TargetDescription,
) -> Result<(), ApiError> {
    let address: Ipv4Addr =
        target.id.parse().map_err(|_| failed(TargetsError::NoAddress(target.id.clone())))?;
    let vpc = reader.get::<Vpc>(&group.vpc_id);
    if vpc.is_some_and(|vpc| vpc.cidr.contains(address)) {
        let subnets = reader.list_by::<Subnet>("vpc", &group.vpc_id);
        let subnet = subnets.iter().find(|s| s.cidr.contains(address));
        target.zone = subnet.map(|s| s.zone.clone()).or(target.zone.take());
        return Ok(());
    }
    if !address.is_private() && !is_shared(address) {
        return Err(ApiError::declared(
            &errors::INVALID_TARGET_EXCEPTION,
            format!("The IP address '{address}' is not within the VPC or a private address range"),
        ));
    }
    match target.zone.as_deref() {
        Some(ZONE_ALL) => Ok(()),
        _ => Err(ApiError::validation(format!(
            "You must specify the Availability Zone '{ZONE_ALL}' when registering the IP address '{address}' \
             that is outside the VPC"
        ))),
    }
}

/// RFC 6598's block, which is private to providers.
fn is_shared(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && (64..128).contains(&b)
}

/// Deregistering what is not registered succeeds, as on AWS: what is asked for is the case.
pub(super) async fn deregister(
    cx: Arc<Ctx>,
    input: shapes::DeregisterTargetsInput,
) -> Result<shapes::DeregisterTargetsOutput, ApiError> {
    let group_arn = input.target_group_arn.unwrap_or_default();
    let named = parse(input.targets)?;
    let now = cx.clock.now();
    cx.store
        .transact::<_, ApiError>(|tx| {
            let group = lookup::target_group(&tx.reader(), &group_arn)?;
            if group.target_type == TargetType::Instance {
                let bad = named.iter().find(|t| !puffer_core::ec2::is_well_formed_id("i", &t.id));
                if let Some(bad) = bad {
                    return Err(ApiError::declared(
                        &errors::INVALID_TARGET_EXCEPTION,
                        format!("The instance ID '{}' is not valid", bad.id),
                    ));
                }
            }
            let registered = |t: &&TargetDescription| {
                let known = tx.list_by::<Target>("id", &t.id);
                known.iter().any(|k| k.target_group == group_arn && t.port.is_none_or(|p| p == k.port))
            };
            let known: Vec<_> = named.iter().filter(registered).cloned().collect();
            targets::deregister(tx, &group_arn, &known, now).map_err(failed)
        })
        .await?;
    Ok(shapes::DeregisterTargetsOutput {})
}

pub(super) async fn describe_health(
    cx: Arc<Ctx>,
    input: shapes::DescribeTargetHealthInput,
) -> Result<shapes::DescribeTargetHealthOutput, ApiError> {
    let group_arn = input.target_group_arn.unwrap_or_default();
    let asked = parse(input.targets)?;
    cx.store.read(|r| {
        let group = lookup::target_group(r, &group_arn)?;
        let all = r.list_by::<Target>("target_group", &group_arn);
        let mut found: Vec<_> = Vec::new();
        if asked.is_empty() {
            found.extend(all.iter().map(|t| view::target(&group, t)));
        }
        for target in &asked {
            let before = found.len();
            let same = |t: &&Arc<Target>| t.id == target.id && target.port.is_none_or(|p| p == t.port);
            found.extend(all.iter().filter(same).map(|t| view::target(&group, t)));
            if found.len() == before {
                found.push(not_registered(&group, target));
            }
        }
        Ok(shapes::DescribeTargetHealthOutput { target_health_descriptions: Some(found) })
    })
}

fn not_registered(group: &TargetGroup, target: &TargetDescription) -> shapes::TargetHealthDescription {
    let port = target.port.unwrap_or(group.port);
    shapes::TargetHealthDescription {
        target: Some(shapes::TargetDescription {
            id: Some(target.id.clone()),
            port: Some(i32::from(port)),
            ..Default::default()
        }),
        health_check_port: Some(group.health_check.port.unwrap_or(port).to_string()),
        target_health: Some(shapes::TargetHealth {
            state: Some(TargetState::Unused.name().to_owned()),
            reason: Some(Reason::NotRegistered.code().to_owned()),
            description: Some(Reason::NotRegistered.description()),
        }),
        ..Default::default()
    }
}
