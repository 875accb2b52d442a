//! Nothing is launched while the group, or the zone, waits after a failed launch.

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct BackOffIsKept;

impl Invariant for BackOffIsKept {
    fn name(&self) -> &'static str {
        "back_off_is_kept"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        // `LaunchInstances` tries at once whatever a user asks for.
        for (member, instance) in deltas.launched().filter(|(m, _)| !deltas.calls.contains(&m.group)) {
            let Some(before) = deltas.group_before(now.view, &member.group) else { continue };
            let Some(after) = now.view.groups.get(&member.group) else { continue };
            let at = instance.launched_at;
            // A step may see a launch succeed, forget the failures and launch more, all in one transaction.
            if let Some((failures, until)) = before.launch_backoff {
                holds!(
                    until <= at || after.launch_backoff.is_none(),
                    "{} launches at {at} though {failures} failures keep it from it until {until}",
                    member.group
                );
            }
            if let Some((failures, until)) = before.zone_backoff.get(&member.zone) {
                // Or one of those launches is refused, and the count begins anew.
                let forgot = match after.zone_backoff.get(&member.zone) {
                    None => true,
                    Some((n, later)) => n <= failures && later != until,
                };
                holds!(
                    *until <= at || forgot,
                    "{} launches in {} at {at} though that lacks capacity until {until}",
                    member.group,
                    member.zone
                );
            }
        }
        Ok(())
    }
}
