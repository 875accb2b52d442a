//! What becomes of a refresh: its next status, how far it is, what it waits for.

use std::time::Duration;

use super::scope::Scope;
use super::{InstanceRefresh, Pace, Progress, RefreshStatus as S, Replacing};
use crate::Timestamp;
use crate::autoscaling::maintenance::share;
use crate::autoscaling::process;
use crate::autoscaling::view::{GroupView, count};

/// A refresh that comes no nearer to its end for so long fails. Warm-up, checkpoints and lifecycle hooks are waited for.
pub const NO_PROGRESS_MAX: Duration = Duration::from_secs(3600);
/// A refresh that takes longer than this in all fails.
pub const RUN_MAX: Duration = Duration::from_secs(14 * 86_400);
/// Between two looks at the alarms of a refresh: shorter than the shortest period of an alarm (10 s).
const ALARM_LOOK: Duration = Duration::from_secs(5);

/// What is known beyond the group's view.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Of each member of the view: whether it is what a launch would make now.
    pub matches: &'a [bool],
    /// An alarm of the refresh that is in ALARM.
    pub alarm: Option<&'a str>,
    /// Whether there is a way back.
    pub reversible: bool,
}

/// Something that others are told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It began.
    Started,
    /// It reached this checkpoint, percent.
    CheckpointReached(u32),
    /// It came to its end, see its status.
    Ended,
}

/// What becomes of a refresh.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The record from now on.
    pub refresh: InstanceRefresh,
    /// What the planner may do for it; `None`: nothing is to be replaced.
    pub replacing: Option<Replacing>,
    /// When to look again although nothing changed.
    pub look_again: Option<Timestamp>,
    /// What happened.
    pub events: Vec<Event>,
}

/// Decides what becomes of a refresh.
pub fn decide(view: &GroupView<'_>, refresh: &InstanceRefresh, facts: &Facts<'_>) -> Decision {
    let made = Decision { refresh: refresh.clone(), replacing: None, look_again: None, events: Vec::new() };
    let mut decider = Decider { view, facts, now: view.now, made };
    decider.run();
    decider.made
}

struct Decider<'v, 'a> {
    view: &'v GroupView<'a>,
    facts: &'v Facts<'v>,
    now: Timestamp,
    made: Decision,
}

impl Decider<'_, '_> {
    fn run(&mut self) {
        let suspended = self.view.group.is_suspended(process::INSTANCE_REFRESH);
        if self.made.refresh.status == S::Pending && !suspended {
            let r = &mut self.made.refresh;
            (r.status, r.started_at) = (S::InProgress, Some(self.now));
            (r.phase_started_at, r.progressed_at) = (self.now, self.now);
            r.progress = Progress::default();
            self.made.events.push(Event::Started);
        }
        let before = self.made.refresh.status;
        self.take_stock(suspended);
        // A refresh that failed just now may be on its way back already.
        if self.made.refresh.status == S::RollbackInProgress && before != S::RollbackInProgress {
            self.take_stock(suspended);
        }
        if before.is_active() && !self.made.refresh.status.is_active() {
            self.made.events.push(Event::Ended);
        }
    }

    fn take_stock(&mut self, suspended: bool) {
        let scope = Scope::of(self.view, &self.made.refresh, self.facts);
        let status = self.made.refresh.status;
        if status != S::Pending && status != S::Baking {
            self.measure(&scope);
        }
        if suspended && status.is_active() && status != S::Cancelling {
            self.made.refresh.paused_at.get_or_insert(self.now);
            self.wait_for(Some(format!("The process {} is suspended.", process::INSTANCE_REFRESH)));
            return self.replace(scope, Pace::Hold);
        }
        self.resume();
        match status {
            S::InProgress => self.in_progress(scope),
            S::Baking => self.baking(),
            S::Cancelling => self.cancelling(scope),
            S::RollbackInProgress => self.rolling_back(scope),
            S::Pending
            | S::Successful
            | S::Failed
            | S::Cancelled
            | S::RollbackFailed
            | S::RollbackSuccessful => {}
        }
    }

    fn measure(&mut self, scope: &Scope) {
        let r = &mut self.made.refresh;
        let n_left = scope.n_left();
        if n_left < r.progress.n_left {
            r.progressed_at = self.now;
        }
        r.progress = Progress { n_total: r.progress.n_total.max(n_left), n_left };
        let n_warm = scope.n_warm_left();
        r.warm_progress = Progress { n_total: r.warm_progress.n_total.max(n_warm), n_left: n_warm };
        if let Some(at) = scope.next_warm {
            self.later(at);
        }
    }

    /// Time in which the process was suspended does not count.
    fn resume(&mut self) {
        let r = &mut self.made.refresh;
        let Some(paused_at) = r.paused_at.take() else { return };
        let by = self.now.since(paused_at);
        r.progressed_at = r.progressed_at + by;
        for until in [&mut r.checkpoint_until, &mut r.bake_until].into_iter().flatten() {
            *until = *until + by;
        }
    }

    fn in_progress(&mut self, scope: Scope) {
        if let Some(reason) = self.failed(&scope) {
            return self.fail(&reason);
        }
        let r = &self.made.refresh;
        let Progress { n_total, n_left } = r.progress;
        let last = r.preferences.checkpoints.last().copied().unwrap_or(100);
        if n_left == 0 && scope.n_warm_left() > 0 {
            return self.replace_pool(scope);
        }
        if n_left == 0 {
            if !r.preferences.checkpoints.is_empty() {
                self.reach(last);
            }
            return self.complete();
        }
        if let Some(until) = r.checkpoint_until {
            if self.now < until {
                return self.hold_at_checkpoint(scope, until);
            }
            let r = &mut self.made.refresh;
            (r.checkpoint_until, r.progressed_at) = (None, self.now);
        }
        let r = &self.made.refresh;
        let n_done = n_total - n_left;
        let reached = r
            .preferences
            .checkpoints
            .iter()
            .copied()
            .rfind(|c| *c > r.checkpoint && n_done >= share(*c, n_total));
        if let Some(percent) = reached {
            let until = self.now + Duration::from_secs(r.preferences.checkpoint_delay_s.into());
            self.reach(percent);
            if percent == last {
                return self.complete();
            }
            self.made.refresh.checkpoint_until = Some(until);
            if self.now < until {
                return self.hold_at_checkpoint(scope, until);
            }
            self.made.refresh.checkpoint_until = None;
        }
        let r = &self.made.refresh;
        let target = r.preferences.checkpoints.iter().find(|c| **c > r.checkpoint);
        let limit = target.map_or(u32::MAX, |percent| {
            let begun = n_total.saturating_sub(scope.n_outdated()) + scope.n_spares;
            share(*percent, n_total).saturating_sub(begun)
        });
        self.wait_for(scope.waits_for(self.view, self.made.refresh.strategy));
        self.replace(scope, Pace::Go(limit));
    }

    fn hold_at_checkpoint(&mut self, scope: Scope, until: Timestamp) {
        let percent = self.made.refresh.checkpoint;
        self.wait_for(Some(format!(
            "Waiting at the checkpoint of {percent} percent until {}.",
            until.to_rfc3339_secs()
        )));
        self.later(until);
        self.replace(scope, Pace::Finish);
    }

    fn reach(&mut self, percent: u32) {
        self.made.refresh.checkpoint = percent;
        self.made.events.push(Event::CheckpointReached(percent));
    }

    /// All that was asked is replaced.
    fn complete(&mut self) {
        let bake = Duration::from_secs(self.made.refresh.preferences.bake_s.into());
        if bake.is_zero() {
            return self.made.refresh.end(S::Successful, None, self.now);
        }
        self.made.refresh.status = S::Baking;
        self.made.refresh.bake_until = Some(self.now + bake);
        self.baking();
    }

    fn baking(&mut self) {
        if let Some(reason) = self.alarmed() {
            return self.fail(&reason);
        }
        match self.made.refresh.bake_until {
            Some(until) if self.now < until => {
                self.wait_for(Some(format!(
                    "Waiting for the bake time to end at {}.",
                    until.to_rfc3339_secs()
                )));
                self.later(until);
            }
            _ => self.made.refresh.end(S::Successful, None, self.now),
        }
    }

    fn cancelling(&mut self, scope: Scope) {
        let moving = |m: &crate::autoscaling::view::MemberView<'_>| {
            m.member.is_pending() || m.member.is_terminating() || m.member.state.is_replacing_root()
        };
        let quiet = scope.n_spares == 0 && !self.view.members.iter().any(moving);
        if quiet || self.stuck(&scope) {
            return self.made.refresh.end(
                S::Cancelled,
                Some("Cancelled due to user request.".to_owned()),
                self.now,
            );
        }
        self.wait_for(Some("Waiting for replacements that have begun to end.".to_owned()));
        self.replace(scope, Pace::Finish);
    }

    /// Those in service come first, then those that wait in the pool: they serve nobody, so they go at once.
    fn replace_pool(&mut self, mut scope: Scope) {
        self.wait_for(Some(format!("Replacing {} instances of the warm pool.", scope.n_warm_left())));
        let warm = std::mem::take(&mut scope.warm);
        scope.end.extend(warm);
        self.replace(scope, Pace::Finish);
    }

    fn rolling_back(&mut self, scope: Scope) {
        if self.made.refresh.progress.n_left == 0 && scope.end.is_empty() && scope.n_warm_left() > 0 {
            return self.replace_pool(scope);
        }
        if self.made.refresh.progress.n_left == 0 && scope.end.is_empty() {
            return self.made.refresh.end(S::RollbackSuccessful, None, self.now);
        }
        if let Some(reason) = self.out_of_time(&scope) {
            return self.made.refresh.end(S::RollbackFailed, Some(reason), self.now);
        }
        self.wait_for(scope.waits_for(self.view, self.made.refresh.strategy));
        self.replace(scope, Pace::Go(u32::MAX));
    }

    fn failed(&mut self, scope: &Scope) -> Option<String> {
        self.alarmed().or_else(|| self.out_of_time(scope))
    }

    fn alarmed(&mut self) -> Option<String> {
        if !self.made.refresh.preferences.alarms.is_empty() {
            self.later(self.now + ALARM_LOOK);
        }
        self.facts.alarm.map(|name| format!("The alarm {name} is in the ALARM state."))
    }

    fn out_of_time(&mut self, scope: &Scope) -> Option<String> {
        let started = self.made.refresh.started_at.unwrap_or(self.made.refresh.created_at);
        if started + RUN_MAX <= self.now {
            return Some(format!("It took longer than {} days.", RUN_MAX.as_secs() / 86_400));
        }
        self.later(started + RUN_MAX);
        if self.made.refresh.progress.n_left == 0 || !self.stuck(scope) {
            return None;
        }
        let why = scope.waits_for(self.view, self.made.refresh.strategy).unwrap_or_else(|| {
            "Replacing another instance would leave fewer healthy instances than the minimum.".to_owned()
        });
        Some(format!("It made no progress for {} minutes. {why}", NO_PROGRESS_MAX.as_secs() / 60))
    }

    fn stuck(&mut self, scope: &Scope) -> bool {
        let r = &mut self.made.refresh;
        let waits_till = r.checkpoint_until.max(scope.last_warm).unwrap_or_default();
        let at = r.progressed_at.max(waits_till) + NO_PROGRESS_MAX;
        let stuck = at <= self.now;
        if stuck && scope.n_held > 0 {
            // A lifecycle hook ends by itself; the hour begins anew after it.
            r.progressed_at = self.now;
            self.later(self.now + NO_PROGRESS_MAX);
            return false;
        }
        if !stuck {
            self.later(at);
        }
        stuck
    }

    fn fail(&mut self, reason: &str) {
        let r = &mut self.made.refresh;
        match r.preferences.auto_rollback && self.facts.reversible {
            true => r.roll_back(format!("{reason} Rolling back."), self.now),
            false => r.end(S::Failed, Some(reason.to_owned()), self.now),
        }
    }

    fn replace(&mut self, scope: Scope, pace: Pace) {
        let r = &self.made.refresh;
        let Progress { n_total, n_left } = r.progress;
        let bounds = r.preferences.bounds(self.view.group.desired, self.view.weight_max());
        let n_ready = self.view.members.iter().filter(|m| {
            (m.member.counts() || m.member.spare) && m.is_ready(self.view.group, r.warmup(), self.now)
        });
        let stand = format!(
            "instance refresh {} ({}): {} of {n_total} done; {} ready, of which {} must stay, and at most {} in all",
            r.id,
            r.status.name(),
            n_total.saturating_sub(n_left),
            count(n_ready),
            bounds.ready_min,
            bounds.total_max,
        );
        self.made.replacing = Some(Replacing {
            candidates: scope.candidates,
            end: scope.end,
            pace,
            bounds,
            warmup: r.warmup(),
            stand,
        });
    }

    fn wait_for(&mut self, reason: Option<String>) {
        self.made.refresh.reason = reason;
    }

    fn later(&mut self, at: Timestamp) {
        self.made.look_again = Some(self.made.look_again.map_or(at, |old| old.min(at)));
    }
}
