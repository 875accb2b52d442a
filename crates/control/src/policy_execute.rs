//! Executes scaling policies when alarms fire.
//!
//! What fired in one evaluation is sorted by group and decided group by group, each in one transaction
//! ([`puffer_inventory::policy_run`]); the group's converger sees the new wanted capacity and acts.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use puffer_core::Clock;
use puffer_core::autoscaling::{ScalingPolicy, texts};
use puffer_inventory::policies;
use puffer_inventory::policy_run::{self, Outcome, RunError, Trigger};
use puffer_store::Store;

use crate::{ActionOutcome, AlarmAction, FiredAlarm};

/// Takes the alarms whose action is a scaling policy.
pub struct PolicyExecute {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl PolicyExecute {
    /// Over the policies of this store.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> PolicyExecute {
        PolicyExecute { store, clock }
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

    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome> {
        let none =
            |arn: &str| ActionOutcome { succeeded: false, summary: format!("there is no policy {arn}") };
        let mut outcomes: Vec<ActionOutcome> = fired.iter().map(|f| none(&f.action)).collect();
        let mut by_group: BTreeMap<String, Vec<(usize, Arc<ScalingPolicy>, Trigger)>> = BTreeMap::new();
        for (place, alarm) in fired.into_iter().enumerate() {
            let Some(policy) = self.store.read(|r| policies::by_arn(r, &alarm.action)) else { continue };
            let trigger = Trigger::Alarm {
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
