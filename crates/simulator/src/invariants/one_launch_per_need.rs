//! No two launches for one need: after a transaction that launches or takes members back, no more members count than are wanted, and surplus ones
//! are no more than the evening out of zones may make.

use std::collections::BTreeSet;

use super::never_above_max::Units;
use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;
use puffer_core::autoscaling::plan::zones::surplus_max;

pub(crate) struct OneLaunchPerNeed;

impl Invariant for OneLaunchPerNeed {
    fn name(&self) -> &'static str {
        "one_launch_per_need"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        let wanted: BTreeSet<&str> = deltas
            .launched()
            .map(|(m, _)| m)
            .chain(deltas.left_pool())
            .chain(deltas.returned().map(|(_, after)| after))
            .filter(|m| !m.surplus && !m.spare && !deltas.calls.contains(&m.group))
            .map(|m| m.group.as_str())
            .collect();
        for name in wanted {
            let Some(group) = now.view.groups.get(name) else { continue };
            let counted = now.view.n_counted(name);
            holds!(
                counted < group.desired + now.view.weight_max(name),
                "a launch makes {counted} members of {name} count; wanted are {}",
                group.desired
            );
        }
        let surplus: BTreeSet<&str> =
            deltas.launched().filter(|(m, _)| m.surplus).map(|(m, _)| m.group.as_str()).collect();
        for name in surplus {
            let Some(group) = now.view.groups.get(name) else { continue };
            let pending = Units::of(now.view, name).surplus;
            let most = surplus_max(group.desired).max(now.view.weight_max(name));
            holds!(
                pending <= most,
                "{pending} units of surplus launches of {name} at once; {most} are allowed"
            );
        }
        Ok(())
    }
}
