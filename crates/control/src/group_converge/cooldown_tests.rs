//! When cooldowns begin, how long they are, and whom they hold back.

use std::time::Duration;

use puffer_core::autoscaling::hook::{LifecycleHook, Transition};
use puffer_core::autoscaling::warm_pool::WarmPool;
use puffer_core::autoscaling::{
    AdjustmentType, Group, LifecycleState as S, Member, PolicyKind, ScalingPolicy,
};
use puffer_core::elb::{Target, TargetGroup, TargetState, TargetType};
use puffer_inventory::groups::{self, GroupError};

use super::tests::{World, tracking};
use crate::elb_fixtures::{put_listener, target_group};

fn simple(adjustment: i32, cooldown_s: Option<u32>) -> ScalingPolicy {
    ScalingPolicy {
        kind: PolicyKind::Simple {
            adjustment_type: AdjustmentType::ChangeInCapacity,
            adjustment,
            min_magnitude: None,
            cooldown_s,
        },
        ..tracking("simple", 1.0)
    }
}

fn end_hook(g: &mut Group) {
    g.hooks.insert("out".into(), LifecycleHook::new(Transition::Terminating));
}

impl World {
    async fn later(&self, s: u64) {
        self.clock.advance(Duration::from_secs(s));
    }

    fn cools_for_s(&self) -> Option<u64> {
        self.the_group().cooldown_ends(self.now()).map(|until| until.since(self.now()).as_secs())
    }

    async fn honoring(&self, desired: u32) -> Result<(), String> {
        let now = self.now();
        let set = self.store.transact::<_, GroupError>(|tx| {
            groups::set_desired_by_user(tx, "g", desired, true, now).map(drop)
        });
        set.await.map_err(|e| e.to_string())
    }
}

#[tokio::test]
async fn a_policys_cooldown_is_for_what_it_wanted_and_nothing_else() {
    let mut w = World::new().await;
    w.group(9, 1, |_| ()).await;
    w.converge().await;
    assert_eq!(w.cools_for_s(), Some(300), "the group's default");
    w.later(300).await;
    let policy = w.put_policy(simple(2, Some(30))).await;
    w.fire(&[(&policy, "mine", 1.0, 0.0)]).await;
    w.converge().await;
    assert_eq!(w.cools_for_s(), Some(30));
    // A replacement is not the policy's doing.
    w.later(100).await;
    let victim = w.members()[0].instance_id.clone();
    let now = w.now();
    w.edit(|tx| puffer_inventory::instances::mark_terminated(tx, &victim, None, now)).await;
    w.converge().await;
    assert_eq!((w.in_service(), w.cools_for_s()), (3, Some(300)));
    // Nor is what a user wants, before the policy has got what it wanted or after.
    w.later(400).await;
    w.fire(&[(&policy, "mine", 1.0, 0.0)]).await;
    w.set_desired(6).await;
    w.converge().await;
    assert_eq!((w.in_service(), w.cools_for_s()), (6, Some(300)));
}

#[tokio::test]
async fn on_scale_in_it_begins_after_draining_and_waits_for_no_hook() {
    let mut w = World::new().await;
    let vpc = w.store.list::<puffer_core::ec2::Vpc>()[0].id.clone();
    w.edit(|tx| {
        tx.put(TargetGroup { vpc_id: vpc, target_type: TargetType::Instance, ..target_group() });
        put_listener(tx);
    })
    .await;
    w.group(3, 2, |g| {
        g.target_groups = vec![target_group().arn];
        end_hook(g);
    })
    .await;
    w.converge().await;
    let healthy = |tx: &mut puffer_store::Transaction<'_>, state: TargetState| {
        for target in tx.list::<Target>() {
            let key = puffer_core::Record::key(&*target);
            tx.update::<Target>(&key, |t| t.state = state);
        }
    };
    w.edit(|tx| healthy(tx, TargetState::Healthy)).await;
    w.converge().await;
    w.later(1000).await;
    w.set_desired(1).await;
    w.settle().await;
    let leaving = || w.members().into_iter().find(|m| m.is_leaving()).unwrap();
    assert_eq!(leaving().state, S::Terminating, "it drains");
    assert_eq!(w.cools_for_s(), None);
    let id = leaving().instance_id.clone();
    w.edit(|tx| {
        for target in tx.list::<Target>().into_iter().filter(|t| t.id == id) {
            tx.delete::<Target>(&puffer_core::Record::key(&*target));
        }
    })
    .await;
    w.later(40).await;
    w.settle().await;
    assert_eq!(w.members().iter().filter(|m| m.state == S::TerminatingWait).count(), 1);
    assert_eq!(w.cools_for_s(), Some(300));
    // The end of the wait begins no other.
    w.later(100).await;
    let now = w.now();
    w.edit(|tx| puffer_inventory::instances::mark_terminated(tx, &id, None, now)).await;
    w.edit(|tx| {
        tx.update::<Member>(&id, |m| {
            (m.state, m.hooks) = (S::TerminatingProceed, puffer_core::autoscaling::hook::HookStand::Done);
        })
    })
    .await;
    w.converge().await;
    assert_eq!((w.members().len(), w.cools_for_s()), (1, Some(200)));
}

#[tokio::test]
async fn what_happens_in_the_pool_starts_no_cooldown_and_blocks_nobody() {
    let mut w = World::new().await;
    w.group(4, 1, |g| {
        g.warm_pool = Some(WarmPool::default());
        end_hook(g);
    })
    .await;
    w.warm().await;
    w.later(1000).await;
    let pooled = |w: &World| w.members().iter().filter(|m| m.state == S::WarmedStopped).count();
    assert_eq!((w.in_service(), pooled(&w)), (1, 3));
    // The pool shrinks, and the hook keeps what goes.
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            g.warm_pool = Some(WarmPool { max_prepared: Some(2), ..WarmPool::default() });
        })
    })
    .await;
    w.settle().await;
    let waiting = w.members().iter().filter(|m| m.state == S::WarmedTerminatingWait).count();
    assert_eq!((waiting, w.cools_for_s()), (2, None));
    let policy = w.put_policy(simple(1, None)).await;
    let said = w.fire(&[(&policy, "mine", 1.0, 0.0)]).await;
    assert_eq!(said, ["policy simple changed the desired capacity from 1 to 2"]);
}

#[tokio::test]
async fn honoring_the_cooldown_waits_for_the_activity_and_names_it() {
    let mut w = World::new().await;
    w.group(9, 1, |_| ()).await;
    w.converge().await;
    let cooling = w.activities()[0].id.clone();
    let blocked = |id: &str| Err(format!("Scaling activity {id} is in progress and blocks this action"));
    assert_eq!(w.honoring(2).await, blocked(&cooling));
    w.later(300).await;
    assert_eq!(w.honoring(2).await, Ok(()));
    w.settle().await;
    let running = w.activities().into_iter().find(|a| !a.status.is_final()).unwrap().id.clone();
    assert_eq!(w.honoring(3).await, blocked(&running));
    w.converge().await;
    assert_eq!(w.honoring(3).await, blocked(&running), "it cools down");
    w.later(300).await;
    assert_eq!(w.honoring(3).await, Ok(()));
}
