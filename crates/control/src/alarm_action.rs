//! The arrow from alarms to what they set off.
//!
//! `alarm_evaluate` knows nothing of scaling: it hands what fired in one evaluation to an [`AlarmAction`]. All of it at
//! once, because policies that fire together are decided together (the largest resulting capacity wins).

use async_trait::async_trait;
use puffer_core::Timestamp;
use puffer_core::alarm::AlarmState;

/// An alarm in a state for which it names an action.
#[derive(Debug, Clone, PartialEq)]
pub struct FiredAlarm {
    /// The action: an ARN that [`AlarmAction::takes`].
    pub action: String,
    /// The alarm's name.
    pub alarm: String,
    /// The state that calls for the action.
    pub state: AlarmState,
    /// The newest datapoint, aggregated by the alarm's statistic; `None` if there is none.
    pub value: Option<f64>,
    /// The alarm's threshold.
    pub threshold: f64,
    /// The datapoints that decided, oldest first, for explanations.
    pub datapoints: Vec<f64>,
    /// When the alarm was evaluated.
    pub at: Timestamp,
}

/// What became of a [`FiredAlarm`]: for the alarm's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionOutcome {
    /// Whether the action was accepted (also when there was nothing to change).
    pub succeeded: bool,
    /// A sentence for people.
    pub summary: String,
}

/// Takes the actions of alarms. Implemented by [`crate::PolicyExecute`] for scaling policies.
///
/// While an alarm stays in a state, its Auto Scaling actions are repeated once a minute (once per evaluation for periods below
/// a minute), so an implementation must be idempotent in effect: the same alarm again changes nothing unless more is needed.
#[async_trait]
pub trait AlarmAction: Send + Sync + 'static {
    /// Whether this ARN is for it, and so to be repeated while the state lasts.
    fn takes(&self, action: &str) -> bool;

    /// Acts on all that fired in one evaluation; one outcome per entry, in order.
    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome>;
}
