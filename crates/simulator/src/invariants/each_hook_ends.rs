//! Each wait for a lifecycle hook ends: no later than its ceiling, and a while after its heartbeat ran out unless one came.

use std::collections::BTreeMap;

use puffer_core::autoscaling::Member;

use super::{Found, Invariant, Now, holds};

/// Seconds of an answering server with a willing disk after which a wait whose time is over must have ended: the longest time
/// between two looks, and room for commits.
const LATE_S: u32 = 120;

#[derive(Default)]
pub(crate) struct EachHookEnds {
    /// Seconds for which a wait has been over and not ended, by instance.
    over_s: BTreeMap<String, u32>,
}

/// Whether all that the member waits for has run out by the server's clock.
fn is_over(member: &Member, now: &Now<'_>) -> bool {
    let actions = member.hooks.actions();
    !actions.is_empty() && actions.iter().all(|a| a.expires_at <= now.wall || a.ceiling_at <= now.wall)
}

impl Invariant for EachHookEnds {
    fn name(&self) -> &'static str {
        "each_hook_ends"
    }

    fn second(&mut self, now: &Now<'_>) -> Found {
        if !now.server_lives || now.disk_refuses {
            return Ok(());
        }
        let over = now.view.members.values().filter(|m| is_over(m, now));
        let mut still = BTreeMap::new();
        for member in over {
            let late = self.over_s.get(&member.instance_id).unwrap_or(&0) + 1;
            holds!(
                late <= LATE_S,
                "{} is {} for {late} s beyond the end of its hooks",
                member.instance_id,
                member.state.name()
            );
            still.insert(member.instance_id.clone(), late);
        }
        self.over_s = still;
        Ok(())
    }
}
