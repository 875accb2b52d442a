//! The data plane's counters → CloudWatch: each minute, or as often as a load balancer's or target group's
//! `puffer:metric-period` tag says, or as a scaling policy that follows its metrics needs.
//!
//! Counters are cumulative, so each scope keeps the counters it published last and publishes the difference. A datum is
//! published when its period is over, and dated at the period's start: nobody ever reads half a minute.

mod series;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_balancer::{Counters, Histogram, Report, Scope};
use puffer_core::autoscaling::scaling::{balancer_needs, follows_balancer};
use puffer_core::autoscaling::{Group, ScalingPolicy};
use puffer_core::elb::arn::{load_balancer_dimension, target_group_dimension};
use puffer_core::elb::{LoadBalancer, METRIC_PERIOD_TAG, TargetGroup, period_tag};
use puffer_core::{Clock, Timestamp};
use puffer_metrics::{Datum, Metrics, Sample};
use puffer_store::{Reader, Store};

use crate::{DataPlane, Reconciler};
use series::{Measured, Value, hosts, measured};

/// CloudWatch's period for load balancers, in seconds.
const PERIOD_S: u32 = 60;
/// The clock is looked at this long after each full second, so that the second is surely over.
const AFTER_SECOND: Duration = Duration::from_millis(5);

/// What an activation did.
#[derive(Debug, Default)]
pub struct BalancerMetricsStatus {
    /// Data put.
    pub n_data: usize,
}

/// See the module.
pub struct BalancerMetrics<P> {
    store: Store,
    plane: Arc<P>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    book: Mutex<Book>,
}

impl<P: DataPlane> BalancerMetrics<P> {
    /// Publishes into `metrics`.
    pub fn new(store: Store, plane: Arc<P>, metrics: Metrics, clock: Arc<dyn Clock>) -> Self {
        BalancerMetrics { store, plane, metrics, clock, book: Mutex::default() }
    }
}

/// What was published last.
#[derive(Default)]
struct Book {
    /// Process whose counters these are; none before the first report.
    epoch: Option<u64>,
    /// When the book was last looked at.
    looked_at: Option<Timestamp>,
    scopes: HashMap<Scope, (Counters, Histogram)>,
}

/// Periods asked for by tags and policies, in seconds.
#[derive(Default)]
struct Periods(HashMap<String, u32>);

impl Periods {
    fn read(reader: &Reader<'_>) -> Periods {
        let mut of = HashMap::new();
        for balancer in reader.iter::<LoadBalancer>() {
            of.extend(period_tag(&balancer.tags, METRIC_PERIOD_TAG).map(|p| (balancer.arn.clone(), p)));
        }
        for group in reader.iter::<TargetGroup>() {
            of.extend(period_tag(&group.tags, METRIC_PERIOD_TAG).map(|p| (group.arn.clone(), p)));
        }
        // Policies name both by what stands in a metric's dimensions.
        let mut wanted: HashMap<String, u32> = HashMap::new();
        for policy in reader.iter::<ScalingPolicy>().filter(|p| p.enabled && follows_balancer(p)) {
            let Some(group) = reader.get::<Group>(&policy.group) else { continue };
            let Some((dimensions, period_s)) = balancer_needs(policy, &group) else { continue };
            for dimension in dimensions.into_iter().filter(|_| period_s < PERIOD_S) {
                let shortest = wanted.entry(dimension).or_insert(period_s);
                *shortest = (*shortest).min(period_s);
            }
        }
        if !wanted.is_empty() {
            let balancers = reader.iter::<LoadBalancer>().map(|b| (&b.arn, load_balancer_dimension(&b.arn)));
            let groups = reader.iter::<TargetGroup>().map(|g| (&g.arn, target_group_dimension(&g.arn)));
            for (arn, dimension) in balancers.chain(groups) {
                let Some(period_s) = wanted.get(dimension) else { continue };
                let shortest = of.entry(arn.clone()).or_insert(*period_s);
                *shortest = (*shortest).min(*period_s);
            }
        }
        Periods(of)
    }

    /// The period of a scope: the shorter of its balancer's and its group's.
    fn of(&self, scope: &Scope) -> u32 {
        let asked = |arn: &str| self.0.get(arn).copied().unwrap_or(PERIOD_S);
        let group = scope.target_group.as_deref().map_or(PERIOD_S, asked);
        asked(&scope.load_balancer).min(group)
    }

    fn shortest(&self) -> u32 {
        self.0.values().copied().min().unwrap_or(PERIOD_S)
    }
}

/// Start of the period of `period_s` that ended between `before` and `now`, if one did. The last one, if several.
fn ended(before: Timestamp, now: Timestamp, period_s: u32) -> Option<Timestamp> {
    let period_s = i64::from(period_s);
    let boundary = now.floor_to(period_s);
    (boundary > before.floor_to(period_s)).then(|| boundary - Duration::from_secs(period_s.unsigned_abs()))
}

/// A measured value with its time and resolution.
struct Due {
    at: Timestamp,
    period_s: u32,
    what: Measured,
}

impl Book {
    /// Takes a report in and gives what is to be published now.
    fn take(&mut self, report: &Report, periods: &Periods, before: Timestamp, now: Timestamp) -> Vec<Due> {
        if self.epoch != Some(report.epoch) {
            self.scopes.clear();
            if self.epoch.is_none() {
                // The first look of this control plane at a running data plane: it cannot tell when the counts
                // so far arose, so it only begins from here.
                let all = report.counters.iter();
                self.scopes.extend(all.map(|c| (c.scope.clone(), (c.counters, c.response_time.clone()))));
            }
            self.epoch = Some(report.epoch);
        }
        let healthy: HashMap<&Scope, u32> = report.hosts.iter().map(|h| (&h.scope, h.healthy)).collect();
        let mut due = Vec::new();
        for counted in &report.counters {
            let period_s = periods.of(&counted.scope);
            let Some(at) = ended(before, now, period_s) else { continue };
            let (counters, times) = self.scopes.entry(counted.scope.clone()).or_default();
            let since = counted.response_time.since(times);
            let hosts = healthy.get(&counted.scope).copied();
            let found = measured(&counted.scope, counters, &counted.counters, &since, hosts);
            due.extend(found.into_iter().map(|what| Due { at, period_s, what }));
            (*counters, *times) = (counted.counters, counted.response_time.clone());
        }
        for counts in &report.hosts {
            let period_s = periods.of(&counts.scope);
            let Some(at) = ended(before, now, period_s) else { continue };
            due.extend(hosts(counts).into_iter().flatten().map(|what| Due { at, period_s, what }));
        }
        // Scopes that the data plane has forgotten would only cost memory.
        let known: std::collections::HashSet<&Scope> = report.counters.iter().map(|c| &c.scope).collect();
        self.scopes.retain(|scope, _| known.contains(scope));
        due
    }
}

/// Puts what is due; one bad datum does not keep the others out.
fn put(metrics: &Metrics, due: &[Due]) -> usize {
    let mut n_data = 0;
    for Due { at, period_s, what } in due {
        let sample = match &what.value {
            Value::One(value) => Sample::Value(*value),
            Value::Many(values, counts) => Sample::Values { values, counts },
        };
        let datum = Datum { metric: &what.metric, unit: what.unit, at: *at, sample, resolution_s: *period_s };
        match metrics.put_batch(&[datum]) {
            Ok(()) => n_data += 1,
            Err(error) => tracing::warn!(metric = ?what.metric, %error, "a metric is lost"),
        }
    }
    n_data
}

impl<P: DataPlane> Reconciler for BalancerMetrics<P> {
    type Status = BalancerMetricsStatus;

    fn name(&self) -> &'static str {
        "balancer_metrics"
    }

    /// To the next full second.
    fn period(&self) -> Duration {
        let into = self.clock.now().as_millis().rem_euclid(1000);
        Duration::from_millis(1000 - into.unsigned_abs()) + AFTER_SECOND
    }

    async fn wake(&self) {
        pending::<()>().await;
    }

    async fn activate(&self) -> BalancerMetricsStatus {
        let now = self.clock.now();
        let before = self.book.lock().looked_at.replace(now).unwrap_or(now);
        let has_epoch = self.book.lock().epoch.is_some();
        let periods = self.store.read(Periods::read);
        if has_epoch && ended(before, now, periods.shortest()).is_none() {
            return BalancerMetricsStatus::default();
        }
        let Ok(report) = self.plane.report().await else { return BalancerMetricsStatus::default() };
        let due = self.book.lock().take(&report, &periods, before, now);
        BalancerMetricsStatus { n_data: put(&self.metrics, &due) }
    }
}
