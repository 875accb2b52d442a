//! Evaluates alarms and sets off their actions.
//!
//! Each alarm is evaluated once per minute (each ten seconds for periods of 10 to 30 s, each period below that). Which are due
//! comes from a queue, so an activation touches only those; their metrics are resolved once. A record is written only when an
//! alarm's state changes, and actions run after that is durable.
//!
//! Scaling actions are repeated while the state lasts (once a minute; more often only where a group asks for it by its tag): so a
//! lost action costs at most a minute, and no trace of which of them has run needs to be kept on disk. All other actions run once
//! for a transition; the alarm records that they have, so they survive a restart and are not repeated after it.

mod queue;
#[cfg(test)]
pub(crate) mod tests;
mod watched;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use puffer_core::alarm::{Alarm, Evaluation, reason};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::alarms::{self, StateChange, Subject};
use puffer_metrics::Metrics;
use puffer_store::{Dirty, Store, StoreError, Subscription, Transaction};
use tokio::sync::Mutex;

use crate::alarm_action::{ActionOutcome, AlarmAction, run_all};
use crate::{Reconciler, tick};
use queue::Queue;
use watched::Fired;

/// After the whole second: the datapoints of the period that just ended are in by then.
const OFFSET_MS: i64 = 300;
/// Alarms evaluated before other tasks get the thread.
const YIELD_AFTER: usize = 500;
/// Changes of state in one transaction, so that others get their turn at the writer's lock.
const TRANSITIONS_MAX: usize = 500;
/// Seconds between two looks at the history's age and size.
const PRUNE_PERIOD_S: i64 = 60;

/// The reconciler.
pub struct AlarmEvaluate {
    store: Store,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    actions: Vec<Arc<dyn AlarmAction>>,
    changed: Subscription,
    queue: Mutex<Queue>,
}

/// What an activation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlarmStatus {
    /// Alarms known.
    pub n_alarms: usize,
    /// Alarms evaluated.
    pub n_evaluated: usize,
    /// Of them, changed their state.
    pub n_transitions: usize,
    /// Actions run.
    pub n_actions: usize,
}

/// An alarm whose data call for another state.
struct Transition {
    alarm: Arc<Alarm>,
    change: StateChange,
}

impl AlarmEvaluate {
    /// `actions` take what fires, each the ARNs that it knows.
    pub fn new(
        store: Store,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
        actions: Vec<Arc<dyn AlarmAction>>,
    ) -> Self {
        let changed = store.subscribe::<Alarm>();
        AlarmEvaluate { store, metrics, clock, actions, changed, queue: Mutex::new(Queue::default()) }
    }

    /// Takes over what changed in the store.
    fn sync(&self, queue: &mut Queue, now: Timestamp) {
        match self.changed.take() {
            None => {}
            Some(Dirty::All) => {
                let alarms = self.store.list::<Alarm>();
                queue.retain(|name| alarms.binary_search_by(|a| a.name.as_str().cmp(name)).is_ok());
                for alarm in alarms {
                    queue.put(alarm, &self.metrics, now);
                }
            }
            Some(Dirty::Keys(keys)) => {
                for key in keys {
                    match self.store.get::<Alarm>(&key) {
                        Some(alarm) => queue.put_changed(alarm, &self.metrics, now),
                        None => queue.remove(&key),
                    }
                }
            }
        }
    }

    /// Makes transitions durable; gives those that still held (an alarm may have been changed or deleted meanwhile).
    async fn write(&self, transitions: &[Transition]) -> Vec<Option<Arc<Alarm>>> {
        // All transactions are made before the first is waited for, so that few commits to the disk take them all.
        let mut made = Vec::new();
        for chunk in transitions.chunks(TRANSITIONS_MAX) {
            let mut transaction = Box::pin(self.write_some(chunk));
            let first = poll_fn(|context| Poll::Ready(transaction.as_mut().poll(context))).await;
            made.push((chunk.len(), first, transaction));
            tokio::task::yield_now().await;
        }
        let mut all = Vec::with_capacity(transitions.len());
        for (n, first, transaction) in made {
            let written = match first {
                Poll::Ready(written) => written,
                Poll::Pending => transaction.await,
            };
            all.extend(written.unwrap_or_else(|error| {
                tracing::error!(%error, "changes of alarm states could not be stored; they are evaluated again");
                vec![None; n]
            }));
        }
        all
    }

    /// One transaction's worth of transitions.
    async fn write_some(&self, chunk: &[Transition]) -> Result<Vec<Option<Arc<Alarm>>>, StoreError> {
        let write = |tx: &mut Transaction<'_>, t: &Transition| {
            let current = tx.get::<Alarm>(&t.alarm.name)?;
            let same = current.configured_at == t.alarm.configured_at
                && current.state == t.alarm.state
                && current.state_updated_at == t.alarm.state_updated_at;
            if same { alarms::set_state(tx, &t.alarm.name, t.change.clone()) } else { None }
        };
        self.store.transact(|tx| Ok(chunk.iter().map(|t| write(tx, t)).collect())).await
    }

    /// Runs what fired, each action's share at once, and puts the outcomes in the history.
    async fn run(&self, fired: Vec<Fired>) -> usize {
        let n_actions = fired.len();
        let outcomes = run_all(&self.actions, fired.iter().map(|f| f.alarm.clone()).collect()).await;
        // What took too long is run again; repetitions that succeed are no news.
        let news: Vec<(&Fired, ActionOutcome)> = fired
            .iter()
            .zip(outcomes)
            .filter_map(|(f, outcome)| outcome.map(|o| (f, o)))
            .filter(|(f, outcome)| f.is_first || !outcome.succeeded)
            .collect();
        for chunk in news.chunks(TRANSITIONS_MAX) {
            let result = self.store.transact::<_, StoreError>(|tx| {
                for (f, outcome) in chunk {
                    let (name, failure) = (&f.alarm.alarm, (!outcome.succeeded).then_some(&*outcome.summary));
                    alarms::record_action(tx, Subject::metric(name), f.alarm.at, &f.alarm.action, failure);
                    if f.runs_once
                        && tx.get::<Alarm>(name).is_some_and(|a| a.actions_done_for != Some(f.transition))
                    {
                        tx.update::<Alarm>(name, |a| a.actions_done_for = Some(f.transition));
                    }
                }
                Ok(())
            });
            if let Err(error) = result.await {
                tracing::warn!(%error, "what became of alarm actions could not be stored");
            }
        }
        n_actions
    }

    async fn prune(&self, queue: &mut Queue, now: Timestamp) {
        if now.as_secs() < queue.prune_at_s {
            return;
        }
        let old = self.store.read(|r| alarms::history_to_prune(r, now));
        // More than one transaction's worth: go on at the next activation.
        queue.prune_at_s = now.as_secs() + if old.len() > 100 { 1 } else { PRUNE_PERIOD_S };
        if old.is_empty() {
            return;
        }
        let result = self
            .store
            .transact::<_, StoreError>(|tx| {
                for key in &old {
                    tx.delete::<puffer_core::alarm::HistoryItem>(key);
                }
                Ok(())
            })
            .await;
        if let Err(error) = result {
            tracing::warn!(%error, "old alarm history could not be removed");
        }
    }
}

impl Reconciler for AlarmEvaluate {
    type Status = AlarmStatus;

    fn name(&self) -> &'static str {
        "alarm_evaluate"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn wake(&self) {
        tick::next_second(&*self.clock, OFFSET_MS).await;
    }

    async fn activate(&self) -> AlarmStatus {
        let mut queue = self.queue.lock().await;
        let now = self.clock.now();
        self.sync(&mut queue, now);
        let mut status = AlarmStatus { n_alarms: queue.len(), ..AlarmStatus::default() };

        // States set by hand act at once, without waiting for the alarm's turn, and before it: the turn may bring the
        // state that the data call for.
        let mut fired = Vec::new();
        for name in queue.take_set_by_hand() {
            if let Some(watched) = queue.get_mut(&name) {
                let evaluation = watched.evaluate(now);
                watched.fire(&evaluation, now, &self.actions, &mut fired);
            }
        }

        let due = queue.take_due(now);
        let mut results: Vec<(Arc<str>, Evaluation)> = Vec::new();
        let mut transitions = Vec::new();
        for name in due {
            let Some(watched) = queue.get_mut(&name) else { continue };
            status.n_evaluated += 1;
            if status.n_evaluated.is_multiple_of(YIELD_AFTER) {
                tokio::task::yield_now().await;
            }
            let evaluation = watched.evaluate(now);
            let alarm = &watched.alarm;
            if let Some(state) = evaluation.state.filter(|s| *s != alarm.state) {
                let (text, data) = reason(alarm, state, &evaluation, now);
                let change = StateChange { state, reason: text, reason_data: Some(data), at: now };
                transitions.push(Transition { alarm: Arc::clone(alarm), change });
            }
            if watched.wants_result() || transitions.last().is_some_and(|t| t.alarm.name == *name) {
                results.push((name, evaluation));
            }
        }

        let written = self.write(&transitions).await;
        for (transition, alarm) in transitions.iter().zip(written) {
            let Some(watched) = queue.get_mut(transition.alarm.name.as_str()) else { continue };
            if let Some(alarm) = alarm {
                status.n_transitions += 1;
                watched.alarm = alarm;
            }
        }

        for (name, evaluation) in results {
            if let Some(watched) = queue.get_mut(&name) {
                watched.fire(&evaluation, now, &self.actions, &mut fired);
            }
        }
        self.prune(&mut queue, now).await;
        drop(queue);
        status.n_actions = self.run(fired).await;
        status
    }
}
