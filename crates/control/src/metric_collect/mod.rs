//! Turns what the driver counts into the metrics of `AWS/EC2`, and what the records say into those of `AWS/AutoScaling`.
//!
//! An instance with detailed monitoring is published each minute, others each five minutes (EC2 user guide, "CloudWatch
//! metrics for your instances"), at whole minutes so that all members of a group fall into the same datapoint. Only members of a
//! group with the tag `puffer:metric-period`, or with a policy on a high-resolution metric, are read more often: each period, and
//! their CPU is kept by the second. Amounts (bytes, packets, operations) stay those of a minute, which is what their readers take
//! them for. So a fleet of twenty thousand costs nothing between two minutes.
//!
//! What EC2 publishes for `AutoScalingGroupName`, `ImageId` and `InstanceType` is a statistic set over the instances: average
//! is over instances, not over time.

mod fleet;
mod group_metrics;
mod publish;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use puffer_compute::{Driver, Usage};
use puffer_core::autoscaling::Group;
use puffer_core::ec2::Instance;
use puffer_core::{Clock, Timestamp};
use puffer_metrics::Metrics;
use puffer_store::{Store, Subscription};
use tokio::sync::Mutex;

use crate::{Reconciler, tick};
use fleet::Fleet;
use publish::Publisher;

/// Instances read before other tasks get the thread.
const CHUNK: usize = 500;
/// Seconds between two datapoints with basic and with detailed monitoring.
const BASIC_S: i64 = 300;
const DETAILED_S: i64 = 60;

/// The reconciler.
pub struct MetricCollect {
    store: Store,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    driver: Arc<dyn Driver>,
    instances: Subscription,
    groups: Subscription,
    state: Mutex<State>,
}

struct State {
    fleet: Fleet,
    publisher: Publisher,
    /// The last activation; periods that ended since are published.
    last: Timestamp,
}

/// What an activation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectStatus {
    /// Running instances.
    pub n_instances: usize,
    /// Read from the driver.
    pub n_read: usize,
    /// Datapoints published.
    pub n_published: usize,
}

impl MetricCollect {
    /// For the instances of this driver.
    pub fn new(store: Store, metrics: Metrics, clock: Arc<dyn Clock>, driver: Arc<dyn Driver>) -> Self {
        let (instances, groups) = (store.subscribe::<Instance>(), store.subscribe::<Group>());
        let state =
            State { fleet: Fleet::default(), publisher: Publisher::new(metrics.clone()), last: clock.now() };
        MetricCollect { store, metrics, clock, driver, instances, groups, state: Mutex::new(state) }
    }

    /// Reads the counters of `ids` in chunks.
    async fn read(&self, ids: &[Arc<str>]) -> Vec<(String, Usage)> {
        let mut counters = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            self.driver.usage(&mut chunk.iter().map(|id| &**id), &mut counters);
            if ids.len() > CHUNK {
                tokio::task::yield_now().await;
            }
        }
        counters
    }
}

impl Reconciler for MetricCollect {
    type Status = CollectStatus;

    fn name(&self) -> &'static str {
        "metric_collect"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn wake(&self) {
        tick::next_second(&*self.clock, 0).await;
    }

    async fn activate(&self) -> CollectStatus {
        let mut state = self.state.lock().await;
        let State { fleet, publisher, last } = &mut *state;
        fleet.sync(&self.store, &self.instances, &self.groups);
        let now = self.clock.now();
        let ended = |period_s: i64| {
            let boundary = now.floor_to(period_s);
            (boundary > last.floor_to(period_s)).then_some(boundary)
        };
        let mut status = CollectStatus { n_instances: fleet.len(), ..CollectStatus::default() };

        // What was not read yet gets its first counters, from which the first datapoint's difference is taken.
        let fresh = fleet.take_fresh();
        if !fresh.is_empty() {
            status.n_read += fresh.len();
            for (id, usage) in self.read(&fresh).await {
                fleet.start(&id, now, usage);
            }
        }
        for period_s in fleet.fast_periods() {
            let Some(boundary) = ended(i64::from(period_s)) else { continue };
            let ids = fleet.fast(period_s);
            let counters = self.read(&ids).await;
            status.n_read += counters.len();
            let at = boundary - Duration::from_secs(u64::from(period_s));
            status.n_published += publisher.fast(fleet, at, now, &counters);
        }
        if let Some(boundary) = ended(DETAILED_S) {
            let basic = ended(BASIC_S);
            let ids = fleet.slow(basic.is_some());
            let counters = self.read(&ids).await;
            status.n_read += counters.len();
            status.n_published += publisher.slow(fleet, boundary, now, &counters);
            status.n_published += publisher.status_checks(fleet, boundary - Duration::from_secs(60)).await;
            let groups = fleet.groups_with_metrics(&self.store);
            status.n_published += group_metrics::publish(&self.store, &self.metrics, &groups, boundary);
            publisher.forget_idle();
        }
        *last = now;
        status
    }
}
