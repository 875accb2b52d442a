use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_compute::simulated::{SimulatedDriver, SimulatedSettings};
use puffer_compute::{Driver, ImageRef, LaunchSpec};
use puffer_core::alarm::{MetricId, Statistic};
use puffer_core::autoscaling::{Group, GroupTag, InstanceSource, MetricsCollection};
use puffer_core::ec2::{
    Instance, InstanceIntent, InstanceLifecycle, InstanceState, MetadataOptions, StatusCheck,
};
use puffer_core::elb::METRIC_PERIOD_TAG;
use puffer_core::{ManualClock, Tags, Timestamp};
use puffer_metrics::{Metrics, Options};
use puffer_store::{Store, StoreError};

use super::*;

const START: Timestamp = Timestamp::from_secs(1_795_219_200);

struct World {
    clock: Arc<ManualClock>,
    store: Store,
    metrics: Metrics,
    driver: Arc<SimulatedDriver>,
    loads: Arc<Mutex<BTreeMap<String, f64>>>,
    collect: MetricCollect,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
    let metrics =
        Metrics::open(&dir.path().join("metrics.redb"), Arc::clone(&clock) as _, Options::default()).unwrap();
    let loads: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
    let seen = Arc::clone(&loads);
    let settings = SimulatedSettings {
        load: Arc::new(move |id| seen.lock().get(id).copied().unwrap_or(0.0)),
        ..SimulatedSettings::default()
    };
    let driver = Arc::new(SimulatedDriver::new(settings, Arc::clone(&clock) as _));
    let collect = MetricCollect::new(
        store.clone(),
        metrics.clone(),
        Arc::clone(&clock) as _,
        Arc::clone(&driver) as Arc<dyn Driver>,
    );
    World { clock, store, metrics, driver, loads, collect, _dir: dir }
}

fn group(name: &str, metric_period: Option<&str>) -> Group {
    let tag = |v: &str| GroupTag { value: v.into(), propagate_at_launch: false };
    Group {
        min: 1,
        max: 5,
        desired: 2,
        generation: 1,
        metrics_collection: MetricsCollection { metrics: ["GroupDesiredCapacity".to_owned()].into() },
        tags: metric_period.map(|v| (METRIC_PERIOD_TAG.to_owned(), tag(v))).into_iter().collect(),
        ..Group::new(name, "u", "arn", InstanceSource::LaunchConfiguration("lc".into()), START)
    }
}

fn instance(id: &str, group: &str, detailed: bool) -> Instance {
    Instance {
        id: id.into(),
        reservation_id: "r-1".into(),
        ami_launch_index: 0,
        client_token: None,
        client_digest: None,
        stop_hard: false,
        image_id: "ami-1".into(),
        instance_type: "t2.medium".into(),
        zone: "us-east-1a".into(),
        vpc_id: "vpc-1".into(),
        subnet_id: "subnet-a".into(),
        network_interface_id: "eni-1".into(),
        private_ip: Ipv4Addr::new(10, 0, 0, 1),
        public_ip: None,
        mac: "02:00:00:00:00:01".into(),
        security_groups: vec![],
        key_name: None,
        user_data: None,
        iam_instance_profile: None,
        metadata_options: MetadataOptions::default(),
        detailed_monitoring: detailed,
        termination_protected: false,
        terminate_on_shutdown: false,
        lifecycle: InstanceLifecycle::OnDemand,
        spot: None,
        state: InstanceState::Running,
        intent: InstanceIntent::Run,
        reboot_requests: 0,
        reboots_done: 0,
        state_reason: None,
        launched_at: START,
        running_at: Some(START),
        terminated_at: None,
        transition_reason: None,
        has_disk: false,
        stop_protected: false,
        ebs_optimized: false,
        source_dest_check: true,
        root_volume_gib: 8,
        root_replacement: None,
        root_serial: 0,
        n_root_replacements: 0,
        root_since: None,
        volume_tags: Tags::new(),
        network_interface_tags: Tags::new(),
        instance_status: StatusCheck::Ok,
        system_status: StatusCheck::Impaired,
        launch_template: None,
        auto_scaling_group: Some(group.into()),
        tags: Tags::new(),
    }
}

fn spec(id: &str) -> LaunchSpec {
    LaunchSpec {
        root: 0,
        instance_id: id.into(),
        image: ImageRef { image_id: "ami-1".into(), layers: vec![] },
        cpu_millis: 2000,
        memory_bytes: 1 << 30,
        hostname: id.into(),
        network: None,
        ssh_public_keys: vec![],
        user_data: None,
        environment: BTreeMap::new(),
    }
}

impl World {
    async fn add(&self, id: &str, group: &str, detailed: bool, load: f64) {
        self.loads.lock().insert(id.into(), load);
        self.driver.launch(&spec(id)).await.unwrap();
        let record = instance(id, group, detailed);
        self.store
            .transact::<_, StoreError>(|tx| {
                tx.put(record);
                Ok(())
            })
            .await
            .unwrap();
    }

    async fn pass(&self, seconds: u64) -> CollectStatus {
        let mut total = CollectStatus::default();
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::advance(Duration::from_secs(1)).await;
            let s = self.collect.activate().await;
            total.n_instances = s.n_instances;
            total.n_read += s.n_read;
            total.n_published += s.n_published;
        }
        total
    }

    fn query(&self, dimension: (&str, &str), statistic: &str, period_s: u32, seconds: u64) -> Vec<f64> {
        self.query_of("CPUUtilization", dimension, statistic, period_s, seconds)
    }

    fn query_of(
        &self,
        name: &str,
        dimension: (&str, &str),
        statistic: &str,
        period_s: u32,
        seconds: u64,
    ) -> Vec<f64> {
        let id = MetricId::new("AWS/EC2", name, &[dimension]);
        let statistic = Statistic::parse(statistic).unwrap();
        let points =
            self.metrics.query(&id, None, statistic, period_s, START, START + Duration::from_secs(seconds));
        points.into_iter().map(|p| p.1).collect()
    }
}

fn near(found: &[f64], expected: &[f64]) {
    let close = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.5);
    assert!(close, "{found:?} is not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn detailed_monitoring_gives_a_point_a_minute_and_averages_over_the_group() {
    let w = world();
    w.store
        .transact::<_, StoreError>(|tx| {
            tx.put(group("g", None));
            Ok(())
        })
        .await
        .unwrap();
    w.add("i-1", "g", true, 0.2).await;
    w.add("i-2", "g", true, 0.6).await;
    let status = w.pass(60 * 3).await;
    // Two first readings, then each instance once a minute.
    assert_eq!((status.n_instances, status.n_read), (2, 2 + 6));
    near(&w.query(("InstanceId", "i-1"), "Average", 60, 180), &[20.0, 20.0, 20.0]);
    near(&w.query(("AutoScalingGroupName", "g"), "Average", 60, 180), &[40.0, 40.0, 40.0]);
    assert_eq!(w.query(("AutoScalingGroupName", "g"), "SampleCount", 60, 180), [2.0, 2.0, 2.0]);
    near(&w.query(("InstanceType", "t2.medium"), "Maximum", 60, 180), &[60.0, 60.0, 60.0]);
    near(&w.query(("ImageId", "ami-1"), "Minimum", 60, 180), &[20.0, 20.0, 20.0]);
    let failed = MetricId::new("AWS/EC2", "StatusCheckFailed_System", &[("InstanceId", "i-1")]);
    let maximum = Statistic::Maximum;
    let points = w.metrics.query(&failed, None, maximum, 60, START, START + Duration::from_secs(180));
    assert_eq!(points.iter().map(|p| p.1).collect::<Vec<_>>(), [1.0; 3]);
    let desired = MetricId::new("AWS/AutoScaling", "GroupDesiredCapacity", &[("AutoScalingGroupName", "g")]);
    assert_eq!(w.metrics.query(&desired, None, maximum, 60, START, w.clock.now()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn basic_monitoring_gives_a_point_each_five_minutes() {
    let w = world();
    w.add("i-1", "g", false, 0.5).await;
    let status = w.pass(600).await;
    assert_eq!(status.n_read, 1 + 2);
    near(&w.query(("InstanceId", "i-1"), "Average", 60, 600), &[50.0, 50.0]);
}

#[tokio::test(start_paused = true)]
async fn a_tagged_group_is_read_each_second() {
    let w = world();
    w.store
        .transact::<_, StoreError>(|tx| {
            tx.put(group("g", Some("1")));
            Ok(())
        })
        .await
        .unwrap();
    w.add("i-1", "g", true, 0.1).await;
    w.pass(5).await;
    w.loads.lock().insert("i-1".into(), 0.9);
    w.pass(5).await;
    let found = w.query(("AutoScalingGroupName", "g"), "Average", 1, 10);
    near(&found, &[10.0, 10.0, 10.0, 10.0, 90.0, 90.0, 90.0, 90.0, 90.0]);
    // A minute is the mean of its seconds, and the instance is not counted twice.
    w.loads.lock().insert("i-1".into(), 0.0);
    w.pass(50).await;
    assert_eq!(w.query(("InstanceId", "i-1"), "SampleCount", 60, 60), [59.0]);
}

#[tokio::test(start_paused = true)]
async fn amounts_stay_those_of_a_minute_in_a_fast_group() {
    let w = world();
    // By the tag, and by a policy on a high-resolution metric.
    let by_policy = Group { high_resolution: true, ..group("p", None) };
    w.store
        .transact::<_, StoreError>(|tx| {
            tx.put(group("g", Some("1")));
            tx.put(by_policy);
            Ok(())
        })
        .await
        .unwrap();
    for (id, group, detailed) in
        [("i-1", "g", true), ("i-2", "g", true), ("i-3", "p", true), ("i-4", "g", false)]
    {
        w.add(id, group, detailed, 0.5).await;
    }
    w.pass(300).await;
    let of = |name: &str, group: &str, period_s| {
        w.query_of(name, ("AutoScalingGroupName", group), "SampleCount", period_s, 300)
    };
    for name in ["NetworkIn", "NetworkOut", "NetworkPacketsIn", "DiskReadBytes", "DiskWriteBytes"] {
        // The one with basic monitoring adds its five minutes.
        assert_eq!(of(name, "g", 60), [3.0, 2.0, 2.0, 2.0, 2.0], "{name}");
        assert_eq!(of(name, "p", 60), [1.0; 5], "{name}");
        assert_eq!(of(name, "p", 10).iter().sum::<f64>(), 5.0, "{name}: nothing by the second");
        assert_eq!(w.query_of(name, ("InstanceId", "i-1"), "SampleCount", 60, 300), [1.0; 5], "{name}");
    }
    assert_eq!(of("CPUUtilization", "p", 60), [6.0; 5], "each ten seconds");
    near(&w.query(("AutoScalingGroupName", "g"), "Average", 60, 300), &[50.0; 5]);
    // The simulated driver has no disk whose operations it could count.
    assert!(of("DiskReadOps", "g", 60).is_empty());
}

#[tokio::test(start_paused = true)]
async fn instances_that_end_are_forgotten() {
    let w = world();
    w.add("i-1", "g", true, 0.5).await;
    w.pass(60).await;
    w.store
        .transact::<_, StoreError>(|tx| {
            tx.update::<Instance>("i-1", |i| i.state = InstanceState::ShuttingDown);
            Ok(())
        })
        .await
        .unwrap();
    let status = w.pass(60).await;
    assert_eq!((status.n_instances, status.n_read), (0, 0));
}
