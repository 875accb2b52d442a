//! What users ask of single members, and launches that they ask for, through the group's steps.

use std::sync::Arc;
use std::time::Duration;

use puffer_core::autoscaling::launch_call::{LaunchCall, LaunchCallAsked};
use puffer_core::autoscaling::mixed::{Distribution, MixedPolicy, Override};
use puffer_core::autoscaling::refresh::{DesiredConfiguration, Reserved};
use puffer_core::autoscaling::warm_pool::WarmPool;
use puffer_core::autoscaling::{
    ActivityStatus, Group, InstanceRefresh, InstanceSource, LaunchTemplateRef, LifecycleState as S, Member,
    RefreshPreferences, RefreshStatus, RefreshStrategy, ZonalShift, ZoneImpairment,
};
use puffer_core::ec2::{
    Image, ImageState, Instance, InstanceLifecycle, LaunchTemplate, LaunchTemplateData, StateReason,
};
use puffer_inventory::group_members::MemberError;
use puffer_inventory::group_step::launch_now;
use puffer_inventory::launch_templates::{self, NewTemplate, NewVersion, TemplateError};
use puffer_inventory::{instances, refreshes};
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::tests::World;

const AMI: &str = "ami-0123456789abcdef0";

impl World {
    async fn stop(&self, id: &str) {
        let now = self.now();
        self.edit(|tx| {
            instances::stop(tx, id, now);
            instances::mark_stopped(tx, id, None);
        })
        .await;
    }

    pub(super) async fn template(&self, name: &str) -> Arc<LaunchTemplate> {
        let data = LaunchTemplateData {
            image_id: Some(AMI.into()),
            instance_type: Some("t2.micro".into()),
            ..Default::default()
        };
        let new = NewTemplate { name: name.into(), data, ..NewTemplate::default() };
        let (now, mut rng) = (self.now(), Pcg64::seed_from_u64(7));
        self.store
            .transact::<_, TemplateError>(|tx| launch_templates::create(tx, new, now, &mut rng))
            .await
            .unwrap()
    }

    async fn launch_now(&self, asked: LaunchCallAsked) -> LaunchCall {
        let (now, mut rng) = (self.now(), Pcg64::seed_from_u64(8));
        self.store.transact(|tx| launch_now(tx, "g", "t", asked, now, &mut rng)).await.unwrap()
    }
}

pub(super) fn of(template: &LaunchTemplate, version: &str) -> InstanceSource {
    let (id, name) = (template.id.clone(), template.name.clone());
    InstanceSource::LaunchTemplate(LaunchTemplateRef { id, name, version: version.into() })
}

fn asked(zone: &str) -> LaunchCallAsked {
    LaunchCallAsked { capacity: 1, zone: Some(zone.into()), subnet: None, retry: false }
}

#[tokio::test]
async fn an_instance_that_is_named_twice_is_attached_once() {
    let mut w = World::new().await;
    w.group(3, 1, |_| ()).await;
    w.converge().await;
    let id = w.members()[0].instance_id.clone();
    w.ask(|r| r.detach("g", std::slice::from_ref(&id), true)).await.unwrap();
    w.converge().await;
    w.ask(|r| r.attach("g", &[id.clone(), id.clone()])).await.unwrap();
    assert_eq!(w.the_group().desired, 1);
    w.converge().await;
    assert_eq!((w.in_service(), w.alive()), (1, 1), "and nothing is launched beside it");
    assert!(w.activities().iter().all(|a| a.status.is_final()), "no activity is left open");
}

#[tokio::test]
async fn an_instance_without_its_image_is_not_attached() {
    let mut w = World::new().await;
    w.group(3, 1, |_| ()).await;
    w.converge().await;
    let id = w.members()[0].instance_id.clone();
    w.ask(|r| r.detach("g", std::slice::from_ref(&id), true)).await.unwrap();
    w.converge().await;
    let image = Image {
        id: AMI.into(),
        name: "gone".into(),
        description: None,
        state: ImageState::Deregistered,
        state_reason: None,
        architecture: "x86_64".into(),
        created_at: w.now(),
        source_instance_id: None,
        no_reboot: false,
        source_at_rest: false,
        root_volume_gib: 8,
        public: false,
        client_token: None,
        deprecated_at: None,
        tags: Default::default(),
    };
    w.edit(|tx| tx.put(image)).await;
    let refused = w.ask(|r| r.attach("g", std::slice::from_ref(&id))).await;
    assert!(matches!(refused, Err(MemberError::NoImage(..))));
}

#[tokio::test]
async fn a_spare_in_standby_makes_the_group_no_smaller() {
    let mut w = World::new().await;
    w.group(3, 2, |_| ()).await;
    w.converge().await;
    let id = w.members()[0].instance_id.clone();
    w.edit(|tx| {
        tx.update::<Member>(&id, |m| m.spare = true);
        tx.update::<Group>("g", |g| g.desired = 1);
    })
    .await;
    w.ask(|r| r.enter_standby("g", std::slice::from_ref(&id), true)).await.unwrap();
    assert_eq!(w.the_group().desired, 1);
    w.converge().await;
    assert_eq!((w.in_service(), w.members().len()), (1, 2));
}

#[tokio::test]
async fn an_instance_that_stops_on_its_way_back_goes_as_unhealthy() {
    let mut w = World::new().await;
    w.group(3, 2, |_| ()).await;
    w.converge().await;
    let id = w.members()[0].instance_id.clone();
    let ids = [id.clone()];
    w.ask(|r| r.enter_standby("g", &ids, true)).await.unwrap();
    w.converge().await;
    w.stop(&id).await;
    w.clock.advance(Duration::from_secs(1));
    w.ask(|r| r.exit_standby("g", &ids)).await.unwrap();
    w.converge().await;
    let moving = w.the_activity(&id, "Moving EC2 instance out of Standby: ");
    assert_eq!(moving.status, ActivityStatus::Failed);
    assert!(moving.description.ends_with(&id), "{}", moving.description);
    let ending = w.the_activity(&id, "Terminating EC2 instance: ");
    assert!(ending.cause_text().contains("EC2 health check"), "{}", ending.cause_text());
    assert_eq!((w.the_group().launch_backoff, w.in_service(), w.alive()), (None, 2, 2));
    // The same for one that is attached.
    let other = w.members()[0].instance_id.clone();
    let ids = [other.clone()];
    w.ask(|r| r.detach("g", &ids, true)).await.unwrap();
    w.converge().await;
    w.clock.advance(Duration::from_secs(1));
    w.ask(|r| r.attach("g", &ids)).await.unwrap();
    w.stop(&other).await;
    w.converge().await;
    let attaching = w.the_activity(&other, "Attaching an existing EC2 instance: ");
    assert_eq!(attaching.status, ActivityStatus::Failed);
    assert_eq!((w.the_group().launch_backoff, w.in_service(), w.alive()), (None, 2, 2));
}

fn preferences() -> RefreshPreferences {
    RefreshPreferences {
        min_healthy: 100,
        max_healthy: Some(200),
        warmup_s: 600,
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

async fn refresh(w: &World, preferences: RefreshPreferences, to: &LaunchTemplate) {
    let desired = DesiredConfiguration { source: of(to, "1"), mixed: None };
    let now = w.now();
    w.store
        .transact(|tx| {
            refreshes::start(tx, "g", "r", preferences, Some(desired), RefreshStrategy::Rolling, now)
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn launches_during_a_refresh_are_what_it_wants() {
    let mut w = World::new().await;
    let (old, new) = (w.template("old").await, w.template("new").await);
    w.group(3, 1, |g| g.source = of(&old, "1")).await;
    w.converge().await;
    refresh(&w, preferences(), &new).await;
    w.converge().await;
    assert_eq!(w.store.get::<InstanceRefresh>("r").unwrap().status, RefreshStatus::InProgress);
    let call = w.launch_now(asked("us-east-1b")).await;
    let id = &call.launched[0].instance_ids[0];
    let made = w.store.get::<Instance>(id).unwrap();
    assert_eq!(made.launch_template.as_ref().map(|t| &t.id), Some(&new.id));
    assert_eq!(w.store.get::<Member>(id).unwrap().refreshed_by.as_deref(), Some("r"));
}

/// What the refresh launches differs from what was seen as it began, which takes a second look: at once, not when something else
/// happens to the group.
#[tokio::test]
async fn a_refresh_to_another_template_begins_at_once() {
    let mut w = World::new().await;
    let (old, new) = (w.template("old").await, w.template("new").await);
    w.group(3, 1, |g| g.source = of(&old, "1")).await;
    w.converge().await;
    let begun = w.now();
    let at_once = RefreshPreferences { min_healthy: 0, max_healthy: None, warmup_s: 0, ..preferences() };
    refresh(&w, at_once, &new).await;
    w.converge().await;
    assert_eq!(w.now(), begun, "nothing had to be waited for");
    assert_eq!(w.store.get::<InstanceRefresh>("r").unwrap().status, RefreshStatus::Successful);
    let members = w.store.list::<Member>();
    let made = w.store.get::<Instance>(&members[0].instance_id).unwrap();
    assert_eq!((members.len(), made.launch_template.as_ref().map(|t| &t.id)), (1, Some(&new.id)));
}

#[tokio::test]
async fn a_call_that_launches_nothing_says_why() {
    let w = World::new().await;
    let template = w.template("t").await;
    let until = w.now() + Duration::from_secs(3600);
    w.group(3, 0, |g| {
        g.source = of(&template, "1");
        g.zone_impairment = ZoneImpairment { shift_enabled: true, ignore_unhealthy: false };
        g.zonal_shift = Some(ZonalShift { zone: "us-east-1a".into(), until });
    })
    .await;
    let call = w.launch_now(asked("us-east-1a")).await;
    assert!(call.launched.is_empty());
    let [(part, code, text)] = &call.refused[..] else { panic!("{:?}", call.refused) };
    assert_eq!((part.zone.as_str(), code.as_str()), ("us-east-1a", "UnfulfillableCapacity"));
    assert!(text.contains("shifted away"), "{text}");
    assert_eq!(w.the_group().desired, 0);
}

#[tokio::test]
async fn a_new_version_ends_the_wait_of_groups_that_follow_it() {
    let w = World::new().await;
    let template = w.template("t").await;
    w.group(3, 0, |g| {
        g.source = of(&template, "$Latest");
        g.launch_backoff = Some((3, g.created_at + Duration::from_secs(900)));
    })
    .await;
    let named = by_id(&template);
    let now = w.now();
    let data = LaunchTemplateData::default();
    let new = NewVersion { source: Some("1"), description: None, data: &data, client_token: None };
    w.store.transact(|tx| launch_templates::create_version(tx, &named, &new, now)).await.unwrap();
    assert_eq!(w.the_group().launch_backoff, None);
}

fn by_id(template: &LaunchTemplate) -> puffer_inventory::launch::TemplateRef {
    puffer_inventory::launch::TemplateRef { id: Some(template.id.clone()), ..Default::default() }
}

#[tokio::test]
async fn what_the_pool_gives_says_why_it_was_needed() {
    let mut w = World::new().await;
    w.group(2, 1, |g| {
        g.warm_pool = Some(WarmPool::default());
        g.max_instance_lifetime_s = 86_400;
    })
    .await;
    w.warm().await;
    let pooled = w.members().into_iter().find(|m| m.state == S::WarmedStopped).unwrap();
    w.clock.advance(Duration::from_secs(86_400 + 3_600));
    w.warm().await;
    let taken = w.the_activity(&pooled.instance_id, "Launching a new EC2 instance from warm pool");
    assert!(taken.cause_text().contains("reaching its maximum lifetime"), "{}", taken.cause_text());
}

#[tokio::test]
async fn a_type_that_a_zone_lacks_gives_way_to_the_next() {
    let mut w = World::new().await;
    let template = w.template("t").await;
    let over = |name: &str| Override { instance_type: Some(name.into()), ..Override::default() };
    w.group(3, 2, |g| {
        g.source = of(&template, "1");
        let InstanceSource::LaunchTemplate(template) = g.source.clone() else { return };
        let overrides = vec![over("m5.large"), over("c5.large")];
        g.mixed = Some(MixedPolicy { template, overrides, distribution: Distribution::default() });
    })
    .await;
    for _ in 0..8 {
        w.settle().await;
        let now = w.now();
        w.edit(|tx| {
            let none_left = StateReason {
                code: "Server.InsufficientInstanceCapacity".into(),
                message: "none left".into(),
            };
            for i in tx.list::<Instance>().iter().filter(|i| i.instance_type == "m5.large") {
                instances::mark_terminated(tx, &i.id, Some(none_left.clone()), now);
            }
        })
        .await;
        w.drive().await;
    }
    w.settle().await;
    assert_eq!(w.in_service(), 2);
    let zones = ["us-east-1a", "us-east-1b", "us-east-1c"];
    let tried = w.store.list::<Instance>().iter().filter(|i| i.instance_type == "m5.large").count();
    assert!((1..=6).contains(&tried), "{tried} launches of what is not to be had");
    assert!(zones.iter().any(|z| w.the_group().pool_backoff.contains_key(&format!("m5.large|{z}"))));
    assert!(w.the_group().zone_backoff.is_empty());
}

#[tokio::test]
async fn a_mixed_group_keeps_a_warm_pool_of_on_demand_instances() {
    let mut w = World::new().await;
    let template = w.template("t").await;
    let over = |name: &str| Override { instance_type: Some(name.into()), ..Override::default() };
    w.group(4, 2, |g| {
        g.source = of(&template, "1");
        let InstanceSource::LaunchTemplate(template) = g.source.clone() else { return };
        let overrides = vec![over("m5.large"), over("c5.large")];
        let distribution = Distribution { on_demand_percent: 0, ..Distribution::default() };
        g.mixed = Some(MixedPolicy { template, overrides, distribution });
    })
    .await;
    w.warm().await;
    assert!(w.members().iter().all(|m| m.lifecycle == InstanceLifecycle::Spot));
    // From now on On-Demand only, with a pool that takes back who leaves.
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            let Some(policy) = &mut g.mixed else { return };
            policy.distribution.on_demand_percent = 100;
            g.warm_pool = Some(WarmPool { reuse_on_scale_in: true, ..WarmPool::default() });
        })
    })
    .await;
    w.warm().await;
    let pooled = |w: &World| -> Vec<Arc<Member>> {
        w.members().into_iter().filter(|m| m.state == S::WarmedStopped).collect()
    };
    assert_eq!(pooled(&w).len(), 2);
    let types: Vec<String> = pooled(&w).iter().map(|m| m.instance_type.clone()).collect();
    assert_eq!(types, ["m5.large", "m5.large"], "by priority, as any other launch");
    assert!(pooled(&w).iter().all(|m| m.lifecycle == InstanceLifecycle::OnDemand && m.weight == 1));
    w.set_desired(4).await;
    assert_eq!(w.settle().await.launched, 0, "the pool serves");
    w.warm().await;
    assert_eq!((w.in_service(), pooled(&w).len()), (4, 0));
    // Spot goes first, since the policy has none, and for good; On-Demand goes back to wait.
    w.set_desired(1).await;
    w.warm().await;
    assert_eq!((w.in_service(), w.alive(), pooled(&w).len()), (1, 4, 3));
    assert!(w.members().iter().all(|m| m.lifecycle == InstanceLifecycle::OnDemand));
}
