//! A hundred thousand alarms: `cargo bench -p puffer-control`. Each watches the CPU of an instance of its own over three minutes and
//! has an action. Measured are a turn in which nothing changes and the worst one, in which all change their state at once: a
//! record and two entries of the history each, durable before the actions run.
//!
//! Ends with a failure if the quiet turn costs more processor time than is promised.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use puffer_control::{ActionOutcome, AlarmAction, AlarmEvaluate, FiredAlarm, Reconciler};
use puffer_core::alarm::{
    Alarm, AlarmState, Comparison, MetricId, MetricQuery, MetricSource, TreatMissingData, Unit,
};
use puffer_core::{Clock, ManualClock, Timestamp};
use puffer_inventory::alarms;
use puffer_metrics::{Metrics, Options, Sample, SeriesHandle};
use puffer_store::{Store, StoreError};

const N_ALARMS: usize = 100_000;
/// Processor time of a turn of all of them.
const GOAL_QUIET_S: f64 = 2.0;
const START: Timestamp = Timestamp::from_secs(1_795_219_200);
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:operators";
/// Alarms written in one transaction.
const CHUNK: usize = 1000;

/// Takes every action and does nothing, so that what is measured is the engine.
#[derive(Default)]
struct Sink(AtomicUsize);

#[async_trait]
impl AlarmAction for Sink {
    fn takes(&self, _: &str) -> bool {
        true
    }

    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome> {
        self.0.fetch_add(fired.len(), Ordering::Relaxed);
        vec![ActionOutcome { succeeded: true, summary: String::new() }; fired.len()]
    }
}

fn metric(i: usize) -> MetricId {
    MetricId::new("AWS/EC2", "CPUUtilization", &[("InstanceId", &format!("i-{i:017x}"))])
}

fn alarm(i: usize) -> Alarm {
    let source =
        MetricSource::Stat { metric: metric(i), statistic: "Average".into(), period_s: 60, unit: None };
    Alarm {
        name: format!("cpu-{i}"),
        arn: format!("arn:aws:cloudwatch:us-east-1:123456789012:alarm:cpu-{i}"),
        description: None,
        actions_enabled: true,
        ok_actions: vec![],
        alarm_actions: vec![TOPIC.into()],
        insufficient_data_actions: vec![],
        queries: vec![MetricQuery { id: "m1".into(), source, label: None, return_data: true }],
        plain: true,
        period_s: 60,
        evaluation_periods: 3,
        datapoints_to_alarm: None,
        threshold: 50.0,
        comparison: Comparison::GreaterThanThreshold,
        treat_missing_data: TreatMissingData::Missing,
        ignore_low_samples: false,
        state: AlarmState::InsufficientData,
        state_reason: "Unchecked: Initial alarm creation".into(),
        state_reason_data: None,
        state_updated_at: START,
        state_transitioned_at: START,
        state_before: Default::default(),
        has_transitioned: false,
        configured_at: START,
        actions_done_for: Some(START),
        owner: None,
        tags: Default::default(),
    }
}

/// Processor time of this process so far, seconds: all threads, the disk's writer among them.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
    // The kernel counts these in hundredths of a second.
    ticks.map(|t| t.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

struct World {
    clock: Arc<ManualClock>,
    metrics: Metrics,
    handles: Vec<SeriesHandle>,
    evaluate: AlarmEvaluate,
    sink: Arc<Sink>,
    _dir: tempfile::TempDir,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
    let options = Options::default();
    let metrics = Metrics::open(&dir.path().join("metrics.redb"), Arc::clone(&clock) as _, options).unwrap();
    let sink = Arc::new(Sink::default());
    let evaluate = AlarmEvaluate::new(
        store.clone(),
        metrics.clone(),
        Arc::clone(&clock) as _,
        vec![Arc::clone(&sink) as _],
    );
    for first in (0..N_ALARMS).step_by(CHUNK) {
        let make = |tx: &mut puffer_store::Transaction<'_>| {
            (first..first + CHUNK).for_each(|i| drop(alarms::put(tx, alarm(i))));
            Ok::<_, StoreError>(())
        };
        store.transact(make).await.unwrap();
    }
    let handles = (0..N_ALARMS).map(|i| metrics.handle(&metric(i), Unit::Percent, 60).unwrap()).collect();
    World { clock, metrics, handles, evaluate, sink, _dir: dir }
}

impl World {
    /// Lets three minutes pass in which every instance has this load. All alarms are due at their end.
    fn three_minutes(&self, load: f64) {
        for _ in 0..3 {
            let at = self.clock.now().floor_to(60);
            for (i, handle) in self.handles.iter().enumerate() {
                handle.push(at, Sample::Value(load + (i % 100) as f64 / 10.0)).unwrap();
            }
            self.clock.set(at + Duration::from_secs(60));
        }
        // Turns are spread over the first seconds of the minute.
        self.clock.advance(Duration::from_secs(20));
        self.metrics.flush().unwrap();
    }

    /// One turn of all alarms; gives its processor time.
    async fn turn(&self, what: &str, n_transitions: usize) -> f64 {
        let (cpu_before, began) = (cpu_s(), Instant::now());
        let status = self.evaluate.activate().await;
        let (cpu, wall) = (cpu_s() - cpu_before, began.elapsed().as_secs_f64());
        assert_eq!((status.n_evaluated, status.n_transitions), (N_ALARMS, n_transitions), "{what}");
        println!(
            "{what:<42} {cpu:>6.2} s of CPU, {wall:>6.2} s by the clock, {} actions",
            self.sink.0.swap(0, Ordering::Relaxed)
        );
        cpu
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let w = world().await;
    w.three_minutes(10.0);
    w.turn("100,000 alarms looked at for the first time", N_ALARMS).await;
    w.three_minutes(10.0);
    let quiet = w.turn("100,000 alarms, none changes", 0).await;
    w.three_minutes(80.0);
    w.turn("100,000 alarms, all go off at once", N_ALARMS).await;
    w.three_minutes(80.0);
    w.turn("100,000 alarms in alarm, none changes", 0).await;
    if quiet > GOAL_QUIET_S {
        println!(
            "goal missed: a quiet turn takes {quiet:.2} s of CPU, and shall take at most {GOAL_QUIET_S} s"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
