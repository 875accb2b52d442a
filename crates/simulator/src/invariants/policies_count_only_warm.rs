//! Target tracking divides the load by the instances that have warmed up, and scales in only when all have.

use std::time::Duration;

use puffer_core::autoscaling::{LifecycleState, Member, PolicyKind, scaling};

use super::cooldown_is_kept::scaled;
use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct PoliciesCountOnlyWarm;

/// The number of instances that the decision's own account divided by: `ceil(N × value / target)`.
fn divided_by(reasons: &[String]) -> Option<u32> {
    reasons.iter().rev().find_map(|r| {
        let (_, rest) = r.split_once("ceil(")?;
        rest.split_once(' ')?.0.parse().ok()
    })
}

impl Invariant for PoliciesCountOnlyWarm {
    fn name(&self) -> &'static str {
        "policies_count_only_warm"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for s in scaled(deltas, now).iter().filter(|s| s.by_alarm) {
            let PolicyKind::TargetTracking(_) = s.policy.kind else { continue };
            let warmup = Duration::from_secs(scaling::warmup_s(s.policy, s.before).into());
            let is_warm = |m: &Member| {
                let since = m.in_service_at.filter(|_| m.state == LifecycleState::InService);
                since.is_some_and(|since| since + warmup <= s.at)
            };
            let counted = now.view.members_of(&s.after.name).filter(|m| m.counts());
            let (mut warm, mut cold) = (0, 0);
            counted.for_each(|m| if is_warm(m) { warm += m.weight } else { cold += m.weight });
            let (from, to) = (s.before.desired, s.after.desired);
            if to < from {
                // Those beyond what is wanted are about to go, whoever they are; those that miss are yet to warm up.
                holds!(
                    warm >= from,
                    "{} shrinks from {from} to {to} while {warm} are warm and {cold} warm up",
                    s.after.name
                );
            } else if let Some(n) = divided_by(&s.after.desired_reasons) {
                let most = if from == 0 { warm.max(1) } else { warm };
                holds!(
                    n <= most,
                    "{} grows from {from} to {to} by the load of {n} instances; {warm} are warm, {cold} not",
                    s.after.name
                );
            }
        }
        Ok(())
    }
}
