//! What a check alone calls unhealthy is replaced in portions: at most a tenth of `desired` at once, at least one.

use std::collections::BTreeMap;

use puffer_core::autoscaling::{UnhealthyCause, texts};

use super::protected_never_scaled_in::ending;
use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct ReplacedInPortions;

impl Invariant for ReplacedInPortions {
    fn name(&self) -> &'static str {
        "replaced_in_portions"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        let causes = [UnhealthyCause::Elb, UnhealthyCause::Ec2StatusCheck].map(texts::unhealthy);
        let mut going: BTreeMap<&str, u32> = BTreeMap::new();
        for delta in &deltas.members {
            let Some(activity) = ending(deltas, delta) else { continue };
            if activity.cause.iter().any(|c| causes.contains(&c.text))
                && let Some(member) = &delta.after
            {
                *going.entry(&member.group).or_default() += 1;
            }
        }
        for (name, n) in going {
            let Some(group) = now.view.groups.get(name) else { continue };
            let portion = (group.desired / 10).max(1);
            holds!(n <= portion, "{n} members of {name} are replaced at once; a portion is {portion}");
        }
        Ok(())
    }
}
