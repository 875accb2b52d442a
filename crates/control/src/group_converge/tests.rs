use std::sync::Arc;
use std::time::Duration;

use puffer_core::alarm::{Alarm, AlarmState, MetricId, Unit};
use puffer_core::autoscaling::scaling::AlarmNames;
use puffer_core::autoscaling::{
    Activity, ActivityStatus, AdjustmentType, Group, GroupStatus, GroupTag, HealthStatus, InstanceSource,
    LaunchConfiguration, LifecycleState, Member, PolicyKind, ScalingPolicy, StepAdjustment, TargetTracking,
    TargetTrackingMetric, texts,
};
use puffer_core::ec2::{Cidr, Instance, InstanceState, StateReason};
use puffer_core::elb::{Target, TargetGroup, TargetState, TargetType};
use puffer_core::{Clock, ManualClock, Timestamp};
use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
use puffer_inventory::{groups, instances, policies, root_volumes, targets};
use puffer_metrics::{Metrics, Options, Sample};
use puffer_store::{Store, StoreError, Transaction};

use super::*;
use crate::elb_fixtures::{classic, put_listener, target_group};
use crate::{AlarmAction, FiredAlarm, PolicyExecute};

const AMI: &str = "ami-0123456789abcdef0";

pub(super) struct World {
    dir: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) clock: Arc<ManualClock>,
    pub(super) converge: GroupConverge,
    seed: u64,
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap()
}

impl World {
    pub(super) async fn new() -> World {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)));
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let wanted = Bootstrap {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            vpc_cidr: "172.31.0.0/16".parse().unwrap(),
            subnet_prefix: 18,
            address_space: Cidr::ANY,
            any_image: true,
        };
        let mut rng = Pcg64::seed_from_u64(1);
        store
            .transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, clock.now(), &mut rng))
            .await
            .unwrap();
        let converge = converger(&store, &clock, 2);
        let world = World { dir, store, clock, converge, seed: 2 };
        world.edit(|tx| tx.put(configuration("lc", AMI))).await;
        world
    }

    pub(super) async fn edit<R>(&self, body: impl FnOnce(&mut Transaction<'_>) -> R) -> R {
        self.store.transact::<_, StoreError>(|tx| Ok(body(tx))).await.unwrap()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A group over the three default subnets.
    pub(super) async fn group(&self, max: u32, desired: u32, change: impl FnOnce(&mut Group)) {
        let now = self.now();
        let source = InstanceSource::LaunchConfiguration("lc".into());
        let mut group = Group::new("g", "uuid", "arn:g", source, now);
        group.zones = ["a", "b", "c"].map(|z| format!("us-east-1{z}")).to_vec();
        (group.max, group.desired) = (max, desired);
        texts::note_desired(&mut group, texts::sentence(now, texts::created(desired)), vec![]);
        change(&mut group);
        self.edit(|tx| tx.put(group)).await;
    }

    pub(super) async fn set_desired(&self, desired: u32) {
        let now = self.now();
        self.store
            .transact::<_, groups::GroupError>(|tx| groups::set_desired_by_user(tx, "g", desired, false, now))
            .await
            .unwrap();
    }

    /// Activates until there is nothing to do.
    pub(super) async fn settle(&mut self) -> GroupConvergeStatus {
        let mut total = GroupConvergeStatus::default();
        for _ in 0..50 {
            let status = self.converge.activate().await;
            total.launched += status.launched;
            total.ended += status.ended;
            total.failed += status.failed;
            total.unhealthy += status.unhealthy;
            if status.looked_at == 0 {
                return total;
            }
        }
        panic!("the group never settles");
    }

    /// What the driver would do: pending instances run, those to end are gone.
    pub(super) async fn drive(&self) {
        let now = self.now();
        self.edit(|tx| {
            for i in tx.list::<Instance>() {
                match i.state {
                    InstanceState::Pending => drop(instances::mark_running(tx, &i.id, 0, now)),
                    InstanceState::ShuttingDown => drop(instances::mark_terminated(tx, &i.id, None, now)),
                    InstanceState::Running => {
                        if let Some(wanted) = &i.root_replacement {
                            root_volumes::mark_replaced(tx, &i.id, wanted, now);
                        }
                    }
                    _ => {}
                }
            }
        })
        .await;
    }

    pub(super) async fn converge(&mut self) {
        for _ in 0..4 {
            self.settle().await;
            self.drive().await;
        }
        self.settle().await;
    }

    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        self.store.list_by::<Member>("group", "g")
    }

    pub(super) fn in_service(&self) -> usize {
        self.members().iter().filter(|m| m.state == LifecycleState::InService).count()
    }

    pub(super) fn alive(&self) -> usize {
        self.store.list::<Instance>().iter().filter(|i| i.state.is_alive()).count()
    }

    pub(super) fn activities(&self) -> Vec<Arc<Activity>> {
        self.store.list_by::<Activity>("group", "g")
    }

    pub(super) fn the_group(&self) -> Arc<Group> {
        self.store.get("g").unwrap()
    }

    /// The process dies and starts again.
    pub(super) fn restart(self) -> World {
        let World { dir, store, clock, converge, seed } = self;
        drop((converge, store));
        let store = open(&dir);
        let converge = converger(&store, &clock, seed + 1);
        World { dir, store, clock, converge, seed: seed + 1 }
    }
}

fn converger(store: &Store, clock: &Arc<ManualClock>, seed: u64) -> GroupConverge {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    GroupConverge::new(store.clone(), clock, Box::new(Pcg64::seed_from_u64(seed)))
}

fn configuration(name: &str, image: &str) -> LaunchConfiguration {
    LaunchConfiguration {
        name: name.into(),
        arn: format!("arn:{name}"),
        created_at: Timestamp::from_secs(1),
        image_id: image.into(),
        instance_type: "t2.micro".into(),
        key_name: None,
        security_groups: vec![],
        user_data: None,
        iam_instance_profile: None,
        detailed_monitoring: true,
        associate_public_ip: None,
        metadata_options: None,
        block_device_mappings: vec![],
        ebs_optimized: false,
        spot_price: None,
        placement_tenancy: None,
    }
}

#[tokio::test]
async fn a_group_fills_evenly_and_its_activities_read_as_on_aws() {
    let mut w = World::new().await;
    let tag = |propagate_at_launch| GroupTag { value: "web".into(), propagate_at_launch };
    w.group(9, 6, |g| {
        g.tags.insert("role".into(), tag(true));
        g.tags.insert("own".into(), tag(false));
    })
    .await;
    assert_eq!(w.settle().await.launched, 6);
    for zone in ["us-east-1a", "us-east-1b", "us-east-1c"] {
        assert_eq!(w.members().iter().filter(|m| m.zone == zone).count(), 2);
    }
    assert!(w.activities().iter().all(|a| a.status == ActivityStatus::PreInService && a.ended_at.is_none()));
    w.clock.advance(Duration::from_secs(1));
    w.converge().await;
    assert_eq!((w.in_service(), w.alive(), w.activities().len()), (6, 6, 6));
    let activity = &w.activities()[0];
    let id = activity.instance_id.clone().unwrap();
    assert_eq!(activity.description, format!("Launching a new EC2 instance: {id}"));
    assert_eq!((activity.status, activity.progress), (ActivityStatus::Successful, 100));
    let cause = activity.cause_text();
    assert!(
        cause.contains("created an AutoScalingGroup changing the desired capacity from 0 to 6."),
        "{cause}"
    );
    assert!(cause.contains(".  At ") && cause.ends_with("increasing the capacity from 0 to 6."), "{cause}");
    let instance = w.store.get::<Instance>(&id).unwrap();
    assert_eq!(instance.tags["aws:autoscaling:groupName"], "g");
    assert_eq!(instance.tags["role"], "web");
    assert!(!instance.tags.contains_key("own"));
    assert_eq!(w.the_group().cooldown_started_at, Some(w.now()));
    assert!(w.the_group().desired_cause.is_empty(), "acted on");
    // Nothing to do is nothing done.
    w.clock.advance(Duration::from_secs(3600));
    let before = w.the_group();
    assert_eq!(w.settle().await, GroupConvergeStatus::default());
    assert_eq!(w.the_group(), before);
}

#[tokio::test]
async fn a_group_shrinks_after_draining() {
    let mut w = World::new().await;
    let vpc = w.store.list::<puffer_core::ec2::Vpc>()[0].id.clone();
    w.edit(|tx| {
        tx.put(TargetGroup { vpc_id: vpc, target_type: TargetType::Instance, ..target_group() });
        put_listener(tx);
    })
    .await;
    let tg = target_group().arn;
    w.group(9, 3, |g| g.target_groups = vec![tg.clone()]).await;
    w.converge().await;
    assert_eq!(w.store.list_by::<Target>("target_group", &tg).len(), 3);
    w.set_desired(1).await;
    assert_eq!(w.settle().await.ended, 2);
    assert_eq!((w.alive(), w.members().len()), (3, 3), "they drain first");
    let draining = |a: &&Arc<Activity>| a.status == ActivityStatus::WaitingForElbConnectionDraining;
    assert_eq!(w.activities().iter().filter(draining).count(), 2);
    w.edit(|tx| {
        for t in tx.list::<Target>().iter().filter(|t| t.draining_since.is_some()) {
            assert!(targets::drained(tx, &t.target_group, &t.id, t.port));
        }
    })
    .await;
    w.converge().await;
    assert_eq!((w.alive(), w.in_service(), w.store.list::<Target>().len()), (1, 1, 1));
    let ended: Vec<_> =
        w.activities().into_iter().filter(|a| a.description.starts_with("Terminating")).collect();
    for a in &ended {
        let cause = a.cause_text();
        assert!(
            cause
                .contains("explicitly set group desired capacity changing the desired capacity from 3 to 1.")
        );
        assert!(
            cause.contains("shrinking the capacity from 3 to 1.")
                && cause.contains("was selected for termination.")
        );
        assert_eq!(a.status, ActivityStatus::Successful);
    }
    assert_eq!(ended.len(), 2);
}

#[tokio::test]
async fn detached_target_groups_are_left_and_attached_ones_joined() {
    let mut w = World::new().await;
    let vpc = w.store.list::<puffer_core::ec2::Vpc>()[0].id.clone();
    w.edit(|tx| tx.put(TargetGroup { vpc_id: vpc, target_type: TargetType::Instance, ..target_group() }))
        .await;
    let tg = target_group().arn;
    w.group(9, 2, |_| ()).await;
    w.converge().await;
    w.edit(|tx| tx.update::<Group>("g", |g| g.target_groups = vec![tg.clone()])).await;
    w.settle().await;
    assert_eq!(w.store.list::<Target>().len(), 2);
    // One that a user takes out by hand stays out.
    let id = w.members()[0].instance_id.clone();
    let now = w.now();
    let one = [targets::TargetDescription::of(&id)];
    w.edit(|tx| targets::deregister(tx, &tg, &one, now)).await.unwrap();
    w.settle().await;
    assert_eq!(w.store.list::<Target>().len(), 1);
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            g.target_groups.clear();
            g.traffic_removing.insert(tg.clone());
        })
    })
    .await;
    w.settle().await;
    assert!(w.store.list::<Target>().is_empty() && w.the_group().traffic_removing.is_empty());
}

#[tokio::test]
async fn a_load_balancer_that_comes_back_gets_its_members_again() {
    let mut w = World::new().await;
    let vpc = w.store.list::<puffer_core::ec2::Vpc>()[0].id.clone();
    let balancer = classic(&vpc);
    let arn = balancer.arn.clone();
    w.edit(|tx| drop(puffer_inventory::classic::put(tx, balancer.clone()))).await;
    w.group(9, 2, |g| g.target_groups = vec![arn.clone()]).await;
    w.converge().await;
    assert_eq!(w.store.list::<Target>().len(), 2);
    w.edit(|tx| {
        let one = Target::clone(&tx.list::<Target>()[0]);
        tx.put(Target { state: TargetState::Healthy, ..one });
    })
    .await;
    w.settle().await;
    assert!(w.the_group().traffic_in_service.contains(&arn));

    let now = w.now();
    w.edit(|tx| puffer_inventory::classic::remove(tx, &balancer, now)).await;
    // Who comes into service meanwhile is not forgotten either.
    w.set_desired(3).await;
    w.converge().await;
    assert!(w.store.list::<Target>().is_empty() && w.in_service() == 3);
    assert!(w.the_group().traffic_in_service.is_empty(), "the next one has not served yet");
    w.edit(|tx| drop(puffer_inventory::classic::put(tx, balancer.clone()))).await;
    w.converge().await;
    assert_eq!(w.store.list::<Target>().len(), 3);
}

#[tokio::test]
async fn an_instance_that_dies_or_fails_checks_is_replaced() {
    let mut w = World::new().await;
    let vpc = w.store.list::<puffer_core::ec2::Vpc>()[0].id.clone();
    w.edit(|tx| {
        tx.put(TargetGroup { vpc_id: vpc, target_type: TargetType::Instance, ..target_group() });
        put_listener(tx);
    })
    .await;
    let tg = target_group().arn;
    w.group(3, 3, |g| {
        g.target_groups = vec![tg.clone()];
        (g.health_check_elb, g.health_check_grace_s) = (true, 60);
    })
    .await;
    w.converge().await;
    let ids: Vec<String> = w.members().iter().map(|m| m.instance_id.clone()).collect();
    let now = w.now();
    w.edit(|tx| instances::mark_stopped(tx, &ids[0], None)).await;
    let done = w.settle().await;
    assert_eq!((done.unhealthy, done.ended, done.launched), (1, 1, 1));
    w.converge().await;
    assert_eq!((w.in_service(), w.alive()), (3, 3));
    assert!(!w.members().iter().any(|m| m.instance_id == ids[0]));
    let cause = |text: &str| w.activities().iter().any(|a| a.cause_text().contains(text));
    assert!(
        cause("in response to an EC2 health check")
            || cause("in response to a EC2 health check")
            || cause("terminated or stopped")
    );
    assert!(cause("an unhealthy instance needing to be replaced"));
    // A balancer's verdict waits for the end of the grace period, and counts once the attachment served at all.
    let mark = |id: String, state: TargetState| {
        let key = Target::key_of(&tg, &id, 80);
        move |tx: &mut Transaction<'_>| tx.update::<Target>(&key, |t| t.state = state).map(drop)
    };
    w.edit(mark(ids[2].clone(), TargetState::Healthy)).await;
    w.edit(mark(ids[1].clone(), TargetState::Unhealthy)).await;
    w.settle().await;
    assert_eq!(w.members().iter().filter(|m| m.health == HealthStatus::Unhealthy).count(), 0);
    let waits = w.converge.shared.agenda.lock().next_due();
    assert_eq!(waits, Some(now + Duration::from_secs(60)));
    w.clock.advance(Duration::from_secs(60));
    for m in w.members() {
        if m.instance_id != ids[1] {
            w.edit(mark(m.instance_id.clone(), TargetState::Healthy)).await;
        }
    }
    let done = w.settle().await;
    assert_eq!((done.unhealthy, done.ended, done.launched), (1, 1, 1));
    let why = w.activities().iter().any(|a| a.cause_text().contains("an ELB system health check failure"));
    assert!(why);
}

#[tokio::test]
async fn failed_launches_back_off_and_recover_by_themselves() {
    let mut w = World::new().await;
    w.group(3, 1, |_| ()).await;
    let reason = StateReason { code: "Server.InternalError".into(), message: "disk full".into() };
    let mut waits = Vec::new();
    for _ in 0..4 {
        w.settle().await;
        let now = w.now();
        w.edit(|tx| {
            for i in tx.list::<Instance>().iter().filter(|i| i.state == InstanceState::Pending) {
                instances::mark_terminated(tx, &i.id, Some(reason.clone()), now);
            }
        })
        .await;
        w.settle().await;
        let (_, until) = w.the_group().launch_backoff.unwrap();
        waits.push(until.since(w.now()).as_secs());
        assert_eq!(w.settle().await.launched, 0, "it waits");
        w.clock.set(until);
    }
    assert_eq!(waits, [2, 4, 8, 16]);
    let failed: Vec<_> = w.activities().into_iter().filter(|a| a.status == ActivityStatus::Failed).collect();
    assert_eq!(failed.len(), 4);
    assert_eq!(
        failed[0].description,
        "Launching a new EC2 instance.  Status Reason: disk full. Launching EC2 instance failed."
    );
    w.converge().await;
    assert_eq!((w.in_service(), w.the_group().launch_backoff), (1, None));
}

#[tokio::test]
async fn a_launch_that_is_refused_says_why_and_waits() {
    let mut w = World::new().await;
    w.edit(|tx| tx.put(configuration("lc", "no-image"))).await;
    w.group(3, 2, |_| ()).await;
    let done = w.settle().await;
    assert!(done.failed >= 1);
    assert_eq!((w.members().len(), w.alive()), (0, 0));
    let (failures, until) = w.the_group().launch_backoff.unwrap();
    assert_eq!((failures, until), (1, w.now() + Duration::from_secs(10)));
    assert!(w.activities()[0].status_message.as_deref().unwrap().contains("no-image"));
    w.edit(|tx| tx.put(configuration("lc", AMI))).await;
    w.clock.set(until);
    w.converge().await;
    assert_eq!(w.in_service(), 2);
}

#[tokio::test]
async fn a_deleted_group_goes_with_all_it_has() {
    let mut w = World::new().await;
    w.group(9, 4, |_| ()).await;
    w.converge().await;
    w.edit(|tx| tx.update::<Group>("g", |g| g.status = GroupStatus::Deleting)).await;
    w.converge().await;
    assert!(w.store.get::<Group>("g").is_none());
    assert_eq!((w.alive(), w.members().len()), (0, 0));
    assert!(w.activities().iter().all(|a| a.status.is_final()));
}

/// Runs churn with the process killed after every single activation; the end is the same and nothing is doubled.
#[tokio::test]
async fn nothing_is_doubled_when_the_process_dies_between_any_two_steps() {
    let mut w = World::new().await;
    w.group(9, 5, |_| ()).await;
    for round in 0..40 {
        match round {
            8 => w.set_desired(9).await,
            16 => w.set_desired(2).await,
            24 => {
                let id = w.members()[0].instance_id.clone();
                w.edit(|tx| instances::mark_stopped(tx, &id, None)).await;
            }
            _ => {}
        }
        w.converge.activate().await;
        if round % 2 == 1 {
            w.drive().await;
        }
        w = w.restart();
        let counted = w.members().iter().filter(|m| m.counts()).count();
        assert!(counted <= w.the_group().desired as usize, "round {round}");
        let orphans: Vec<_> = w
            .store
            .list::<Instance>()
            .into_iter()
            .filter(|i| i.state.is_alive() && w.store.get::<Member>(&i.id).is_none())
            .collect();
        assert!(orphans.is_empty(), "round {round}: {orphans:?}");
    }
    assert_eq!((w.in_service(), w.alive()), (2, 2));
    let launched = w.activities().iter().filter(|a| a.description.starts_with("Launching")).count();
    assert_eq!(launched, 10, "nine and one replacement");
    assert!(w.activities().iter().all(|a| a.status.is_final()));
}

pub(super) fn tracking(name: &str, target: f64) -> ScalingPolicy {
    ScalingPolicy {
        name: name.into(),
        group: "g".into(),
        arn: texts::policy_arn("us-east-1", "123456789012", name, "g", name),
        kind: PolicyKind::TargetTracking(TargetTracking {
            metric: TargetTrackingMetric::Predefined {
                metric_type: "ASGAverageCPUUtilization".into(),
                resource_label: None,
            },
            target,
            disable_scale_in: false,
        }),
        enabled: true,
        warmup_s: Some(0),
        alarms: vec![],
        last_executed_at: None,
    }
}

impl World {
    pub(super) async fn put_policy(&self, policy: ScalingPolicy) -> Arc<ScalingPolicy> {
        let now = self.now();
        let group = self.the_group();
        let names = AlarmNames {
            arn_prefix: "arn:aws:cloudwatch:us-east-1:123456789012:alarm:".into(),
            high_uuid: format!("{}-h", policy.name),
            low_uuid: format!("{}-l", policy.name),
        };
        self.edit(|tx| policies::put(tx, policy, &group, &names, now).unwrap()).await
    }

    fn metrics(&self) -> Metrics {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Metrics::open(&self.dir.path().join("m.redb"), clock, Options::default()).unwrap()
    }

    pub(super) async fn fire(&self, fired: &[(&ScalingPolicy, &str, f64, f64)]) -> Vec<String> {
        self.fire_over(self.metrics(), fired).await
    }

    async fn fire_over(&self, metrics: Metrics, fired: &[(&ScalingPolicy, &str, f64, f64)]) -> Vec<String> {
        for (_, alarm, ..) in fired {
            self.edit(|tx| tx.update::<puffer_core::alarm::Alarm>(alarm, |a| a.state = AlarmState::Alarm))
                .await;
        }
        let fired = fired.iter().map(|(policy, alarm, value, threshold)| FiredAlarm {
            action: policy.arn.clone(),
            alarm: (*alarm).into(),
            state: AlarmState::Alarm,
            value: Some(*value),
            value_at: Some(self.now()),
            threshold: *threshold,
            datapoints: vec![*value],
            at: self.now(),
        });
        let execute =
            PolicyExecute::new(self.store.clone(), metrics, Arc::clone(&self.clock) as Arc<dyn Clock>);
        execute.run(fired.collect()).await.into_iter().map(|o| o.summary).collect()
    }
}

#[tokio::test]
async fn alarms_grow_and_shrink_a_group_and_the_activities_say_why() {
    let mut w = World::new().await;
    w.group(5, 1, |g| g.min = 1).await;
    w.converge().await;
    let policy = w.put_policy(tracking("cpu", 50.0)).await;
    let (high, low) = (&policy.alarms[0].name, &policy.alarms[1].name);
    let said = w.fire(&[(&policy, high, 120.0, 50.0)]).await;
    assert_eq!(said, ["policy cpu changed the desired capacity from 1 to 3"]);
    assert!(
        w.fire(&[(&policy, high, 120.0, 50.0)]).await[0].contains("changed nothing"),
        "two are warming up"
    );
    w.converge().await;
    assert_eq!(w.in_service(), 3);
    let newest = w.activities().pop().unwrap();
    assert!(newest.cause_text().contains(&format!(
        "a monitor alarm {high} in state ALARM triggered policy cpu changing the desired capacity from 1 to 3."
    )));
    let details: serde_json::Value = serde_json::from_str(&newest.details).unwrap();
    let invoking = &details["InvokingAlarms"][0];
    assert_eq!(invoking["AlarmName"], high.as_str());
    assert_eq!((&invoking["NewStateValue"], &invoking["Trigger"]["Period"]), (&"ALARM".into(), &60.into()));
    assert_eq!(details["InvokingAlarms"].as_array().unwrap().len(), 1);
    let first: serde_json::Value = serde_json::from_str(&w.activities()[0].details).unwrap();
    assert!(first["InvokingAlarms"].is_null() && first["Subnet ID"].is_string(), "{first}");
    assert!(newest.reasons.iter().any(|r| r.contains("ceil(1 × 120.0000 / 50) = 3")), "{:?}", newest.reasons);
    // The low threshold follows the size.
    assert_eq!(w.store.get::<puffer_core::alarm::Alarm>(low).unwrap().threshold, 35.0);
    // Another policy that does not agree keeps the capacity; together they shrink it to the larger result.
    let other = w.put_policy(tracking("other", 20.0)).await;
    let said = w.fire(&[(&policy, low, 10.0, 35.0)]).await;
    assert!(said[0].contains("policy other does not agree"), "{said:?}");
    let other_low = other.alarms[1].name.clone();
    w.fire(&[(&policy, low, 1.0, 35.0), (&other, &other_low, 9.0, 14.0)]).await;
    assert_eq!(w.the_group().desired, 2);
    w.edit(|tx| {
        tx.update::<Group>("g", |g| {
            g.suspended.push(puffer_core::autoscaling::SuspendedProcess {
                name: "AlarmNotification".into(),
                reason: "test".into(),
            });
        })
    })
    .await;
    w.converge().await;
    let said = w.fire(&[(&policy, high, 500.0, 50.0)]).await;
    assert!(said[0].contains("AlarmNotification is suspended"), "{said:?}");
}

#[tokio::test]
async fn instances_that_warm_up_do_not_water_the_metric_down() {
    let mut w = World::new().await;
    w.group(9, 2, |_| ()).await;
    w.converge().await;
    w.clock.advance(Duration::from_secs(300));
    w.set_desired(3).await;
    w.converge().await;
    let policy = w.put_policy(ScalingPolicy { warmup_s: Some(120), ..tracking("cpu", 50.0) }).await;
    let metrics = w.metrics();
    let at = w.now();
    w.clock.advance(Duration::from_secs(61));
    for m in w.members() {
        let busy = if m.in_service_at == Some(at) { 0.0 } else { 100.0 };
        let metric = MetricId::new("AWS/EC2", "CPUUtilization", &[("InstanceId", &m.instance_id)]);
        metrics.put(&metric, Unit::Percent, at, Sample::Value(busy), 60).unwrap();
    }
    let said = w.fire_over(metrics, &[(&policy, &policy.alarms[0].name, 66.6, 50.0)]).await;
    assert_eq!(said, ["policy cpu changed the desired capacity from 3 to 4"]);
    assert!(w.the_group().desired_reasons.iter().any(|r| r.contains("the metric is 100.0000")));
}

#[tokio::test]
async fn steps_are_chosen_by_the_aggregation_of_the_alarms_datapoints() {
    for (aggregation, want) in [("Minimum", 2), ("Average", 3), ("Maximum", 4)] {
        let mut w = World::new().await;
        w.group(9, 1, |_| ()).await;
        w.converge().await;
        let step = |lower: f64, upper: Option<f64>, adjustment| StepAdjustment {
            lower: Some(lower),
            upper,
            adjustment,
        };
        let policy = ScalingPolicy {
            kind: PolicyKind::Step {
                adjustment_type: AdjustmentType::ChangeInCapacity,
                steps: vec![step(0.0, Some(10.0), 1), step(10.0, Some(30.0), 2), step(30.0, None, 3)],
                min_magnitude: None,
                aggregation: aggregation.into(),
            },
            ..tracking("steps", 1.0)
        };
        let policy = w.put_policy(policy).await;
        let alarm = Alarm { name: "mine".into(), ..crate::alarm_evaluate::tests::alarm("mine", 60, 5) };
        w.edit(|tx| puffer_inventory::alarms::put(tx, alarm)).await;
        // Three of five above 50: their least is 55, their mean 70, their most 90. The newest is 55.
        let fired = FiredAlarm {
            action: policy.arn.clone(),
            alarm: "mine".into(),
            state: AlarmState::Alarm,
            value: Some(55.0),
            value_at: Some(w.now()),
            threshold: 50.0,
            datapoints: vec![10.0, 65.0, 20.0, 90.0, 55.0],
            at: w.now(),
        };
        let clock = Arc::clone(&w.clock) as Arc<dyn Clock>;
        let said = PolicyExecute::new(w.store.clone(), w.metrics(), clock).run(vec![fired]).await;
        assert_eq!(w.the_group().desired, want, "{aggregation}: {said:?}");
    }
}

#[tokio::test]
async fn simple_policies_keep_their_cooldown() {
    let mut w = World::new().await;
    w.group(9, 1, |_| ()).await;
    w.converge().await;
    w.clock.advance(Duration::from_secs(300));
    let simple = ScalingPolicy {
        kind: PolicyKind::Simple {
            adjustment_type: AdjustmentType::ChangeInCapacity,
            adjustment: 2,
            min_magnitude: None,
            cooldown_s: Some(30),
        },
        ..tracking("more", 1.0)
    };
    let policy = w.put_policy(simple).await;
    w.fire(&[(&policy, "mine", 1.0, 0.0)]).await;
    assert_eq!(w.the_group().desired, 3);
    let said = w.fire(&[(&policy, "mine", 1.0, 0.0)]).await;
    assert!(said[0].contains("activity is in progress"), "{said:?}");
    w.converge().await;
    let said = w.fire(&[(&policy, "mine", 1.0, 0.0)]).await;
    assert!(said[0].contains("a cooldown runs until"), "{said:?}");
    w.clock.advance(Duration::from_secs(30));
    w.fire(&[(&policy, "mine", 1.0, 0.0)]).await;
    assert_eq!(w.the_group().desired, 5);
}

#[tokio::test(start_paused = true)]
async fn the_wake_hears_changes_and_timers() {
    let mut w = World::new().await;
    w.group(3, 0, |_| ()).await;
    w.settle().await;
    w.set_desired(1).await;
    tokio::time::timeout(Duration::from_secs(1), w.converge.wake()).await.expect("a change wakes");
    assert_eq!(w.converge.activate().await.launched, 1);
    w.settle().await;
    w.converge.shared.agenda.lock().set_due(&Arc::from("g"), w.now() + Duration::from_secs(7));
    let started = tokio::time::Instant::now();
    w.converge.wake().await;
    assert_eq!(started.elapsed(), Duration::from_secs(7));
}
