//! What the records of targets shall say, from the data plane's report: pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use puffer_balancer::{Report, TargetReport};
use puffer_core::Timestamp;
use puffer_core::ec2::{Instance, InstanceState};
use puffer_core::elb::health::Reason;
use puffer_core::elb::{Target, TargetGroup, TargetState, TargetType};
use puffer_inventory::targets::is_in_use;
use puffer_store::Reader;

use crate::PortPolicy;
use crate::balancer_sync::{dialled, is_reachable};

/// A change to a target's record. It holds the record it was computed for: should that have changed meanwhile, the
/// change is void.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// It drained, or its instance is gone.
    Remove(Arc<Target>),
    /// Another state or reason.
    Set(Arc<Target>, TargetState, Option<Reason>),
}

/// The changes, and whether any target drains, so that somebody must look at the clock.
pub(crate) fn plan(
    reader: &Reader<'_>,
    report: Option<&Report>,
    ports: PortPolicy,
    now: Timestamp,
) -> (Vec<Change>, bool) {
    let mut seen: HashMap<(&str, &str, u16), &TargetReport> = HashMap::new();
    for t in report.iter().flat_map(|r| &r.targets) {
        seen.insert((&t.target_group, &t.id, t.port), t);
    }
    let mut changes = Vec::new();
    let mut drains = false;
    for group in reader.iter::<TargetGroup>() {
        let used = is_in_use(reader, &group.arn);
        for target in reader.list_by::<Target>("target_group", &group.arn) {
            drains |= target.draining_since.is_some();
            let port = dialled(group, target.port, ports);
            let seen = seen.get(&(group.arn.as_str(), target.id.as_str(), port)).copied();
            match verdict(reader, group, &target, used, seen, now) {
                Verdict::Remove => changes.push(Change::Remove(target)),
                Verdict::Keep => {}
                Verdict::Be(state, reason) => {
                    if differs(&target, state, reason) {
                        changes.push(Change::Set(Arc::clone(&target), state, reason));
                    }
                }
            }
        }
    }
    (changes, drains)
}

enum Verdict {
    Remove,
    Keep,
    Be(TargetState, Option<Reason>),
}

fn verdict(
    reader: &Reader<'_>,
    group: &TargetGroup,
    target: &Target,
    used: bool,
    seen: Option<&TargetReport>,
    now: Timestamp,
) -> Verdict {
    if group.target_type == TargetType::Instance && is_gone(reader, &target.id) {
        return Verdict::Remove;
    }
    if let Some(since) = target.draining_since {
        let delay = Duration::from_secs(u64::from(group.deregistration_delay_s()));
        // Before the data plane knows that it drains, no request under way says nothing: the next may begin.
        let quiet = seen.is_some_and(|s| s.state == TargetState::Draining && s.in_flight == 0);
        let reachable = is_reachable(reader, group, target);
        return match quiet || !used || !reachable || now.since(since) >= delay {
            true => Verdict::Remove,
            false => Verdict::Be(TargetState::Draining, Some(Reason::DeregistrationInProgress)),
        };
    }
    if !is_reachable(reader, group, target) {
        return Verdict::Be(TargetState::Unused, Some(Reason::InvalidState));
    }
    if !used {
        return Verdict::Be(TargetState::Unused, Some(Reason::NotInUse));
    }
    match seen {
        // A registration that overtook the data plane's view of the deregistration before it.
        Some(s) if s.state == TargetState::Draining => Verdict::Keep,
        Some(s) => Verdict::Be(s.state, s.reason),
        // The data plane does not know it yet, or is away: what was last seen is the best guess, except for a
        // target that nobody ever checked.
        None if target.state == TargetState::Unused => {
            Verdict::Be(TargetState::Initial, Some(Reason::RegistrationInProgress))
        }
        None => Verdict::Keep,
    }
}

/// An instance that does not come back: its registration goes with it, as on AWS.
fn is_gone(reader: &Reader<'_>, id: &str) -> bool {
    reader.get::<Instance>(id).is_none_or(|i| i.state == InstanceState::Terminated)
}

fn differs(target: &Target, state: TargetState, reason: Option<Reason>) -> bool {
    target.state != state
        || target.reason.as_deref() != reason.map(Reason::code)
        || target.description != reason.map(Reason::description)
}
