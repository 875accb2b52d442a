//! Target tracking that decides by the second believes no datapoint from before the newest member came into service: so it changes nothing
//! within a period of that.

use std::time::Duration;

use puffer_core::autoscaling::scaling::Reaction;
use puffer_core::autoscaling::{LifecycleState, PolicyKind};

use super::cooldown_is_kept::scaled;
use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct PoliciesUseFreshData;

impl Invariant for PoliciesUseFreshData {
    fn name(&self) -> &'static str {
        "policies_use_fresh_data"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for s in scaled(deltas, now).iter().filter(|s| s.by_alarm) {
            let PolicyKind::TargetTracking(_) = s.policy.kind else { continue };
            let Some(period_s) = Reaction::of(&s.before.tags).period_s else { continue };
            let period = Duration::from_secs(period_s.into());
            let serving = now.view.members_of(&s.after.name).filter(|m| m.state == LifecycleState::InService);
            let newest = serving.filter_map(|m| m.in_service_at).filter(|at| *at <= s.at).max();
            holds!(
                newest.is_none_or(|at| at + period <= s.at),
                "{} goes from {} to {} at {} by data of {period_s} s, and a member came into service at {newest:?}",
                s.after.name,
                s.before.desired,
                s.after.desired,
                s.at
            );
        }
        Ok(())
    }
}
