//! Executes scaling policies when alarms fire.
//!
//! What fired in one evaluation is sorted by group and decided group by group, each in one transaction
//! ([`puffer_inventory::policy_run`]); the group's converger sees the new wanted capacity and acts.
//!
//! Instances that warm up count as capacity but not in the metric. CloudWatch's metric of a group knows nothing of warm-ups, so
//! while some instances warm up, the predefined metrics are taken anew over those that have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use puffer_core::Clock;
use puffer_core::alarm::{MetricId, MetricQuery, MetricSource, Statistic};
use puffer_core::autoscaling::scaling::{self, Reaction};
use puffer_core::autoscaling::{
    Group, LifecycleState, PolicyKind, ScalingPolicy, TargetTrackingMetric, texts,
};
use puffer_inventory::group_step::Observation;
use puffer_inventory::policies;
use puffer_inventory::policy_run::{self, Outcome, RunError, Trigger};
use puffer_metrics::Metrics;
use puffer_store::Store;

use crate::{ActionOutcome, AlarmAction, FiredAlarm};

/// Takes the alarms whose action is a scaling policy.
pub struct PolicyExecute {
    store: Store,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

/// Seconds between two runs of a policy while its alarm lasts (CloudWatch user guide, "Alarm actions").
const REPEAT_S: u32 = 60;
/// Periods looked back for an instance's newest datapoint: one may just not have been published yet.
const PERIODS_BACK: u32 = 3;

impl PolicyExecute {
    /// Over the policies of this store.
    pub fn new(store: Store, metrics: Metrics, clock: Arc<dyn Clock>) -> PolicyExecute {
        PolicyExecute { store, metrics, clock }
    }

    /// The policy's metric over the group's warmed instances, if some are warming up and the metric is one of instances.
    fn warmed_value(&self, policy: &ScalingPolicy) -> Option<f64> {
        let PolicyKind::TargetTracking(tracking) = &policy.kind else { return None };
        let TargetTrackingMetric::Predefined { .. } = &tracking.metric else { return None };
        let now = self.clock.now();
        let (ids, queries, period_s) = self.store.read(|r| {
            let seen = Observation::of(r, &policy.group, now)?;
            let warmup = Duration::from_secs(scaling::warmup_s(policy, &seen.group).into());
            let serving = seen.members.iter().filter(|m| m.member.counts());
            let (warm, warming): (Vec<_>, Vec<_>) = serving.partition(|m| {
                let since = m.member.in_service_at.filter(|_| m.member.state == LifecycleState::InService);
                since.is_some_and(|at| at + warmup <= now)
            });
            let reaction = Reaction::of(&seen.group.tags);
            let (queries, period_s, _) = scaling::metric_of(tracking, &seen.group.name, &reaction).ok()?;
            let ids: Vec<String> = warm.iter().map(|m| m.member.instance_id.clone()).collect();
            (!warming.is_empty() && !ids.is_empty()).then_some((ids, queries, period_s))
        })?;
        let [MetricQuery { source: MetricSource::Stat { metric, .. }, .. }] = &queries[..] else {
            return None;
        };
        if metric.namespace != "AWS/EC2" {
            return None;
        }
        let start = now.floor_to(period_s.into()) - Duration::from_secs((period_s * PERIODS_BACK).into());
        let newest = ids.iter().filter_map(|id| {
            let of_instance = MetricId::new(&metric.namespace, &metric.name, &[("InstanceId", id)]);
            let points = self.metrics.query(&of_instance, None, Statistic::Average, period_s, start, now);
            points.last().map(|(_, value)| *value)
        });
        let values: Vec<f64> = newest.collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    async fn run_group(&self, group: &str, fired: Vec<(Arc<ScalingPolicy>, Trigger)>) -> Vec<ActionOutcome> {
        let now = self.clock.now();
        let outcomes = self.store.transact::<_, RunError>(|tx| policy_run::run(tx, group, &fired, now)).await;
        match outcomes {
            Ok(outcomes) => {
                outcomes.iter().zip(&fired).map(|(o, (policy, _))| summary(&policy.name, o)).collect()
            }
            Err(error) => {
                tracing::warn!(group, %error, "scaling policies could not be executed");
                let failed = ActionOutcome { succeeded: false, summary: error.to_string() };
                vec![failed; fired.len()]
            }
        }
    }
}

fn summary(policy: &str, outcome: &Outcome) -> ActionOutcome {
    let summary = match outcome {
        Outcome::Set(from, to) => format!("policy {policy} changed the desired capacity from {from} to {to}"),
        Outcome::Outdone(to) => format!("policy {policy} would have set {to}; another wanted more"),
        Outcome::Kept(why) => format!("policy {policy} changed nothing: {why}"),
    };
    ActionOutcome { succeeded: true, summary }
}

#[async_trait]
impl AlarmAction for PolicyExecute {
    fn takes(&self, action: &str) -> bool {
        texts::is_policy_arn(action)
    }

    /// Once a minute, as on AWS whatever the alarm's period. A group with the tag `puffer:metric-period` wants more: there each
    /// period counts.
    fn repeat_s(&self, action: &str) -> Option<u32> {
        let period_s = self.store.read(|r| {
            let group = r.get::<Group>(&policies::by_arn(r, action)?.group)?;
            Reaction::of(&group.tags).period_s
        });
        Some(period_s.unwrap_or(REPEAT_S).min(REPEAT_S))
    }

    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome> {
        let none =
            |arn: &str| ActionOutcome { succeeded: false, summary: format!("there is no policy {arn}") };
        let mut outcomes: Vec<ActionOutcome> = fired.iter().map(|f| none(&f.action)).collect();
        let mut by_group: BTreeMap<String, Vec<(usize, Arc<ScalingPolicy>, Trigger)>> = BTreeMap::new();
        for (place, alarm) in fired.into_iter().enumerate() {
            let Some(policy) = self.store.read(|r| policies::by_arn(r, &alarm.action)) else { continue };
            let high = !scaling::is_low_alarm(&alarm.alarm);
            let trigger = Trigger::Alarm {
                warmed_value: if high { self.warmed_value(&policy) } else { None },
                name: alarm.alarm,
                state: alarm.state,
                value: alarm.value,
                threshold: alarm.threshold,
                datapoints: alarm.datapoints,
            };
            by_group.entry(policy.group.clone()).or_default().push((place, policy, trigger));
        }
        for (group, entries) in by_group {
            let (places, fired): (Vec<_>, Vec<_>) =
                entries.into_iter().map(|(place, policy, trigger)| (place, (policy, trigger))).unzip();
            for (place, outcome) in places.into_iter().zip(self.run_group(&group, fired).await) {
                outcomes[place] = outcome;
            }
        }
        outcomes
    }
}
