//! Instance refreshes that replace root volumes, through the group's steps.

use std::collections::BTreeSet;

use puffer_core::autoscaling::health::IMPAIRED_WAIT;
use puffer_core::autoscaling::hook::{HookResult, LifecycleHook, Transition};
use puffer_core::autoscaling::mixed::{Distribution, MixedPolicy, Override};
use puffer_core::autoscaling::refresh::{DesiredConfiguration, Reserved};
use puffer_core::autoscaling::warm_pool::WarmPool;
use puffer_core::autoscaling::{
    ActivityStatus, Group, HealthStatus, InstanceRefresh, InstanceSource, LaunchTemplateRef,
    LifecycleState as S, Member, RefreshPreferences, RefreshStatus, RefreshStrategy,
};
use puffer_core::ec2::{Instance, StateReason, StatusCheck};
use puffer_inventory::images::{self, FoundImage};
use puffer_inventory::lifecycle_hooks::{self, ActionAddress};
use puffer_inventory::refreshes::{self, RefreshError};
use puffer_inventory::{instances, root_volumes};
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::member_tests::of;
use super::tests::World;

const NEW: &str = "ami-0fedcba9876543210";

fn policy(template: &LaunchTemplateRef, images: &[Option<&str>]) -> MixedPolicy {
    let one = |(image, kind): (&Option<&str>, &str)| Override {
        instance_type: Some(kind.into()),
        requirements: None,
        weight: None,
        template: None,
        image_id: image.map(str::to_owned),
    };
    let overrides = images.iter().zip(["t2.micro", "t3.micro"]).map(one).collect();
    MixedPolicy { template: template.clone(), overrides, distribution: Distribution::default() }
}

fn preferences(min_healthy: u32) -> RefreshPreferences {
    RefreshPreferences {
        min_healthy,
        max_healthy: None,
        warmup_s: 0,
        checkpoints: vec![],
        checkpoint_delay_s: 0,
        skip_matching: false,
        auto_rollback: false,
        protected: Reserved::Wait,
        standby: Reserved::Wait,
        alarms: vec![],
        bake_s: 0,
    }
}

/// A group of `n` from version 1 of a template, and what it shall be.
async fn world(n: u32, change: impl FnOnce(&mut Group)) -> (World, DesiredConfiguration) {
    let mut w = World::new().await;
    let template = w.template("t").await;
    let source = of(&template, "1");
    let InstanceSource::LaunchTemplate(template) = source.clone() else { panic!("{source:?}") };
    let desired =
        DesiredConfiguration { source: source.clone(), mixed: Some(policy(&template, &[Some(NEW)])) };
    w.group(n, n, |g| {
        (g.source, g.mixed) = (source, Some(policy(&template, &[None])));
        change(g);
    })
    .await;
    w.converge().await;
    (w, desired)
}

impl World {
    async fn refresh_roots(
        &self,
        preferences: RefreshPreferences,
        desired: Option<DesiredConfiguration>,
    ) -> Result<(), RefreshError> {
        let (now, strategy) = (self.now(), RefreshStrategy::ReplaceRootVolume);
        self.store
            .transact(|tx| refreshes::start(tx, "g", "r", preferences, desired, strategy, now).map(|_| ()))
            .await
    }

    fn the_refresh(&self) -> InstanceRefresh {
        InstanceRefresh::clone(&self.store.get::<InstanceRefresh>("r").unwrap())
    }

    fn of_members(&self) -> Vec<std::sync::Arc<Instance>> {
        self.members().iter().map(|m| self.store.get(&m.instance_id).unwrap()).collect()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.members().iter().map(|m| m.instance_id.clone()).collect()
    }
}

#[tokio::test]
async fn root_volumes_are_replaced_in_place_and_in_portions() {
    let (mut w, desired) = world(4, |_| ()).await;
    let before = w.ids();
    w.refresh_roots(preferences(50), Some(desired.clone())).await.unwrap();
    let mut left = vec![4];
    while w.the_refresh().status.is_active() {
        w.settle().await;
        let serving = w.in_service();
        assert!(serving >= 2 && w.ids() == before && w.alive() == 4, "{serving}");
        let progress = w.the_refresh().progress;
        // Whoever has the new image and serves is done; nobody else.
        let done = w.members().iter().filter(|m| m.state == S::InService && m.refreshed_by.is_some()).count();
        assert_eq!(progress.n_total - progress.n_left, u32::try_from(done).unwrap());
        left.push(progress.n_left);
        w.drive().await;
    }
    assert!(left.is_sorted_by(|a, b| a >= b), "{left:?}");
    assert_eq!(w.the_refresh().status, RefreshStatus::Successful);
    assert!(w.of_members().iter().all(|i| i.image_id == NEW && i.root_serial == 1));
    assert_eq!(w.the_group().mixed, desired.mixed, "the group keeps what it was refreshed to");
    for id in &before {
        let activity = w.the_activity(id, "Replacing the root volume of EC2 instance: ");
        assert_eq!(activity.status, ActivityStatus::Successful);
    }
    assert!(w.members().iter().all(|m| m.root_target.is_none() && m.in_service_at.is_some()));
}

#[tokio::test]
async fn an_instance_that_gets_none_is_replaced_whole() {
    let (mut w, desired) = world(2, |_| ()).await;
    let before = w.ids();
    w.refresh_roots(preferences(0), Some(desired)).await.unwrap();
    w.settle().await;
    let lost = before.first().unwrap();
    let wanted = w.store.get::<Instance>(lost).unwrap().root_replacement.clone().unwrap();
    let reason = StateReason { code: "c".into(), message: "no such layer".into() };
    let now = w.now();
    w.edit(|tx| root_volumes::mark_failed(tx, lost, &wanted, reason, (false, false), now)).await;
    w.converge().await;
    assert_eq!(w.the_refresh().status, RefreshStatus::Successful);
    assert!(!w.ids().contains(lost) && w.ids().contains(before.last().unwrap()) && w.in_service() == 2);
    assert!(w.of_members().iter().all(|i| i.image_id == NEW));
    let failed = w.the_activity(lost, "Replacing the root volume");
    assert_eq!(
        (failed.status, failed.status_message.as_deref()),
        (ActivityStatus::Failed, Some("no such layer"))
    );
    let ended = w.the_activity(lost, "Terminating");
    assert!(ended.cause[0].text.contains("its root volume could not be replaced"), "{:?}", ended.cause);
    assert_eq!(w.the_group().launch_backoff, None, "no launch has failed");
}

#[tokio::test]
async fn hooks_hold_it_before_and_after() {
    let (mut w, desired) = world(1, |g| {
        g.hooks.insert("out".into(), LifecycleHook::new(Transition::Terminating));
    })
    .await;
    let id = w.ids().pop_first().unwrap();
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            g.hooks.insert("in".into(), LifecycleHook::new(Transition::Launching));
        });
    })
    .await;
    w.refresh_roots(preferences(0), Some(desired)).await.unwrap();
    let mut seen = Vec::new();
    for (hook, state) in [("out", S::ReplacingRootVolumeWait), ("in", S::PendingWait)] {
        w.converge().await;
        assert_eq!(w.members()[0].state, state);
        let replaced = w.store.get::<Instance>(&id).unwrap().image_id == NEW;
        assert_eq!(replaced, state == S::PendingWait);
        seen.push(w.the_refresh().progress.n_left);
        let (now, group, hook) = (w.now(), "g".into(), hook.into());
        let address = ActionAddress { group, hook, token: None, instance_id: Some(id.clone()) };
        w.store
            .transact(|tx| lifecycle_hooks::complete(tx, &address, HookResult::Continue, now))
            .await
            .unwrap();
    }
    w.converge().await;
    assert_eq!((seen, w.in_service(), w.the_refresh().status), (vec![1, 1], 1, RefreshStatus::Successful));
}

#[tokio::test]
async fn a_rollback_brings_the_old_image_back_and_a_cancel_leaves_it() {
    for roll_back in [true, false] {
        let (mut w, desired) = world(4, |_| ()).await;
        let (before, old) = (w.ids(), w.of_members()[0].image_id.clone());
        let checkpoints =
            RefreshPreferences { checkpoints: vec![50, 100], checkpoint_delay_s: 3600, ..preferences(0) };
        w.refresh_roots(checkpoints, Some(desired)).await.unwrap();
        w.converge().await;
        let new = |w: &World| w.of_members().iter().filter(|i| i.image_id == NEW).count();
        assert_eq!((new(&w), w.the_refresh().checkpoint, w.in_service()), (2, 50, 4));
        let now = w.now();
        if roll_back {
            w.store.transact(|tx| refreshes::roll_back(tx, "g", now).map(|_| ())).await.unwrap();
        } else {
            w.store.transact(|tx| refreshes::cancel(tx, "g", true, now).map(|_| ())).await.unwrap();
        }
        w.converge().await;
        let (status, left) =
            if roll_back { (RefreshStatus::RollbackSuccessful, 0) } else { (RefreshStatus::Cancelled, 2) };
        assert_eq!((w.the_refresh().status, new(&w), w.in_service(), w.ids()), (status, left, 4, before));
        assert_eq!(w.of_members().iter().filter(|i| i.image_id == old).count(), 4 - left);
    }
}

#[tokio::test]
async fn a_rollback_exchanges_whom_only_the_desired_configuration_launches() {
    let (mut w, mut desired) = world(2, |g| g.max = 4).await;
    let (before, old) = (w.ids(), w.of_members()[0].image_id.clone());
    let InstanceSource::LaunchTemplate(template) = desired.source.clone() else { panic!("{desired:?}") };
    let mut both = policy(&template, &[Some(NEW), Some(NEW)]);
    both.overrides.reverse();
    desired.mixed = Some(both);
    let checkpoints =
        RefreshPreferences { checkpoints: vec![50, 100], checkpoint_delay_s: 3600, ..preferences(50) };
    w.refresh_roots(checkpoints, Some(desired)).await.unwrap();
    w.converge().await;
    w.set_desired(3).await;
    w.converge().await;
    let types = |w: &World| w.of_members().iter().map(|i| i.instance_type.clone()).collect::<Vec<_>>();
    assert!(types(&w).iter().any(|t| t == "t3.micro"), "{:?}", types(&w));
    let now = w.now();
    w.store.transact(|tx| refreshes::roll_back(tx, "g", now).map(|_| ())).await.unwrap();
    while w.the_refresh().status.is_active() {
        w.settle().await;
        assert!(w.in_service() >= 2 && w.members().iter().filter(|m| m.counts()).count() <= 3);
        assert!(w.now() < now + std::time::Duration::from_secs(60), "{:?}", w.the_refresh());
        w.drive().await;
        w.clock.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!((w.the_refresh().status, w.in_service()), (RefreshStatus::RollbackSuccessful, 3));
    assert_eq!(types(&w), ["t2.micro"; 3]);
    assert!(w.of_members().iter().all(|i| i.image_id == old));
    assert!(before.is_subset(&w.ids()), "only the one that fits no more was exchanged");
}

#[tokio::test]
async fn a_root_volume_in_a_zone_that_is_down_is_not_waited_for() {
    for unhealthy in [false, true] {
        let (mut w, desired) = world(1, |_| ()).await;
        let lost = w.ids().pop_first().unwrap();
        w.refresh_roots(preferences(0), Some(desired)).await.unwrap();
        w.settle().await;
        assert_eq!(w.members()[0].state, S::ReplacingRootVolumeProceed);
        w.edit(|tx| match unhealthy {
            true => drop(tx.update::<Member>(&lost, |m| m.health = HealthStatus::Unhealthy)),
            false => drop(instances::mark_status(tx, &lost, StatusCheck::Impaired, StatusCheck::Impaired)),
        })
        .await;
        w.settle().await;
        if !unhealthy {
            assert_eq!(w.members()[0].state, S::ReplacingRootVolumeProceed, "not yet");
            w.clock.advance(IMPAIRED_WAIT);
            w.settle().await;
        }
        let left = w.store.get::<Member>(&lost).map(|m| m.state);
        assert_eq!(left, Some(S::Terminating), "{unhealthy}");
        w.converge().await;
        assert!(!w.ids().contains(&lost) && w.in_service() == 1, "{unhealthy}");
        assert_eq!(w.the_refresh().status, RefreshStatus::Successful);
    }
}

#[tokio::test]
async fn a_task_of_a_user_that_comes_between_costs_nobody_an_instance() {
    let (mut w, desired) = world(1, |_| ()).await;
    let id = w.ids().pop_first().unwrap();
    w.refresh_roots(preferences(0), Some(desired)).await.unwrap();
    w.settle().await;
    let now = w.now();
    w.edit(|tx| {
        for n in 0..2 {
            if n == 1 {
                let request = root_volumes::RootRequest {
                    instance_id: id.clone(),
                    image_id: NEW.into(),
                    ..Default::default()
                };
                root_volumes::begin(tx, request, now, &mut Pcg64::seed_from_u64(5)).unwrap();
            }
            let wanted = tx.get::<Instance>(&id).unwrap().root_replacement.clone().unwrap();
            root_volumes::mark_replaced(tx, &id, &wanted, now);
        }
    })
    .await;
    w.converge().await;
    assert_eq!((w.the_refresh().status, w.ids()), (RefreshStatus::Successful, BTreeSet::from([id])));
}

#[tokio::test]
async fn a_member_that_stops_on_its_way_is_replaced_and_one_that_matches_is_left_alone() {
    let (mut w, desired) = world(2, |_| ()).await;
    let before = w.ids();
    w.refresh_roots(preferences(50), Some(desired.clone())).await.unwrap();
    w.settle().await;
    let out =
        w.members().iter().find(|m| m.state == S::ReplacingRootVolumeProceed).unwrap().instance_id.clone();
    w.edit(|tx| {
        let wanted = tx.get::<Instance>(&out).unwrap().root_replacement.clone().unwrap();
        let reason = StateReason { code: "c".into(), message: "m".into() };
        let now = puffer_core::Timestamp::from_secs(1_000_000);
        root_volumes::mark_failed(tx, &out, &wanted, reason, (true, true), now);
        instances::mark_stopped(tx, &out, None);
    })
    .await;
    for _ in 0..3 {
        w.converge().await;
    }
    assert!(!w.ids().contains(&out) && w.ids().intersection(&before).count() == 1);
    assert_eq!((w.the_refresh().status, w.in_service()), (RefreshStatus::Successful, 2));
    let kept = w.ids();
    let now = w.now();
    let matching = RefreshPreferences { skip_matching: true, ..preferences(0) };
    w.store
        .transact(|tx| {
            refreshes::start(tx, "g", "r", matching, Some(desired), RefreshStrategy::ReplaceRootVolume, now)
                .map(|_| ())
        })
        .await
        .unwrap();
    w.converge().await;
    assert_eq!((w.the_refresh().status, w.ids()), (RefreshStatus::Successful, kept));
    assert!(w.of_members().iter().all(|i| i.n_root_replacements <= 1), "skipped");
}

#[tokio::test]
async fn what_the_strategy_needs() {
    let (w, desired) = world(1, |_| ()).await;
    let InstanceSource::LaunchTemplate(template) = desired.source.clone() else { panic!("{desired:?}") };
    let of = |policy: Option<MixedPolicy>| Some(DesiredConfiguration { mixed: policy, ..desired.clone() });
    let latest = LaunchTemplateRef { version: "$Latest".into(), ..template.clone() };
    let other = Override {
        instance_type: Some("m5.large".into()),
        ..policy(&template, &[Some(NEW)]).overrides[0].clone()
    };
    let foreign = MixedPolicy { overrides: vec![other], ..policy(&template, &[]) };
    let table = [
        (None, "mixed instances policy"),
        (of(None), "mixed instances policy"),
        (of(Some(policy(&template, &[]))), "ImageId"),
        (of(Some(policy(&template, &[Some(NEW), None]))), "ImageId"),
        (of(Some(policy(&latest, &[Some(NEW)]))), "$Latest"),
        (of(Some(foreign)), "no override"),
    ];
    for (desired, why) in table {
        let refused = w.refresh_roots(preferences(90), desired).await.unwrap_err();
        assert!(matches!(&refused, RefreshError::RootVolume(text) if text.contains(why)), "{refused} {why}");
    }
    let pool = |g: &mut Group| g.warm_pool = Some(WarmPool::default());
    w.edit(|tx| drop(tx.update::<Group>("g", pool))).await;
    let refused = w.refresh_roots(preferences(90), Some(desired.clone())).await.unwrap_err();
    assert!(refused.to_string().contains("warm pool"), "{refused}");
    // An image for other machines than those that the instances are.
    let now = w.now();
    w.edit(|tx| {
        tx.update::<Group>("g", |g| g.warm_pool = None);
        let old = tx.list::<Instance>()[0].image_id.clone();
        for (id, architecture) in [(old.as_str(), "x86_64"), (NEW, "arm64")] {
            let found = FoundImage {
                id: id.into(),
                name: architecture.into(),
                description: None,
                architecture: architecture.into(),
                created_at: now,
                size_bytes: 1,
                aliases: vec![],
            };
            images::adopt(tx, &found, now);
        }
    })
    .await;
    let refused = w.refresh_roots(preferences(90), Some(desired)).await.unwrap_err();
    assert!(refused.to_string().contains("arm64"), "{refused}");
}
