//! Evaluates the triggers of the API of 2009, once a minute.
//!
//! A trigger's whole state is its metric and its group, so nothing is remembered between two looks: a breach that lasts is
//! seen again each minute, and the group's cooldown says when it counts again.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use puffer_core::alarm::Statistic;
use puffer_core::autoscaling::scaling::Decision;
use puffer_core::autoscaling::trigger::{Breach, Trigger};
use puffer_core::{Clock, Record, Timestamp};
use puffer_inventory::groups::GroupError;
use puffer_inventory::triggers::{self, Fired};
use puffer_metrics::Metrics;
use puffer_store::Store;

use crate::Reconciler;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(60);
/// After the whole minute: the datapoints of the period that just ended are in by then.
const OFFSET_MS: i64 = 500;

/// The reconciler.
pub struct TriggerEvaluate {
    store: Store,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

/// What an activation did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TriggerStatus {
    /// Triggers looked at.
    pub n_triggers: usize,
    /// Triggers beyond a threshold.
    pub n_breaching: usize,
    /// Groups whose capacity changed.
    pub n_changes: usize,
}

/// The datapoints of a trigger's window, oldest first.
fn points(metrics: &Metrics, trigger: &Trigger, now: Timestamp) -> Vec<f64> {
    let Some(statistic) = Statistic::parse(&trigger.statistic) else { return Vec::new() };
    let (start, end) = trigger.window(now);
    let points =
        metrics.query(&trigger.metric, trigger.metric_unit(), statistic, trigger.period_s, start, end);
    points.into_iter().map(|(_, value)| value).collect()
}

impl TriggerEvaluate {
    /// Over the triggers of this store.
    pub fn new(store: Store, metrics: Metrics, clock: Arc<dyn Clock>) -> TriggerEvaluate {
        TriggerEvaluate { store, metrics, clock }
    }

    async fn evaluate(&self, trigger: &Trigger, now: Timestamp, status: &mut TriggerStatus) {
        let points = points(&self.metrics, trigger, now);
        let breach = trigger.judge(&points);
        if matches!(breach, Breach::None | Breach::NoData) {
            return;
        }
        status.n_breaching += 1;
        // Looked at before a transaction is opened: a breach that only waits for its cooldown writes nothing.
        let decision = self.store.read(|r| triggers::decide(r, trigger, breach, now));
        if !matches!(decision, Some(Decision::Change { .. })) {
            tracing::debug!(trigger = trigger.name, ?decision, "a trigger changes nothing");
            return;
        }
        let key = trigger.key();
        let fired =
            self.store.transact::<_, GroupError>(|tx| triggers::fire(tx, &key, breach, &points, now)).await;
        match fired {
            Ok(Fired::Set(from, to)) => {
                status.n_changes += 1;
                tracing::info!(trigger = trigger.name, group = trigger.group, from, to, "a trigger fired");
            }
            Ok(Fired::Kept(_) | Fired::Gone) => {}
            Err(error) => tracing::warn!(trigger = trigger.name, %error, "a trigger could not be fired"),
        }
    }
}

impl Reconciler for TriggerEvaluate {
    type Status = TriggerStatus;

    fn name(&self) -> &'static str {
        "trigger_evaluate"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn wake(&self) {
        let minute_ms = 60_000;
        let past_ms = (self.clock.now().as_millis() - OFFSET_MS).rem_euclid(minute_ms);
        let left_ms = u64::try_from(minute_ms - past_ms).unwrap_or(60_000);
        tokio::time::sleep(Duration::from_millis(left_ms)).await;
    }

    async fn activate(&self) -> TriggerStatus {
        let now = self.clock.now();
        let triggers = self.store.list::<Trigger>();
        let mut status = TriggerStatus { n_triggers: triggers.len(), ..TriggerStatus::default() };
        for trigger in triggers {
            self.evaluate(&trigger, now, &mut status).await;
        }
        status
    }
}
