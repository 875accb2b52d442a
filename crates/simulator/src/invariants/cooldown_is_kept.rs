//! A simple policy that keeps the cooldown changes nothing while one runs.
//!
//! When one runs is told here by what everybody can see: activities that ended, and the cooldowns of the group and of its
//! policies. What the group itself remembers of its cooldown is not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use puffer_core::Timestamp;
use puffer_core::autoscaling::{
    Activity, ActivityStatus, Group, GroupStatus, LifecycleState, PolicyKind, ScalingPolicy,
};

use super::{Act, Found, Invariant, Now, holds};
use crate::view::{Delta, Deltas};

/// Time that a transaction may take from its moment to the disk: while the clock leaps within it, nobody can tell.
const SLACK: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct CooldownIsKept {
    /// When the last instance of a group came or went.
    ends: BTreeMap<String, Timestamp>,
    /// Terminations that waited for hooks: their cooldown began before that, and their end is none.
    hooked: BTreeSet<String>,
    /// What a user's policy changed while a cooldown ran (group, policy): wrong if that user wanted it honored, which the
    /// answer tells.
    suspects: BTreeMap<(String, String), String>,
}

impl CooldownIsKept {
    /// The end of an activity with which the group's cooldown begins, at the earliest.
    fn note_end(&mut self, delta: &Delta<Activity>) {
        let (Some(before), Some(after)) = (&delta.before, &delta.after) else { return };
        let launches = after.description.starts_with("Launching a new EC2 instance: ")
            || after.description.starts_with("Launching a new EC2 instance from warm pool: ");
        let terminates = after.description.starts_with("Terminating EC2 instance: ");
        if terminates && after.status == ActivityStatus::MidLifecycleAction {
            self.hooked.insert(after.id.clone());
        }
        let ends = after.status == ActivityStatus::Successful && before.status != after.status;
        if ends && (launches || terminates) && !self.hooked.remove(&after.id) {
            self.ends.extend(after.ended_at.map(|at| (after.group.clone(), at)));
        }
    }

    /// Seconds of the shortest cooldown that the last activity can have begun.
    fn shortest_s(group: &Group, now: &Now<'_>) -> u32 {
        let own = now.view.policies.values().filter(|p| p.group == group.name).filter_map(|p| match p.kind {
            PolicyKind::Simple { cooldown_s, .. } => cooldown_s,
            _ => None,
        });
        own.chain([group.default_cooldown_s]).min().unwrap_or(0)
    }
}

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
            let cooldown = Duration::from_secs(Self::shortest_s(s.before, now).into());
            // An end that has yet to come was noted before the clock was set back: how long ago it was, nobody can tell.
            let end = self.ends.get(&s.after.name).filter(|end| **end <= s.at);
            let Some(until) = end.map(|end| *end + cooldown) else { continue };
            if s.at >= until || now.steady_for < cooldown + SLACK {
                continue;
            }
            let text = format!(
                "policy {} changes {} from {} to {} at {} during a cooldown until {until} at least",
                s.policy.name, s.after.name, s.before.desired, s.after.desired, s.at
            );
            holds!(!s.by_alarm, "{text}");
            self.suspects.insert((s.after.name.clone(), s.policy.name.clone()), text);
        }
        deltas.activities.iter().for_each(|delta| self.note_end(delta));
        for delta in &deltas.members {
            // Termination hooks are not waited for: it begins when they do.
            if let (Some(before), Some(after)) = (&delta.before, &delta.after)
                && (before.state, after.state)
                    == (LifecycleState::Terminating, LifecycleState::TerminatingWait)
            {
                self.ends.insert(after.group.clone(), after.state_since);
            }
        }
        Ok(())
    }

    fn act(&mut self, act: &Act<'_>, _now: &Now<'_>) -> Found {
        let Act::Answered { action: "ExecutePolicy", params } = act else { return Ok(()) };
        let of = |name: &str| params.iter().find(|p| p.0 == name).map_or("", |p| p.1);
        let suspect = self.suspects.remove(&(of("AutoScalingGroupName").into(), of("PolicyName").into()));
        match suspect.filter(|_| of("HonorCooldown") == "true") {
            Some(text) => Err(text),
            None => Ok(()),
        }
    }

    fn second(&mut self, now: &Now<'_>) -> Found {
        // Whoever waited for an answer from a server that died gets none.
        if !now.server_lives {
            self.suspects.clear();
        }
        Ok(())
    }
}
