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
const MEASURES: [(&str, Unit); 7] = [
    ("CPUUtilization", Unit::Percent),
    ("NetworkIn", Unit::Bytes),
    ("NetworkOut", Unit::Bytes),
    ("NetworkPacketsIn", Unit::Count),
    ("NetworkPacketsOut", Unit::Count),
    ("DiskReadBytes", Unit::Bytes),
    ("DiskWriteBytes", Unit::Bytes),
];
const CHECKS: [&str; 3] = ["StatusCheckFailed", "StatusCheckFailed_Instance", "StatusCheckFailed_System"];

type Values = [f64; MEASURES.len()];

/// The series of one instance, resolved once.
pub(super) struct Handles {
    minutes: [SeriesHandle; MEASURES.len()],
    seconds: Option<[SeriesHandle; MEASURES.len()]>,
    checks: Option<[SeriesHandle; CHECKS.len()]>,
}

/// The values of several instances, to be published as one statistic set.
#[derive(Clone, Copy)]
struct Sums {
    count: f64,
    of: [(f64, f64, f64); MEASURES.len()],
}

impl Default for Sums {
    fn default() -> Self {
        Sums { count: 0.0, of: [(0.0, f64::INFINITY, f64::NEG_INFINITY); MEASURES.len()] }
    }
}

impl Sums {
    fn add(&mut self, values: &Values) {
        self.count += 1.0;
        for ((sum, min, max), v) in self.of.iter_mut().zip(values) {
            *sum += v;
            *min = min.min(*v);
            *max = max.max(*v);
        }
    }
}

/// Dimension's name, its value, and whether it is kept by the second.
type Over = (&'static str, Arc<str>, bool);

/// Publishes.
pub(super) struct Publisher {
    metrics: Metrics,
    /// Series over instances, and whether they were used since the last clean-up.
    over: HashMap<Over, ([SeriesHandle; MEASURES.len()], bool)>,
    full: bool,
}

/// Values of the time between two readings. A counter that went back was reset: it counts from zero.
fn measure(from: (Timestamp, Usage), to: (Timestamp, Usage), n_vcpus: u32) -> Option<Values> {
    let elapsed_s = to.0.since(from.0).as_secs_f64();
    if elapsed_s <= 0.0 {
        return None;
    }
    let (a, b) = (&from.1, &to.1);
    let diff = |a: u64, b: u64| b.checked_sub(a).unwrap_or(b) as f64;
    let cpu = diff(a.cpu_ns, b.cpu_ns) / (elapsed_s * 1e9 * f64::from(n_vcpus)) * 100.0;
    Some([
        cpu.clamp(0.0, 100.0),
        diff(a.network_in_bytes, b.network_in_bytes),
        diff(a.network_out_bytes, b.network_out_bytes),
        diff(a.network_in_packets, b.network_in_packets),
        diff(a.network_out_packets, b.network_out_packets),
        diff(a.disk_read_bytes, b.disk_read_bytes),
        diff(a.disk_write_bytes, b.disk_write_bytes),
    ])
}

impl Publisher {
    pub(super) fn new(metrics: Metrics) -> Self {
        Publisher { metrics, over: HashMap::new(), full: false }
    }

    /// The members of groups with a short period: each instance and its group, by the second.
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
            let values = from.and_then(|from| measure(from, (now, *usage), tracked.n_vcpus));
            let (Some(values), Some(group)) = (values, tracked.group.clone()) else { continue };
            groups.entry(group).or_default().add(&values);
            n += self.instance(tracked, true, at, &values);
        }
        for (group, sums) in groups {
            n += self.set(("AutoScalingGroupName", group, true), at, &sums);
        }
        n
    }

    /// The others, each minute or five minutes; of the former only image and type, which are not kept by the second.
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
            let Some(tracked) = fleet.get_mut(id) else { continue };
            let from = tracked.slow_from.replace((now, *usage));
            let Some(values) = from.and_then(|from| measure(from, (now, *usage), tracked.n_vcpus)) else {
                continue;
            };
            let period_s = if tracked.detailed { DETAILED_S } else { BASIC_S };
            let at = boundary - Duration::from_secs(period_s.unsigned_abs());
            let mut add = |over: Over| sums.entry((over, at)).or_default().add(&values);
            add(("ImageId", Arc::clone(&tracked.image), false));
            add(("InstanceType", Arc::clone(&tracked.instance_type), false));
            let group = tracked.group.clone();
            let is_fast = group.as_deref().is_some_and(|g| fleet.is_fast(g));
            if is_fast {
                continue;
            }
            if let Some(group) = group {
                add(("AutoScalingGroupName", group, false));
            }
            if let Some(tracked) = fleet.get_mut(id) {
                n += self.instance(tracked, false, at, &values);
            }
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
                let Some(handles) = self.handles(tracked) else { continue };
                let Some(checks) = &handles.checks else { continue };
                for (handle, failed) in checks.iter().zip(failed) {
                    let value = if failed { 1.0 } else { 0.0 };
                    n += usize::from(handle.push(at, Sample::Value(value)).is_ok());
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

    fn resolve<const N: usize>(
        &mut self,
        dimension: (&str, &str),
        names: [(&'static str, Unit); N],
        resolution_s: u32,
    ) -> Option<[SeriesHandle; N]> {
        let mut handles = Vec::with_capacity(N);
        for (name, unit) in names {
            let id = MetricId::new(NAMESPACE, name, &[dimension]);
            match self.metrics.handle(&id, unit, resolution_s) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    self.complain(&error);
                    return None;
                }
            }
        }
        handles.try_into().ok()
    }

    /// Once a minute is enough to say that the store is full.
    fn complain(&mut self, error: &PutError) {
        if !std::mem::replace(&mut self.full, true) {
            tracing::error!(%error, "metrics of instances are not kept");
        }
    }

    fn handles<'t>(&mut self, tracked: &'t mut Tracked) -> Option<&'t mut Box<Handles>> {
        if tracked.handles.is_none() {
            let dimension = ("InstanceId", &*tracked.id);
            let minutes = self.resolve(dimension, MEASURES, 60)?;
            let checks = self.resolve(dimension, CHECKS.map(|name| (name, Unit::Count)), 60);
            tracked.handles = Some(Box::new(Handles { minutes, seconds: None, checks }));
        }
        tracked.handles.as_mut()
    }

    fn instance(&mut self, tracked: &mut Tracked, by_second: bool, at: Timestamp, values: &Values) -> usize {
        let id = Arc::clone(&tracked.id);
        let Some(handles) = self.handles(tracked) else { return 0 };
        let series = if by_second {
            if handles.seconds.is_none() {
                handles.seconds = self.resolve(("InstanceId", &id), MEASURES, 1);
            }
            match &handles.seconds {
                Some(seconds) => seconds,
                None => return 0,
            }
        } else {
            &handles.minutes
        };
        let pushed = series.iter().zip(values).map(|(s, v)| s.push(at, Sample::Value(*v)));
        pushed.filter(Result::is_ok).count()
    }

    fn set(&mut self, over: Over, at: Timestamp, sums: &Sums) -> usize {
        if !self.over.contains_key(&over) {
            let resolution_s = if over.2 { 1 } else { 60 };
            let Some(handles) = self.resolve((over.0, &over.1), MEASURES, resolution_s) else { return 0 };
            self.over.insert(over.clone(), (handles, true));
        }
        let Some((handles, used)) = self.over.get_mut(&over) else { return 0 };
        *used = true;
        let pushed = handles.iter().zip(sums.of).map(|(handle, (sum, min, max))| {
            handle.push(at, Sample::Statistics { sum, count: sums.count, min, max })
        });
        pushed.filter(Result::is_ok).count()
    }
}
