//! What a check alone calls unhealthy is replaced in portions: at most a tenth of `desired` at once, at least one.

use std::collections::BTreeMap;

use puffer_core::autoscaling::{UnhealthyCause, texts};
use puffer_core::ec2::InstanceState;

use super::protected_never_scaled_in::ending;
use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct ReplacedInPortions;

/// Whether the instance ran before the transaction.
fn ran(deltas: &Deltas, now: &Now<'_>, id: &str) -> bool {
    let before = deltas.instances.iter().find(|d| d.key == id).and_then(|d| d.before.as_ref());
    let instance = before.or_else(|| now.view.instances.get(id));
    instance.is_some_and(|i| i.state == InstanceState::Running)
}

impl Invariant for ReplacedInPortions {
    fn name(&self) -> &'static str {
        "replaced_in_portions"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        let causes = [UnhealthyCause::Elb, UnhealthyCause::Ec2StatusCheck].map(texts::unhealthy);
        let mut going: BTreeMap<&str, u32> = BTreeMap::new();
        for delta in &deltas.members {
            let Some(activity) = ending(deltas, delta) else { continue };
            // A spare stands in nobody's place.
            let spare = delta.before.as_ref().is_some_and(|m| m.spare);
            if spare || !ran(deltas, now, &delta.key) {
                // What has stopped meanwhile serves nobody and may go at once.
                continue;
            }
            if activity.cause.iter().any(|c| causes.contains(&c.text))
                && let Some(member) = &delta.after
            {
                *going.entry(&member.group).or_default() += 1;
            }
        }
        for (name, n) in going {
            // An instance maintenance policy has portions of its own.
            let Some(group) = now.view.groups.get(name).filter(|g| g.maintenance.is_none()) else { continue };
            let portion = (group.desired / 10).max(1);
            holds!(n <= portion, "{n} members of {name} are replaced at once; a portion is {portion}");
        }
        Ok(())
    }
}
