//! What a group launches and terminates now.
//!
//! [`plan`] compares what is wanted with what counts and answers with actions, or with the reason for none. In order:
//! unhealthy, outdated and overdue members go (their places are filled in the same plan, see [`replace`]), then the difference to
//! `desired` is launched or terminated, then, if all is quiet, Spot members at risk get replacements (see
//! [`capacity_rebalance`]) or else the zones are evened out by launching one more first.
//!
//! What is missing is made up by members that still drain, if the group takes those back ([`super::cancel_drain`]), then by
//! the warm pool, then by launches.
//!
//! Invariants, whatever the input:
//! * counted members plus those taken back and launches never exceed `desired` (so never `max`), but for two kinds of excess that do not add up: surplus
//!   launches of a rebalance (of zones or of Spot capacity, together), at most [`zones::surplus_max`] units, or one instance if
//!   that is heavier; and spares launched ahead of those they replace, where the instance
//!   maintenance policy or the instance refresh asks for it: with them at most `ceil(MaxHealthyPercentage × desired)` units,
//!   and one instance more than `desired` where the percentages leave no other way (with weights: less than twice the largest
//!   weight); with weights, launches go on until
//!   `desired` is reached, so that it may be exceeded by less than the largest weight;
//! * instances of the warm pool are not counted, and are at most as many as it wants ([`super::warm_pool`]);
//! * a protected member is never chosen to shrink the group;
//! * a converged group gives no action.

mod capacity_rebalance;
pub mod choose;
#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod mixed_tests;
mod pool;
mod replace;
mod take_back;
#[cfg(test)]
mod tests;
pub mod zones;

use std::fmt;

use rand::Rng;

use super::view::{GroupView, sum};
use super::{GroupStatus, UnhealthyCause, process};
use crate::{Mutation, Timestamp};

/// Most launches of one plan: bounds the length of a transaction. The rest follows with the next plan.
pub const LAUNCHES_PER_PLAN_MAX: u32 = 100;
/// Most terminations of one plan, for the same reason.
pub const TERMINATIONS_PER_PLAN_MAX: u32 = 100;

/// Why an instance is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchWhy {
    /// Fewer count than wanted: the capacity grows from, to.
    Difference(u32, u32),
    /// In place of an unhealthy one that this plan terminates.
    Replacement,
    /// To even out the zones; another one goes once it is in service.
    Rebalance,
    /// In place of a Spot instance at risk, which goes once this one is in service.
    CapacityRebalance,
    /// In place of one that an instance refresh replaced.
    Refresh,
    /// In place of one that reached the maximum lifetime.
    Lifetime,
    /// Into the warm pool, which grows from, to.
    Pool(u32, u32),
    /// As a spare: another one goes once it is ready.
    Ahead(ReplaceWhy),
}

/// Why a member is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceWhy {
    /// Unhealthy.
    Unhealthy,
    /// An instance refresh.
    Refresh,
    /// The maximum instance lifetime.
    Lifetime,
}

/// Why a member is terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminateWhy {
    /// More count than wanted: the capacity shrinks from, to.
    Difference(u32, u32),
    /// Unhealthy.
    Unhealthy(UnhealthyCause),
    /// Its Spot capacity is at risk, and its replacement serves.
    AtRisk,
    /// Its Spot capacity is being taken back.
    Interrupted,
    /// The group is being deleted.
    GroupDeleted,
    /// An instance refresh replaces it.
    Refresh,
    /// It reached the maximum lifetime.
    Lifetime,
    /// The warm pool holds too many: from, to.
    Pool(u32, u32),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Launch one instance.
    Launch {
        /// Zone.
        zone: String,
        /// Subnet in it.
        subnet: String,
        /// With a mixed instances policy: the type and how it is bought.
        pool: Option<super::mixed::Pool>,
        /// Why.
        why: LaunchWhy,
    },
    /// Take an instance from the warm pool into the group.
    TakeWarm {
        /// Its instance.
        instance_id: String,
        /// Why.
        why: LaunchWhy,
    },
    /// Take a member that drains back into service.
    TakeBack {
        /// Its instance.
        instance_id: String,
        /// Why.
        why: LaunchWhy,
    },
    /// Terminate a member.
    Terminate {
        /// Its instance.
        instance_id: String,
        /// Why.
        why: TerminateWhy,
        /// How it was chosen, for explanations.
        chosen_by: String,
    },
    /// A spare takes a place in the group: it counts from now on.
    TakeOver {
        /// Its instance.
        instance_id: String,
    },
}

/// Why something is *not* done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// As many as wanted, all healthy, zones even.
    Converged,
    /// A process that would act is suspended.
    Suspended(&'static str),
    /// Launches failed; none before then.
    BackOff {
        /// In a row.
        failures: u32,
        /// Not before.
        until: Timestamp,
    },
    /// Every zone lacks capacity; none before then.
    NoZone {
        /// The first zone to be tried again.
        until: Timestamp,
    },
    /// The group names no subnet that exists.
    NoSubnet,
    /// No instance type satisfies the mixed instances policy.
    NoType,
    /// Too many units count, but the one to go is heavier than the excess.
    TooHeavy {
        /// How many units too many.
        excess: u32,
        /// The weight of the instance that would go.
        weight: u32,
    },
    /// Too many count, but all that could go are protected.
    AllProtected {
        /// How many too many.
        excess: u32,
    },
    /// The group launches Spot Instances now, which cannot wait in a warm pool: they cannot be stopped.
    SpotPool,
    /// Unhealthy members wait so that not too many are replaced at once.
    ReplacementsWait {
        /// How many wait.
        waiting: u32,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Converged => write!(f, "the group has what it wants"),
            Note::Suspended(process) => write!(f, "the process {process} is suspended"),
            Note::BackOff { failures, until } => {
                write!(f, "{failures} launches in a row failed; the next is tried at {until}")
            }
            Note::NoZone { until } => write!(f, "no zone has capacity; the next try is at {until}"),
            Note::NoSubnet => write!(f, "none of the group's subnets exists"),
            Note::NoType => write!(f, "no instance type satisfies the mixed instances policy"),
            Note::TooHeavy { excess, weight } => {
                write!(f, "{excess} units more than wanted, and the instance to go counts for {weight}")
            }
            Note::AllProtected { excess } => {
                write!(f, "{excess} more instances than wanted, all protected from scale-in")
            }
            Note::SpotPool => write!(f, "Spot Instances cannot wait in a warm pool"),
            Note::ReplacementsWait { waiting } => {
                write!(f, "{waiting} unhealthy instances wait until others have been replaced")
            }
        }
    }
}

/// What to do now and why not more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Things to do, in order.
    pub actions: Vec<Action>,
    /// Why not more.
    pub notes: Vec<Note>,
    /// When the plan may differ although nothing was changed.
    pub look_again: Option<Timestamp>,
}

impl Plan {
    fn later(&mut self, at: Timestamp) {
        self.look_again = Some(self.look_again.map_or(at, |old| old.min(at)));
    }
}

/// Decides what the group does now.
pub fn plan(view: &GroupView<'_>, rng: &mut dyn Rng) -> Plan {
    let mut plan = Plan::default();
    if view.group.status == GroupStatus::Deleting {
        end_all(view, &mut plan);
        return plan;
    }
    // Of each member: whether it stays counted in this plan.
    let mut stays: Vec<bool> = view.members.iter().map(|m| m.member.counts()).collect();
    capacity_rebalance::end_interrupted(view, &mut stays, &mut plan);
    let mut exchange = replace::Exchange::begin(view, &mut stays, &mut plan);
    exchange.fill(&mut stays, &mut plan);
    let n = match Mutation::LaunchTwice.is_on() {
        true => sum(view.members.iter().filter(|m| !m.member.is_pending()).map(|m| m.member.units())),
        false => counted(view, &stays),
    };
    let desired = view.group.desired;
    if n < desired {
        launch(view, n, &exchange, &mut stays, &mut plan, rng);
    } else if n > desired && !exchange.ended() {
        shrink(view, n, &mut stays, &mut plan, rng);
    }
    let settled = n >= desired && n - desired < view.weight_max() && plan.actions.is_empty();
    if settled && exchange.is_idle() {
        capacity_rebalance::replace(view, &stays, &mut plan, rng);
        if plan.actions.is_empty() {
            zones::rebalance(view, &stays, &mut plan, rng);
        }
    } else {
        exchange.launch_ahead(&stays, &mut plan, rng);
    }
    if view.group.warm_pool.is_some() || view.members.iter().any(|m| m.member.is_warm()) {
        let coming: u32 = sum(plan.actions.iter().map(|a| match a {
            Action::Launch { why: LaunchWhy::Rebalance | LaunchWhy::Ahead(_), .. } => 0,
            Action::Launch { pool, .. } => pool.as_ref().map_or(1, |p| p.weight),
            _ => 0,
        }));
        let unmet = desired.saturating_sub(counted(view, &stays).saturating_add(coming));
        pool::fit(view, unmet, &stays, &mut plan, rng);
    }
    if plan.actions.is_empty() && plan.notes.is_empty() {
        plan.notes.push(Note::Converged);
    }
    plan
}

/// Units of the members that stay.
fn counted(view: &GroupView<'_>, stays: &[bool]) -> u32 {
    sum(view.members.iter().zip(stays).filter(|(_, stays)| **stays).map(|(m, _)| m.member.weight))
}

fn end_all(view: &GroupView<'_>, plan: &mut Plan) {
    let left = view.members.iter().filter(|m| !m.member.is_terminating());
    for m in left.take(TERMINATIONS_PER_PLAN_MAX as usize) {
        plan.actions.push(Action::Terminate {
            instance_id: m.member.instance_id.clone(),
            why: TerminateWhy::GroupDeleted,
            chosen_by: "the group is being deleted".to_owned(),
        });
    }
}

fn launch(
    view: &GroupView<'_>,
    n: u32,
    exchange: &replace::Exchange<'_, '_>,
    stays: &mut [bool],
    plan: &mut Plan,
    rng: &mut dyn Rng,
) {
    let group = view.group;
    if group.is_suspended(process::LAUNCH) {
        return plan.notes.push(Note::Suspended(process::LAUNCH));
    }
    // `desired` is within the bounds by construction; the minimum is for records that are not.
    let max = if Mutation::IgnoreMax.is_on() { u32::MAX } else { group.max };
    // A newcomer on top of the capacity, whose counterpart went by itself meanwhile, fills that one's place.
    let coming = view.members.iter().filter(|m| m.member.surplus && m.member.is_pending());
    let coming = sum(coming.map(|m| m.member.weight));
    let wanted = group.desired.min(max).saturating_sub(n).saturating_sub(coming);
    let why = |launched: u32| exchange.why(launched).unwrap_or(LaunchWhy::Difference(n, group.desired));
    // Who drains is here and runs, whatever became of the last launches. It is as old as what a refresh replaces.
    let mut launched = match view.refresh {
        None => take_back::take(view, wanted.min(LAUNCHES_PER_PLAN_MAX), why, stays, plan),
        Some(_) => 0,
    };
    if launched >= wanted {
        return;
    }
    if let Some((failures, until)) = group.launch_backoff.filter(|(_, until)| view.now < *until)
        && !Mutation::ForgetBackOff.is_on()
    {
        plan.notes.push(Note::BackOff { failures, until });
        return plan.later(until);
    }
    // What waits in the pool is as old as that, too.
    launched += match view.refresh {
        None => {
            let why = |taken| why(launched + taken);
            pool::take(view, (wanted - launched).min(LAUNCHES_PER_PLAN_MAX), why, stays, plan)
        }
        Some(_) => 0,
    };
    let mut places = zones::Places::new(view, stays);
    for _ in 0..LAUNCHES_PER_PLAN_MAX {
        if launched >= wanted {
            break;
        }
        let place = match places.next(rng) {
            Ok(place) => place,
            Err(note) => {
                if let Note::NoZone { until } = note {
                    plan.later(until);
                }
                return plan.notes.push(note);
            }
        };
        let why = why(launched);
        launched += if Mutation::IgnoreWeights.is_on() { 1 } else { place.units() };
        plan.actions.push(place.launch(why));
    }
}

fn shrink(view: &GroupView<'_>, n: u32, stays: &mut [bool], plan: &mut Plan, rng: &mut dyn Rng) {
    let group = view.group;
    if group.is_suspended(process::TERMINATE) {
        return plan.notes.push(Note::Suspended(process::TERMINATE));
    }
    let mut excess = n - group.desired;
    let mut chooser = choose::Chooser::new(view, stays);
    for _ in 0..TERMINATIONS_PER_PLAN_MAX {
        if excess == 0 {
            break;
        }
        let choice = match chooser.next(excess, rng) {
            Ok(choice) => choice,
            Err(note) => return plan.notes.push(note),
        };
        excess -= view.members[choice.index].member.weight;
        plan.actions.push(Action::Terminate {
            instance_id: view.members[choice.index].member.instance_id.clone(),
            why: match choice.at_risk {
                true => TerminateWhy::AtRisk,
                false => TerminateWhy::Difference(n, group.desired),
            },
            chosen_by: choice.reason,
        });
    }
}
