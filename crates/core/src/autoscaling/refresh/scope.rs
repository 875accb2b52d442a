//! Whom a refresh is about, as of one moment.

use super::decide::Facts;
use super::{InstanceRefresh, RefreshStrategy, Reserved};
use crate::Timestamp;
use crate::autoscaling::view::{GroupView, MemberView, count};
use crate::autoscaling::{HealthStatus, LifecycleState as S, process};

/// The members, sorted by what the refresh has to do with them. Numbers are places in the view.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// To be replaced, and free to be.
    pub(super) candidates: Vec<usize>,
    /// To be ended without a successor.
    pub(super) end: Vec<usize>,
    /// To be replaced once they are no longer protected, in standby or on their way into service.
    pub(super) waiting: Vec<usize>,
    /// To be replaced in the warm pool: those that wait there, and how many are on their way to it.
    pub(super) warm: Vec<usize>,
    pub(super) n_warm_coming: u32,
    /// Newcomers that are not ready.
    pub(super) unready: Vec<usize>,
    /// Places without an instance.
    pub(super) n_short: u32,
    /// Launched ahead of those they will replace.
    pub(super) n_spares: u32,
    /// Members whose lifecycle hook holds them.
    pub(super) n_held: u32,
    /// When the last newcomer will have warmed up, and the next one.
    pub(super) last_warm: Option<Timestamp>,
    pub(super) next_warm: Option<Timestamp>,
}

impl Scope {
    pub(super) fn of(view: &GroupView<'_>, refresh: &InstanceRefresh, facts: &Facts<'_>) -> Scope {
        let mut scope = Scope::default();
        for (i, m) in view.members.iter().enumerate() {
            scope.sort(view, refresh, facts, i, m);
        }
        let short = view.group.desired.saturating_sub(view.n_counted()).div_ceil(view.weight_max().max(1));
        // Spares fill places at once, so only what they cannot fill is missing.
        scope.n_short = short.saturating_sub(scope.n_spares);
        scope
    }

    fn sort(
        &mut self,
        view: &GroupView<'_>,
        refresh: &InstanceRefresh,
        facts: &Facts<'_>,
        i: usize,
        m: &MemberView<'_>,
    ) {
        let (member, preferences) = (m.member, &refresh.preferences);
        self.n_held += u32::from(matches!(
            member.state,
            S::PendingWait | S::TerminatingWait | S::ReplacingRootVolumeWait
        ));
        let marked = member.refreshed_by.as_deref() == Some(refresh.id.as_str());
        let outdated = match refresh.rollback {
            Some(_) => marked,
            None => !(marked || preferences.skip_matching && facts.matches.get(i).copied().unwrap_or(false)),
        };
        if member.state.is_of_pool() {
            if outdated && matches!(member.state, S::WarmedStopped | S::WarmedRunning) {
                self.warm.push(i);
            } else if outdated && member.is_warm() {
                self.n_warm_coming += 1;
            }
            return;
        }
        if member.spare {
            // What was launched ahead for a refresh that is rolled back has replaced nobody yet. One that goes, or that is kept out of
            // service for somebody to look at, will replace nobody.
            let stays = !member.is_terminating() && !member.state.is_retained();
            match refresh.rollback.is_some() && marked && stays {
                true => self.end.push(i),
                false => self.n_spares += u32::from(stays),
            }
            return;
        }
        match member.state {
            S::EnteringStandby | S::Standby if outdated => match preferences.standby {
                Reserved::Ignore => {}
                Reserved::Replace if member.state == S::Standby => self.end.push(i),
                Reserved::Replace | Reserved::Wait => self.waiting.push(i),
            },
            S::InService if outdated => match preferences.protected {
                _ if !member.protected => self.candidates.push(i),
                Reserved::Replace => self.candidates.push(i),
                Reserved::Wait => self.waiting.push(i),
                Reserved::Ignore => {}
            },
            _ if outdated && (member.is_pending() || member.state.is_replacing_root()) => {
                self.waiting.push(i)
            }
            _ if member.counts() => {
                let new = member.in_service_at.is_none_or(|at| at >= refresh.phase_started_at);
                if new && !m.is_ready(view.group, refresh.warmup(), view.now) {
                    self.unready.push(i);
                }
            }
            _ => {}
        }
        if member.counts() || member.spare {
            let warm_at = m.warm_at(refresh.warmup()).filter(|at| view.now < *at);
            self.last_warm = self.last_warm.max(warm_at);
            self.next_warm = [self.next_warm, warm_at].into_iter().flatten().min();
        }
    }

    /// Instances whose successor is not ready.
    pub(super) fn n_left(&self) -> u32 {
        self.n_outdated() + count(self.unready.iter()) + self.n_short
    }

    /// Instances that are to go still.
    pub(super) fn n_outdated(&self) -> u32 {
        count(self.candidates.iter()) + count(self.waiting.iter())
    }

    /// Instances of the warm pool that are to go still.
    pub(super) fn n_warm_left(&self) -> u32 {
        count(self.warm.iter()) + self.n_warm_coming
    }

    /// What keeps the refresh from going on, for people.
    pub(super) fn waits_for(&self, view: &GroupView<'_>, strategy: RefreshStrategy) -> Option<String> {
        let id = |i: &usize| view.members[*i].member.instance_id.as_str();
        for suspended in [process::LAUNCH, process::TERMINATE] {
            if strategy == RefreshStrategy::Rolling && view.group.is_suspended(suspended) {
                return Some(format!("The process {suspended} is suspended."));
            }
        }
        if self.n_short > 0 {
            return Some(format!("Waiting for {} instances to be launched.", self.n_short));
        }
        let mut unready = self.unready.iter();
        let coming = |i: &&usize| view.members[**i].member.is_under_way();
        if let Some(i) = unready.clone().find(coming) {
            let state = view.members[*i].member.state.name();
            return Some(format!(
                "Waiting for remaining instances to be available. For example: {} is {state}.",
                id(i)
            ));
        }
        let sick = |i: &&usize| view.members[**i].member.health == HealthStatus::Unhealthy;
        if let Some(i) = unready.clone().find(sick) {
            return Some(format!(
                "Waiting for instances to become healthy before continuing. For example: {} is unhealthy.",
                id(i)
            ));
        }
        if let Some(i) = unready.next() {
            return Some(format!(
                "Waiting for instances to warm up before continuing. For example: {} is warming up.",
                id(i)
            ));
        }
        if !self.candidates.is_empty() {
            return None;
        }
        self.waiting.first().map(|i| {
            let member = view.members[*i].member;
            let why = match member.state {
                S::Standby | S::EnteringStandby => "in Standby",
                S::InService => "protected from scale-in",
                other => other.name(),
            };
            format!(
                "Waiting for instances that cannot be replaced now. For example: {} is {why}.",
                member.instance_id
            )
        })
    }
}
