use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use puffer_core::alarm::{MetricId, Statistic, Unit};
use puffer_core::{ManualClock, Timestamp};

use crate::*;

const START_S: i64 = 1_795_219_200; // A whole day.

struct World {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    metrics: Metrics,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(START_S)));
        let metrics = open(&dir, &clock);
        World { dir, clock, metrics }
    }

    fn reopen(self) -> World {
        let World { dir, clock, metrics } = self;
        drop(metrics);
        let metrics = open(&dir, &clock);
        World { dir, clock, metrics }
    }

    fn pass(&self, by_s: u64) {
        self.clock.advance(Duration::from_secs(by_s));
        self.metrics.flush().unwrap();
    }
}

fn open(dir: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Metrics {
    Metrics::open(&dir.path().join("metrics.redb"), Arc::clone(clock) as _, Options::default()).unwrap()
}

fn cpu() -> MetricId {
    MetricId::new("AWS/EC2", "CPUUtilization", &[("InstanceId", "i-1")])
}

fn at(s: i64) -> Timestamp {
    Timestamp::from_secs(START_S + s)
}

fn stat(text: &str) -> Statistic {
    Statistic::parse(text).unwrap()
}

fn total(metrics: &Metrics, from_s: i64, to_s: i64) -> (f64, f64) {
    let get = |s| {
        metrics
            .query(&cpu(), None, stat(s), u32::try_from(to_s - from_s).unwrap(), at(from_s), at(to_s))
            .first()
            .map_or(0.0, |p| p.1)
    };
    (get("Sum"), get("SampleCount"))
}

#[test]
fn statistics_of_a_period() {
    let w = World::new();
    let values: Vec<f64> = (1..=10).map(f64::from).collect();
    w.metrics.put(&cpu(), Unit::None, at(0), Sample::Values { values: &values, counts: &[] }, 60).unwrap();
    for (name, expected) in [
        ("SampleCount", 10.0),
        ("Sum", 55.0),
        ("Average", 5.5),
        ("Minimum", 1.0),
        ("Maximum", 10.0),
        ("p50", 5.0),
        ("p90", 9.0),
        ("p100", 10.0),
        ("p0", 1.0),
        ("TM(10%:90%)", 5.5),
        ("tc90", 9.0),
        ("ts90", 45.0),
        ("tm90", 5.0),
        ("TC(2:5)", 3.0),
        ("PR(:5)", 50.0),
        ("WM(:50%)", (1.0 + 2.0 + 3.0 + 4.0 + 5.0 * 6.0) / 10.0),
        // Half of 3, then 4 to 7, then half of 8.
        ("IQM", (1.5 + 22.0 + 4.0) / 5.0),
    ] {
        let points = w.metrics.query(&cpu(), None, stat(name), 60, at(0), at(60));
        assert_eq!(points.len(), 1, "{name}");
        assert!((points[0].1 - expected).abs() < 1e-9, "{name}: {} is not {expected}", points[0].1);
    }
}

#[test]
fn statistic_sets_and_negative_values_have_no_percentiles() {
    let w = World::new();
    let set = Sample::Statistics { sum: 10.0, count: 4.0, min: 1.0, max: 4.0 };
    w.metrics.put(&cpu(), Unit::None, at(0), set, 60).unwrap();
    w.metrics.put(&cpu(), Unit::None, at(60), Sample::Value(-1.0), 60).unwrap();
    w.metrics.put(&cpu(), Unit::None, at(60), Sample::Value(3.0), 60).unwrap();
    w.metrics
        .put(&cpu(), Unit::None, at(120), Sample::Statistics { sum: 6.0, count: 3.0, min: 2.0, max: 2.0 }, 60)
        .unwrap();
    let p90 = w.metrics.query(&cpu(), None, stat("p90"), 60, at(0), at(180));
    assert_eq!(p90, vec![(at(120), 2.0)]);
    assert_eq!(w.metrics.query(&cpu(), None, stat("Average"), 60, at(0), at(180)).len(), 3);
}

#[test]
fn units_are_separate_streams_and_count_together_without_a_unit() {
    let w = World::new();
    w.metrics.put(&cpu(), Unit::Percent, at(0), Sample::Value(1.0), 60).unwrap();
    w.metrics.put(&cpu(), Unit::Count, at(0), Sample::Value(5.0), 60).unwrap();
    let query = |unit| w.metrics.query(&cpu(), unit, stat("Sum"), 60, at(0), at(60));
    assert_eq!(query(Some(Unit::Percent)), vec![(at(0), 1.0)]);
    assert_eq!(query(None), vec![(at(0), 6.0)]);
    assert_eq!(query(Some(Unit::Bytes)), vec![]);
    assert_eq!(w.metrics.units(&cpu()), vec![Unit::Percent, Unit::Count]);
    assert_eq!(w.metrics.list(&ListFilter::default(), 0, 10).metrics, vec![cpu()]);
}

#[test]
fn fine_data_answer_fine_and_coarse_queries() {
    let w = World::new();
    let handle = w.metrics.handle(&cpu(), Unit::Percent, 1).unwrap();
    for s in 0..120 {
        handle.push(at(s), Sample::Value(s as f64)).unwrap();
    }
    assert_eq!(
        w.metrics.query(&cpu(), None, stat("Average"), 1, at(10), at(12)),
        vec![(at(10), 10.0), (at(11), 11.0)]
    );
    let minutes = w.metrics.query(&cpu(), None, stat("Average"), 60, at(0), at(120));
    assert_eq!(minutes, vec![(at(0), 29.5), (at(60), 89.5)]);
    assert_eq!(
        w.metrics.query(&cpu(), None, stat("Maximum"), 30, at(0), at(60)),
        vec![(at(0), 29.0), (at(30), 59.0)]
    );
}

#[test]
fn flushed_data_survive_a_crash_and_unflushed_may_not() {
    let w = World::new();
    for minute in 0..20 {
        w.metrics.put(&cpu(), Unit::Percent, at(minute * 60), Sample::Value(minute as f64), 60).unwrap();
        w.metrics.put(&cpu(), Unit::Percent, at(minute * 60), Sample::Value(1.0), 60).unwrap();
        w.pass(60);
    }
    w.metrics.put(&cpu(), Unit::Percent, at(1200), Sample::Value(99.0), 60).unwrap();
    let before = w.metrics.query(&cpu(), None, stat("Sum"), 60, at(0), at(1200));
    assert_eq!(before.len(), 20);
    // Dropping writes nothing, as a crash would not.
    let w = w.reopen();
    assert_eq!(w.metrics.query(&cpu(), None, stat("Sum"), 60, at(0), at(1260)), before);
    assert_eq!(w.metrics.list(&ListFilter::default(), 0, 10).metrics, vec![cpu()]);
    let p50 = w.metrics.query(&cpu(), None, stat("p50"), 60, at(600), at(660));
    assert_eq!(p50, vec![(at(600), 1.0)]);
}

#[test]
fn late_data_merge_with_what_is_on_disk() {
    let w = World::new();
    w.metrics.put(&cpu(), Unit::Percent, at(0), Sample::Value(1.0), 60).unwrap();
    // Far enough that the block has left memory.
    for _ in 0..12 {
        w.pass(900);
    }
    assert_eq!(w.metrics.stats().n_blocks, 0);
    w.metrics.put(&cpu(), Unit::Percent, at(0), Sample::Value(2.0), 60).unwrap();
    w.metrics.put(&cpu(), Unit::Percent, at(60), Sample::Value(5.0), 60).unwrap();
    let expected = vec![(at(0), 3.0), (at(60), 5.0)];
    let query = |m: &Metrics| m.query(&cpu(), None, stat("Sum"), 60, at(0), at(120));
    assert_eq!(query(&w.metrics), expected);
    w.pass(60);
    assert_eq!(w.metrics.stats().n_blocks, 0);
    assert_eq!(query(&w.metrics), expected);
    // Also when the journal is replayed over the row.
    assert_eq!(query(&w.reopen().metrics), expected);
}

#[test]
fn roll_ups_keep_sum_count_and_extremes() {
    let w = World::new();
    for s in 0..600 {
        w.metrics.put(&cpu(), Unit::Percent, at(s), Sample::Value(s as f64), 1).unwrap();
    }
    let (sum, count) = (599.0 * 600.0 / 2.0, 600.0);
    let mut passed = 0;
    let day = 86_400;
    for (until_s, finest_s) in [(3600, 1), (5 * 3600, 60), (16 * day, 300), (70 * day, 3600)] {
        while passed < until_s {
            let step = if until_s > day { 6 * 3600 } else { 900 };
            w.pass(step as u64);
            passed += step;
        }
        assert_eq!(total(&w.metrics, 0, 3600), (sum, count), "after {passed} s");
        let finest = w.metrics.query(&cpu(), None, stat("Maximum"), 1, at(0), at(3600));
        assert_eq!(finest.len(), (600 / finest_s).max(1), "after {passed} s");
        assert_eq!(finest.last().unwrap().1, 599.0);
    }
    let w = w.reopen();
    assert_eq!(total(&w.metrics, 0, 3600), (sum, count));
    for _ in 0..(400 * 4) {
        w.pass(6 * 3600);
    }
    assert_eq!(total(&w.metrics, 0, 3600), (0.0, 0.0));
    assert_eq!(w.metrics.stats(), Stats::default());
}

#[test]
fn lists_by_filter_and_in_pages() {
    let w = World::new();
    for i in 0..25 {
        let id = MetricId::new(
            "App",
            if i % 2 == 0 { "Even" } else { "Odd" },
            &[("n", &i.to_string()), ("z", "a")],
        );
        w.metrics.put(&id, Unit::Count, at(0), Sample::Value(1.0), 60).unwrap();
    }
    let all = ListFilter { namespace: Some("App".into()), ..ListFilter::default() };
    let (mut from, mut seen) = (0, Vec::new());
    loop {
        let page = w.metrics.list(&all, from, 10);
        seen.extend(page.metrics);
        let Some(next) = page.next else { break };
        from = next;
    }
    assert_eq!(seen.len(), 25);
    let count = |filter: ListFilter| w.metrics.list(&filter, 0, 100).metrics.len();
    assert_eq!(count(ListFilter { name: Some("Even".into()), ..all.clone() }), 13);
    assert_eq!(count(ListFilter { name: Some("None".into()), ..all.clone() }), 0);
    assert_eq!(count(ListFilter { dimensions: vec![("n".into(), Some("7".into()))], ..all.clone() }), 1);
    assert_eq!(count(ListFilter { dimensions: vec![("z".into(), None)], ..all.clone() }), 25);
    assert_eq!(count(ListFilter { dimensions: vec![("q".into(), None)], ..all.clone() }), 0);
    w.clock.advance(Duration::from_secs(4 * 3600));
    assert_eq!(count(ListFilter { recently_active: true, ..all.clone() }), 0);
    assert_eq!(count(all.clone()), 25);
    w.clock.advance(Duration::from_secs(15 * 86_400));
    assert_eq!(count(all), 0);
}

#[test]
fn refuses_what_it_cannot_keep() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(START_S)));
    let options = Options { series_max: 1, ..Options::default() };
    let m = Metrics::open(&dir.path().join("m.redb"), clock, options).unwrap();
    let put = |id: &MetricId, s: i64, v: Sample<'_>| m.put(id, Unit::None, at(s), v, 60);
    assert_eq!(put(&cpu(), 0, Sample::Value(f64::NAN)), Err(PutError::BadSample));
    assert_eq!(put(&cpu(), 0, Sample::Values { values: &[], counts: &[] }), Err(PutError::BadSample));
    assert_eq!(put(&cpu(), -15 * 86_400, Sample::Value(1.0)), Err(PutError::BadTime));
    assert_eq!(put(&cpu(), 3 * 3600, Sample::Value(1.0)), Err(PutError::BadTime));
    assert_eq!(put(&cpu(), 0, Sample::Value(1.0)), Ok(()));
    let other = MetricId::new("A", "B", &[]);
    assert_eq!(put(&other, 0, Sample::Value(1.0)), Err(PutError::TooManySeries(1)));
    assert!(matches!(
        Metrics::open(&dir.path().join("m.redb"), Arc::new(ManualClock::default()), Options::default()),
        Err(DiskError::InUse(_))
    ));
}

#[test]
fn sketches_stay_within_their_error() {
    let w = World::new();
    // Latencies over five decades, far more distinct values than are kept exactly.
    let mut values: Vec<f64> = (0..5000).map(|i| 0.001 * 1.0025_f64.powi(i)).collect();
    for v in &values {
        w.metrics.put(&cpu(), Unit::Seconds, at(0), Sample::Value(*v), 60).unwrap();
    }
    values.sort_by(f64::total_cmp);
    for (name, rank) in [("p50", 2500), ("p90", 4500), ("p99", 4950), ("p99.9", 4995)] {
        let found = w.metrics.query(&cpu(), None, stat(name), 60, at(0), at(60))[0].1;
        let exact = values[rank - 1];
        assert!((found / exact - 1.0).abs() < 0.011, "{name}: {found} against {exact}");
    }
}

fn naive(samples: &[f64], statistic: &str) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let sum: f64 = sorted.iter().sum();
    match statistic {
        "Sum" => sum,
        "SampleCount" => n,
        "Average" => sum / n,
        "Minimum" => sorted[0],
        "Maximum" => sorted[sorted.len() - 1],
        p => {
            let rank = p[1..].parse::<f64>().unwrap() / 100.0 * n;
            sorted[((rank.ceil() as usize).max(1) - 1).min(sorted.len() - 1)]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any samples in any order, across blocks, with a flush and a restart anywhere: the statistics are those of a
    /// plain list.
    #[test]
    fn statistics_equal_a_plain_list(
        samples in prop::collection::vec((0i64..7200, 0u32..30, any::<bool>()), 1..120),
        period_s in prop::sample::select(vec![60u32, 120, 300, 3600]),
        restart_at in 0usize..120,
    ) {
        let mut w = World::new();
        w.clock.advance(Duration::from_secs(7200));
        for (i, (s, v, fine)) in samples.iter().enumerate() {
            let v = f64::from(*v) * 0.5;
            w.metrics.put(&cpu(), Unit::None, at(*s), Sample::Value(v), if *fine { 1 } else { 60 }).unwrap();
            if i == restart_at {
                w.pass(30);
                w = w.reopen();
            }
        }
        for statistic in ["Sum", "SampleCount", "Average", "Minimum", "Maximum", "p50", "p90", "p99.9"] {
            let mut expected = std::collections::BTreeMap::<i64, Vec<f64>>::new();
            for (s, v, _) in &samples {
                let p = i64::from(period_s);
                expected.entry(s / p * p).or_default().push(f64::from(*v) * 0.5);
            }
            let found = w.metrics.query(&cpu(), None, stat(statistic), period_s, at(0), at(7200));
            prop_assert_eq!(found.len(), expected.len());
            for ((t, found), (s, samples)) in found.into_iter().zip(expected) {
                prop_assert_eq!(t, at(s));
                let expected = naive(&samples, statistic);
                prop_assert!((found - expected).abs() < 1e-9, "{} at {}: {} against {}", statistic, s, found, expected);
            }
        }
    }
}
