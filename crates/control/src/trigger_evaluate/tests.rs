use puffer_core::ManualClock;
use puffer_core::alarm::{MetricId, Unit};
use puffer_core::autoscaling::trigger::{Increment, Threshold};
use puffer_core::autoscaling::{Group, InstanceSource, LifecycleState, Member};
use puffer_metrics::{Options, Sample};
use puffer_store::StoreError;

use super::*;

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    metrics: Metrics,
    clock: Arc<ManualClock>,
    evaluate: TriggerEvaluate,
}

fn member(n: u32) -> Member {
    serde_json::from_value(serde_json::json!({
        "instance_id": format!("i-{n}"), "group": "g", "zone": "a", "instance_type": "t2.micro", "state": "InService",
        "state_since": 0, "in_service_at": 0, "added_at": 0, "health": "Healthy", "unhealthy_cause": null,
        "protected": false, "launch_configuration": "lc", "launch_template": null, "activity_id": null
    }))
    .unwrap()
}

impl World {
    /// A group of four in service, and a trigger that takes one away below 20 and adds a quarter above 80.
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.redb"), &puffer_inventory::schema()).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_795_231_680)));
        let metrics =
            Metrics::open(&dir.path().join("m"), Arc::clone(&clock) as _, Options::default()).unwrap();
        let evaluate = TriggerEvaluate::new(store.clone(), metrics.clone(), Arc::clone(&clock) as _);
        let world = World { _dir: dir, store, metrics, clock, evaluate };
        let source = InstanceSource::LaunchConfiguration("lc".into());
        let mut group = Group::new("g", "u", "arn:g", source, world.clock.now());
        (group.min, group.max, group.desired) = (1, 10, 4);
        let threshold = |value, text: &str| Threshold { value, increment: Increment::parse(text).unwrap() };
        let trigger = Trigger {
            name: "t".into(),
            group: "g".into(),
            metric: MetricId::new("AWS/EC2", "CPUUtilization", &[("AutoScalingGroupName", "g")]),
            statistic: "Average".into(),
            unit: Some("None".into()),
            custom_unit: None,
            period_s: 60,
            lower: threshold(20.0, "-1"),
            upper: threshold(80.0, "25%"),
            breach_s: 180,
            created_at: world.clock.now(),
        };
        let edit = |tx: &mut puffer_store::Transaction<'_>| {
            tx.put(group);
            (0..4).for_each(|n| drop(tx.put(member(n))));
            tx.put(trigger);
            Ok::<_, StoreError>(())
        };
        world.store.transact(edit).await.unwrap();
        world
    }

    /// A minute of CPU at `value`, then a look.
    async fn minute(&self, value: f64) -> TriggerStatus {
        let trigger = self.store.get::<Trigger>("g/t").unwrap();
        self.metrics.put(&trigger.metric, Unit::Percent, self.clock.now(), Sample::Value(value), 60).unwrap();
        self.clock.advance(PERIOD);
        self.evaluate.activate().await
    }

    fn group(&self) -> Arc<Group> {
        self.store.get("g").unwrap()
    }

    async fn change(&self, change: impl FnOnce(&mut Group)) {
        self.store.transact::<_, StoreError>(|tx| Ok(tx.update("g", change))).await.unwrap();
    }
}

#[tokio::test]
async fn a_breach_that_lasts_adjusts_the_group_once_per_cooldown() {
    let w = World::new().await;
    assert_eq!(w.minute(90.0).await.n_breaching, 0);
    assert_eq!(w.minute(90.0).await.n_breaching, 0);
    assert_eq!(w.minute(90.0).await.n_changes, 1);
    assert_eq!(w.group().desired, 5);
    assert_eq!(
        w.group().desired_cause[0].text,
        "trigger t saw Average CPUUtilization above 80 for 180 seconds, changing the desired capacity from 4 to 5"
    );
    // The launch is not through yet, then its cooldown runs.
    let waiting = TriggerStatus { n_triggers: 1, n_breaching: 1, n_changes: 0 };
    assert_eq!(w.minute(95.0).await, waiting);
    w.store.transact::<_, StoreError>(|tx| Ok(tx.put(member(4)))).await.unwrap();
    let now = w.clock.now();
    w.change(|g| g.cooldown_started_at = Some(now)).await;
    for _ in 0..4 {
        assert_eq!(w.minute(95.0).await, waiting);
    }
    assert_eq!(w.minute(95.0).await.n_changes, 1);
    assert_eq!(w.group().desired, 6);
}

#[tokio::test]
async fn low_gaps_and_suspension() {
    let w = World::new().await;
    for value in [10.0, 10.0, 25.0, 10.0, 10.0] {
        assert_eq!(w.minute(value).await.n_changes, 0, "one of the last three is not low, or missing");
    }
    w.clock.advance(PERIOD);
    assert_eq!(w.evaluate.activate().await.n_breaching, 0, "a gap");
    w.minute(10.0).await;
    w.minute(10.0).await;
    let reason = String::new();
    let name = puffer_core::autoscaling::process::ALARM_NOTIFICATION.to_owned();
    w.change(|g| g.suspended.push(puffer_core::autoscaling::SuspendedProcess { name, reason })).await;
    let suspended = w.minute(10.0).await;
    assert_eq!((suspended.n_breaching, suspended.n_changes), (1, 0));
    w.change(|g| g.suspended.clear()).await;
    assert_eq!(w.minute(10.0).await.n_changes, 1);
    assert_eq!(w.group().desired, 3);
    assert_eq!(w.store.list::<Member>().iter().filter(|m| m.state == LifecycleState::InService).count(), 4);
}
