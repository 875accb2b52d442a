//! Who is replaced, and in which order things happen.
//!
//! There are two ways to replace an instance. *Together*: it is terminated, and the place it leaves is filled by a launch of the same
//! plan. *Ahead*: a spare is launched beyond `desired`; once it is ready, the old one is terminated and the spare takes its place. A
//! spare belongs to nobody in particular: whichever place is free first, it fills, also one that a fault left. So there
//! is nothing to be mended when its victim goes by itself.
//!
//! Which way, and how many at once, follows from [`Bounds`]: nobody who is ready is taken out if fewer than `ready_min` would be
//! left, and spares are launched as long as there are not more than `total_max` in all. Someone who is not ready goes when enough
//! others are, or when a ready spare takes the place.
//!
//! Asked for by: failed health (without a maintenance policy as [`throttle`] has it), an instance refresh, the maximum instance
//! lifetime. A refresh has the group to itself: lifetimes wait until it is over.

mod lifetime;
#[cfg(test)]
mod tests;
mod throttle;

use rand::Rng;

use super::zones::Places;
use super::{
    Action, LAUNCHES_PER_PLAN_MAX, LaunchWhy, Note, Plan, ReplaceWhy, TERMINATIONS_PER_PLAN_MAX,
    TerminateWhy, counted,
};
use crate::Mutation;
use crate::autoscaling::refresh::{Pace, Replacing};
use crate::autoscaling::view::{GroupView, Warmup, count, sum};
use crate::autoscaling::{Bounds, HealthStatus, LifecycleState, UnhealthyCause, process};
use crate::ec2::InstanceState;

/// Members that wait for their replacement.
struct Queue {
    why: ReplaceWhy,
    total_max: u32,
    /// In order.
    left: Vec<usize>,
    pace: Pace,
}

impl Queue {
    /// How many spares it has a use for, of which `n` exist.
    fn wants(&self, n: usize) -> usize {
        match self.pace {
            Pace::Go(limit) => self.left.len().min(n.saturating_add(limit as usize)),
            Pace::Finish => self.left.len().min(n),
            Pace::Hold => n,
        }
    }
}

/// How many more units may go within the bounds.
struct Room {
    bounds: Bounds,
    /// Units of ready members, spares among them.
    ready: u32,
    /// Units of ready spares that take nobody's place yet.
    ready_spares: u32,
}

impl Room {
    /// Whether this one may go now. Without a spare it uses up the limit.
    fn admits(&mut self, is_ready: bool, weight: u32, limit: &mut u32) -> bool {
        let with_spare = self.ready_spares >= weight;
        if !with_spare && *limit == 0 {
            return false;
        }
        let allowed = match is_ready {
            true => self.ready >= self.bounds.ready_min.saturating_add(weight),
            false => with_spare || self.ready >= self.bounds.ready_min,
        };
        if !allowed && !Mutation::IgnoreMaintenance.is_on() {
            return false;
        }
        if with_spare {
            self.ready_spares -= weight;
        } else {
            *limit -= 1;
        }
        self.ready = self.ready.saturating_sub(if is_ready { weight } else { 0 });
        true
    }
}

/// The replacements of one plan.
pub(super) struct Exchange<'v, 'a> {
    view: &'v GroupView<'a>,
    /// Spares, those in service longest first.
    spares: Vec<usize>,
    /// Units of spares that replace somebody in this plan.
    n_used: u32,
    /// Why the places that this plan frees are filled, and their units.
    places: Vec<(LaunchWhy, u32)>,
    /// Units that are filled by spares already.
    n_filled: u32,
    queues: Vec<Queue>,
}

impl<'v, 'a> Exchange<'v, 'a> {
    /// Terminates whom it may terminate now.
    pub(super) fn begin(view: &'v GroupView<'a>, stays: &mut [bool], plan: &mut Plan) -> Self {
        let mut spares: Vec<usize> = (0..view.members.len())
            .filter(|&i| {
                let m = view.members[i].member;
                m.spare && (m.is_pending() || m.state == LifecycleState::InService)
            })
            .collect();
        // Those in service first, the longest there first of all.
        let order = |i: &usize| {
            let m = view.members[*i].member;
            (m.state != LifecycleState::InService, m.in_service_at, m.launched_at)
        };
        spares.sort_by_key(order);
        let mut exchange =
            Exchange { view, spares, n_used: 0, places: Vec::new(), n_filled: 0, queues: Vec::new() };
        exchange.unhealthy(stays, plan);
        match view.refresh {
            Some(refresh) => exchange.refresh(refresh, stays, plan),
            None => exchange.overdue(stays, plan),
        }
        exchange
    }

    /// Nothing is replaced now or later.
    pub(super) fn is_idle(&self) -> bool {
        self.places.is_empty()
            && self.n_used == 0
            && self.spares.is_empty()
            && self.queues.is_empty()
            && self.view.refresh.is_none()
    }

    /// Somebody goes for a replacement in this plan.
    pub(super) fn ended(&self) -> bool {
        !self.places.is_empty()
    }

    /// Why a launch is made after launches of so many units.
    pub(super) fn why(&self, launched: u32) -> Option<LaunchWhy> {
        let mut units = launched.saturating_add(self.n_filled);
        self.places.iter().find_map(|(why, weight)| {
            let this = units < *weight;
            units = units.saturating_sub(*weight);
            this.then_some(*why)
        })
    }

    fn unhealthy(&mut self, stays: &mut [bool], plan: &mut Plan) {
        let view = self.view;
        let mut sick: Vec<usize> = (0..view.members.len())
            .filter(|&i| {
                let m = view.members[i].member;
                let ignored =
                    view.group.zone_impairment.ignore_unhealthy && view.group.shifted_from(&m.zone, view.now);
                m.health == HealthStatus::Unhealthy && m.state == LifecycleState::InService && !ignored
            })
            .collect();
        if sick.is_empty() {
            return;
        }
        for process in [process::TERMINATE, process::REPLACE_UNHEALTHY] {
            if view.group.is_suspended(process) {
                return plan.notes.push(Note::Suspended(process));
            }
        }
        // A spare that fails stands in nobody's place, and another one follows if it is still wanted.
        self.spares.retain(|i| !sick.contains(i));
        sick.retain(|&i| {
            if view.members[i].member.spare {
                self.end(i, unhealthy(view, i), "it is unhealthy".to_owned(), plan);
            }
            stays[i]
        });
        let (chosen, left) = match view.group.maintenance {
            Some(percent) => {
                let bounds = Bounds::of(percent, view.group.desired, view.weight_max());
                self.sick_within(bounds, sick, stays, plan)
            }
            None => {
                let (chosen, look_again) = throttle::admitted(view, &sick);
                if let Some(at) = look_again {
                    plan.later(at);
                }
                let left = count(sick.iter().filter(|i| !chosen.contains(i)));
                (chosen, left)
            }
        };
        if left > 0 {
            plan.notes.push(Note::ReplacementsWait { waiting: left });
        }
        for i in chosen {
            stays[i] = false;
            self.places.push((LaunchWhy::Replacement, view.members[i].member.weight));
            self.end(i, unhealthy(view, i), "it is unhealthy".to_owned(), plan);
        }
    }

    /// The maintenance policy governs: those that still run go when enough others are ready, or for a spare. What does not run has
    /// nothing to keep.
    fn sick_within(
        &mut self,
        bounds: Bounds,
        sick: Vec<usize>,
        stays: &[bool],
        plan: &mut Plan,
    ) -> (Vec<usize>, u32) {
        let view = self.view;
        // Whatever they were called unhealthy for: some have died since.
        let dead = |i: &usize| {
            let m = &view.members[*i];
            m.member.unhealthy_cause == Some(UnhealthyCause::Ec2NotRunning)
                || m.instance.is_none_or(|i| i.state != InstanceState::Running)
        };
        let (mut chosen, sick): (Vec<usize>, Vec<usize>) = sick.into_iter().partition(dead);
        let mut room = self.room(bounds, Warmup::of_all(view.group.warmup_s()), stays, plan);
        let before = room.ready_spares;
        let (mut left, mut any_number) = (Vec::new(), u32::MAX);
        for i in sick {
            match room.admits(false, view.members[i].member.weight, &mut any_number) {
                true => chosen.push(i),
                false => left.push(i),
            }
        }
        self.n_used += before - room.ready_spares;
        // Bounds that allow neither fewer nor more would keep the sick for ever: then one at a time goes first.
        let nothing_else = chosen.is_empty()
            && self.spares.is_empty()
            && bounds.total_max < counted(view, stays) + view.weight_max();
        if nothing_else && !left.is_empty() && !throttle::is_unsettled(view) {
            chosen.push(left.remove(0));
        }
        let n_left = count(left.iter());
        if !left.is_empty() {
            let total_max = bounds.total_max;
            self.queues.push(Queue { why: ReplaceWhy::Unhealthy, total_max, left, pace: Pace::Go(u32::MAX) });
        }
        (chosen, n_left)
    }

    fn refresh(&mut self, refresh: &Replacing, stays: &mut [bool], plan: &mut Plan) {
        let view = self.view;
        let mut pace = refresh.pace;
        for process in [process::TERMINATE, process::LAUNCH] {
            if view.group.is_suspended(process) {
                plan.notes.push(Note::Suspended(process));
                pace = Pace::Hold;
            }
        }
        if pace != Pace::Hold {
            for &i in refresh.end.iter().take(TERMINATIONS_PER_PLAN_MAX as usize) {
                self.spares.retain(|s| *s != i);
                self.end(i, TerminateWhy::Refresh, refresh.stand.clone(), plan);
            }
        }
        // Launches that fail now would fail for the next victim, too.
        if let Some((_, until)) = view.group.launch_backoff.filter(|(_, until)| view.now < *until) {
            plan.later(until);
            pace = Pace::Hold;
        }
        let mut limit = match pace {
            Pace::Go(limit) => limit,
            Pace::Finish | Pace::Hold => 0,
        };
        let left = match pace {
            Pace::Hold => Vec::new(),
            Pace::Go(_) | Pace::Finish => {
                let order = self.in_order(&refresh.candidates, stays);
                self.exchange(order, refresh.bounds, refresh.warmup, &mut limit, stays, plan, |e, i, plan| {
                    e.places.push((LaunchWhy::Refresh, view.members[i].member.weight));
                    e.end(i, TerminateWhy::Refresh, refresh.stand.clone(), plan);
                })
            }
        };
        let pace = if let Pace::Go(_) = pace { Pace::Go(limit) } else { pace };
        let total_max = refresh.bounds.total_max;
        self.queues.push(Queue { why: ReplaceWhy::Refresh, total_max, left, pace });
    }

    fn overdue(&mut self, stays: &mut [bool], plan: &mut Plan) {
        let view = self.view;
        if view.group.max_instance_lifetime_s == 0 {
            return;
        }
        let (due, next) = lifetime::due(view, stays);
        if let Some(at) = next {
            plan.later(at);
        }
        if due.is_empty() {
            return;
        }
        for process in [process::TERMINATE, process::LAUNCH] {
            if view.group.is_suspended(process) {
                return plan.notes.push(Note::Suspended(process));
            }
        }
        if let Some((_, until)) = view.group.launch_backoff.filter(|(_, until)| view.now < *until) {
            return plan.later(until);
        }
        let portion = match due.len() {
            1 => 1,
            n => count(0..n).min((view.group.desired / 10).max(1)),
        };
        let (unsettled, settles_at) = throttle::unsettled(view);
        if let Some(at) = settles_at {
            plan.later(at);
        }
        let n_spares = count(self.spares.iter());
        let mut limit = portion.saturating_sub(unsettled.max(n_spares) + count(self.places.iter()));
        // Without a policy an old instance goes while its successor comes.
        let bounds = match view.group.maintenance {
            Some(percent) => Bounds::of(percent, view.group.desired, view.weight_max()),
            None => Bounds { ready_min: 0, total_max: view.group.desired },
        };
        let chosen_by =
            format!("it is older than, or about to reach, {} s", view.group.max_instance_lifetime_s);
        let warmup = Warmup::of_all(view.group.warmup_s());
        let left = self.exchange(due, bounds, warmup, &mut limit, stays, plan, |e, i, plan| {
            e.places.push((LaunchWhy::Lifetime, view.members[i].member.weight));
            e.end(i, TerminateWhy::Lifetime, chosen_by.clone(), plan);
        });
        let pace = Pace::Go(limit);
        self.queues.push(Queue { why: ReplaceWhy::Lifetime, total_max: bounds.total_max, left, pace });
    }

    /// Takes out those of `order` that may go within the bounds; gives those that are left.
    #[allow(clippy::too_many_arguments)]
    fn exchange(
        &mut self,
        order: Vec<usize>,
        bounds: Bounds,
        warmup: Warmup,
        limit: &mut u32,
        stays: &mut [bool],
        plan: &mut Plan,
        mut take_out: impl FnMut(&mut Self, usize, &mut Plan),
    ) -> Vec<usize> {
        let view = self.view;
        let mut room = self.room(bounds, warmup, stays, plan);
        let before = room.ready_spares;
        // A group that is too big shrinks first: that may take the same ones.
        let mut may = counted(view, stays) < view.group.desired.saturating_add(view.weight_max());
        let mut left = Vec::new();
        let mut n_ended = 0;
        for i in order.into_iter().filter(|i| stays[*i]).collect::<Vec<_>>() {
            may &= n_ended < TERMINATIONS_PER_PLAN_MAX;
            let is_ready = view.members[i].is_ready(view.group, warmup, view.now);
            if may && room.admits(is_ready, view.members[i].member.weight, limit) {
                stays[i] = false;
                n_ended += 1;
                take_out(self, i, plan);
            } else {
                left.push(i);
            }
        }
        self.n_used += before - room.ready_spares;
        left
    }

    fn end(&self, i: usize, why: TerminateWhy, chosen_by: String, plan: &mut Plan) {
        let instance_id = self.view.members[i].member.instance_id.clone();
        plan.actions.push(Action::Terminate { instance_id, why, chosen_by });
    }

    fn room(&self, bounds: Bounds, warmup: Warmup, stays: &[bool], plan: &mut Plan) -> Room {
        let view = self.view;
        let is_ready = |i: usize| view.members[i].is_ready(view.group, warmup, view.now);
        let here = |i: usize| stays[i] || self.spares.contains(&i);
        let weight = |i: usize| view.members[i].member.weight;
        let ready = sum((0..stays.len()).filter(|&i| here(i) && is_ready(i)).map(weight));
        let spares = self.spares.iter().copied().filter(|&i| is_ready(i));
        let ready_spares = sum(spares.map(weight)).saturating_sub(self.n_used);
        let warm = (0..stays.len()).filter(|&i| here(i)).filter_map(|i| view.members[i].warm_at(warmup));
        if let Some(at) = warm.filter(|at| view.now < *at).min() {
            plan.later(at);
        }
        Room { bounds, ready, ready_spares }
    }

    /// From the fullest zone first, and the oldest there: so the zones stay even, and no zone is emptied at once.
    fn in_order(&self, candidates: &[usize], stays: &[bool]) -> Vec<usize> {
        let view = self.view;
        let zone = |i: usize| view.members[i].member.zone.as_str();
        let mut by_age: Vec<usize> = candidates.iter().copied().filter(|i| stays[*i]).collect();
        by_age.sort_by_key(|&i| (view.members[i].member.launched_at, i));
        let mut sizes: Vec<(&str, usize)> = Vec::new();
        for i in (0..stays.len()).filter(|i| stays[*i] || self.spares.contains(i)) {
            match sizes.iter_mut().find(|(z, _)| *z == zone(i)) {
                Some((_, n)) => *n += 1,
                None => sizes.push((zone(i), 1)),
            }
        }
        let mut ranked: Vec<(std::cmp::Reverse<usize>, usize)> = Vec::with_capacity(by_age.len());
        for i in by_age {
            if let Some((_, n)) = sizes.iter_mut().find(|(z, _)| *z == zone(i)) {
                ranked.push((std::cmp::Reverse(*n), i));
                *n = n.saturating_sub(1);
            }
        }
        ranked.sort_by_key(|(size, _)| *size);
        ranked.into_iter().map(|(_, i)| i).collect()
    }

    /// Spares fill the places that are free, and those that nobody needs any more join the group, which then shrinks.
    pub(super) fn fill(&mut self, stays: &mut [bool], plan: &mut Plan) {
        let view = self.view;
        let weight = |i: usize| view.members[i].member.weight;
        let free = view.group.desired.saturating_sub(counted(view, stays));
        let mut joining = Vec::new();
        while self.n_filled < free && !self.spares.is_empty() {
            let spare = self.spares.remove(0);
            self.n_filled += weight(spare);
            joining.push(spare);
        }
        let n_free = self.spares.len();
        let held = self.queues.iter().any(|q| q.pace == Pace::Hold);
        let wanted =
            sum(self.queues.iter().flat_map(|q| q.left.iter().take(q.wants(n_free))).map(|&i| weight(i)));
        let most =
            self.queues.iter().map(|q| q.total_max).max().unwrap_or(0).saturating_sub(view.group.desired);
        let (mut n_kept, mut kept) = (0, 0);
        for &i in &self.spares {
            if (held || kept < wanted) && kept + weight(i) <= most {
                n_kept += 1;
                kept += weight(i);
            } else {
                break;
            }
        }
        joining.extend(self.spares.drain(n_kept..));
        for &i in &joining {
            stays[i] = true;
            plan.actions.push(Action::TakeOver { instance_id: view.members[i].member.instance_id.clone() });
        }
    }

    /// Launches spares for those that wait, as far as the bounds let it.
    pub(super) fn launch_ahead(&self, stays: &[bool], plan: &mut Plan, rng: &mut dyn Rng) {
        let view = self.view;
        let launches = plan.actions.iter().any(|a| matches!(a, Action::Launch { .. }));
        let n = counted(view, stays);
        // What is missing or too much comes first; the next plan sees to the rest.
        let settled = n >= view.group.desired && n - view.group.desired < view.weight_max();
        if launches || !settled || self.queues.iter().all(|q| q.left.is_empty()) {
            return;
        }
        for process in [process::LAUNCH, process::TERMINATE] {
            if view.group.is_suspended(process) {
                return plan.notes.push(Note::Suspended(process));
            }
        }
        if let Some((failures, until)) = view.group.launch_backoff.filter(|(_, until)| view.now < *until) {
            plan.notes.push(Note::BackOff { failures, until });
            return plan.later(until);
        }
        let weight = |i: usize| view.members[i].member.weight;
        let surplus = view.members.iter().map(|m| m.member).filter(|m| m.surplus && m.is_pending());
        let spares = sum(self.spares.iter().map(|&i| weight(i)));
        let mut total = n + spares + sum(surplus.map(|m| m.weight));
        // Where the group will be without those that go.
        let mut later = stays.to_vec();
        for &i in &self.spares {
            later[i] = true;
        }
        // What the spares at hand do not cover: why, how many units, up to how many in all.
        let mut covered = spares;
        let mut lacking: Vec<(ReplaceWhy, u32, u32)> = Vec::new();
        for queue in &self.queues {
            let mut units = 0;
            for &victim in queue.left.iter().take(queue.wants(self.spares.len())) {
                if covered >= weight(victim) {
                    covered -= weight(victim);
                } else if total + units < queue.total_max {
                    units += weight(victim) - covered;
                    covered = 0;
                } else {
                    break;
                }
                later[victim] = false;
            }
            lacking.push((queue.why, units, queue.total_max));
        }
        let mut places = Places::new(view, &later);
        let mut n_launches = 0;
        for (why, units, total_max) in lacking {
            let mut launched = 0;
            while launched < units && n_launches < LAUNCHES_PER_PLAN_MAX {
                let place = match places.next(rng) {
                    Ok(place) => place,
                    Err(note) => {
                        if let Note::NoZone { until } = note {
                            plan.later(until);
                        }
                        return plan.notes.push(note);
                    }
                };
                if total + place.units() > total_max {
                    break;
                }
                total += place.units();
                launched += place.units();
                n_launches += 1;
                plan.actions.push(place.launch(LaunchWhy::Ahead(why)));
            }
        }
    }
}

fn unhealthy(view: &GroupView<'_>, i: usize) -> TerminateWhy {
    TerminateWhy::Unhealthy(view.members[i].member.unhealthy_cause.unwrap_or(UnhealthyCause::User))
}
