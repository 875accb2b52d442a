//! What is terminated never comes back: its record stays as it is until it is dropped, and no driver boots it.
//!
//! Nor does a member that is on its way out, with one exception: in a group that asks for it (`puffer:cancel-drain`), who was
//! chosen because the group shrank comes back while it drains, if it is healthy and runs, nobody asked EC2 to end it, the market
//! does not want it back, and no termination hook has begun.

use puffer_core::autoscaling::hook::HookStand;
use puffer_core::autoscaling::{HealthStatus, Member, cancel_drain};
use puffer_core::ec2::{InstanceIntent, InstanceState};

use super::{Act, Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct TerminatedStaysTerminated;

/// Why a member that came back may not have.
fn objection(before: &Member, deltas: &Deltas, now: &Now<'_>) -> Option<&'static str> {
    let group = deltas.group_before(now.view, &before.group)?;
    let instance = now.view.instances.get(&before.instance_id);
    let runs = instance.is_some_and(|i| i.state == InstanceState::Running && i.intent == InstanceIntent::Run);
    match () {
        () if !cancel_drain::is_on(&group) => Some("its group does not ask for that"),
        () if now.view.refresh_of(&group.name).is_some() => Some("its group is being refreshed"),
        () if !before.scaled_in => Some("it did not go because the group shrank"),
        () if before.health != HealthStatus::Healthy => Some("it is unhealthy"),
        () if before.hooks != HookStand::Due => Some("its termination hooks have begun"),
        () if !runs => Some("its instance does not run, or is being ended"),
        () if instance.is_some_and(|i| i.at_risk_since().is_some()) => Some("the market may take it"),
        () => None,
    }
}

impl Invariant for TerminatedStaysTerminated {
    fn name(&self) -> &'static str {
        "terminated_stays_terminated"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for delta in &deltas.instances {
            let (Some(before), Some(after)) = (&delta.before, &delta.after) else { continue };
            holds!(
                before.state != InstanceState::Terminated || after.state == InstanceState::Terminated,
                "{} was terminated and is {} now",
                delta.key,
                after.state.name()
            );
            holds!(
                before.state != InstanceState::ShuttingDown
                    || matches!(after.state, InstanceState::ShuttingDown | InstanceState::Terminated),
                "{} was shutting down and is {} now",
                delta.key,
                after.state.name()
            );
        }
        for (before, after) in deltas.returned() {
            if let Some(objection) = objection(before, deltas, now) {
                return Err(format!(
                    "{} was {} and is {} now, though {objection}",
                    after.instance_id,
                    before.state.name(),
                    after.state.name()
                ));
            }
        }
        let retreats = deltas.members.iter().find(|d| {
            let was_going = d.before.as_ref().is_some_and(|m| m.is_terminating());
            let is = d.after.as_ref().filter(|_| was_going);
            is.is_some_and(|m| !m.is_terminating() && !m.state.is_retained() && !m.state.counts())
        });
        holds!(retreats.is_none(), "{:?} is no longer on its way out", retreats.map(|d| &d.key));
        Ok(())
    }

    fn act(&mut self, act: &Act<'_>, now: &Now<'_>) -> Found {
        let Act::Boot { id } = act else { return Ok(()) };
        let ended = now.view.instances.get(*id).is_some_and(|i| i.state == InstanceState::Terminated);
        holds!(!ended, "{id} is terminated and is booted");
        Ok(())
    }
}
