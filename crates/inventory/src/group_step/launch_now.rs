//! `LaunchInstances`: instances for a group at once, in a place that the caller names, with ids in the answer.
//!
//! The launches and the larger wanted capacity are one transaction, so the group's converger finds them where they belong. What
//! the place refuses is told; with the retry strategy of the group's configuration the capacity counts it in all the same, and
//! the converger launches the rest wherever the group may.

use std::time::Duration;

use puffer_core::Timestamp;
use puffer_core::autoscaling::launch_call::{LaunchCall, LaunchCallAsked, LaunchCallPart};
use puffer_core::autoscaling::plan::{LaunchWhy, zones};
use puffer_core::autoscaling::{Group, InstanceSource, process, texts};
use puffer_core::ec2::Subnet;
use puffer_store::{StoreError, Transaction};
use rand::Rng;

use super::launch::{Batch, batches, launch_request_in};
use super::{Observation, Step, StepReport};
use crate::groups::{self, GroupError};
use crate::launch::{LaunchError, LaunchRequest, run_instances};
use crate::refreshes;

/// Instances that one call launches at most (AWS's limit).
pub const INSTANCES_PER_CALL_MAX: u32 = 100;
/// How long a token is remembered (AWS's time).
const TOKENS_KEPT: Duration = Duration::from_secs(8 * 3600);

/// Error code for capacity that the group's configuration or the call leaves no place for.
const UNFULFILLABLE: &str = "UnfulfillableCapacity";

/// Why nothing is launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchNowError {
    /// The group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// It has a launch configuration.
    #[error("LaunchInstances needs a group with a launch template; this one has a launch configuration.")]
    Configuration,
    /// It buys On-Demand and Spot.
    #[error(
        "LaunchInstances needs a MixedInstancesPolicy that is all On-Demand or all Spot; this group's is neither."
    )]
    BothMarkets,
    /// Which zone?
    #[error("The group has several Availability Zones: name one, or a subnet.")]
    NoPlace,
    /// Not one of the group's.
    #[error("{0} is not one of the group's.")]
    OtherPlace(String),
    /// The bound above.
    #[error("RequestedCapacity {asked} would bring the group from {desired} above its maximum of {max}.")]
    Max {
        /// Asked.
        asked: u32,
        /// Now.
        desired: u32,
        /// Bound.
        max: u32,
    },
    /// A process is suspended.
    #[error("The process {0} of the group is suspended.")]
    Suspended(&'static str),
    /// The token was used for something else.
    #[error("The ClientToken was used with other parameters.")]
    Mismatch,
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Launches; a token that was used before gets the answer of then.
pub fn launch_now(
    tx: &mut Transaction<'_>,
    group: &str,
    token: &str,
    asked: LaunchCallAsked,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<LaunchCall, LaunchNowError> {
    forget_old(tx, group, now);
    if let Some(before) = tx.get::<LaunchCall>(&LaunchCall::key_of(group, token)) {
        return if before.asked == asked {
            Ok(LaunchCall::clone(&before))
        } else {
            Err(LaunchNowError::Mismatch)
        };
    }
    let found = groups::active(&tx.reader(), group)?;
    let seen =
        Observation::of(&tx.reader(), group, now).ok_or_else(|| GroupError::NotFound(group.to_owned()))?;
    // An instance refresh may launch from its own desired configuration, and need not replace what comes from there.
    let zone = check(tx, &refreshes::launching(&found, seen.refresh.as_deref()), &asked)?;
    let view = seen.view(now);
    // More may count than are wanted, if scale-in is suspended, say: they, too, are below the maximum.
    let held = view.n_counted();
    if held.saturating_add(asked.capacity) > found.max {
        return Err(LaunchNowError::Max { asked: asked.capacity, desired: held, max: found.max });
    }
    let (places, lacks) =
        zones::places_in(&view, &zone, asked.subnet.as_deref(), asked.capacity, INSTANCES_PER_CALL_MAX, rng);
    let why = LaunchWhy::Difference(found.desired, found.desired.saturating_add(asked.capacity));
    let actions: Vec<_> = places.into_iter().map(|place| place.launch(why)).collect();
    let mut call = LaunchCall {
        group: group.to_owned(),
        token: token.to_owned(),
        at: now,
        asked,
        launched: Vec::new(),
        refused: Vec::new(),
    };
    if let Some(why) = lacks {
        let part = LaunchCallPart {
            instance_type: String::new(),
            spot: false,
            subnet: call.asked.subnet.clone().unwrap_or_default(),
            zone: zone.clone(),
            instance_ids: Vec::new(),
        };
        call.refused.push((part, UNFULFILLABLE.to_owned(), why));
    }
    let group = Group::clone(&found);
    let mut step = Step {
        tx,
        now,
        rng,
        group,
        report: StepReport::default(),
        refresh: seen.refresh.as_deref().cloned(),
        stand: None,
        released: false,
    };
    let units = step.launch_batches(&batches(&actions), &mut call);
    let grown = if call.asked.retry { call.asked.capacity.max(units) } else { units };
    if grown > 0 {
        // With weights, more units than the maximum allows may have come; the wanted capacity keeps to it.
        let (from, to) = (found.desired, found.desired.saturating_add(grown).min(found.max));
        groups::change(step.tx, &found.name, |g| {
            (g.desired, g.policy_cooldown_s) = (to, None);
            if to > from + units {
                texts::note_desired(
                    g,
                    texts::sentence(now, texts::launched_by_user(from, to)),
                    vec![format!("LaunchInstances asked for {} and got {units}", call.asked.capacity)],
                );
            }
        })?;
    }
    step.tx.put(call.clone());
    Ok(call)
}

/// The zone of the launch, if all is well.
fn check(tx: &Transaction<'_>, group: &Group, asked: &LaunchCallAsked) -> Result<String, LaunchNowError> {
    if matches!(group.source, InstanceSource::LaunchConfiguration(_)) {
        return Err(LaunchNowError::Configuration);
    }
    if let Some(mixed) = &group.mixed {
        let d = &mixed.distribution;
        let all_spot = d.on_demand_base == 0 && d.on_demand_percent == 0;
        if !all_spot && d.on_demand_percent != 100 {
            return Err(LaunchNowError::BothMarkets);
        }
    }
    if group.is_suspended(process::LAUNCH) {
        return Err(LaunchNowError::Suspended(process::LAUNCH));
    }
    if group.desired.saturating_add(asked.capacity) > group.max {
        let (asked, desired, max) = (asked.capacity, group.desired, group.max);
        return Err(LaunchNowError::Max { asked, desired, max });
    }
    let of_group = |zone: &String| group.zones.contains(zone);
    if let Some(id) = &asked.subnet {
        let subnet = tx.get::<Subnet>(id).filter(|s| of_group(&s.zone));
        let listed = |s: &std::sync::Arc<Subnet>| match group.subnets.is_empty() {
            true => s.default_for_az,
            false => group.subnets.contains(&s.id),
        };
        let subnet = subnet.filter(listed).ok_or_else(|| LaunchNowError::OtherPlace(id.clone()))?;
        return match asked.zone.as_ref().filter(|z| **z != subnet.zone) {
            Some(zone) => Err(LaunchNowError::OtherPlace(format!("{id} in zone {zone}"))),
            None => Ok(subnet.zone.clone()),
        };
    }
    match &asked.zone {
        Some(zone) if of_group(zone) => Ok(zone.clone()),
        Some(zone) => Err(LaunchNowError::OtherPlace(zone.clone())),
        None => match &group.zones[..] {
            [only] => Ok(only.clone()),
            _ => Err(LaunchNowError::NoPlace),
        },
    }
}

fn forget_old(tx: &mut Transaction<'_>, group: &str, now: Timestamp) {
    for call in tx.list_by::<LaunchCall>("group", group) {
        if now.since(call.at) >= TOKENS_KEPT {
            tx.delete::<LaunchCall>(&LaunchCall::key_of(&call.group, &call.token));
        }
    }
}

impl Step<'_, '_> {
    /// Launches each batch and notes what came of it; gives the units launched.
    fn launch_batches(&mut self, batches: &[Batch<'_>], call: &mut LaunchCall) -> u32 {
        let mut units = 0;
        for batch in batches {
            let part = |instance_type: String, spot: bool| LaunchCallPart {
                instance_type,
                spot,
                subnet: batch.subnet.to_owned(),
                zone: batch.zone.to_owned(),
                instance_ids: Vec::new(),
            };
            let request = match launch_request_in(&self.tx.reader(), &self.launching(), batch.pool) {
                Ok(request) => request,
                Err(error) => {
                    let pool = batch.pool.map(|p| (p.instance_type.clone(), p.lifecycle)).unwrap_or_default();
                    let spot = pool.1 == puffer_core::ec2::InstanceLifecycle::Spot;
                    call.refused.push((part(pool.0, spot), error.code().to_owned(), error.to_string()));
                    continue;
                }
            };
            let placed = LaunchRequest {
                subnet_id: Some(batch.subnet.to_owned()),
                zone: None,
                private_ip: None,
                min_count: 1,
                max_count: batch.n,
                ..request
            };
            let made = run_instances(self.tx, &placed, self.now, self.rng);
            let mut told = part(placed.instance_type.clone(), placed.spot.is_some());
            let n = match made {
                Ok(made) => {
                    let weight = batch.pool.map_or(1, |p| p.weight);
                    for instance in &made {
                        let from = self.group.desired + units;
                        units += weight;
                        let cause = texts::launched_by_user(from, self.group.desired + units);
                        self.join(instance, batch, vec![texts::sentence(self.now, cause)]);
                        told.instance_ids.push(instance.id.clone());
                    }
                    made.len()
                }
                Err(error) => {
                    call.refused.push((told.clone(), error.code().to_owned(), error.to_string()));
                    continue;
                }
            };
            if n < batch.n as usize {
                let error = LaunchError::NoCapacity {
                    instance_type: placed.instance_type.clone(),
                    zone: batch.zone.to_owned(),
                };
                let missing = LaunchCallPart { instance_ids: Vec::new(), ..told.clone() };
                call.refused.push((missing, error.code().to_owned(), error.to_string()));
            }
            call.launched.push(told);
        }
        units
    }
}
