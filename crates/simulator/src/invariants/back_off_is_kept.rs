//! Nothing is launched while the group, the zone, or the type there waits after a failed launch.

use std::collections::BTreeMap;

use puffer_core::Timestamp;
use puffer_core::autoscaling::backoff::pool_key;
use puffer_core::ec2::InstanceLifecycle;

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct BackOffIsKept;

type Waits = BTreeMap<String, (u32, Timestamp)>;

/// Until when a launch at `at` should have waited, if it should.
fn waits(before: &Waits, after: &Waits, key: &str, at: Timestamp) -> Option<Timestamp> {
    let (failures, until) = before.get(key).filter(|(_, until)| at < *until)?;
    // A launch may succeed or be refused in the same step: the count is forgotten, or begins anew.
    let forgot = after.get(key).is_none_or(|(n, later)| n <= failures && later != until);
    (!forgot).then_some(*until)
}

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
            if let Some(until) = waits(&before.zone_backoff, &after.zone_backoff, &member.zone, at) {
                return Err(format!(
                    "{} launches in {} at {at} though that lacks capacity until {until}",
                    member.group, member.zone
                ));
            }
            // A refresh may launch from something else than the group's own policy: then there are no types to choose from.
            let refreshing = now.view.refresh_of(&member.group).and_then(|r| r.desired.as_ref());
            let chooses = before.mixed.is_some() && refreshing.is_none_or(|d| d.mixed.is_some());
            if !chooses || member.lifecycle != InstanceLifecycle::OnDemand {
                continue;
            }
            let pool = pool_key(&member.instance_type, &member.zone);
            if let Some(until) = waits(&before.pool_backoff, &after.pool_backoff, &pool, at) {
                return Err(format!(
                    "{} launches {} in {} at {at} though that is lacking there until {until}",
                    member.group, member.instance_type, member.zone
                ));
            }
        }
        Ok(())
    }
}
