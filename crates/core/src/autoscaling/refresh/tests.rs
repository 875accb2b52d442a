//! A group in virtual time: what the refresh decides and the planner plans is carried out, and the bounds are checked after each
//! step.

use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::RefreshStatus as S;
use super::*;
use crate::autoscaling::plan::{Action, LaunchWhy, TerminateWhy, plan};
use crate::autoscaling::view::fixtures::{NOW, group, member, view};
use crate::autoscaling::warm_pool::WarmPool;
use crate::autoscaling::{
    Group, HealthStatus, LifecycleState, Member, SuspendedProcess, UnhealthyCause, process,
};

fn preferences() -> RefreshPreferences {
    RefreshPreferences {
        min_healthy: 90,
        max_healthy: None,
        warmup_s: 30,
        checkpoints: vec![],
        checkpoint_delay_s: 600,
        skip_matching: false,
        auto_rollback: false,
        protected: Reserved::Wait,
        standby: Reserved::Wait,
        alarms: vec![],
        bake_s: 0,
    }
}

struct World {
    group: Group,
    members: Vec<Member>,
    refresh: InstanceRefresh,
    now: Timestamp,
    rng: Pcg64,
    n_launched: usize,
    boot_s: u64,
    alarm: Option<&'static str>,
    events: Vec<Event>,
    /// Most pending and in service together, and the fewest ready right after an instance was taken out for the refresh.
    most: usize,
    fewest: usize,
}

impl World {
    fn new(desired: u32, preferences: RefreshPreferences) -> World {
        let group = group(0, 40, desired);
        let zones = ["a", "b", "c"];
        let members = (0..desired as usize).map(|n| member(&format!("i-old-{n}"), zones[n % 3])).collect();
        World {
            refresh: InstanceRefresh::new("r", &group, preferences, NOW),
            group,
            members,
            now: NOW,
            rng: Pcg64::seed_from_u64(5),
            n_launched: 0,
            boot_s: 20,
            alarm: None,
            events: vec![],
            most: 0,
            fewest: usize::MAX,
        }
    }

    fn ready(&self) -> usize {
        let v = view(&self.group, &self.members, &[]);
        let warmup = self.refresh.warmup();
        v.members
            .iter()
            .filter(|m| (m.member.counts() || m.member.spare) && m.is_ready(&self.group, warmup, self.now))
            .count()
    }

    /// Decides and acts until there is nothing to do.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100, "it never settles: {:?}", self.refresh);
            if !self.step() {
                break;
            }
        }
    }

    fn step(&mut self) -> bool {
        let matches: Vec<bool> =
            self.members.iter().map(|m| m.launch_template.as_ref().is_some_and(|t| t.version == 2)).collect();
        let mut v = view(&self.group, &self.members, &[]);
        v.now = self.now;
        let facts = Facts { matches: &matches, alarm: self.alarm, reversible: true };
        let decided = decide(&v, &self.refresh, &facts);
        v.refresh = decided.replacing.as_ref();
        let plan = plan(&v, &mut self.rng);
        self.events.extend(decided.events);
        let changed = decided.refresh.status != self.refresh.status;
        self.refresh = decided.refresh;
        for action in &plan.actions {
            self.act(action);
        }
        let total = self.members.iter().filter(|m| m.counts() || m.spare && !m.is_terminating()).count();
        self.most = self.most.max(total);
        changed || !plan.actions.is_empty()
    }

    fn act(&mut self, action: &Action) {
        let now = self.now;
        match action {
            Action::Terminate { instance_id, why, .. } => {
                let m = self.members.iter_mut().find(|m| m.instance_id == *instance_id).unwrap();
                assert!(!m.is_terminating(), "ended twice");
                let was_ready = m.state == LifecycleState::InService && m.health == HealthStatus::Healthy;
                m.state = LifecycleState::Terminating;
                if *why == TerminateWhy::Refresh && was_ready && !m.spare {
                    self.fewest = self.fewest.min(self.ready());
                }
            }
            Action::TakeWarm { .. } | Action::TakeBack { .. } => panic!("nobody waits or drains"),
            Action::TakeOver { instance_id } => {
                let m = self.members.iter_mut().find(|m| m.instance_id == *instance_id).unwrap();
                assert!(m.spare);
                m.spare = false;
            }
            Action::Launch { zone, why, .. } => {
                self.n_launched += 1;
                let mut m = member(&format!("i-new-{}", self.n_launched), zone);
                (m.state, m.in_service_at, m.launched_at) = (LifecycleState::Pending, None, now);
                (m.added_at, m.state_since) = (now, now);
                if let LaunchWhy::Pool(..) = why {
                    m.state = LifecycleState::WarmedStopped;
                }
                m.spare = matches!(why, LaunchWhy::Ahead(_));
                m.surplus = *why == LaunchWhy::Rebalance;
                m.refreshed_by = self.refresh.launches().then(|| self.refresh.id.clone());
                self.members.push(m);
            }
        }
    }

    fn advance(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        let now = self.now;
        self.members.retain(|m| !m.is_terminating());
        for m in self.members.iter_mut().filter(|m| m.is_pending()) {
            if m.added_at + Duration::from_secs(self.boot_s) <= now {
                (m.state, m.in_service_at, m.state_since, m.surplus) =
                    (LifecycleState::InService, Some(now), now, false);
            }
        }
    }

    /// Runs until the refresh is over; gives the seconds it took.
    fn run(&mut self, limit_s: u64) -> u64 {
        let begun = self.now;
        loop {
            self.settle();
            let took = self.now.since(begun).as_secs();
            if !self.refresh.status.is_active() {
                return took;
            }
            assert!(took < limit_s, "not within {limit_s} s: {:?}", self.refresh);
            self.advance(10);
        }
    }

    fn new_ones(&self) -> usize {
        self.members.iter().filter(|m| m.counts() && m.refreshed_by.is_some()).count()
    }
}

#[test]
fn bounds_hold_and_everything_is_replaced() {
    // (desired, min, max) → (fewest ready, most in all)
    let table = [
        (10, 90, None, 9, 10),
        (10, 50, None, 5, 10),
        (4, 90, None, 3, 4),
        (1, 90, None, 0, 1),
        (10, 100, Some(110), 10, 11),
        (10, 100, Some(200), 10, 20),
        (4, 100, Some(100), 4, 5),
        (4, 90, Some(100), 4, 5),
        (1, 100, Some(110), 1, 2),
        (10, 90, Some(120), 9, 12),
        (10, 0, Some(100), 0, 10),
    ];
    for (desired, min, max, fewest, most) in table {
        let mut w =
            World::new(desired, RefreshPreferences { min_healthy: min, max_healthy: max, ..preferences() });
        w.run(7200);
        let case = format!("{min} to {max:?} of {desired}");
        assert_eq!(w.refresh.status, S::Successful, "{case}");
        assert_eq!(
            (w.new_ones(), w.members.iter().filter(|m| m.counts()).count()),
            (desired as usize, desired as usize),
            "{case}"
        );
        assert_eq!((w.fewest, w.most), (fewest, most), "{case}");
        assert_eq!((w.refresh.progress.percent(), w.refresh.progress.n_left), (100, 0), "{case}");
        assert_eq!(w.events, [Event::Started, Event::Ended], "{case}");
    }
}

#[test]
fn progress_is_true_at_each_look() {
    let mut w = World::new(4, preferences());
    w.settle();
    assert_eq!((w.refresh.status, w.refresh.progress), (S::InProgress, Progress { n_total: 4, n_left: 4 }));
    w.advance(20);
    w.settle();
    let reason = w.refresh.reason.clone().unwrap();
    assert!(reason.ends_with("i-new-1 is warming up."), "{reason}");
    assert_eq!(w.refresh.progress.percent(), 0);
    w.advance(30);
    w.settle();
    assert_eq!((w.refresh.progress.percent(), w.refresh.progress.n_left), (25, 3));
    let reason = w.refresh.reason.clone().unwrap();
    assert!(reason.ends_with("is Pending.") || reason.contains("warm up"), "{reason}");
}

#[test]
fn the_warm_pool_comes_after_those_in_service_and_back_in_a_rollback() {
    let mut w = World::new(2, preferences());
    w.group.warm_pool = Some(WarmPool { min_size: 2, ..WarmPool::default() });
    w.group.max = 2;
    for n in 0..2 {
        let mut m = member(&format!("i-warm-{n}"), "a");
        (m.state, m.in_service_at) = (LifecycleState::WarmedStopped, None);
        w.members.push(m);
    }
    w.settle();
    assert_eq!((w.refresh.warm_progress, w.new_ones()), (Progress { n_total: 2, n_left: 2 }, 1));
    assert_eq!(w.members.iter().filter(|m| m.instance_id.starts_with("i-warm") && m.is_warm()).count(), 2);
    w.run(7200);
    let warm = |w: &World| -> Vec<bool> {
        w.members.iter().filter(|m| m.is_warm()).map(|m| m.refreshed_by.is_some()).collect()
    };
    assert_eq!((w.refresh.status, w.new_ones(), warm(&w)), (S::Successful, 2, vec![true, true]));
    assert_eq!(w.refresh.warm_progress.percent(), 100);
    w.refresh.roll_back("asked", w.now);
    w.run(7200);
    assert_eq!((w.refresh.status, w.new_ones(), warm(&w)), (S::RollbackSuccessful, 0, vec![false, false]));
}

#[test]
fn who_served_before_it_began_needs_no_warm_up() {
    let mut w = World::new(4, RefreshPreferences { warmup_s: 86_400, ..preferences() });
    for m in &mut w.members {
        m.in_service_at = Some(NOW - Duration::from_secs(5));
    }
    w.settle();
    assert_eq!(w.new_ones(), 1);
    w.advance(20);
    w.settle();
    assert_eq!(w.new_ones(), 1, "the newcomer does");
}

#[test]
fn checkpoints_stop_it_and_the_lower_ones_are_skipped() {
    let mut w = World::new(
        10,
        RefreshPreferences { min_healthy: 0, checkpoints: vec![20, 50, 100], ..preferences() },
    );
    w.settle();
    assert_eq!(w.new_ones(), 2, "no further than the checkpoint");
    for _ in 0..6 {
        w.advance(10);
        w.settle();
    }
    assert_eq!((w.refresh.checkpoint, w.refresh.progress.percent()), (20, 20));
    assert!(w.refresh.reason.as_ref().unwrap().contains("checkpoint of 20 percent"));
    w.advance(500);
    w.settle();
    assert_eq!(w.new_ones(), 2);
    let took = w.run(7200);
    assert_eq!((w.refresh.status, w.new_ones()), (S::Successful, 10));
    assert!(took >= 600, "{took}");
    let checkpoint = Event::CheckpointReached;
    assert_eq!(w.events, [Event::Started, checkpoint(20), checkpoint(50), checkpoint(100), Event::Ended]);
    // The last one below 100 ends it there.
    let mut w = World::new(10, RefreshPreferences { min_healthy: 0, checkpoints: vec![30], ..preferences() });
    w.run(7200);
    assert_eq!((w.refresh.status, w.new_ones(), w.refresh.progress.percent()), (S::Successful, 3, 30));
}

#[test]
fn what_matches_is_skipped() {
    let mut w = World::new(6, RefreshPreferences { skip_matching: true, ..preferences() });
    for m in &mut w.members[..4] {
        m.launch_template.as_mut().unwrap().version = 2;
    }
    w.settle();
    assert_eq!(w.refresh.progress.n_total, 2);
    w.run(7200);
    assert_eq!((w.refresh.status, w.new_ones()), (S::Successful, 2));
    let mut w = World::new(0, preferences());
    assert_eq!(w.run(10), 0, "nothing to do is done at once");
    assert_eq!((w.refresh.status, w.refresh.progress.percent()), (S::Successful, 100));
}

#[test]
fn protected_and_standby_members() {
    for (kept, replaced) in
        [(Reserved::Wait, None), (Reserved::Ignore, Some(2)), (Reserved::Replace, Some(3))]
    {
        let mut w = World::new(3, RefreshPreferences { protected: kept, standby: kept, ..preferences() });
        w.members[0].protected = true;
        let mut standby = member("i-standby", "a");
        standby.state = LifecycleState::Standby;
        w.members.push(standby);
        w.run(86_400);
        let alive = w.members.iter().any(|m| m.instance_id == "i-standby" && !m.is_terminating());
        match replaced {
            None => {
                assert_eq!((w.refresh.status, w.new_ones(), alive), (S::Failed, 2, true));
                let reason = w.refresh.reason.clone().unwrap();
                assert!(reason.contains("no progress for 60 minutes") && reason.contains("i-"), "{reason}");
                assert!(w.now.since(NOW) >= NO_PROGRESS_MAX);
            }
            Some(n) => {
                assert_eq!((w.refresh.status, w.new_ones()), (S::Successful, n), "{kept:?}");
                assert_eq!(alive, kept == Reserved::Ignore);
            }
        }
    }
}

#[test]
fn an_alarm_fails_it_and_turns_it_back() {
    for auto_rollback in [false, true] {
        let mut w = World::new(
            4,
            RefreshPreferences {
                auto_rollback,
                alarms: vec!["sick".into()],
                min_healthy: 50,
                ..preferences()
            },
        );
        for _ in 0..6 {
            w.settle();
            w.advance(10);
        }
        w.settle();
        w.alarm = Some("sick");
        w.run(7200);
        if auto_rollback {
            assert_eq!((w.refresh.status, w.new_ones()), (S::RollbackSuccessful, 0));
            let rollback = w.refresh.rollback.clone().unwrap();
            assert!(rollback.reason.contains("The alarm sick is in the ALARM state"));
            assert!(rollback.progress.n_left < 4);
            assert!(w.members.iter().filter(|m| m.counts()).count() == 4);
        } else {
            assert_eq!(w.refresh.status, S::Failed);
            assert_eq!(w.refresh.reason.as_deref(), Some("The alarm sick is in the ALARM state."));
        }
    }
}

#[test]
fn a_rollback_ends_spares_and_spares_the_old() {
    let mut w =
        World::new(4, RefreshPreferences { min_healthy: 100, max_healthy: Some(150), ..preferences() });
    w.settle();
    assert_eq!(w.members.iter().filter(|m| m.spare).count(), 2);
    w.refresh.roll_back("asked", w.now);
    let took = w.run(7200);
    assert_eq!((w.refresh.status, w.new_ones(), took), (S::RollbackSuccessful, 0, 0));
    assert!(w.members.iter().filter(|m| m.counts()).all(|m| m.instance_id.starts_with("i-old")));
}

#[test]
fn cancelling_waits_for_what_has_begun() {
    let mut w =
        World::new(4, RefreshPreferences { min_healthy: 100, max_healthy: Some(125), ..preferences() });
    w.settle();
    w.refresh.status = S::Cancelling;
    w.run(7200);
    assert_eq!((w.refresh.status, w.new_ones()), (S::Cancelled, 1), "the one that had begun");
    assert_eq!(w.members.iter().filter(|m| m.counts()).count(), 4);
}

#[test]
fn one_launched_ahead_that_is_retained_replaces_nobody() {
    let preferences = RefreshPreferences { min_healthy: 100, max_healthy: Some(125), ..preferences() };
    let with_retained = || {
        let mut w = World::new(4, preferences.clone());
        w.settle();
        let spare = w.members.iter_mut().find(|m| m.spare).unwrap();
        spare.state = LifecycleState::TerminatingRetained;
        w
    };
    let mut w = with_retained();
    w.refresh.status = S::Cancelling;
    assert_eq!((w.run(7200), w.refresh.status), (0, S::Cancelled), "nothing has begun that could end");
    let mut w = with_retained();
    w.refresh.roll_back("asked", w.now);
    w.run(7200);
    assert_eq!(w.refresh.status, S::RollbackSuccessful);
    assert!(w.members.iter().any(|m| m.state.is_retained()), "it is kept for who looks at it");
    let mut w = with_retained();
    w.run(7200);
    assert_eq!((w.refresh.status, w.new_ones()), (S::Successful, 4));
}

#[test]
fn a_suspended_process_pauses_it_for_as_long_as_it_likes() {
    let mut w =
        World::new(4, RefreshPreferences { min_healthy: 100, max_healthy: Some(125), ..preferences() });
    w.settle();
    let suspended = SuspendedProcess { name: process::INSTANCE_REFRESH.into(), reason: "test".into() };
    w.group.suspended.push(suspended);
    for _ in 0..5 {
        w.advance(3000);
        w.settle();
    }
    assert_eq!((w.refresh.status, w.new_ones()), (S::InProgress, 0));
    assert_eq!(w.members.iter().filter(|m| m.spare).count(), 1, "it keeps what it has");
    w.group.suspended.clear();
    w.run(7200);
    assert_eq!((w.refresh.status, w.new_ones()), (S::Successful, 4));
}

#[test]
fn baking_comes_last_and_an_alarm_then_turns_back() {
    let preferences =
        RefreshPreferences { bake_s: 900, alarms: vec!["sick".into()], auto_rollback: true, ..preferences() };
    let mut w = World::new(2, preferences);
    let took = w.run(7200);
    assert_eq!(w.refresh.status, S::Successful);
    assert!(took >= 900, "{took}");
    let mut w = World { refresh: InstanceRefresh { id: "again".into(), ..w.refresh.clone() }, ..w };
    w.refresh = InstanceRefresh::new("again", &w.group, w.refresh.preferences.clone(), w.now);
    while w.refresh.status != S::Baking {
        w.settle();
        w.advance(10);
    }
    w.alarm = Some("sick");
    w.settle();
    assert_eq!(w.refresh.status, S::RollbackInProgress);
    w.alarm = None;
    w.run(7200);
    assert_eq!(w.refresh.status, S::RollbackSuccessful);
}

#[test]
fn a_hook_that_holds_an_instance_is_waited_for_and_launches_that_fail_are_not() {
    let mut w = World::new(2, preferences());
    w.boot_s = 30_000;
    w.settle();
    for m in w.members.iter_mut().filter(|m| m.is_pending()) {
        m.state = LifecycleState::PendingWait;
    }
    w.advance(20_000);
    w.settle();
    assert_eq!(w.refresh.status, S::InProgress, "{:?}", w.refresh.reason);
    // Without a hook the same wait fails.
    let mut w = World::new(2, preferences());
    w.boot_s = 30_000;
    let took = w.run(7200);
    assert_eq!(w.refresh.status, S::Failed);
    assert!((3600..3700).contains(&took), "{took}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn never_below_the_minimum_never_above_the_maximum_whatever_happens(
        desired in 1u32..14, min in 0u32..=100, more in prop::option::of(0u32..=100), boot in 1u64..60,
        warmup in 0u32..120, skip: bool, checkpoint in 1u32..=100, seed: u64,
        troubles in prop::collection::vec((0u64..20, 0u8..4, 0usize..14, 1u32..14), 0..8),
    ) {
        let max = more.map(|more| (100 + more).min(min + 100).max(100));
        let mut w = World::new(desired, RefreshPreferences {
            min_healthy: min, max_healthy: max, warmup_s: warmup, skip_matching: skip, checkpoints: vec![checkpoint, 100].into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect(),
            ..preferences()
        });
        w.boot_s = boot;
        w.rng = Pcg64::seed_from_u64(seed);
        for (after, what, whom, size) in troubles {
            for _ in 0..after {
                w.settle();
                w.advance(7);
            }
            let whom = whom % w.members.len().max(1);
            match what {
                0 => w.group.desired = size,
                1 => if let Some(m) = w.members.get_mut(whom).filter(|m| m.state == LifecycleState::InService) {
                    m.health = HealthStatus::Unhealthy;
                    m.unhealthy_cause = Some(UnhealthyCause::Ec2NotRunning);
                },
                2 => drop(w.members.get(whom).is_some_and(|m| !m.is_terminating()).then(|| w.members.remove(whom))),
                _ => if let Some(m) = w.members.get_mut(whom) { m.health = HealthStatus::Unhealthy; m.unhealthy_cause = Some(UnhealthyCause::User) },
            }
            // The bounds are of the size now.
            (w.most, w.fewest) = (0, usize::MAX);
            let before = w.members.iter().filter(|m| m.counts() || m.spare && !m.is_terminating()).count();
            w.settle();
            let bounds = w.refresh.preferences.bounds(w.group.desired, 1);
            prop_assert!(w.most <= before.max(bounds.total_max as usize), "{} > {bounds:?}", w.most);
            prop_assert!(w.fewest >= bounds.ready_min as usize, "{} < {bounds:?}", w.fewest);
        }
        (w.most, w.fewest) = (0, usize::MAX);
        let before = w.members.iter().filter(|m| m.counts() || m.spare && !m.is_terminating()).count();
        w.run(86_400 * 2);
        let bounds = w.refresh.preferences.bounds(w.group.desired, 1);
        prop_assert!(w.most <= before.max(bounds.total_max as usize), "{} > {bounds:?}", w.most);
        prop_assert!(w.fewest >= bounds.ready_min as usize, "{} < {bounds:?}", w.fewest);
        prop_assert_eq!(w.refresh.status, S::Successful);
        for _ in 0..5 {
            w.advance(100);
            w.settle();
        }
        let new = w.members.iter().filter(|m| m.counts() && m.instance_id.starts_with("i-new"));
        prop_assert_eq!(new.count(), w.group.desired as usize);
        prop_assert_eq!(w.members.iter().filter(|m| m.counts()).count(), w.group.desired as usize);
        prop_assert!(w.members.iter().all(|m| !m.spare));
    }
}
