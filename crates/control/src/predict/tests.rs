use puffer_core::ManualClock;
use puffer_core::alarm::{MetricId, MetricSource, Statistic, Unit};
use puffer_core::autoscaling::InstanceSource;
use puffer_core::autoscaling::predict::{Forecast, MaxCapacity, MetricChoice, Mode, Specification};
use puffer_metrics::{Options, Sample};

use super::*;

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    metrics: Metrics,
    clock: Arc<ManualClock>,
    predict: Predict,
}

/// A Saturday, ten past three.
const NOW: Timestamp = Timestamp::from_secs(1_795_230_600);
const HOUR: Duration = Duration::from_secs(3600);

fn specification() -> Specification {
    let query = |name: &str, statistic: &str| {
        let metric = MetricId::new("Shop", name, &[]);
        let source = MetricSource::Stat { metric, statistic: statistic.into(), period_s: HOUR_S, unit: None };
        vec![MetricQuery { id: "m1".into(), source, label: None, return_data: true }]
    };
    Specification::Apart {
        load: MetricChoice::Customized(query("Orders", "Sum")),
        scaling: MetricChoice::Customized(query("OrdersPerWorker", "Average")),
        capacity: Some(query("Workers", "Average")),
    }
}

fn predictive(mode: Mode) -> PredictiveScaling {
    let max_capacity = MaxCapacity::Honor;
    PredictiveScaling { specification: specification(), target: 100.0, mode, buffer_s: 300, max_capacity }
}

fn policy(predictive: PredictiveScaling) -> ScalingPolicy {
    ScalingPolicy {
        name: "p".into(),
        group: "g".into(),
        arn: "arn:p".into(),
        kind: PolicyKind::Predictive(predictive),
        enabled: true,
        warmup_s: None,
        alarms: vec![],
        last_executed_at: None,
    }
}

/// Orders of an hour: busy by day.
fn orders(hour_of_day: i64) -> f64 {
    if (8..20).contains(&hour_of_day) { 800.0 } else { 150.0 }
}

impl World {
    async fn new(days: i64) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.redb"), &puffer_inventory::schema()).unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let metrics =
            Metrics::open(&dir.path().join("m"), Arc::clone(&clock) as _, Options::default()).unwrap();
        let predict = Predict::new(store.clone(), metrics.clone(), Arc::clone(&clock) as _);
        let world = World { _dir: dir, store, metrics, clock, predict };
        let source = InstanceSource::LaunchConfiguration("lc".into());
        let mut group = Group::new("g", "u", "arn:g", source, NOW);
        (group.min, group.max, group.desired) = (1, 10, 2);
        world.store.transact::<_, StoreError>(|tx| Ok(drop(tx.put(group)))).await.unwrap();
        let this_hour = NOW.floor_to(3600);
        for h in (1..=days * 24).rev() {
            world.record(this_hour - HOUR * u32::try_from(h).unwrap());
        }
        world
    }

    /// An hour's metrics: as many workers as keep each at 90 orders.
    fn record(&self, at: Timestamp) {
        let load = orders(at.as_secs().rem_euclid(86_400) / 3600);
        let workers = (load / 90.0).ceil();
        let one = |name: &str, value: f64| {
            let metric = MetricId::new("Shop", name, &[]);
            self.metrics.put(&metric, Unit::None, at, Sample::Value(value), 60).unwrap();
        };
        one("Orders", load);
        one("OrdersPerWorker", load / workers);
        one("Workers", workers);
    }

    async fn put(&self, policy: ScalingPolicy) {
        self.store.transact::<_, StoreError>(|tx| Ok(drop(tx.put(policy)))).await.unwrap();
    }

    async fn pass(&self, time: Duration) -> PredictStatus {
        let (before, after) = (self.clock.now(), self.clock.now() + time);
        let mut hour = before.floor_to(3600);
        while hour + HOUR <= after {
            self.clock.set(hour + HOUR);
            self.record(hour);
            hour = hour + HOUR;
        }
        self.clock.set(after);
        self.predict.activate().await
    }

    fn forecast(&self) -> Arc<Forecast> {
        self.store.get("g/p").unwrap()
    }

    fn desired(&self) -> u32 {
        self.store.get::<Group>("g").unwrap().desired
    }
}

#[tokio::test]
async fn two_days_are_forecast_every_six_hours() {
    let w = World::new(10).await;
    w.put(policy(predictive(Mode::ForecastOnly))).await;
    assert_eq!(w.predict.activate().await.n_forecasts, 1);
    let f = w.forecast();
    assert_eq!((f.points.len(), f.points[0].at, f.made_at), (48, NOW.floor_to(3600), Some(NOW)));
    for point in &f.points {
        let real = orders(point.at.as_secs().rem_euclid(86_400) / 3600);
        assert!((point.load - real).abs() < 80.0, "{} at {}: {}", real, point.at, point.load);
        assert!(point.capacity.abs_diff((real / 100.0).ceil() as u32) <= 1, "{point:?}");
    }
    assert!(f.correlation.is_some_and(|c| c > 0.9));
    assert_eq!(w.pass(HOUR * 5).await.n_forecasts, 0);
    assert_eq!(w.pass(HOUR).await.n_forecasts, 1);
    assert_eq!(w.desired(), 2, "it only forecasts");
    // What was forecast for the hours past is still there.
    assert_eq!(w.forecast().points.len(), 54);
}

#[tokio::test]
async fn capacity_rises_before_the_busy_hour_and_never_falls() {
    let w = World::new(10).await;
    w.put(policy(predictive(Mode::ForecastAndScale))).await;
    w.predict.activate().await;
    // From ten past three to six minutes before eight: nothing more than at night.
    assert_eq!(w.pass(HOUR * 4 + Duration::from_secs(44 * 60)).await.n_raised, 0);
    assert_eq!(w.desired(), 2);
    assert_eq!(w.pass(Duration::from_secs(60)).await.n_raised, 1, "five minutes before");
    let raised = w.desired();
    assert!((8..=9).contains(&raised), "{raised}");
    let group = w.store.get::<Group>("g").unwrap();
    assert!(group.desired_cause[0].text.contains("predictive scaling policy p"), "{:?}", group.desired_cause);
    // Lowered by somebody within the hour: that is respected until the next hour.
    w.store
        .transact::<_, StoreError>(|tx| Ok(drop(tx.update::<Group>("g", |g| g.desired = 3))))
        .await
        .unwrap();
    assert_eq!(w.pass(HOUR / 2).await.n_raised, 0);
    assert_eq!(w.pass(HOUR / 2).await.n_raised, 1);
    // Night comes: nothing is scaled in.
    let by_day = w.desired();
    w.pass(HOUR * 13).await;
    assert_eq!(w.desired(), by_day);
}

#[tokio::test]
async fn too_little_data_is_said_and_tried_again() {
    let w = World::new(0).await;
    w.put(policy(predictive(Mode::ForecastAndScale))).await;
    assert_eq!(w.predict.activate().await.n_problems, 1);
    let problem = w.forecast().problem.clone().unwrap();
    assert_eq!(problem, "a forecast needs 24 hours of data, and the load metric has 0");
    assert_eq!(w.pass(HOUR / 2).await.n_problems, 0);
    for _ in 0..24 {
        w.pass(HOUR).await;
    }
    let f = w.forecast();
    assert_eq!((f.problem.as_deref(), f.points.len() >= 48), (None, true));
}

#[tokio::test]
async fn each_hour_is_published() {
    let w = World::new(3).await;
    w.put(policy(predictive(Mode::ForecastOnly))).await;
    w.predict.activate().await;
    w.pass(HOUR).await;
    let published = |name: &str, dimensions: &[(&str, &str)]| {
        let metric = MetricId::new("AWS/AutoScaling", name, dimensions);
        let now = w.clock.now();
        w.metrics.query(&metric, None, Statistic::Average, 3600, NOW.floor_to(3600), now).len()
    };
    let of_policy = [("AutoScalingGroupName", "g"), ("PolicyName", "p")];
    let of_pair = [of_policy[0], of_policy[1], ("PairIndex", "0")];
    assert_eq!(published("PredictiveScalingCapacityForecast", &of_policy), 2);
    assert_eq!(published("PredictiveScalingLoadForecast", &of_pair), 2);
    assert_eq!(published("PredictiveScalingMetricPairCorrelation", &of_pair), 2);
}

#[tokio::test]
async fn a_groups_own_cpu_needs_no_other_metric() {
    let w = World::new(0).await;
    let metric = MetricId::new("AWS/EC2", "CPUUtilization", &[("AutoScalingGroupName", "g")]);
    // Three instances at 60 % each minute of two days.
    for minute in 1..=48 * 60 {
        let at = NOW.floor_to(3600) - Duration::from_secs(minute * 60);
        let sample = Sample::Statistics { sum: 180.0, count: 3.0, min: 60.0, max: 60.0 };
        w.metrics.put(&metric, Unit::Percent, at, sample, 60).unwrap();
    }
    let specification = Specification::Pair { pair_type: "ASGCPUUtilization".into(), resource_label: None };
    let cpu = PredictiveScaling { specification, target: 40.0, ..predictive(Mode::ForecastOnly) };
    w.put(policy(cpu)).await;
    assert_eq!(w.predict.activate().await.n_forecasts, 1);
    // 3 × 60 / 40 = 4.5
    assert!(w.forecast().points.iter().all(|p| p.capacity == 5), "{:?}", w.forecast().points[0]);
}
