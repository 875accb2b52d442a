//! Cost within its plan: the machines that run for a group are those it wanted lately, plus those that the records show on
//! their way or set aside. What runs beyond that is counted by the second, and must stay within an allowance for what cannot
//! be known at once.

use std::collections::{BTreeMap, VecDeque};

use puffer_compute::DriverState;

use super::never_above_max::excess;
use super::{Found, Invariant, Now, holds};
use crate::view::count;

/// A group may still run what it wanted this many seconds ago: scale-in is decided, drained and carried out in that time.
const LATELY_S: usize = 120;
/// Instance-seconds beyond the plan that a group may cost: a few instances for the minutes that time-outs and repeated failures of
/// calls take.
const ALLOWANCE: f64 = 2400.0;

#[derive(Default)]
pub(crate) struct CostWithinPlan {
    books: BTreeMap<String, Book>,
}

#[derive(Default)]
struct Book {
    wanted: VecDeque<u32>,
    overrun: f64,
}

impl Invariant for CostWithinPlan {
    fn name(&self) -> &'static str {
        "cost_within_plan"
    }

    fn second(&mut self, now: &Now<'_>) -> Found {
        if !now.server_lives {
            return Ok(());
        }
        for group in now.view.groups.values() {
            let book = self.books.entry(group.name.clone()).or_default();
            book.wanted.push_back(group.desired + excess(group, now.view));
            if book.wanted.len() > LATELY_S {
                book.wanted.pop_front();
            }
            let lately = book.wanted.iter().copied().max().unwrap_or(0);
            let on = |id: &str| {
                now.machines.by_id.get(id).is_some_and(|m| m.state(now.true_ms) != DriverState::Stopped)
            };
            let of_group = |i: &&std::sync::Arc<puffer_core::ec2::Instance>| {
                i.auto_scaling_group.as_ref() == Some(&group.name) && on(&i.id)
            };
            let runs = count(now.view.instances.values().filter(of_group));
            // Protection and suspended processes hold members that are not wanted; others are on their way or set aside.
            let held = count(now.view.members_of(&group.name).filter(|m| m.counts()));
            let aside = count(now.view.members_of(&group.name).filter(|m| !m.counts() && on(&m.instance_id)));
            let planned = match group.suspended.is_empty() && group.desired > 0 {
                true => lately.max(count(now.view.members_of(&group.name).filter(|m| m.protected))),
                false => lately.max(held),
            };
            let beyond = f64::from(runs) - f64::from(planned + aside);
            book.overrun = (book.overrun + beyond.max(-1.0)).max(0.0);
            holds!(
                book.overrun <= ALLOWANCE,
                "{} has cost {:.0} instance-seconds beyond its plan; {runs} run, {planned} are planned, {aside} set aside",
                group.name,
                book.overrun
            );
        }
        Ok(())
    }
}
