//! One alarm with its metrics resolved and its expressions parsed.

use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::math::{Grid, Program};
use puffer_core::alarm::{Alarm, Datapoint, Evaluation, MetricSource, Statistic, Unit, evaluate};
use puffer_metrics::{MetricReader, Metrics, Point};

use crate::alarm_action::{AlarmAction, FiredAlarm};

/// An action that is to run.
pub(super) struct Fired {
    pub(super) alarm: FiredAlarm,
    /// For the first time in this state.
    pub(super) is_first: bool,
    /// Once for a transition, rather than while the state lasts.
    pub(super) runs_once: bool,
    /// The transition (its time).
    pub(super) transition: Timestamp,
}

pub(super) struct Watched {
    pub(super) alarm: Arc<Alarm>,
    pub(super) turn: u64,
    /// The transition (its time) for which actions ran, and when they last did.
    pub(super) fired: Option<(Timestamp, Runs)>,
    inputs: Vec<Input>,
    maths: Option<(Program, String)>,
    points: Vec<Point>,
}

/// When each action last ran.
type Runs = Vec<(String, Timestamp)>;

/// A little early counts: turns are whole seconds apart, give or take a scheduling delay.
const EARLY_MS: i64 = 1500;

struct Input {
    id: String,
    reader: MetricReader,
    statistic: Statistic,
    period_s: u32,
}

impl Watched {
    pub(super) fn new(alarm: Arc<Alarm>, metrics: &Metrics) -> Watched {
        let answer = alarm.queries.iter().find(|q| q.return_data);
        let maths = answer.filter(|q| matches!(q.source, MetricSource::Expression { .. })).and_then(|q| {
            match Program::new(&alarm.queries) {
                Ok(program) => Some((program, q.id.clone())),
                Err(error) => {
                    tracing::error!(alarm = alarm.name, %error, "a stored alarm's expression cannot be used");
                    None
                }
            }
        });
        let needed = match (&maths, answer) {
            (Some((program, id)), _) => program.metrics_of(id),
            (None, Some(query)) => vec![query.id.clone()],
            (None, None) => Vec::new(),
        };
        let mut inputs = Vec::with_capacity(needed.len());
        for query in alarm.queries.iter().filter(|q| needed.contains(&q.id)) {
            if let MetricSource::Stat { metric, statistic, period_s, unit } = &query.source {
                let Some(statistic) = Statistic::parse(statistic) else { continue };
                let unit = unit.as_deref().and_then(Unit::parse);
                let reader = metrics.reader(metric, unit);
                inputs.push(Input { id: query.id.clone(), reader, statistic, period_s: *period_s });
            }
        }
        Watched { alarm, turn: 0, fired: None, inputs, maths, points: Vec::new() }
    }

    pub(super) fn has_settings_of(&self, other: &Alarm) -> bool {
        let mine = &*self.alarm;
        mine.configured_at == other.configured_at
            && mine.queries == other.queries
            && mine.period_s == other.period_s
            && mine.evaluation_periods == other.evaluation_periods
            && mine.threshold == other.threshold
    }

    pub(super) fn evaluate(&mut self, now: Timestamp) -> Evaluation {
        let (start, end) = self.alarm.range(now);
        let datapoints = match &self.maths {
            None => {
                self.points.clear();
                if let [input] = self.inputs.as_mut_slice() {
                    input.reader.read(input.statistic, input.period_s, start, end, &mut self.points);
                }
                let point = |p: &Point| Datapoint { at: p.at, value: p.value, samples: Some(p.samples) };
                self.points.iter().map(point).collect()
            }
            Some((program, id)) => {
                let mut data = BTreeMap::new();
                for input in &mut self.inputs {
                    self.points.clear();
                    input.reader.read(input.statistic, input.period_s, start, end, &mut self.points);
                    let series = self.points.iter().map(|p| (p.at.as_millis(), p.value)).collect();
                    data.insert(input.id.clone(), series);
                }
                let grid = Grid { start, end, period_s: self.alarm.period_s };
                match program.evaluate(id, &data, grid) {
                    Ok(mut several) if several.len() == 1 => several
                        .remove(0)
                        .1
                        .into_iter()
                        .map(|(t, value)| Datapoint { at: Timestamp::from_millis(t), value, samples: None })
                        .collect(),
                    Ok(_) => Vec::new(),
                    Err(error) => {
                        tracing::warn!(alarm = self.alarm.name, %error, "an alarm's expression failed");
                        Vec::new()
                    }
                }
            }
        };
        evaluate(&self.alarm, start, &datapoints)
    }

    /// Whether the state in which the alarm is calls for actions.
    pub(super) fn wants_result(&self) -> bool {
        !self.alarm.actions().is_empty()
    }

    /// Whether its actions have not yet run for the state in which it is.
    pub(super) fn is_new_state(&self) -> bool {
        self.fired.as_ref().is_none_or(|(transition, _)| *transition != self.alarm.state_transitioned_at)
    }

    /// Adds what is to be run now.
    pub(super) fn fire(
        &mut self,
        evaluation: &Evaluation,
        now: Timestamp,
        actions: &[Arc<dyn AlarmAction>],
        fired: &mut Vec<Fired>,
    ) {
        if !self.wants_result() {
            return;
        }
        let is_new = self.is_new_state();
        let transition = self.alarm.state_transitioned_at;
        let mut runs = self.fired.take().filter(|_| !is_new).map(|(_, runs)| runs).unwrap_or_default();
        let alarm = &self.alarm;
        for action in alarm.actions() {
            let last = runs.iter().position(|(a, _)| a == action);
            let repeat_s = actions.iter().find(|a| a.takes(action)).and_then(|a| a.repeat_s(action));
            let waits = match (repeat_s, last.map(|i| runs[i].1)) {
                // Recorded once it is done; what has just been begun is not begun again.
                (None, last) => alarm.actions_done_for == Some(transition) || last == Some(now),
                (Some(_), None) => false,
                (Some(repeat_s), Some(last)) => {
                    let since_ms = now.as_millis() - last.as_millis();
                    // Set by hand and due at once: it has acted just now. After a clock that was set back nobody knows how long
                    // ago that was.
                    last == now || (0..i64::from(repeat_s) * 1000 - EARLY_MS).contains(&since_ms)
                }
            };
            if waits {
                continue;
            }
            match last {
                Some(i) => runs[i].1 = now,
                None => runs.push((action.clone(), now)),
            }
            let runs_once = repeat_s.is_none();
            let fired_alarm = FiredAlarm {
                action: action.clone(),
                alarm: alarm.name.clone(),
                state: alarm.state,
                value: evaluation.datapoints.last().map(|p| p.value),
                value_at: evaluation.datapoints.last().map(|p| p.at),
                threshold: alarm.threshold,
                datapoints: evaluation.datapoints.iter().map(|p| p.value).collect(),
                at: now,
            };
            let is_first = runs_once || is_new;
            fired.push(Fired { alarm: fired_alarm, is_first, runs_once, transition });
        }
        self.fired = Some((transition, runs));
    }
}
