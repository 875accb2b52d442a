//! One step of a group towards what is wanted of it.
//!
//! [`step`] reads the group, takes each member's next lifecycle step, marks who is unhealthy, asks the planner, and
//! writes it all in the caller's one transaction: the instance that is launched, its membership and its activity come into
//! being together or not at all. So it may be cut off between any two steps and repeated: it looks at records only, and what is
//! done already is not seen as missing. It acts on nothing outside; `instance_converge` and the balancer's
//! reconcilers see the records and act.

pub(crate) mod activity;
mod end;
mod launch;
mod launch_now;
mod lifecycle;
mod observe;
mod refresh;
mod root_volume;
mod take_back;
mod traffic;
mod warm;

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::autoscaling::launch_call::LaunchCall;
use puffer_core::autoscaling::plan::{Action, Note, Plan, plan};
use puffer_core::autoscaling::view::GroupView;
use puffer_core::autoscaling::{
    Activity, Group, GroupStatus, HealthStatus, InstanceRefresh, Member, SuspendedProcess, backoff, health,
    process, texts,
};
use puffer_core::ec2::InstanceState;
use puffer_store::Transaction;
use rand::Rng;

pub use launch::{launch_request, launch_request_in};
pub use launch_now::{INSTANCES_PER_CALL_MAX, LaunchNowError, launch_now};
pub use lifecycle::TAG_GROUP_NAME;
pub use observe::{Observation, Observed};

use crate::{policies, refreshes};

/// What a step did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// Instances launched.
    pub launched: u32,
    /// Members put on their way out.
    pub ended: u32,
    /// Members whose lifecycle moved on.
    pub moved: u32,
    /// Members found unhealthy.
    pub unhealthy: u32,
    /// Launches refused or failed.
    pub failed: u32,
    /// The group has gone.
    pub gone: bool,
    /// Why not more is done.
    pub notes: Vec<Note>,
    /// When to look again although nothing changed.
    pub look_again: Option<Timestamp>,
}

impl StepReport {
    /// Whether anything was written that may call for another step.
    pub fn acted(&self) -> bool {
        self.launched + self.ended + self.moved + self.unhealthy + self.failed > 0
    }

    fn later(&mut self, at: Timestamp) {
        self.look_again = Some(self.look_again.map_or(at, |old| old.min(at)));
    }
}

/// What a step works with.
struct Step<'t, 's> {
    tx: &'t mut Transaction<'s>,
    now: Timestamp,
    rng: &'t mut dyn Rng,
    /// The group as this step leaves it; written at the end if it differs.
    group: Group,
    report: StepReport,
    /// The group's instance refresh as this step leaves it, and where it stands, for explanations.
    refresh: Option<InstanceRefresh>,
    stand: Option<String>,
    /// Somebody was moved out of service by a user (standby, detached).
    released: bool,
}

/// The members that hold the group's cooldown back, and their activities.
type Holders = Vec<(String, Option<String>)>;

/// Takes one step for the group `name`; `None` if there is none.
pub fn step(tx: &mut Transaction<'_>, name: &str, now: Timestamp, rng: &mut dyn Rng) -> Option<StepReport> {
    let seen = Observation::of(&tx.reader(), name, now)?;
    let group = Group::clone(&seen.group);
    let mut step = Step {
        tx,
        now,
        rng,
        group,
        report: StepReport::default(),
        refresh: None,
        stand: None,
        released: false,
    };
    let holders = holders(&seen);
    step.sync_traffic(&seen);
    step.move_members(&seen);
    // What moved on counts differently now; what did not is decided on as it was seen.
    let seen = if step.report.moved + step.report.failed > 0 { step.look(name)? } else { seen };
    step.judge(&seen);
    let seen = if step.report.unhealthy > 0 { step.look(name)? } else { seen };
    let moved = step.report.moved;
    let replacing = step.take_refresh_on(&seen);
    // Whose root volume is replaced from now on serves no more.
    let roots = step.report.moved > moved;
    let seen = if step.let_go_of_draining(&seen) || roots { step.look(name)? } else { seen };
    let view = GroupView { group: &step.group, refresh: replacing.as_ref(), ..seen.view(now) };
    if step.launches_anew(&seen) {
        // What was seen (types, weights, offers) is of what launches were made from before; the next step sees the rest. It is
        // asked for: the refresh alone may have been written, which wakes nobody.
        step.report.moved += 1;
        step.report.later(now);
    } else {
        let decided = plan(&view, step.rng);
        step.carry_out(decided, &seen);
    }
    step.finish(&seen.group, &holders);
    Some(step.report)
}

fn holders(seen: &Observation) -> Holders {
    let holding = seen.members.iter().map(|m| &m.member).filter(|m| m.holds_cooldown());
    holding.map(|m| (m.instance_id.clone(), m.activity_id.clone())).collect()
}

impl Step<'_, '_> {
    fn look(&self, name: &str) -> Option<Observation> {
        Observation::of(&self.tx.reader(), name, self.now)
    }

    /// Whether this step changed what instances are launched from: a refresh began, or came to its end.
    fn launches_anew(&self, seen: &Observation) -> bool {
        let before = refreshes::launching(&seen.group, seen.refresh.as_deref());
        let now = self.launching();
        // A group on its way out launches nothing. At a refresh's end members may weigh otherwise, whatever is launched then.
        let differs = (&before.source, &before.mixed) != (&now.source, &now.mixed);
        self.refresh.as_ref().is_some_and(|r| differs || !r.status.is_active())
    }

    /// Marks members whose checks fail, and remembers since when a status check is impaired.
    fn judge(&mut self, seen: &Observation) {
        if self.group.status == GroupStatus::Deleting || self.group.is_suspended(process::HEALTH_CHECK) {
            return;
        }
        for observed in &seen.members {
            let view = observed.view(&self.group);
            let impaired = health::is_impaired(&view);
            if impaired != observed.member.impaired_since.is_some() {
                let since = impaired.then_some(self.now);
                self.tx.update::<Member>(&observed.member.instance_id, |m| m.impaired_since = since);
                if impaired {
                    self.report.later(self.now + health::IMPAIRED_WAIT);
                }
                continue;
            }
            match health::judge(&self.group, &view, self.now) {
                health::Verdict::Same => {}
                health::Verdict::Later(at) => self.report.later(at),
                health::Verdict::Unhealthy(cause) => {
                    self.report.unhealthy += 1;
                    if ended_by_itself_early(observed, self.now) {
                        backoff::ended_early(&mut self.group, self.now);
                    }
                    self.tx.update::<Member>(&observed.member.instance_id, |m| {
                        m.health = HealthStatus::Unhealthy;
                        m.unhealthy_cause = Some(cause);
                    });
                }
            }
        }
    }

    fn carry_out(&mut self, decided: Plan, seen: &Observation) {
        if let Some(at) = decided.look_again {
            self.report.later(at);
        }
        let ends = decided.actions.iter().filter_map(|a| match a {
            Action::Terminate { instance_id, why, chosen_by } => Some((instance_id, *why, chosen_by)),
            _ => None,
        });
        for (instance_id, why, chosen_by) in ends {
            if let Some(observed) = seen.members.iter().find(|m| m.member.instance_id == *instance_id) {
                self.end(observed, why, chosen_by);
            }
        }
        for action in &decided.actions {
            if let Action::TakeOver { instance_id } = action {
                self.tx.update::<Member>(instance_id, |m| m.spare = false);
                self.report.moved += 1;
            }
        }
        self.take_back(&decided.actions, seen);
        self.take_warm(&decided.actions, seen);
        self.launch(&decided.actions, seen);
        self.report.notes.extend(decided.notes);
    }

    /// Suspends launches that have failed for a day.
    fn suspend_hopeless(&mut self) {
        let Some(due) = backoff::suspension_due(&self.group) else { return };
        if self.now < due {
            return;
        }
        self.group.suspended.push(SuspendedProcess {
            name: process::LAUNCH.to_owned(),
            reason: format!(
                "Administratively suspended at {}: every launch has failed for more than a day",
                self.now.to_rfc3339_secs()
            ),
        });
        self.group.launches_fail_since = None;
    }

    /// Writes what became of the group itself.
    fn finish(&mut self, before: &Group, held_by: &Holders) {
        self.suspend_hopeless();
        let members = self.tx.list_by::<Member>("group", &self.group.name);
        if self.group.status == GroupStatus::Deleting && members.is_empty() {
            remove_group(self.tx, &self.group, self.now);
            self.report.gone = true;
            return;
        }
        if self.group.warm_pool.as_ref().is_some_and(|p| p.deleting)
            && !members.iter().any(|m| m.state.is_of_pool())
        {
            self.group.warm_pool = None;
        }
        self.cool_down(&members, held_by);
        if self.group != *before {
            self.tx.put(self.group.clone());
        }
        if let Err(error) = policies::fit_alarms(self.tx, &self.group, self.now) {
            // Policies were checked when they were put; one that no longer fits keeps the alarms it has.
            tracing::warn!(group = self.group.name, error, "alarms of target tracking do not fit the group");
        }
    }
}

impl Step<'_, '_> {
    /// The cooldown begins when the last instance has come, or has drained.
    fn cool_down(&mut self, members: &[Arc<Member>], held_by: &Holders) {
        if members.iter().any(|m| m.holds_cooldown()) || (held_by.is_empty() && !self.released) {
            return;
        }
        self.group.cooldown_started_at = Some(self.now);
        self.group.cooldown_s = self.group.policy_cooldown_s;
        self.group.cooldown_after = held_by.last().and_then(|(_, activity)| activity.clone());
        let counted: u32 = members.iter().map(|m| m.units()).sum();
        if counted >= self.group.desired {
            // The policy has what it wanted. What comes after, a replacement say, is not its doing.
            self.group.policy_cooldown_s = None;
        }
    }
}

/// Whether a member's guest died or powered off soon after it was launched, and nobody had asked.
fn ended_by_itself_early(observed: &Observed, now: Timestamp) -> bool {
    observed.instance.as_ref().is_some_and(|i| {
        let by_itself = ["Server.InternalError", "Client.InstanceInitiatedShutdown"];
        i.state != InstanceState::Running
            && now.since(i.launched_at) < backoff::EARLY_END
            && i.state_reason.as_ref().is_some_and(|r| by_itself.contains(&r.code.as_str()))
    })
}

/// Removes a group that has no members, with its policies and their alarms. Its activities stay, as on AWS.
pub fn remove_group(tx: &mut Transaction<'_>, group: &Group, now: Timestamp) {
    for policy in policies::of_group(&tx.reader(), &group.name) {
        policies::remove(tx, &policy, now);
    }
    crate::scheduled_actions::remove_all(tx, &group.name);
    refreshes::forget(tx, &group.name);
    crate::triggers::remove_all(tx, &group.name);
    for open in tx.list_by::<Activity>("open", &group.name) {
        activity::close(tx, &open.id, puffer_core::autoscaling::ActivityStatus::Cancelled, now);
    }
    for call in tx.list_by::<LaunchCall>("group", &group.name) {
        tx.delete::<LaunchCall>(&LaunchCall::key_of(&call.group, &call.token));
    }
    tx.delete::<Group>(&group.name);
}

/// The cause sentences that explain the wanted capacity, then `text`.
fn causes(group: &Group, now: Timestamp, text: String) -> Vec<puffer_core::autoscaling::CauseSentence> {
    let mut causes = group.desired_cause.clone();
    causes.push(texts::sentence(now, text));
    causes
}

/// The subnet of an instance, for details.
fn subnet_of(instance: Option<&Arc<puffer_core::ec2::Instance>>) -> String {
    instance.map(|i| i.subnet_id.clone()).unwrap_or_default()
}
