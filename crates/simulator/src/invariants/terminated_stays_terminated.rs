//! What is terminated never comes back: its record stays as it is until it is dropped, and no driver boots it.

use puffer_core::ec2::InstanceState;

use super::{Act, Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct TerminatedStaysTerminated;

impl Invariant for TerminatedStaysTerminated {
    fn name(&self) -> &'static str {
        "terminated_stays_terminated"
    }

    fn transaction(&mut self, deltas: &Deltas, _: &Now<'_>) -> Found {
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
        Ok(())
    }

    fn act(&mut self, act: &Act<'_>, now: &Now<'_>) -> Found {
        let Act::Boot { id } = act else { return Ok(()) };
        let ended = now.view.instances.get(*id).is_some_and(|i| i.state == InstanceState::Terminated);
        holds!(!ended, "{id} is terminated and is booted");
        Ok(())
    }
}
