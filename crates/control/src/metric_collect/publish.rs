//! From differences of counters to datapoints.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use puffer_compute::Usage;
use puffer_core::Timestamp;
use puffer_core::alarm::{MetricId, Unit};
use puffer_metrics::{Metrics, PutError, Sample, SeriesHandle};

use super::fleet::{Fleet, Tracked};
use super::{BASIC_S, CHUNK, DETAILED_S};

const NAMESPACE: &str = "AWS/EC2";
/// What a difference yields, in the order of [`measure`].
const MEASURES: [(&str, Unit); 9] = [
    ("CPUUtilization", Unit::Percent),
    ("NetworkIn", Unit::Bytes),
    ("NetworkOut", Unit::Bytes),
    ("NetworkPacketsIn", Unit::Count),
    ("NetworkPacketsOut", Unit::Count),
    ("DiskReadBytes", Unit::Bytes),
    ("DiskWriteBytes", Unit::Bytes),
    ("DiskReadOps", Unit::Count),
    ("DiskWriteOps", Unit::Count),
];
/// Where CPU stands among them: the only one that is published by the second. It is a share, the same over any period; the
/// others are amounts of a whole datapoint, and whoever reads them expects those of a minute (or five).
const CPU: usize = 0;
const CHECKS: [&str; 3] = ["StatusCheckFailed", "StatusCheckFailed_Instance", "StatusCheckFailed_System"];

/// `None`: the driver cannot count it, or it is published elsewhere.
type Values = [Option<f64>; MEASURES.len()];

/// The series of one instance, each resolved when its first value comes.
#[derive(Default)]
pub(super) struct Handles {
    minutes: [Option<SeriesHandle>; MEASURES.len()],
    cpu_by_second: Option<SeriesHandle>,
    checks: [Option<SeriesHandle>; CHECKS.len()],
}

/// The values of several instances, to be published as one statistic set.
#[derive(Clone, Copy)]
struct Spread {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Spread { count: 0.0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

type Sums = [Spread; MEASURES.len()];

fn add(sums: &mut Sums, values: &Values) {
    for (spread, value) in sums.iter_mut().zip(values) {
        if let Some(value) = value {
            spread.add(*value);
        }
    }
}

/// Dimension's name, its value, and whether it is kept by the second.
type Over = (&'static str, Arc<str>, bool);

/// Publishes.
pub(super) struct Publisher {
    metrics: Metrics,
    /// Series over instances, and whether they were used since the last clean-up.
    over: HashMap<Over, ([Option<SeriesHandle>; MEASURES.len()], bool)>,
    full: bool,
}

/// Percent of its CPUs that an instance used between two readings. A counter that went back was reset: it counts from zero.
fn cpu(from: &(Timestamp, Usage), to: &(Timestamp, Usage), n_vcpus: u32) -> Option<f64> {
    let elapsed_s = to.0.since(from.0).as_secs_f64();
    let used_ns = grown(from.1.cpu_ns, to.1.cpu_ns);
    (elapsed_s > 0.0).then(|| (used_ns / (elapsed_s * 1e9 * f64::from(n_vcpus)) * 100.0).clamp(0.0, 100.0))
}

fn grown(from: u64, to: u64) -> f64 {
    to.checked_sub(from).unwrap_or(to) as f64
}

/// Values of the time between two readings.
fn measure(from: &(Timestamp, Usage), to: &(Timestamp, Usage), n_vcpus: u32) -> Option<Values> {
    let cpu = cpu(from, to, n_vcpus)?;
    let (a, b) = (&from.1, &to.1);
    // What could not be counted at the first reading is not known to have begun at zero.
    let counted = |a: Option<u64>, b: Option<u64>| Some(grown(a?, b?));
    Some([
        Some(cpu),
        Some(grown(a.network_in_bytes, b.network_in_bytes)),
        Some(grown(a.network_out_bytes, b.network_out_bytes)),
        Some(grown(a.network_in_packets, b.network_in_packets)),
        Some(grown(a.network_out_packets, b.network_out_packets)),
        Some(grown(a.disk_read_bytes, b.disk_read_bytes)),
        Some(grown(a.disk_write_bytes, b.disk_write_bytes)),
        counted(a.disk_read_ops, b.disk_read_ops),
        counted(a.disk_write_ops, b.disk_write_ops),
    ])
}

impl Publisher {
    pub(super) fn new(metrics: Metrics) -> Self {
        Publisher { metrics, over: HashMap::new(), full: false }
    }

    /// The CPU of members of groups with a short period: each instance and its group, by the second.
    pub(super) fn fast(
        &mut self,
        fleet: &mut Fleet,
        at: Timestamp,
        now: Timestamp,
        counters: &[(String, Usage)],
    ) -> usize {
        let mut groups: HashMap<Arc<str>, Sums> = HashMap::new();
        let mut n = 0;
        for (id, usage) in counters {
            let Some(tracked) = fleet.get_mut(id) else { continue };
            let from = tracked.fast_from.replace((now, *usage));
            let value = from.and_then(|from| cpu(&from, &(now, *usage), tracked.n_vcpus));
            let (Some(value), Some(group)) = (value, tracked.group.clone()) else { continue };
            groups.entry(group).or_default()[CPU].add(value);
            let handles = tracked.handles.get_or_insert_default();
            let series =
                self.series(&mut handles.cpu_by_second, ("InstanceId", &tracked.id), MEASURES[CPU], true);
            n += usize::from(series.is_some_and(|s| s.push(at, Sample::Value(value)).is_ok()));
        }
        for (group, sums) in groups {
            n += self.set(("AutoScalingGroupName", group, true), at, &sums);
        }
        n
    }

    /// All of them, each minute or five minutes. What is published by the second is not published here again, except for image
    /// and type.
    pub(super) fn slow(
        &mut self,
        fleet: &mut Fleet,
        boundary: Timestamp,
        now: Timestamp,
        counters: &[(String, Usage)],
    ) -> usize {
        let mut sums: HashMap<(Over, Timestamp), Sums> = HashMap::new();
        let mut n = 0;
        for (id, usage) in counters {
            let is_fast = fleet.is_fast_member(id);
            let Some(tracked) = fleet.get_mut(id) else { continue };
            let from = tracked.slow_from.replace((now, *usage));
            let Some(mut values) = from.and_then(|from| measure(&from, &(now, *usage), tracked.n_vcpus))
            else {
                continue;
            };
            let period_s = if tracked.detailed { DETAILED_S } else { BASIC_S };
            let at = boundary - Duration::from_secs(period_s.unsigned_abs());
            let mut over = |over: Over, values: &Values| add(sums.entry((over, at)).or_default(), values);
            over(("ImageId", Arc::clone(&tracked.image), false), &values);
            over(("InstanceType", Arc::clone(&tracked.instance_type), false), &values);
            if is_fast {
                values[CPU] = None;
            }
            if let Some(group) = tracked.group.clone() {
                over(("AutoScalingGroupName", group, false), &values);
            }
            n += self.instance(tracked, at, &values);
        }
        for ((over, at), sums) in sums {
            n += self.set(over, at, &sums);
        }
        n
    }

    /// Status checks, of all instances each minute.
    pub(super) async fn status_checks(&mut self, fleet: &mut Fleet, at: Timestamp) -> usize {
        let mut n = 0;
        let mut todo: Vec<&mut Tracked> = fleet.iter_mut().collect();
        for chunk in todo.chunks_mut(CHUNK) {
            for tracked in chunk {
                let failed = [
                    tracked.failed_instance || tracked.failed_system,
                    tracked.failed_instance,
                    tracked.failed_system,
                ];
                let handles = tracked.handles.get_or_insert_default();
                for ((slot, name), failed) in handles.checks.iter_mut().zip(CHECKS).zip(failed) {
                    let value = if failed { 1.0 } else { 0.0 };
                    let series = self.series(slot, ("InstanceId", &tracked.id), (name, Unit::Count), false);
                    n += usize::from(series.is_some_and(|s| s.push(at, Sample::Value(value)).is_ok()));
                }
            }
            tokio::task::yield_now().await;
        }
        n
    }

    /// Drops the series of groups, images and types without running instances.
    pub(super) fn forget_idle(&mut self) {
        self.over.retain(|_, (_, used)| std::mem::replace(used, false));
        self.full = false;
    }

    /// The series behind a slot, resolved if it is not yet.
    fn series<'s>(
        &mut self,
        slot: &'s mut Option<SeriesHandle>,
        dimension: (&str, &str),
        (name, unit): (&'static str, Unit),
        by_second: bool,
    ) -> Option<&'s SeriesHandle> {
        if slot.is_none() {
            let id = MetricId::new(NAMESPACE, name, &[dimension]);
            match self.metrics.handle(&id, unit, if by_second { 1 } else { 60 }) {
                Ok(handle) => *slot = Some(handle),
                Err(error) => self.complain(&error),
            }
        }
        slot.as_ref()
    }

    /// Once a minute is enough to say that the store is full.
    fn complain(&mut self, error: &PutError) {
        if !std::mem::replace(&mut self.full, true) {
            tracing::error!(%error, "metrics of instances are not kept");
        }
    }

    fn instance(&mut self, tracked: &mut Tracked, at: Timestamp, values: &Values) -> usize {
        let handles = tracked.handles.get_or_insert_default();
        let mut n = 0;
        for ((slot, measure), value) in handles.minutes.iter_mut().zip(MEASURES).zip(values) {
            let Some(value) = value else { continue };
            let series = self.series(slot, ("InstanceId", &tracked.id), measure, false);
            n += usize::from(series.is_some_and(|s| s.push(at, Sample::Value(*value)).is_ok()));
        }
        n
    }

    fn set(&mut self, over: Over, at: Timestamp, sums: &Sums) -> usize {
        // Taken out while it is used: resolving a series needs the publisher too.
        let mut slots = self.over.remove(&over).map(|(slots, _)| slots).unwrap_or_default();
        let mut n = 0;
        for ((slot, measure), spread) in slots.iter_mut().zip(MEASURES).zip(sums) {
            let Spread { count, sum, min, max } = *spread;
            if count == 0.0 {
                continue;
            }
            let series = self.series(slot, (over.0, &over.1), measure, over.2);
            let sample = Sample::Statistics { sum, count, min, max };
            n += usize::from(series.is_some_and(|s| s.push(at, sample).is_ok()));
        }
        self.over.insert(over, (slots, true));
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_counters() {
        let at = Timestamp::from_secs;
        let usage = |ops: Option<u64>, n: u64| Usage {
            cpu_ns: n * 1_000_000_000,
            network_in_bytes: n,
            disk_read_ops: ops,
            disk_write_ops: ops.map(|n| 2 * n),
            ..Usage::default()
        };
        let of = |a, b| measure(&(at(0), a), &(at(60), b), 2).unwrap();
        let values = of(usage(Some(5), 10), usage(Some(9), 70));
        assert_eq!(
            (values[CPU], values[1], values[7], values[8]),
            (Some(50.0), Some(60.0), Some(4.0), Some(8.0))
        );
        // Counted anew after a restart; not at all; not from the beginning.
        assert_eq!(of(usage(Some(5), 10), usage(Some(2), 7))[7], Some(2.0));
        assert_eq!(of(usage(None, 10), usage(None, 7))[7], None);
        assert_eq!(of(usage(None, 10), usage(Some(3), 7))[7], None);
        assert_eq!(measure(&(at(9), usage(None, 0)), &(at(9), usage(None, 0)), 1), None);
    }
}
