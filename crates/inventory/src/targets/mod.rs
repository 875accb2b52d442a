//! Targets of target groups: registered and deregistered by requests and by Auto Scaling groups, in the same way.
//!
//! A registration is a [`Target`] record; the data plane sees it with the next snapshot. Deregistration only marks
//! the record: it drains, and [`drained`] takes it away once no request is under way.

use std::net::Ipv4Addr;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::ec2::{Instance, InstanceState};
use puffer_core::elb::arn::classic_name;
use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_core::elb::health::Reason;
use puffer_core::elb::limits::{REGISTRATIONS_PER_TARGET_MAX, TARGETS_PER_TARGET_GROUP_MAX};
use puffer_core::elb::{Rule, Target, TargetGroup, TargetState, TargetType};
use puffer_store::{Reader, Transaction};

#[cfg(test)]
mod tests;

/// Zone of `ip` targets outside the VPC's subnets.
pub const ZONE_ALL: &str = "all";

/// A target as requests name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetDescription {
    /// Instance id, or address for `ip` groups.
    pub id: String,
    /// Port; none is the group's own to register, and every port to deregister.
    pub port: Option<u16>,
    /// Zone of an `ip` target; none is [`ZONE_ALL`]. Instances know theirs.
    pub zone: Option<String>,
}

impl TargetDescription {
    /// The target `id` on the group's own port.
    pub fn of(id: &str) -> Self {
        TargetDescription { id: id.to_owned(), ..TargetDescription::default() }
    }
}

/// Why targets cannot be registered or deregistered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetsError {
    /// No such target group.
    #[error("Target groups '{0}' not found")]
    TargetGroupNotFound(String),
    /// These instances do not exist.
    #[error("The following targets do not exist: '{}'", .0.join("', '"))]
    Unknown(Vec<String>),
    /// These instances neither run nor are about to.
    #[error("The following targets are not in a running state and cannot be registered: '{}'", .0.join("', '"))]
    NotRunning(Vec<String>),
    /// These instances live in another VPC than the group.
    #[error("The following targets are not in the target group VPC '{vpc}': '{}'", .targets.join("', '"))]
    OtherVpc {
        /// The group's VPC.
        vpc: String,
        /// The targets.
        targets: Vec<String>,
    },
    /// These are no addresses.
    #[error("The IP address '{0}' is not a valid IPv4 address")]
    NoAddress(String),
    /// These have never been registered.
    #[error("The following targets are not registered: '{}'", .0.join("', '"))]
    NotRegistered(Vec<String>),
    /// The group would have too many.
    #[error(
        "The maximum number of targets per target group, {TARGETS_PER_TARGET_GROUP_MAX}, has been reached"
    )]
    TooManyTargets,
    /// One target would have too many ports.
    #[error(
        "The target '{0}' has been registered {REGISTRATIONS_PER_TARGET_MAX} times, which is the maximum"
    )]
    TooManyRegistrations(String),
}

/// Whether any rule forwards to the target group: without one its targets are not checked. The instances of a classic load
/// balancer always are.
pub fn is_in_use(reader: &Reader<'_>, target_group: &str) -> bool {
    match classic_name(target_group) {
        Some(name) => reader.get::<ClassicLoadBalancer>(name).is_some(),
        None => reader.count_by::<Rule>("target_group", target_group) > 0,
    }
}

/// Registers targets; those already registered stay as they are, those that drain come back.
///
/// Instances must be pending or running. All or none are registered.
pub fn register(
    tx: &mut Transaction<'_>,
    target_group: &str,
    targets: &[TargetDescription],
    now: Timestamp,
) -> Result<(), TargetsError> {
    let group = group_of(&tx.reader(), target_group)?;
    let places = match group.target_type {
        TargetType::Instance => instance_places(&tx.reader(), &group, targets)?,
        TargetType::Ip => ip_places(targets)?,
    };
    let (state, reason) = match is_in_use(&tx.reader(), target_group) {
        true => (TargetState::Initial, Reason::RegistrationInProgress),
        false => (TargetState::Unused, Reason::NotInUse),
    };
    for (target, place) in targets.iter().zip(places) {
        let port = target.port.unwrap_or(group.port);
        let old = tx.get::<Target>(&Target::key_of(target_group, &target.id, port));
        if old.is_some_and(|old| old.draining_since.is_none()) {
            continue;
        }
        tx.put(Target {
            target_group: target_group.to_owned(),
            id: target.id.clone(),
            port,
            address: place.address,
            zone: place.zone,
            registered_at: now,
            draining_since: None,
            state,
            reason: Some(reason.code().to_owned()),
            description: Some(reason.description()),
        });
    }
    if tx.count_by::<Target>("target_group", target_group) > TARGETS_PER_TARGET_GROUP_MAX {
        return Err(TargetsError::TooManyTargets);
    }
    for target in targets {
        let ports = tx.list_by::<Target>("id", &target.id);
        if ports.iter().filter(|t| t.target_group == target_group).count() > REGISTRATIONS_PER_TARGET_MAX {
            return Err(TargetsError::TooManyRegistrations(target.id.clone()));
        }
    }
    Ok(())
}

/// Deregisters targets: they take nothing new and drain. Those that drain already, or have nothing to drain because no
/// rule forwards to the group, are handled as AWS does: the former go on, the latter go at once.
///
/// A target that is not registered is [`TargetsError::NotRegistered`]; nothing is changed then.
pub fn deregister(
    tx: &mut Transaction<'_>,
    target_group: &str,
    targets: &[TargetDescription],
    now: Timestamp,
) -> Result<(), TargetsError> {
    group_of(&tx.reader(), target_group)?;
    let in_use = is_in_use(&tx.reader(), target_group);
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for target in targets {
        let before = found.len();
        found.extend(
            registrations(&tx.reader(), target_group, &target.id)
                .filter(|t| target.port.is_none_or(|port| port == t.port)),
        );
        if found.len() == before {
            unknown.push(target.id.clone());
        }
    }
    if !unknown.is_empty() {
        return Err(TargetsError::NotRegistered(unknown));
    }
    for target in found {
        if target.draining_since.is_some() {
            continue;
        }
        let key = Target::key_of(target_group, &target.id, target.port);
        if !in_use {
            tx.delete::<Target>(&key);
            continue;
        }
        tx.update::<Target>(&key, |t| {
            t.draining_since = Some(now);
            t.state = TargetState::Draining;
            t.reason = Some(Reason::DeregistrationInProgress.code().to_owned());
            t.description = Some(Reason::DeregistrationInProgress.description());
        });
    }
    Ok(())
}

/// Takes a target away that was deregistered and has nothing under way any more. Says whether it did: a target
/// registered again meanwhile stays.
pub fn drained(tx: &mut Transaction<'_>, target_group: &str, id: &str, port: u16) -> bool {
    let key = Target::key_of(target_group, id, port);
    let drains = tx.get::<Target>(&key).is_some_and(|t| t.draining_since.is_some());
    drains && tx.delete::<Target>(&key)
}

/// The target's registration in a group; of several ports the one in the worst state. None: not registered, or
/// drained completely.
pub fn health_of(reader: &Reader<'_>, target_group: &str, id: &str) -> Option<Arc<Target>> {
    registrations(reader, target_group, id).max_by_key(|t| badness(t.state))
}

fn badness(state: TargetState) -> u8 {
    match state {
        TargetState::Healthy => 0,
        TargetState::Unavailable => 1,
        TargetState::Unused => 2,
        TargetState::Initial => 3,
        TargetState::Draining => 4,
        TargetState::Unhealthy => 5,
    }
}

fn registrations<'a>(
    reader: &Reader<'a>,
    target_group: &'a str,
    id: &str,
) -> impl Iterator<Item = Arc<Target>> + use<'a> {
    reader.list_by::<Target>("id", id).into_iter().filter(move |t| t.target_group == target_group)
}

fn group_of(reader: &Reader<'_>, arn: &str) -> Result<Arc<TargetGroup>, TargetsError> {
    reader.get(arn).ok_or_else(|| TargetsError::TargetGroupNotFound(arn.to_owned()))
}

struct Place {
    address: Ipv4Addr,
    zone: String,
}

fn instance_places(
    reader: &Reader<'_>,
    group: &TargetGroup,
    targets: &[TargetDescription],
) -> Result<Vec<Place>, TargetsError> {
    let mut places = Vec::with_capacity(targets.len());
    let (mut unknown, mut idle, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
    for target in targets {
        let Some(instance) = reader.get::<Instance>(&target.id) else {
            unknown.push(target.id.clone());
            continue;
        };
        if !matches!(instance.state, InstanceState::Pending | InstanceState::Running) {
            idle.push(target.id.clone());
        } else if instance.vpc_id != group.vpc_id {
            foreign.push(target.id.clone());
        }
        places.push(Place { address: instance.private_ip, zone: instance.zone.clone() });
    }
    match (unknown.is_empty(), idle.is_empty(), foreign.is_empty()) {
        (false, ..) => Err(TargetsError::Unknown(unknown)),
        (_, false, _) => Err(TargetsError::NotRunning(idle)),
        (.., false) => Err(TargetsError::OtherVpc { vpc: group.vpc_id.clone(), targets: foreign }),
        _ => Ok(places),
    }
}

fn ip_places(targets: &[TargetDescription]) -> Result<Vec<Place>, TargetsError> {
    let place = |target: &TargetDescription| {
        let address = target.id.parse().map_err(|_| TargetsError::NoAddress(target.id.clone()))?;
        Ok(Place { address, zone: target.zone.clone().unwrap_or_else(|| ZONE_ALL.to_owned()) })
    };
    targets.iter().map(place).collect()
}
