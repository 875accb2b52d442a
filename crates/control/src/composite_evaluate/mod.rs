//! Evaluates composite alarms when the alarms below them move, and runs their actions unless a suppressor keeps them down.
//!
//! Nothing is done on a rhythm: a composite alarm is looked at when it was made or changed, when one of its children moved, when its
//! suppressor moved, and when a wait or an extension period of its suppressor ends. A state set by hand lasts until a child moves. Moves
//! go up as far as they reach in one transaction. A composite alarm that depends on itself is not evaluated.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::alarm::{
    Alarm, AlarmState, CompositeAlarm, SuppressedBy, Suppression, composite_reason, suppression,
};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::alarms::{self, StateChange, Subject};
use puffer_inventory::composite_alarms as composites;
use puffer_store::{Dirty, Store, StoreError, Subscription, Transaction};

use crate::Reconciler;
use crate::alarm_action::{ActionOutcome, AlarmAction, FiredAlarm, run_all};

/// Before actions whose outcome could not be recorded, or which took too long, are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The reconciler.
pub struct CompositeEvaluate {
    store: Store,
    clock: Arc<dyn Clock>,
    actions: Vec<Arc<dyn AlarmAction>>,
    metric_alarms: Subscription,
    composites: Subscription,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    taken: Vec<(Source, Dirty)>,
    /// The settings (their time) with which each composite alarm was last evaluated.
    configured: BTreeMap<String, Timestamp>,
    /// Composite alarms whose actions wait, and until when at most.
    waiting: BTreeMap<String, Option<Timestamp>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Metric,
    Composite,
}

/// What an activation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompositeStatus {
    /// Composite alarms that moved.
    pub n_transitions: usize,
    /// Actions run.
    pub n_actions: usize,
}

/// Why a composite alarm is evaluated.
enum Trigger {
    /// It is new or has new settings.
    Configured,
    /// This alarm moved.
    Child(String),
}

impl CompositeEvaluate {
    /// `actions` take what fires, each the ARNs that it knows.
    pub fn new(store: Store, clock: Arc<dyn Clock>, actions: Vec<Arc<dyn AlarmAction>>) -> CompositeEvaluate {
        let (metric_alarms, composites) = (store.subscribe::<Alarm>(), store.subscribe::<CompositeAlarm>());
        CompositeEvaluate { store, clock, actions, metric_alarms, composites, memory: Mutex::default() }
    }

    /// What is to be evaluated, and why; and whose actions are to be looked at.
    fn take_work(&self, now: Timestamp) -> (Vec<(String, Trigger)>, BTreeSet<String>) {
        let mut memory = self.memory.lock();
        let mut dirty = std::mem::take(&mut memory.taken);
        let sources = [(Source::Metric, &self.metric_alarms), (Source::Composite, &self.composites)];
        dirty.extend(sources.into_iter().filter_map(|(source, s)| Some((source, s.take()?))));
        let due = memory.waiting.iter().filter(|(_, until)| until.is_some_and(|u| u <= now));
        let mut acting: BTreeSet<String> = due.map(|(name, _)| name.clone()).collect();
        let mut work = Vec::new();
        self.store.read(|r| {
            for (source, dirty) in dirty {
                let keys: Vec<Arc<str>> = match (source, dirty) {
                    (_, Dirty::Keys(keys)) => keys,
                    // Children are read when a rule is evaluated, so all composite alarms are enough.
                    (_, Dirty::All) => {
                        memory.configured.clear();
                        r.iter::<CompositeAlarm>().map(|a| Arc::from(a.name.as_str())).collect()
                    }
                };
                for key in keys {
                    match r.get::<CompositeAlarm>(&key) {
                        Some(alarm) => {
                            acting.insert(alarm.name.clone());
                            if memory.configured.get(&*key) != Some(&alarm.configured_at) {
                                memory.configured.insert(alarm.name.clone(), alarm.configured_at);
                                work.push((alarm.name.clone(), Trigger::Configured));
                            }
                        }
                        None => {
                            memory.configured.remove(&*key);
                            memory.waiting.remove(&*key);
                        }
                    }
                    for parent in composites::parents(r, &key) {
                        work.push((parent.name.clone(), Trigger::Child(key.to_string())));
                    }
                    let suppressed = r.list_by::<CompositeAlarm>("suppressor", &key);
                    acting.extend(suppressed.iter().map(|a| a.name.clone()));
                }
            }
        });
        (work, acting)
    }

    /// Evaluates rules, as far up as moves reach, in one transaction. Gives the names of those that moved.
    async fn evaluate(
        &self,
        work: Vec<(String, Trigger)>,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, StoreError> {
        let evaluate = |tx: &mut Transaction<'_>| {
            let mut moved = BTreeSet::new();
            let mut left: std::collections::VecDeque<_> = work.into();
            while let Some((name, trigger)) = left.pop_front() {
                let Some(alarm) = tx.get::<CompositeAlarm>(&name) else { continue };
                let reader = tx.reader();
                if composites::is_cyclic(&reader, &alarm) {
                    tracing::warn!(alarm = name, "depends on itself and is not evaluated");
                    continue;
                }
                let holds = alarm.rule.holds(&|child| composites::view(&reader, child).map(|v| v.state));
                let state = if holds { AlarmState::Alarm } else { AlarmState::Ok };
                if state == alarm.state {
                    continue;
                }
                let child = match &trigger {
                    Trigger::Configured => None,
                    Trigger::Child(child) => {
                        composites::view(&reader, child).map(|v| (v.arn, v.state, v.transitioned_at))
                    }
                };
                let (reason, reason_data) = composite_reason(&alarm.arn, state, child.as_ref());
                let change = StateChange { state, reason, reason_data: Some(reason_data), at: now };
                composites::set_state(tx, &name, change);
                for parent in composites::parents(&tx.reader(), &name) {
                    left.push_back((parent.name.clone(), Trigger::Child(name.clone())));
                }
                moved.insert(name);
            }
            Ok(moved)
        };
        self.store.transact(evaluate).await
    }

    /// Runs the actions of one composite alarm if they are due and not suppressed.
    async fn act(&self, name: &str, now: Timestamp) -> Result<usize, StoreError> {
        let seen = self.store.read(|r| {
            let alarm = r.get::<CompositeAlarm>(name)?;
            let suppressor = composites::suppressor(r, &alarm);
            Some((alarm, suppressor))
        });
        let Some((alarm, suppressor)) = seen else { return Ok(0) };
        if !alarm.actions_due() {
            self.memory.lock().waiting.remove(name);
            if alarm.suppressed_by.is_some() {
                self.note_suppression(name, None).await?;
            }
            return Ok(0);
        }
        let (by, until) = match suppression(&alarm, suppressor, now) {
            Suppression::Run => return self.run(&alarm, now).await,
            Suppression::Down(by) => (by, None),
            Suppression::Until(by, until) => (by, Some(until)),
        };
        self.memory.lock().waiting.insert(name.to_owned(), until);
        if alarm.suppressed_by != Some(by) {
            self.note_suppression(name, Some(by)).await?;
        }
        Ok(0)
    }

    async fn note_suppression(&self, name: &str, by: Option<SuppressedBy>) -> Result<(), StoreError> {
        let note = |tx: &mut Transaction<'_>| {
            tx.update::<CompositeAlarm>(name, |a| a.suppressed_by = by);
            Ok(())
        };
        self.store.transact(note).await
    }

    async fn run(&self, alarm: &CompositeAlarm, now: Timestamp) -> Result<usize, StoreError> {
        let fire = |action: &String| FiredAlarm {
            action: action.clone(),
            alarm: alarm.name.clone(),
            state: alarm.state,
            value: None,
            value_at: None,
            threshold: 0.0,
            datapoints: Vec::new(),
            at: now,
        };
        let fired: Vec<FiredAlarm> = alarm.actions_for(alarm.state).iter().map(fire).collect();
        let outcomes = run_all(&self.actions, fired.clone()).await;
        if outcomes.iter().any(Option::is_none) {
            self.memory.lock().waiting.insert(alarm.name.clone(), Some(now + RETRY));
            return Ok(0);
        }
        let transition = alarm.state_transitioned_at;
        let told: Vec<(&FiredAlarm, ActionOutcome)> =
            fired.iter().zip(outcomes.into_iter().flatten()).collect();
        let record = |tx: &mut Transaction<'_>| {
            for (f, outcome) in &told {
                let failure = (!outcome.succeeded).then_some(&*outcome.summary);
                alarms::record_action(tx, Subject::composite(&alarm.name), now, &f.action, failure);
            }
            tx.update::<CompositeAlarm>(&alarm.name, |a| {
                a.actions_done_for = Some(transition);
                a.suppressed_by = None;
            });
            Ok(())
        };
        self.store.transact::<_, StoreError>(record).await?;
        self.memory.lock().waiting.remove(&alarm.name);
        Ok(fired.len())
    }
}

impl Reconciler for CompositeEvaluate {
    type Status = CompositeStatus;

    fn name(&self) -> &'static str {
        "composite_evaluate"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn wake(&self) {
        let due = self.memory.lock().waiting.values().flatten().min().copied();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep(at.since(self.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        let taken = tokio::select! {
            dirty = self.metric_alarms.next() => (Source::Metric, dirty),
            dirty = self.composites.next() => (Source::Composite, dirty),
            () = timer => return,
        };
        self.memory.lock().taken.push(taken);
    }

    async fn activate(&self) -> CompositeStatus {
        let now = self.clock.now();
        let (work, mut acting) = self.take_work(now);
        let mut status = CompositeStatus::default();
        if !work.is_empty() {
            match self.evaluate(work, now).await {
                Ok(moved) => {
                    status.n_transitions = moved.len();
                    acting.extend(moved);
                }
                Err(error) => {
                    tracing::error!(%error, "composite alarms could not be moved; all are evaluated again");
                    self.memory.lock().taken.push((Source::Composite, Dirty::All));
                }
            }
        }
        for name in acting {
            match self.act(&name, now).await {
                Ok(n) => status.n_actions += n,
                Err(error) => {
                    tracing::warn!(alarm = name, %error, "what became of its actions could not be stored");
                    self.memory.lock().waiting.insert(name, Some(now + RETRY));
                }
            }
        }
        status
    }
}
