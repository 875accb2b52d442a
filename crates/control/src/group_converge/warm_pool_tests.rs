//! Warm pools, through the group's steps.

use std::sync::Arc;
use std::time::Duration;

use puffer_core::autoscaling::hook::{HookResult, LifecycleHook, Transition};
use puffer_core::autoscaling::warm_pool::{PoolState, WarmPool};
use puffer_core::autoscaling::{Activity, ActivityStatus, Group, LifecycleState as S, Member};
use puffer_core::ec2::{Instance, InstanceState};
use puffer_core::event::Event;
use puffer_inventory::instances;
use puffer_inventory::lifecycle_hooks::{self, ActionAddress};

use super::tests::World;

const ARN: &str = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:u:autoScalingGroupName/g";

impl World {
    fn of_state(&self, state: S) -> Vec<Arc<Member>> {
        self.members().into_iter().filter(|m| m.state == state).collect()
    }

    /// What the driver would do, stopping included, until nothing is left to do.
    pub(super) async fn warm(&mut self) {
        for _ in 0..6 {
            self.settle().await;
            self.drive().await;
            self.edit(|tx| {
                for i in tx.list::<Instance>() {
                    if i.state == InstanceState::Stopping {
                        instances::mark_stopped(tx, &i.id, None);
                    }
                }
            })
            .await;
        }
        self.settle().await;
    }

    pub(super) fn the_latest(&self, id: &str) -> Arc<Activity> {
        let of = |a: &Arc<Activity>| a.instance_id.as_deref() == Some(id);
        self.activities().into_iter().filter(of).max_by(|a, b| a.id.cmp(&b.id)).unwrap()
    }

    async fn pool(&self, change: impl FnOnce(&mut WarmPool)) {
        self.edit(|tx| {
            tx.update::<Group>("g", |g| {
                let mut pool = g.warm_pool.clone().unwrap_or_default();
                change(&mut pool);
                g.warm_pool = Some(pool);
            })
        })
        .await;
    }
}

#[tokio::test]
async fn a_pool_fills_uncounted_and_is_taken_before_anything_is_launched() {
    let mut w = World::new().await;
    w.group(4, 1, |g| {
        g.arn = ARN.into();
        g.warm_pool = Some(WarmPool::default());
    })
    .await;
    w.warm().await;
    assert_eq!((w.in_service(), w.of_state(S::WarmedStopped).len(), w.alive()), (1, 3, 4));
    let pooled: Vec<String> = w.of_state(S::WarmedStopped).iter().map(|m| m.instance_id.clone()).collect();
    let stopped = |id: &String| w.store.get::<Instance>(id).unwrap().state == InstanceState::Stopped;
    assert!(pooled.iter().all(stopped));
    let activity = w.the_latest(&pooled[0]);
    assert!(activity.description.starts_with("Launching a new EC2 instance into warm pool: i-"));
    assert_eq!(activity.status, ActivityStatus::Successful);
    w.clock.advance(Duration::from_secs(1));
    w.set_desired(3).await;
    let done = w.settle().await;
    assert_eq!(done.launched, 0, "the pool serves");
    w.warm().await;
    assert_eq!((w.in_service(), w.of_state(S::WarmedStopped).len(), w.alive()), (3, 1, 4));
    let taken = w.members().into_iter().find(|m| m.state == S::InService && pooled.contains(&m.instance_id));
    let activity = w.the_latest(&taken.unwrap().instance_id);
    assert!(activity.description.starts_with("Launching a new EC2 instance from warm pool: i-"));
    let event =
        w.store.list::<Event>().into_iter().rev().find(|e| e.detail["ActivityId"] == activity.id.as_str());
    let event = event.unwrap();
    assert_eq!(
        (&event.detail["Origin"], &event.detail["Destination"]),
        (&"WarmPool".into(), &"AutoScalingGroup".into())
    );
    // More than the pool holds: the rest is launched. At the maximum nothing is left to prepare.
    w.set_desired(4).await;
    w.warm().await;
    assert_eq!((w.in_service(), w.alive()), (4, 4));
    // Shrinking ends instances and fills the pool anew.
    w.set_desired(2).await;
    w.warm().await;
    assert_eq!((w.in_service(), w.of_state(S::WarmedStopped).len(), w.alive()), (2, 2, 4));
}

#[tokio::test]
async fn instances_go_back_into_a_pool_that_reuses_them() {
    let mut w = World::new().await;
    let pool = WarmPool { reuse_on_scale_in: true, state: PoolState::Running, ..WarmPool::default() };
    w.group(2, 2, |g| g.warm_pool = Some(pool)).await;
    w.warm().await;
    let before: Vec<String> = w.members().iter().map(|m| m.instance_id.clone()).collect();
    w.set_desired(0).await;
    w.warm().await;
    let after: Vec<String> = w.of_state(S::WarmedRunning).iter().map(|m| m.instance_id.clone()).collect();
    assert_eq!(before, after, "the same, and running");
    w.set_desired(1).await;
    w.warm().await;
    assert_eq!((w.in_service(), w.of_state(S::WarmedRunning).len(), w.alive()), (1, 1, 2));
}

#[tokio::test]
async fn hooks_are_asked_on_each_way() {
    let mut w = World::new().await;
    w.group(1, 0, |g| {
        g.arn = ARN.into();
        g.warm_pool = Some(WarmPool { reuse_on_scale_in: true, ..WarmPool::default() });
        g.hooks.insert("in".into(), LifecycleHook::new(Transition::Launching));
        g.hooks.insert("out".into(), LifecycleHook::new(Transition::Terminating));
    })
    .await;
    let mut ways = Vec::new();
    let steps = [
        (None, "in", S::WarmedPendingWait, S::WarmedStopped),
        (Some(1), "in", S::PendingWait, S::InService),
        (Some(0), "out", S::WarmedPendingWait, S::WarmedStopped),
    ];
    for (desired, hook, waiting, then) in steps {
        if let Some(desired) = desired {
            w.set_desired(desired).await;
        }
        w.warm().await;
        let id = w.of_state(waiting)[0].instance_id.clone();
        let address =
            ActionAddress { group: "g".into(), hook: hook.into(), token: None, instance_id: Some(id) };
        let now = w.now();
        w.store
            .transact(|tx| lifecycle_hooks::complete(tx, &address, HookResult::Continue, now))
            .await
            .unwrap();
        w.warm().await;
        assert_eq!(w.of_state(then).len(), 1, "{hook} {then:?}");
        w.clock.advance(Duration::from_secs(1));
    }
    for e in w.store.list::<Event>().iter().filter(|e| e.detail_type.ends_with("Lifecycle Action")) {
        ways.push((e.detail["Origin"].to_string(), e.detail["Destination"].to_string()));
    }
    let way = |a: &str, b: &str| (format!("\"{a}\""), format!("\"{b}\""));
    assert_eq!(
        ways,
        [way("EC2", "WarmPool"), way("WarmPool", "AutoScalingGroup"), way("AutoScalingGroup", "WarmPool")]
    );
    assert_eq!(w.alive(), 1, "one instance all the way");
}

#[tokio::test]
async fn what_dies_in_the_pool_is_replaced_and_a_deleted_pool_goes() {
    let mut w = World::new().await;
    w.group(3, 1, |g| g.warm_pool = Some(WarmPool::default())).await;
    w.warm().await;
    let victim = w.of_state(S::WarmedStopped)[0].instance_id.clone();
    let now = w.now();
    w.edit(|tx| instances::mark_terminated(tx, &victim, None, now)).await;
    w.warm().await;
    assert!(w.store.get::<Member>(&victim).is_none());
    assert_eq!((w.in_service(), w.of_state(S::WarmedStopped).len(), w.alive()), (1, 2, 3));
    // A smaller pool gives up what it has too many.
    w.pool(|p| p.max_prepared = Some(2)).await;
    w.warm().await;
    assert_eq!((w.of_state(S::WarmedStopped).len(), w.alive()), (1, 2));
    let w = &mut w.restart();
    w.pool(|p| p.deleting = true).await;
    w.warm().await;
    assert_eq!((w.in_service(), w.alive()), (1, 1));
    assert!(w.the_group().warm_pool.is_none());
}

#[tokio::test]
async fn suspended_launches_keep_the_pool_for_what_is_to_come() {
    let mut w = World::new().await;
    w.group(3, 1, |g| g.warm_pool = Some(WarmPool::default())).await;
    w.warm().await;
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            g.suspended.push(puffer_core::autoscaling::SuspendedProcess {
                name: "Launch".into(),
                reason: "test".into(),
            });
        })
    })
    .await;
    w.set_desired(3).await;
    w.warm().await;
    assert_eq!((w.in_service(), w.of_state(S::WarmedStopped).len()), (1, 2));
    w.edit(|tx| tx.update::<Group>("g", |g| g.suspended.clear())).await;
    w.warm().await;
    assert_eq!((w.in_service(), w.alive()), (3, 3));
}

#[tokio::test]
async fn an_impaired_instance_leaves_a_running_pool_and_is_not_taken() {
    use puffer_core::ec2::StatusCheck::{Impaired, Ok};
    let mut w = World::new().await;
    w.group(2, 1, |g| {
        g.arn = ARN.into();
        g.warm_pool = Some(WarmPool { state: PoolState::Running, ..WarmPool::default() });
        g.health_check_grace_s = 3600;
    })
    .await;
    w.warm().await;
    let id = w.of_state(S::WarmedRunning)[0].instance_id.clone();
    w.edit(|tx| instances::mark_status(tx, &id, Impaired, Ok)).await;
    w.settle().await;
    assert_eq!(w.store.get::<Member>(&id).unwrap().state, S::WarmedRunning, "it may pass");
    w.set_desired(2).await;
    w.warm().await;
    assert_eq!(w.store.get::<Member>(&id).map(|m| m.state), None, "what is impaired is not taken");
    assert_eq!((w.in_service(), w.alive()), (2, 2));
    w.set_desired(1).await;
    w.warm().await;
    let id = w.of_state(S::WarmedRunning)[0].instance_id.clone();
    w.edit(|tx| instances::mark_status(tx, &id, Impaired, Ok)).await;
    w.settle().await;
    w.clock.advance(puffer_core::autoscaling::health::IMPAIRED_WAIT);
    w.warm().await;
    assert!(w.store.get::<Member>(&id).is_none(), "it leaves");
    assert_eq!((w.in_service(), w.of_state(S::WarmedRunning).len()), (1, 1), "and another comes");
}

#[tokio::test]
async fn a_pool_takes_no_spot_instances() {
    let mut w = World::new().await;
    w.group(3, 1, |g| {
        g.arn = ARN.into();
        g.warm_pool = Some(WarmPool::default());
    })
    .await;
    w.edit(|tx| {
        tx.update::<puffer_core::autoscaling::LaunchConfiguration>("lc", |c| c.spot_price = Some("1".into()))
    })
    .await;
    w.warm().await;
    assert_eq!((w.in_service(), w.members().len()), (1, 1));
    assert!(w.the_group().launch_backoff.is_none());
}
