//! Members that come back from draining (`puffer:cancel-drain`), through the group's steps.

use std::time::Duration;

use puffer_core::autoscaling::cancel_drain::TAG_CANCEL_DRAIN;
use puffer_core::autoscaling::hook::{LifecycleHook, Transition};
use puffer_core::autoscaling::warm_pool::{PoolState, WarmPool};
use puffer_core::autoscaling::{
    ActivityStatus, Group, GroupTag, HealthStatus, LifecycleState as S, Member, RefreshStrategy, texts,
};
use puffer_core::elb::{Target, TargetGroup, TargetState, TargetType};
use puffer_core::event::Event;
use puffer_inventory::{instances, refreshes, targets};

use super::hook_tests::at_once;
use super::tests::World;
use crate::Reconciler;
use crate::elb_fixtures::{put_listener, target_group};

/// A group of three behind a load balancer, whose drains can be cancelled.
async fn world(change: impl FnOnce(&mut Group)) -> World {
    let mut w = World::new().await;
    let vpc = w.store.list::<puffer_core::ec2::Vpc>()[0].id.clone();
    w.edit(|tx| {
        tx.put(TargetGroup { vpc_id: vpc, target_type: TargetType::Instance, ..target_group() });
        put_listener(tx);
    })
    .await;
    w.group(9, 3, |g| {
        g.arn = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:u:autoScalingGroupName/g".into();
        g.target_groups = vec![target_group().arn];
        let tag = GroupTag { value: "true".into(), propagate_at_launch: false };
        g.tags.insert(TAG_CANCEL_DRAIN.into(), tag);
        change(g);
    })
    .await;
    w.warm().await;
    w.clock.advance(Duration::from_secs(60));
    w
}

impl World {
    /// The group shrinks by this many; who drains.
    async fn shrink_to(&mut self, desired: u32) -> Vec<String> {
        self.set_desired(desired).await;
        self.settle().await;
        self.clock.advance(Duration::from_secs(5));
        self.draining()
    }

    fn draining(&self) -> Vec<String> {
        let drains = |m: &&std::sync::Arc<Member>| m.is_leaving();
        self.members().iter().filter(drains).map(|m| m.instance_id.clone()).collect()
    }

    async fn drained(&self) {
        self.edit(|tx| {
            for t in tx.list::<Target>().iter().filter(|t| t.draining_since.is_some()) {
                assert!(targets::drained(tx, &t.target_group, &t.id, t.port));
            }
        })
        .await;
    }

    fn in_service_ids(&self) -> Vec<String> {
        let serves = |m: &&std::sync::Arc<Member>| m.state == S::InService;
        self.members().iter().filter(serves).map(|m| m.instance_id.clone()).collect()
    }
}

#[tokio::test]
async fn a_group_that_grows_takes_back_who_drains() {
    let mut w = world(|_| ()).await;
    let before = w.in_service_ids();
    let draining = w.shrink_to(1).await;
    assert_eq!((draining.len(), w.alive()), (2, 3));
    w.set_desired(2).await;
    let done = w.settle().await;
    assert_eq!((done.launched, w.in_service(), w.alive()), (0, 2, 3));
    let back: Vec<String> = draining.iter().filter(|id| w.in_service_ids().contains(id)).cloned().collect();
    let [back] = &back[..] else { panic!("one of {draining:?} is back: {back:?}") };
    let target = w.store.get::<Target>(&Target::key_of(&target_group().arn, back, 80)).unwrap();
    assert_eq!((target.draining_since, target.state), (None, TargetState::Initial));
    let member = w.store.get::<Member>(back).unwrap();
    assert_eq!((member.in_service_at, member.scaled_in), (Some(w.now()), false), "it has just come");
    // Both stories are told, and nobody is told of an end that never was.
    let of = |text: String| w.activities().into_iter().find(|a| a.description == text).unwrap();
    let cancelled = of(texts::terminating(back));
    assert_eq!(cancelled.status, ActivityStatus::Cancelled);
    assert_eq!(cancelled.status_message.as_deref(), Some(texts::DRAIN_CANCELLED));
    let taken = of(texts::taking_back(back));
    assert_eq!(taken.status, ActivityStatus::Successful);
    let cause = taken.cause_text();
    assert!(cause.contains("changing the desired capacity from 1 to 2"), "{cause}");
    assert!(cause.ends_with("increasing the capacity from 1 to 2."), "{cause}");
    assert!(taken.reasons.iter().any(|r| r.contains(TAG_CANCEL_DRAIN)), "{:?}", taken.reasons);
    let told = |id: &str| w.store.list::<Event>().iter().any(|e| e.detail["ActivityId"] == id);
    assert!(!told(&cancelled.id) && !told(&taken.id));
    // The other one goes its way.
    w.drained().await;
    w.converge().await;
    assert_eq!((w.in_service(), w.alive()), (2, 2));
    assert!(w.activities().iter().all(|a| a.status.is_final()));
    // What is missing beyond those who drain is launched.
    w.shrink_to(1).await;
    w.set_desired(4).await;
    assert_eq!(w.settle().await.launched, 2);
    w.converge().await;
    assert_eq!((w.in_service(), w.alive()), (4, 4));
    assert_eq!(before.iter().filter(|id| w.in_service_ids().contains(id)).count(), 2);
}

#[tokio::test]
async fn without_the_tag_or_for_another_reason_nobody_comes_back() {
    let mut w = world(|g| g.tags.clear()).await;
    let draining = w.shrink_to(1).await;
    w.set_desired(3).await;
    assert_eq!(w.settle().await.launched, 2, "as on AWS");
    assert_eq!(w.draining(), draining);
    // Ended by a user, unhealthy, asked of EC2: each is replaced by another one.
    let mut w = world(|_| ()).await;
    let ids = w.in_service_ids();
    w.ask(|r| r.terminate(&ids[0], false)).await.unwrap();
    assert_eq!(w.settle().await.launched, 1);
    w.edit(|tx| tx.update::<Member>(&ids[1], |m| m.health = HealthStatus::Unhealthy)).await;
    assert_eq!(w.settle().await.launched, 1);
    assert_eq!(w.draining().len(), 2);
    w.converge().await;
    w.shrink_to(2).await;
    let now = w.now();
    let third = w.members().into_iter().find(|m| m.scaled_in).unwrap().instance_id.clone();
    w.edit(|tx| instances::terminate(tx, &third, now)).await;
    w.set_desired(3).await;
    assert_eq!(w.settle().await.launched, 1);
}

#[tokio::test]
async fn once_termination_hooks_are_told_the_instance_goes() {
    let hook = LifecycleHook { heartbeat_s: 300, ..LifecycleHook::new(Transition::Terminating) };
    let launch = LifecycleHook { heartbeat_s: 300, ..LifecycleHook::new(Transition::Launching) };
    let mut w = world(|g| drop(g.hooks.insert("out".into(), hook))).await;
    w.edit(|tx| tx.update::<Group>("g", |g| drop(g.hooks.insert("in".into(), launch)))).await;
    // While it drains it comes back, and by no hook of a launch.
    let draining = w.shrink_to(2).await;
    w.set_desired(3).await;
    assert_eq!((w.settle().await.launched, w.in_service()), (0, 3));
    assert!(w.in_service_ids().contains(&draining[0]));
    let draining = w.shrink_to(2).await;
    w.drained().await;
    w.settle().await;
    assert_eq!(w.store.get::<Member>(&draining[0]).unwrap().state, S::TerminatingWait);
    w.set_desired(3).await;
    assert_eq!(w.settle().await.launched, 1);
    assert_eq!(w.store.get::<Member>(&draining[0]).unwrap().state, S::TerminatingWait);
}

#[tokio::test]
async fn who_drains_on_its_way_to_the_pool_comes_back_too() {
    let pool = WarmPool { reuse_on_scale_in: true, state: PoolState::Running, ..WarmPool::default() };
    let mut w = world(|g| {
        g.max = 3;
        g.warm_pool = Some(pool);
    })
    .await;
    let draining = w.shrink_to(2).await;
    assert_eq!(w.store.get::<Member>(&draining[0]).unwrap().state, S::WarmedPending);
    w.set_desired(3).await;
    assert_eq!((w.settle().await.launched, w.in_service(), w.alive()), (0, 3, 3));
    assert!(w.in_service_ids().contains(&draining[0]));
    let instance = w.store.get::<puffer_core::ec2::Instance>(&draining[0]).unwrap();
    assert_eq!(instance.auto_scaling_group.as_deref(), Some("g"));
    // And it goes there once nobody needs it.
    w.set_desired(2).await;
    w.settle().await;
    w.drained().await;
    w.warm().await;
    assert_eq!((w.in_service(), w.alive()), (2, 3));
}

#[tokio::test]
async fn a_way_back_that_is_cut_off_is_gone_to_its_end() {
    let mut w = world(|_| ()).await;
    let draining = w.shrink_to(2).await;
    w.set_desired(3).await;
    w.converge.activate().await;
    let mut w = w.restart();
    assert_eq!((w.settle().await.launched, w.in_service()), (0, 3));
    assert!(w.in_service_ids().contains(&draining[0]));
    // One that stops on the way is lost, and no launch has failed.
    let draining = w.shrink_to(2).await;
    w.set_desired(3).await;
    w.converge.activate().await;
    assert_eq!(w.store.get::<Member>(&draining[0]).unwrap().state, S::Pending);
    w.edit(|tx| {
        instances::mark_stopped(tx, &draining[0], None);
    })
    .await;
    w.converge().await;
    assert_eq!((w.in_service(), w.the_group().launch_backoff), (3, None));
    assert!(!w.in_service_ids().contains(&draining[0]));
}

#[tokio::test]
async fn who_drains_when_a_refresh_begins_never_comes_back() {
    let mut w = world(|_| ()).await;
    let draining = w.shrink_to(2).await;
    let now = w.now();
    w.store
        .transact(|tx| refreshes::start(tx, "g", "r", at_once(), None, RefreshStrategy::Rolling, now))
        .await
        .unwrap();
    w.settle().await;
    w.set_desired(3).await;
    w.settle().await;
    let now = w.now();
    w.store.transact(|tx| refreshes::cancel(tx, "g", false, now)).await.unwrap();
    w.settle().await;
    w.set_desired(4).await;
    w.settle().await;
    let member = w.store.get::<Member>(&draining[0]).unwrap();
    assert_eq!((member.state, member.scaled_in), (S::Terminating, false));
    w.drained().await;
    w.converge().await;
    assert_eq!(w.in_service(), 4);
    assert!(w.store.get::<Member>(&draining[0]).is_none());
}
