//! Lifecycle hooks, through the group's steps.

use std::sync::Arc;
use std::time::Duration;

use puffer_core::autoscaling::hook::{HookAction, HookResult, LifecycleHook, Transition};
use puffer_core::autoscaling::refresh::Reserved;
use puffer_core::autoscaling::{
    Activity, ActivityStatus, Group, GroupStatus, HealthStatus, InstanceRefresh, LifecycleState as S, Member,
    RefreshPreferences, RefreshStatus, RefreshStrategy,
};
use puffer_core::ec2::{Instance, InstanceState};
use puffer_inventory::group_members::{MemberError, Request};
use puffer_inventory::lifecycle_hooks::{self, ActionAddress, HookError};
use puffer_inventory::{instances, refreshes};
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::tests::World;

fn hook(transition: Transition, default_result: HookResult) -> LifecycleHook {
    LifecycleHook { heartbeat_s: 60, default_result, ..LifecycleHook::new(transition) }
}

fn launch_hook(g: &mut Group) {
    g.hooks.insert("in".into(), hook(Transition::Launching, HookResult::Abandon));
}

fn end_hook(g: &mut Group) {
    g.hooks.insert("out".into(), hook(Transition::Terminating, HookResult::Continue));
}

/// A refresh that replaces all it can at once.
pub(super) fn at_once() -> RefreshPreferences {
    RefreshPreferences {
        min_healthy: 0,
        max_healthy: None,
        warmup_s: 0,
        checkpoints: vec![],
        checkpoint_delay_s: 0,
        skip_matching: false,
        auto_rollback: false,
        protected: Reserved::Ignore,
        standby: Reserved::Ignore,
        alarms: vec![],
        bake_s: 0,
    }
}

impl World {
    fn in_state(&self, state: S) -> Vec<Arc<Member>> {
        self.members().into_iter().filter(|m| m.state == state).collect()
    }

    fn the_action(&self, id: &str) -> HookAction {
        self.store.get::<Member>(id).unwrap().hooks.actions()[0].clone()
    }

    async fn say(&self, hook: &str, id: &str, result: HookResult) -> Result<(), HookError> {
        let address =
            ActionAddress { group: "g".into(), hook: hook.into(), token: None, instance_id: Some(id.into()) };
        let now = self.now();
        self.store.transact(|tx| lifecycle_hooks::complete(tx, &address, result, now)).await
    }

    async fn beat(&self, hook: &str, token: &str) -> Result<(), HookError> {
        let address = ActionAddress {
            group: "g".into(),
            hook: hook.into(),
            token: Some(token.into()),
            instance_id: None,
        };
        let now = self.now();
        self.store.transact(|tx| lifecycle_hooks::heartbeat(tx, &address, now)).await
    }

    pub(super) async fn ask<R>(
        &self,
        body: impl FnOnce(&mut Request<'_, '_>) -> Result<R, MemberError>,
    ) -> Result<R, MemberError> {
        let (now, mut rng) = (self.now(), Pcg64::seed_from_u64(9));
        self.store.transact(|tx| body(&mut Request { tx, now, rng: &mut rng })).await
    }

    pub(super) fn the_activity(&self, id: &str, what: &str) -> Arc<Activity> {
        let of = |a: &Arc<Activity>| a.instance_id.as_deref() == Some(id) && a.description.starts_with(what);
        self.activities().into_iter().filter(of).max_by(|a, b| a.id.cmp(&b.id)).unwrap()
    }
}

#[tokio::test]
async fn a_launch_waits_for_its_hook_and_counts_meanwhile() {
    let mut w = World::new().await;
    w.group(3, 2, launch_hook).await;
    w.converge().await;
    let waiting = w.in_state(S::PendingWait);
    assert_eq!((waiting.len(), w.alive()), (2, 2));
    let (first, second) = (waiting[0].instance_id.clone(), waiting[1].instance_id.clone());
    let activity = w.the_activity(&first, "Launching");
    assert_eq!((activity.status, activity.progress), (ActivityStatus::MidLifecycleAction, 40));
    w.say("in", &first, HookResult::Continue).await.unwrap();
    w.converge().await;
    assert_eq!(w.in_state(S::InService)[0].instance_id, first);
    assert_eq!(w.the_activity(&first, "Launching").status, ActivityStatus::Successful);
    assert!(matches!(w.say("in", &first, HookResult::Continue).await, Err(HookError::NoInstance(_))), "once");
    // A heartbeat keeps the other waiting beyond its time; without one it is given up and replaced, after a pause.
    w.clock.advance(Duration::from_secs(50));
    w.beat("in", &w.the_action(&second).token).await.unwrap();
    w.clock.advance(Duration::from_secs(50));
    w.converge().await;
    assert_eq!(w.in_state(S::PendingWait).len(), 1);
    w.clock.advance(Duration::from_secs(10));
    w.converge().await;
    assert_eq!((w.in_state(S::PendingWait).len(), w.alive()), (0, 1));
    let activity = w.the_activity(&second, "Launching");
    assert_eq!(activity.status, ActivityStatus::Cancelled);
    let message = activity.status_message.clone().unwrap();
    assert!(message.ends_with("was abandoned: Heartbeat Timeout"), "{message}");
    assert_eq!(
        activity.description,
        format!("Launching a new EC2 instance: {second}.  Status Reason: {message}")
    );
    w.clock.advance(Duration::from_secs(11));
    w.converge().await;
    assert_eq!(w.in_state(S::PendingWait).len(), 1, "its place is filled");
}

#[tokio::test]
async fn failing_hooks_slow_launches_down() {
    let mut w = World::new().await;
    w.group(1, 1, launch_hook).await;
    let mut launches = 0;
    // An hour in which each launch is abandoned at once: ten seconds' pause doubles to a quarter of an hour.
    for _ in 0..3600 {
        launches += w.settle().await.launched;
        w.drive().await;
        w.settle().await;
        for m in w.in_state(S::PendingWait) {
            w.say("in", &m.instance_id, HookResult::Abandon).await.unwrap();
        }
        w.settle().await;
        w.clock.advance(Duration::from_secs(1));
    }
    assert!((8..=11).contains(&launches), "{launches} launches in an hour");
}

#[tokio::test]
async fn a_termination_waits_and_an_abandoned_launch_asks_its_hooks_too() {
    let mut w = World::new().await;
    w.group(3, 1, |g| {
        end_hook(g);
        launch_hook(g);
    })
    .await;
    w.converge().await;
    let id = w.in_state(S::PendingWait)[0].instance_id.clone();
    w.say("in", &id, HookResult::Abandon).await.unwrap();
    w.converge().await;
    assert_eq!((w.in_state(S::TerminatingWait).len(), w.alive()), (1, 1));
    w.say("out", &id, HookResult::Abandon).await.unwrap();
    w.converge().await;
    assert!(w.store.get::<Member>(&id).is_none());
    w.clock.advance(Duration::from_secs(60));
    w.converge().await;
    let id = w.in_state(S::PendingWait)[0].instance_id.clone();
    w.say("in", &id, HookResult::Continue).await.unwrap();
    w.converge().await;
    assert_eq!(w.in_service(), 1);
    // An instance that dies is replaced at once, and its hook is asked though nothing is left to end.
    let now = w.now();
    w.edit(|tx| instances::mark_terminated(tx, &id, None, now)).await;
    w.converge().await;
    assert_eq!(w.store.get::<Member>(&id).unwrap().state, S::TerminatingWait);
    assert_eq!(w.the_activity(&id, "Terminating").status, ActivityStatus::MidLifecycleAction);
    assert_eq!(w.in_state(S::PendingWait).len(), 1);
    w.clock.advance(Duration::from_secs(60));
    let w = &mut w.restart();
    w.converge().await;
    assert!(w.store.get::<Member>(&id).is_none(), "time ran out while the server was away");
}

#[tokio::test]
async fn hooks_begin_together_and_one_abandoned_ends_the_wait() {
    let mut w = World::new().await;
    w.group(1, 1, |g| {
        end_hook(g);
        g.hooks.insert("second".into(), hook(Transition::Terminating, HookResult::Continue));
    })
    .await;
    w.converge().await;
    let id = w.members()[0].instance_id.clone();
    w.set_desired(0).await;
    w.converge().await;
    assert_eq!(w.store.get::<Member>(&id).unwrap().hooks.actions().len(), 2);
    w.say("out", &id, HookResult::Continue).await.unwrap();
    w.converge().await;
    assert_eq!(w.in_state(S::TerminatingWait).len(), 1, "the other one is open");
    w.say("second", &id, HookResult::Abandon).await.unwrap();
    w.converge().await;
    assert_eq!(w.alive(), 0);
}

#[tokio::test]
async fn deleting_a_hook_speaks_for_it() {
    let mut w = World::new().await;
    w.group(2, 2, |g| {
        end_hook(g);
        launch_hook(g);
    })
    .await;
    w.converge().await;
    let ids: Vec<String> = w.in_state(S::PendingWait).iter().map(|m| m.instance_id.clone()).collect();
    w.say("in", &ids[0], HookResult::Continue).await.unwrap();
    w.converge().await;
    let now = w.now();
    w.store.transact(|tx| lifecycle_hooks::delete(tx, "g", "in", now)).await.unwrap();
    w.converge().await;
    assert_eq!(w.store.get::<Member>(&ids[1]).unwrap().state, S::TerminatingWait, "a launch is given up");
    w.store.transact(|tx| lifecycle_hooks::delete(tx, "g", "out", now)).await.unwrap();
    w.converge().await;
    assert!(w.store.get::<Member>(&ids[1]).is_none(), "a termination goes on");
    let missing = w.store.transact(|tx| lifecycle_hooks::delete(tx, "g", "in", now)).await;
    assert!(matches!(missing, Err(HookError::NotFound(_))));
}

#[tokio::test]
async fn members_that_users_move_and_forced_deletions_pass_by() {
    let mut w = World::new().await;
    w.group(3, 1, |_| ()).await;
    w.converge().await;
    let id = w.members()[0].instance_id.clone();
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            end_hook(g);
            launch_hook(g);
        })
    })
    .await;
    let ids = [id.clone()];
    w.ask(|r| r.enter_standby("g", &ids, true)).await.unwrap();
    w.converge().await;
    assert_eq!(w.in_state(S::Standby).len(), 1);
    w.ask(|r| r.exit_standby("g", &ids)).await.unwrap();
    w.converge().await;
    assert_eq!(w.in_service(), 1);
    w.ask(|r| r.detach("g", &ids, true)).await.unwrap();
    w.converge().await;
    assert!(w.members().is_empty());
    w.ask(|r| r.attach("g", &ids)).await.unwrap();
    w.converge().await;
    assert_eq!(w.in_service(), 1);
    w.ask(|r| r.terminate(&id, false)).await.unwrap();
    w.converge().await;
    assert_eq!((w.in_state(S::TerminatingWait).len(), w.in_state(S::PendingWait).len()), (1, 1));
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            g.status = GroupStatus::Deleting;
            (g.min, g.max, g.desired) = (0, 0, 0);
        })
    })
    .await;
    w.converge().await;
    assert!(w.store.get::<Group>("g").is_none());
    assert_eq!(w.alive(), 0);
}

#[tokio::test]
async fn a_retained_instance_stays_uncounted_until_a_user_ends_it() {
    let mut w = World::new().await;
    w.group(1, 1, |g| {
        end_hook(g);
        g.retain_on_abandon = true;
    })
    .await;
    w.converge().await;
    let id = w.members()[0].instance_id.clone();
    w.ask(|r| r.terminate(&id, false)).await.unwrap();
    w.converge().await;
    w.say("out", &id, HookResult::Abandon).await.unwrap();
    w.converge().await;
    assert_eq!(w.store.get::<Member>(&id).unwrap().state, S::TerminatingRetained);
    assert_eq!((w.in_service(), w.alive()), (1, 2), "replaced, at the maximum, and running still");
    assert_eq!(w.the_activity(&id, "Terminating").status, ActivityStatus::Cancelled);
    assert_eq!(w.store.get::<Instance>(&id).unwrap().state, InstanceState::Running);
    let refused = w.ask(|r| r.terminate(&id, true)).await;
    assert!(matches!(refused, Err(MemberError::Retained(_, "Terminating:Retained"))));
    // Neither a health check nor an instance refresh nor the shrinking of the group ends it.
    w.edit(|tx| tx.update::<Member>(&id, |m| m.health = HealthStatus::Unhealthy)).await;
    w.clock.advance(Duration::from_secs(1));
    let now = w.now();
    let serving = w.in_state(S::InService)[0].instance_id.clone();
    w.store
        .transact(|tx| refreshes::start(tx, "g", "r", at_once(), None, RefreshStrategy::Rolling, now))
        .await
        .unwrap();
    w.converge().await;
    w.say("out", &serving, HookResult::Continue).await.unwrap();
    for _ in 0..4 {
        w.converge().await;
        w.clock.advance(Duration::from_secs(60));
    }
    assert!(w.store.get::<InstanceRefresh>("r").unwrap().status == RefreshStatus::Successful);
    assert_eq!(w.store.get::<Member>(&id).unwrap().state, S::TerminatingRetained);
    assert_eq!((w.in_service(), w.alive()), (1, 2));
    // A user's word begins a termination of its own, hooks included.
    w.clock.advance(Duration::from_secs(1));
    w.ask(|r| r.terminate(&id, false)).await.unwrap();
    w.converge().await;
    assert_eq!(w.store.get::<Member>(&id).unwrap().state, S::TerminatingWait);
    // Given up again, it is kept again; a group that is deleted with all it holds ends it.
    w.say("out", &id, HookResult::Abandon).await.unwrap();
    w.converge().await;
    assert_eq!(w.store.get::<Member>(&id).unwrap().state, S::TerminatingRetained);
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            g.status = GroupStatus::Deleting;
            (g.min, g.max, g.desired) = (0, 0, 0);
        })
    })
    .await;
    w.converge().await;
    assert_eq!((w.store.get::<Group>("g"), w.alive()), (None, 0));
}

#[tokio::test]
async fn a_group_that_fails_for_a_day_is_suspended_and_says_so() {
    let mut w = World::new().await;
    w.group(1, 1, |g| {
        g.source = puffer_core::autoscaling::InstanceSource::LaunchConfiguration("missing".into());
    })
    .await;
    let mut hours = 0;
    while !w.the_group().is_suspended("Launch") {
        w.settle().await;
        w.clock.advance(Duration::from_secs(1800));
        w.edit(|tx| tx.update::<Group>("g", |g| g.generation += 1)).await;
        hours += 1;
        assert!(hours < 60, "never suspended");
    }
    assert!((48..=50).contains(&hours), "after a day: {hours} half hours");
    assert!(w.the_group().suspended[0].reason.starts_with("Administratively suspended at "));
    let n = w.activities().len();
    w.clock.advance(Duration::from_secs(3600));
    w.settle().await;
    assert_eq!(w.activities().len(), n, "no launch is tried any more");
}
