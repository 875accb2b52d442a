//! Each wait for a lifecycle hook ends: no later than its ceiling, and a while after its heartbeat ran out unless one came.

use std::collections::BTreeMap;
use std::time::Duration;

use puffer_core::autoscaling::Member;

use super::{Found, Invariant, Now, holds};

/// How long after its time a wait may be ended: the server may be away, its disk may refuse, its clock may be set back.
const LATE: Duration = Duration::from_secs(1500);
/// The same in calm.
const LATE_IN_CALM: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct EachHookEnds {
    /// Since when a wait is over and not ended, true time; by instance.
    over_since: BTreeMap<String, i64>,
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
        let over = now.view.members.values().filter(|m| is_over(m, now));
        let mut still = BTreeMap::new();
        for member in over {
            let since = *self.over_since.get(&member.instance_id).unwrap_or(&now.true_ms);
            still.insert(member.instance_id.clone(), since);
            let late = Duration::from_millis(u64::try_from(now.true_ms - since).unwrap_or(0));
            let limit = if now.calm { LATE_IN_CALM } else { LATE };
            holds!(
                late <= limit,
                "{} is {} for {} s beyond the end of its hooks",
                member.instance_id,
                member.state.name(),
                late.as_secs()
            );
        }
        // Calm begins with what the storm left: the count starts anew there.
        self.over_since = still;
        Ok(())
    }
}
