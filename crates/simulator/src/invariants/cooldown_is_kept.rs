//! A simple policy that keeps the cooldown changes nothing while one runs.

use puffer_core::autoscaling::PolicyKind;

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;
use puffer_core::Timestamp;
use puffer_core::autoscaling::{Group, GroupStatus, ScalingPolicy};
use std::sync::Arc;

pub(crate) struct CooldownIsKept;

/// A change of the wanted capacity by a policy.
pub(super) struct Scaled<'d> {
    pub(super) before: &'d Arc<Group>,
    pub(super) after: &'d Arc<Group>,
    pub(super) policy: &'d Arc<ScalingPolicy>,
    pub(super) at: Timestamp,
    /// An alarm set it off rather than a user.
    pub(super) by_alarm: bool,
}

/// The changes of wanted capacities by policies in a transaction, told by their causes.
pub(super) fn scaled<'d>(deltas: &'d Deltas, now: &'d Now<'_>) -> Vec<Scaled<'d>> {
    let mut found = Vec::new();
    for delta in &deltas.groups {
        let (Some(before), Some(after)) = (&delta.before, &delta.after) else { continue };
        if before.desired == after.desired || after.status != GroupStatus::Active {
            continue;
        }
        // What gives no cause (a decrement with a member, say) is no policy's.
        let Some(cause) = after.desired_cause.last().filter(|c| before.desired_cause.last() != Some(*c))
        else {
            continue;
        };
        let by_alarm = cause.text.starts_with("a monitor alarm");
        let name = cause.text.split_once(" policy ").and_then(|(_, rest)| rest.split_once(" changing "));
        let Some((name, _)) = name else { continue };
        let Some(policy) = now.view.policies.get(&format!("{}/{name}", after.name)) else { continue };
        found.push(Scaled { before, after, policy, at: cause.at, by_alarm });
    }
    found
}

impl Invariant for CooldownIsKept {
    fn name(&self) -> &'static str {
        "cooldown_is_kept"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for s in scaled(deltas, now) {
            let PolicyKind::Simple { .. } = s.policy.kind else { continue };
            // The users of these worlds execute simple policies with HonorCooldown.
            let ends = s.before.cooldown_ends(s.at);
            holds!(
                ends.is_none(),
                "policy {} changes {} from {} to {} at {} during a cooldown until {ends:?}",
                s.policy.name,
                s.after.name,
                s.before.desired,
                s.after.desired,
                s.at
            );
        }
        Ok(())
    }
}
