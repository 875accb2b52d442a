//! Executes scaling policies when alarms fire.
//!
//! What fired in one evaluation is sorted by group and decided group by group, each in one transaction
//! ([`puffer_inventory::policy_run`]); the group's converger sees the new wanted capacity and acts.
//!
//! Instances that warm up count as capacity but not in the metric, and those that are on their way out carry nothing any more.
//! CloudWatch's metric of a group knows nothing of either, so while there are such instances, the predefined metrics are taken
//! anew over those that serve and have warmed up. Policies that decide by the second (see
//! [`puffer_core::autoscaling::scaling::is_quick`]) always do so, from data that began after the last of them came or went.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use puffer_core::alarm::{MetricId, MetricQuery, MetricSource, Statistic};
use puffer_core::autoscaling::scaling::{self, Reaction};
use puffer_core::autoscaling::{
    Group, LifecycleState, PolicyKind, ScalingPolicy, TargetTrackingMetric, texts,
};
use puffer_core::ec2::InstanceState;
use puffer_core::{Clock, Timestamp};
use puffer_inventory::group_step::{Observation, Observed};
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

/// A policy's metric over those that serve and have warmed up.
enum OverServing {
    /// As the alarm has it.
    Same,
    /// Another value, of a period that began then.
    Value(f64, Timestamp),
    /// They have not been measured since they are those that serve.
    Unknown,
}

/// Periods looked back for an instance's newest datapoint: one may just not have been published yet.
const PERIODS_BACK: u32 = 3;

impl PolicyExecute {
    /// Over the policies of this store.
    pub fn new(store: Store, metrics: Metrics, clock: Arc<dyn Clock>) -> PolicyExecute {
        PolicyExecute { store, metrics, clock }
    }

    /// The policy's metric over those that serve and have warmed up, if it is one of instances and the group's own is over others,
    /// too.
    fn over_serving(&self, policy: &ScalingPolicy) -> OverServing {
        let PolicyKind::TargetTracking(tracking) = &policy.kind else { return OverServing::Same };
        let TargetTrackingMetric::Predefined { .. } = &tracking.metric else { return OverServing::Same };
        let now = self.clock.now();
        let Some(seen) = self.store.read(|r| Observation::of(r, &policy.group, now)) else {
            return OverServing::Same;
        };
        let warmup = Duration::from_secs(scaling::warmup_s(policy, &seen.group).into());
        let runs = |m: &Observed| m.instance.as_ref().is_some_and(|i| i.state == InstanceState::Running);
        let publishing = seen.members.iter().filter(|m| !m.member.state.is_of_pool());
        let (warm, others): (Vec<_>, Vec<_>) = publishing.partition(|m| {
            let since = m.member.in_service_at.filter(|_| m.member.state == LifecycleState::InService);
            since.is_some_and(|at| at + warmup <= now)
        });
        let reaction = Reaction::of(&seen.group.tags);
        let Ok((queries, period_s, _)) = scaling::metric_of(tracking, &seen.group.name, &reaction) else {
            return OverServing::Same;
        };
        let [MetricQuery { source: MetricSource::Stat { metric, .. }, .. }] = &queries[..] else {
            return OverServing::Same;
        };
        let quick = scaling::is_quick(period_s, &reaction);
        let same = !quick && !others.into_iter().any(|m| runs(m) || m.member.counts());
        if metric.namespace != "AWS/EC2" || warm.is_empty() || same {
            return OverServing::Same;
        }
        let window = Duration::from_secs((period_s * PERIODS_BACK).into());
        let start = now.floor_to(period_s.into()) - window;
        // Whoever is new may not have been measured yet; the average of the others would be taken for that of all.
        let is_new = |m: &Observed| m.member.in_service_at.is_some_and(|at| now < at + window);
        let since = if quick { scaling::unchanged_since(&seen.view(now)) } else { Timestamp::default() };
        let (mut values, mut oldest) = (Vec::with_capacity(warm.len()), None);
        for m in warm {
            let of_instance =
                MetricId::new(&metric.namespace, &metric.name, &[("InstanceId", &m.member.instance_id)]);
            let points = self.metrics.query(&of_instance, None, Statistic::Average, period_s, start, now);
            match points.last().filter(|(at, _)| *at >= since) {
                Some((at, value)) => {
                    values.push(*value);
                    oldest = Some(oldest.map_or(*at, |o: Timestamp| o.min(*at)));
                }
                None if quick && is_new(m) => return OverServing::Unknown,
                None => {}
            }
        }
        // Not every metric of instances is published one by one; then the alarm's own is all there is.
        oldest.map_or(OverServing::Same, |at| {
            OverServing::Value(values.iter().sum::<f64>() / values.len() as f64, at)
        })
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
            let (warmed_value, value_at) = match self.over_serving(&policy) {
                OverServing::Same => (None, alarm.value_at),
                OverServing::Value(value, at) => (Some(value), Some(at)),
                OverServing::Unknown => (None, None),
            };
            let trigger = Trigger::Alarm {
                warmed_value,
                name: alarm.alarm,
                state: alarm.state,
                value: alarm.value,
                value_at,
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
