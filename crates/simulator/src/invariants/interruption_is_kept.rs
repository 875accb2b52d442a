//! A Spot instance that has its notice runs to the end of it and no longer; and a group with Capacity Rebalancing does not wait until
//! then.

use std::collections::BTreeMap;
use std::time::Duration;

use puffer_core::autoscaling::{GroupStatus, LifecycleState, process};
use puffer_core::ec2::InstanceState;

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

/// Seconds of an answering server with a willing disk after which what is due must have been done.
const LATE_S: u32 = 30;
/// A commit may be this long after the decision.
const COMMIT_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct InterruptionIsKept {
    /// Seconds for which an instance has been on after its notice ended, and for which its group has left it in service.
    over_s: BTreeMap<String, u32>,
    idle_s: BTreeMap<String, u32>,
}

fn is_on(state: InstanceState) -> bool {
    matches!(state, InstanceState::Pending | InstanceState::Running)
}

impl InterruptionIsKept {
    /// Instances that should have gone, and members that their groups should have moved.
    fn late(now: &Now<'_>) -> (Vec<String>, Vec<String>) {
        let (mut over, mut idle) = (Vec::new(), Vec::new());
        for i in now.view.instances.values().filter(|i| is_on(i.state)) {
            let Some(notice) = i.spot.as_ref().and_then(|s| s.interruption.as_ref()) else { continue };
            if notice.ends_at <= now.wall {
                over.push(i.id.clone());
            }
            let Some(member) = now.view.members.get(&i.id) else { continue };
            let Some(group) = now.view.groups.get(&member.group) else { continue };
            let acts = group.capacity_rebalance
                && group.status == GroupStatus::Active
                && !group.is_suspended(process::TERMINATE);
            if acts && member.state == LifecycleState::InService && member.counts() && !member.protected {
                idle.push(i.id.clone());
            }
        }
        (over, idle)
    }
}

/// Counts on for those that are still there.
fn count(counts: &mut BTreeMap<String, u32>, ids: Vec<String>) -> Option<String> {
    let counted = |id: String| {
        let n = counts.get(&id).unwrap_or(&0) + 1;
        (id, n)
    };
    *counts = ids.into_iter().map(counted).collect();
    counts.iter().find(|(_, n)| **n > LATE_S).map(|(id, _)| id.clone())
}

impl Invariant for InterruptionIsKept {
    fn name(&self) -> &'static str {
        "interruption_is_kept"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        if now.steady_for < COMMIT_MAX {
            return Ok(());
        }
        for delta in &deltas.instances {
            let (Some(before), Some(after)) = (&delta.before, &delta.after) else { continue };
            let taken =
                after.state_reason.as_ref().is_some_and(|r| r.code == "Server.SpotInstanceTermination");
            if !is_on(before.state) || is_on(after.state) || !taken {
                continue;
            }
            let notice = before.spot.as_ref().and_then(|s| s.interruption.as_ref());
            holds!(
                notice.is_some_and(|n| n.ends_at <= now.wall),
                "{} is taken back at {} with the notice {notice:?}",
                delta.key,
                now.wall
            );
        }
        Ok(())
    }

    fn second(&mut self, now: &Now<'_>) -> Found {
        if !now.server_lives || now.disk_refuses {
            return Ok(());
        }
        let (over, idle) = Self::late(now);
        let late = count(&mut self.over_s, over);
        holds!(late.is_none(), "{late:?} runs for more than {LATE_S} s after the end of its notice");
        let late = count(&mut self.idle_s, idle);
        holds!(late.is_none(), "{late:?} has its notice, and its group leaves it in service for {LATE_S} s");
        Ok(())
    }
}
