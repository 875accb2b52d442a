//! Predictive scaling: forecasts each policy anew every six hours, and raises capacities shortly before each hour.
//!
//! A forecast is made from the metrics alone and written down; acting reads what is written, so a server that starts again
//! acts on the forecast it finds. An hour is acted on once, also by a server that comes late to it.

mod history;
mod publish;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::alarm::MetricQuery;
use puffer_core::autoscaling::predict::{
    self, ForecastPoint, HISTORY_H_MAX, HORIZON_H, HOUR_S, Learnt, PredictiveScaling, Relation,
    SamplesPerHour, Sources,
};
use puffer_core::autoscaling::scaling::{HIGH_RESOLUTION_PERIOD_S, Reaction};
use puffer_core::autoscaling::{Group, Member, PolicyKind, ScalingPolicy};
use puffer_core::ec2::Instance;
use puffer_core::{Clock, Record, Timestamp};
use puffer_inventory::forecasts::{self, Made};
use puffer_inventory::groups::GroupError;
use puffer_metrics::Metrics;
use puffer_store::{Store, StoreError, Subscription};

use crate::Reconciler;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(60);
/// After the whole minute: an hour's last datapoints are in by then.
const OFFSET_MS: i64 = 700;
/// Samples of an instance in an hour: one a minute with detailed monitoring, else one in five minutes.
const DETAILED_PER_HOUR: f64 = 60.0;
const BASIC_PER_HOUR: f64 = 12.0;

/// The reconciler.
pub struct Predict {
    store: Store,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    policies: Subscription,
    published_for: Mutex<Option<Timestamp>>,
}

/// What an activation did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PredictStatus {
    /// Policies with predictive scaling.
    pub n_policies: usize,
    /// Forecasts made.
    pub n_forecasts: usize,
    /// Forecasts that could not be made.
    pub n_problems: usize,
    /// Groups whose capacity was raised.
    pub n_raised: usize,
}

impl Predict {
    /// Over the policies of this store.
    pub fn new(store: Store, metrics: Metrics, clock: Arc<dyn Clock>) -> Predict {
        let policies = store.subscribe::<ScalingPolicy>();
        Predict { store, metrics, clock, policies, published_for: Mutex::default() }
    }

    async fn forecast(&self, policy: &ScalingPolicy, predictive: &PredictiveScaling, now: Timestamp) -> bool {
        let made = self.make(&policy.group, predictive, now);
        match &made {
            Ok((points, _)) => {
                tracing::info!(policy = policy.name, group = policy.group, hours = points.len(), "forecast");
            }
            Err(problem) => {
                tracing::info!(policy = policy.name, group = policy.group, problem, "no forecast");
            }
        }
        let good = made.is_ok();
        let written = self
            .store
            .transact::<_, StoreError>(|tx| {
                forecasts::put(tx, policy, made, now);
                Ok(())
            })
            .await;
        if let Err(error) = written {
            tracing::warn!(policy = policy.name, %error, "a forecast could not be made durable");
        }
        good
    }

    /// The forecast of the next two days, from this hour on.
    fn make(&self, group: &str, predictive: &PredictiveScaling, now: Timestamp) -> Made {
        let samples = self.samples_per_hour(group);
        let sources = predict::sources(&predictive.specification, group, samples)?;
        let hour = now.floor_to(HOUR_S.into());
        let start = hour - Duration::from_secs(HISTORY_H_MAX as u64 * u64::from(HOUR_S));
        let read = |queries: &[MetricQuery]| history::read(&self.metrics, queries, start, hour);
        let load = read(&sources.load)?;
        let (hours, next) = predict::history(&load, now).map_err(|e| e.to_string())?;
        let scaling = read(&sources.scaling)?;
        let capacity = match &sources.capacity {
            Some(queries) => read(queries)?,
            None => history::capacity(&self.metrics, &Sources::samples(group), samples.cpu, start, hour),
        };
        let learnt = match sources.relation {
            Relation::Known(factor) => {
                Learnt { factor, correlation: predict::correlation(&load, &scaling, &capacity) }
            }
            Relation::Learnt => predict::learn(&load, &scaling, &capacity).ok_or(
                "load, scaling and capacity metric have too few hours in common to learn what an instance carries",
            )?,
        };
        // The last hours may be missing; what is wanted begins with this one.
        let behind = hour.as_secs().saturating_sub(next.as_secs()) / i64::from(HOUR_S);
        let skip = usize::try_from(behind).unwrap_or(0);
        let ahead = predict::forecast_load(&hours, skip + HORIZON_H).map_err(|e| e.to_string())?;
        let point = |(i, load): (usize, &f64)| ForecastPoint {
            at: hour + Duration::from_secs(i as u64 * u64::from(HOUR_S)),
            load: *load,
            capacity: learnt.capacity(*load, predictive.target),
        };
        Ok((ahead[skip..].iter().enumerate().map(point).collect(), learnt.correlation))
    }

    /// How many samples each instance of the group publishes in an hour.
    fn samples_per_hour(&self, group: &str) -> SamplesPerHour {
        self.store.read(|r| {
            let short_s = r.get::<Group>(group).and_then(|g| {
                Reaction::of(&g.tags).period_s.or(g.high_resolution.then_some(HIGH_RESOLUTION_PERIOD_S))
            });
            let members = r.list_by::<Member>("group", group);
            let mut instances = members.iter().filter_map(|m| r.get::<Instance>(&m.instance_id)).peekable();
            let others = match instances.peek().is_some() && instances.all(|i| !i.detailed_monitoring) {
                true => BASIC_PER_HOUR,
                false => DETAILED_PER_HOUR,
            };
            let cpu = short_s.map_or(others, |s| f64::from(HOUR_S) / f64::from(s));
            SamplesPerHour { cpu, others }
        })
    }

    async fn act(&self, policy: &ScalingPolicy, now: Timestamp) -> bool {
        if !self.store.read(|r| forecasts::is_to_act(r, policy, now)) {
            return false;
        }
        let key = policy.key();
        match self.store.transact::<_, GroupError>(|tx| forecasts::act(tx, &key, now)).await {
            Ok(Some((from, to))) => {
                tracing::info!(policy = policy.name, group = policy.group, from, to, "raised by forecast");
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(policy = policy.name, %error, "a forecast could not be acted on");
                false
            }
        }
    }
}

impl Reconciler for Predict {
    type Status = PredictStatus;

    fn name(&self) -> &'static str {
        "predict"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let minute_ms = 60_000;
        let past_ms = (self.clock.now().as_millis() - OFFSET_MS).rem_euclid(minute_ms);
        let left = Duration::from_millis(u64::try_from(minute_ms - past_ms).unwrap_or(60_000));
        // A new policy is forecast at once; which one it is does not matter, all are looked at.
        tokio::select! {
            _ = self.policies.next() => {}
            () = tokio::time::sleep(left) => {}
        }
    }

    async fn activate(&self) -> PredictStatus {
        let now = self.clock.now();
        let policies: Vec<Arc<ScalingPolicy>> = self.store.read(|r| {
            let predictive = |p: &&Arc<ScalingPolicy>| matches!(p.kind, PolicyKind::Predictive(_));
            r.iter::<ScalingPolicy>().filter(predictive).cloned().collect()
        });
        let mut status = PredictStatus { n_policies: policies.len(), ..PredictStatus::default() };
        for policy in &policies {
            let PolicyKind::Predictive(predictive) = &policy.kind else { continue };
            let is_due = self.store.read(|r| forecasts::of_policy(r, policy)).is_none_or(|f| f.is_due(now));
            if is_due {
                match self.forecast(policy, predictive, now).await {
                    true => status.n_forecasts += 1,
                    false => status.n_problems += 1,
                }
                tokio::task::yield_now().await;
            }
            status.n_raised += usize::from(self.act(policy, now).await);
        }
        let hour = now.floor_to(HOUR_S.into());
        let is_new = self.published_for.lock().replace(hour) != Some(hour);
        if is_new || status.n_forecasts > 0 {
            publish::hour(&self.store, &self.metrics, &policies, hour);
        }
        status
    }
}
