//! Figures of the time-series store: `cargo bench -p puffer-metrics`. Memory and disk of a whole fleet's metrics show in
//! `cargo xtask bench fleet`.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use puffer_core::alarm::{MetricId, Statistic, Unit};
use puffer_core::{ManualClock, Timestamp};
use puffer_metrics::{Datum, Metrics, Options, Sample, SeriesHandle};

const START_S: i64 = 1_795_219_200;
/// Series of a fleet: twenty thousand instances with seven metrics.
const FLEET_SERIES: usize = 140_000;
/// Points of one PutMetricData.
const BATCH: usize = 1000;

fn main() {
    divan::main();
}

struct World {
    _dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    metrics: Metrics,
    minute: AtomicI64,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(START_S)));
        let path = dir.path().join("metrics.redb");
        let metrics = Metrics::open(&path, Arc::clone(&clock) as _, Options::default()).unwrap();
        World { _dir: dir, clock, metrics, minute: AtomicI64::new(0) }
    }

    /// The next minute; the clock goes with it.
    fn next_minute(&self) -> Timestamp {
        self.clock.advance(Duration::from_secs(60));
        Timestamp::from_secs(START_S + 60 * self.minute.fetch_add(1, Ordering::Relaxed))
    }

    fn handles(&self, n: usize) -> Vec<SeriesHandle> {
        let id = |i: usize| {
            MetricId::new(
                "AWS/EC2",
                &format!("Metric{}", i % 7),
                &[("InstanceId", &format!("i-{:017x}", i / 7))],
            )
        };
        (0..n).map(|i| self.metrics.handle(&id(i), Unit::None, 60).unwrap()).collect()
    }
}

/// Names looked up for each point, as PutMetricData does.
#[divan::bench]
fn put_batch(bencher: Bencher<'_, '_>) {
    let world = World::new();
    let ids: Vec<_> = (0..BATCH)
        .map(|i| MetricId::new("App", "Latency", &[("Host", &format!("h{i}")), ("Zone", "a")]))
        .collect();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let at = world.next_minute();
        let datum =
            |metric| Datum { metric, unit: Unit::Seconds, at, sample: Sample::Value(0.1), resolution_s: 60 };
        let data: Vec<_> = ids.iter().map(datum).collect();
        world.metrics.put_batch(&data).unwrap();
    });
}

/// A minute of a whole fleet by handles, as the collector does, and its flush.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn fleet_minute(bencher: Bencher<'_, '_>) {
    let world = World::new();
    let handles = world.handles(FLEET_SERIES);
    bencher.counter(ItemsCount::new(FLEET_SERIES)).bench_local(|| {
        let at = world.next_minute();
        for (i, handle) in handles.iter().enumerate() {
            handle.push(at, Sample::Value((i % 1000) as f64 / 7.3)).unwrap();
        }
        world.metrics.flush().unwrap();
    });
}

/// What an alarm with three datapoints reads.
#[divan::bench]
fn read_three_minutes(bencher: Bencher<'_, '_>) {
    let world = World::new();
    let handle = world.handles(1).remove(0);
    let times: Vec<_> = (0..100).map(|_| world.next_minute()).collect();
    for at in &times {
        handle.push(*at, Sample::Value(1.0)).unwrap();
    }
    let id = MetricId::new("AWS/EC2", "Metric0", &[("InstanceId", &format!("i-{:017x}", 0))]);
    let mut reader = world.metrics.reader(&id, None);
    let average = Statistic::parse("Average").unwrap();
    let (from, to) = (times[97], times[99] + Duration::from_secs(60));
    let mut points = Vec::new();
    bencher.bench_local(|| {
        points.clear();
        reader.read(average, 60, from, to, &mut points);
        assert_eq!(points.len(), 3);
    });
}
