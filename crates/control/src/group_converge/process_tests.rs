//! What each suspended process stops, and what it leaves going (EC2 Auto Scaling guide, "Suspend and resume processes").
//! `AlarmNotification`, `ScheduledActions` and `InstanceRefresh` are tested where they act.

use puffer_core::autoscaling::{
    Group, HealthStatus, LifecycleState as S, Member, SuspendedProcess, UnhealthyCause,
};
use puffer_core::elb::{Target, TargetGroup, TargetType};
use puffer_inventory::instances;

use super::tests::World;
use crate::elb_fixtures::target_group;

impl World {
    async fn suspend(&self, process: &str) {
        let suspended = SuspendedProcess { name: process.into(), reason: "test".into() };
        self.edit(|tx| tx.update::<Group>("g", |g| g.suspended.push(suspended))).await;
    }

    async fn resume(&self) {
        self.edit(|tx| tx.update::<Group>("g", |g| g.suspended.clear())).await;
    }

    async fn stop_one(&self) -> String {
        let id = self.members()[0].instance_id.clone();
        self.edit(|tx| instances::mark_stopped(tx, &id, None)).await;
        id
    }
}

/// (process, members in service after an instance died, its health, alive ones) → after growing by one: in service.
#[tokio::test]
async fn a_dead_instance_and_a_wish_for_more() {
    use HealthStatus::{Healthy, Unhealthy};
    let table = [
        ("", 2, None, 3),
        // The dead one goes, nobody comes.
        ("Launch", 1, None, 1),
        // It is marked and stays; others come.
        ("Terminate", 2, Some(Unhealthy), 3),
        ("ReplaceUnhealthy", 2, Some(Unhealthy), 3),
        // Nobody looks.
        ("HealthCheck", 2, Some(Healthy), 3),
        ("AddToLoadBalancer", 2, None, 3),
        ("AZRebalance", 2, None, 3),
    ];
    for (process, serving, health, grown) in table {
        let mut w = World::new().await;
        w.group(9, 2, |_| ()).await;
        w.converge().await;
        if !process.is_empty() {
            w.suspend(process).await;
        }
        let dead = w.stop_one().await;
        w.converge().await;
        assert_eq!(w.in_service(), serving, "{process}: in service");
        assert_eq!(w.store.get::<Member>(&dead).map(|m| m.health), health, "{process}: the dead one");
        w.set_desired(3).await;
        w.converge().await;
        assert_eq!(w.in_service(), grown, "{process}: grown");
        w.resume().await;
        w.converge().await;
        assert_eq!(w.in_service(), 3, "{process}: resumed");
        let left = w.store.get::<Member>(&dead).is_some();
        assert!(!left, "{process}: the dead one goes after all");
    }
}

#[tokio::test]
async fn shrinking_waits_for_terminate_alone() {
    for (process, left) in [("", 1), ("Launch", 1), ("HealthCheck", 1), ("AZRebalance", 1), ("Terminate", 3)]
    {
        let mut w = World::new().await;
        w.group(9, 3, |_| ()).await;
        w.converge().await;
        if !process.is_empty() {
            w.suspend(process).await;
        }
        w.set_desired(1).await;
        w.converge().await;
        assert_eq!(w.in_service(), left, "{process}");
    }
}

#[tokio::test]
async fn a_users_word_on_health_counts_whatever_is_suspended() {
    let mut w = World::new().await;
    w.group(9, 1, |_| ()).await;
    w.converge().await;
    w.suspend("HealthCheck").await;
    let sick = w.members()[0].instance_id.clone();
    w.edit(|tx| {
        tx.update::<Member>(&sick, |m| {
            (m.health, m.unhealthy_cause) = (HealthStatus::Unhealthy, Some(UnhealthyCause::User));
        })
    })
    .await;
    w.converge().await;
    assert!(w.store.get::<Member>(&sick).is_none() && w.in_service() == 1);
}

#[tokio::test]
async fn instances_that_come_while_add_to_load_balancer_is_suspended_are_never_added() {
    let mut w = World::new().await;
    let vpc = w.store.list::<puffer_core::ec2::Vpc>()[0].id.clone();
    w.edit(|tx| tx.put(TargetGroup { vpc_id: vpc, target_type: TargetType::Instance, ..target_group() }))
        .await;
    w.group(9, 1, |g| g.target_groups = vec![target_group().arn]).await;
    w.converge().await;
    w.suspend("AddToLoadBalancer").await;
    w.set_desired(2).await;
    w.converge().await;
    assert_eq!((w.in_service(), w.store.list::<Target>().len()), (2, 1));
    w.resume().await;
    w.converge().await;
    assert_eq!(w.store.list::<Target>().len(), 1);
}

#[tokio::test]
async fn zones_are_evened_out_unless_rebalancing_launching_or_ending_is_suspended() {
    // Without Terminate the newcomer comes, and nobody goes for it.
    for (process, total) in [("", 4), ("AZRebalance", 4), ("Launch", 4), ("Terminate", 5)] {
        let mut w = World::new().await;
        w.group(9, 4, |g| g.zones = vec!["us-east-1a".into()]).await;
        w.converge().await;
        if !process.is_empty() {
            w.suspend(process).await;
        }
        w.edit(|tx| tx.update::<Group>("g", |g| g.zones = vec!["us-east-1a".into(), "us-east-1b".into()]))
            .await;
        for _ in 0..6 {
            w.converge().await;
        }
        let moved = w.members().iter().filter(|m| m.zone == "us-east-1b").count();
        let want = match process {
            "" => 2,
            "Terminate" => 1,
            _ => 0,
        };
        assert_eq!((moved, w.in_service()), (want, total), "{process}");
        assert!(w.members().iter().all(|m| m.state == S::InService));
    }
}
