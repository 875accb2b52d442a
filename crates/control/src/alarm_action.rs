//! The arrow from alarms to what they set off.
//!
//! `alarm_evaluate` knows nothing of scaling: it hands what fired in one evaluation to an [`AlarmAction`]. All of it at
//! once, because policies that fire together are decided together (the largest resulting capacity wins).

use std::sync::Arc;
use std::time::Duration;

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
    /// When the period of that datapoint began.
    pub value_at: Option<Timestamp>,
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

impl From<Result<String, String>> for ActionOutcome {
    /// The summary of what was done, or of why it could not be.
    fn from(done: Result<String, String>) -> ActionOutcome {
        let succeeded = done.is_ok();
        let (Ok(summary) | Err(summary)) = done;
        ActionOutcome { succeeded, summary }
    }
}

/// Takes the actions of alarms. Implemented by [`crate::PolicyExecute`] for scaling policies, [`crate::InstanceAction`] for
/// single instances and [`crate::TopicAction`] for topics.
///
/// An action runs once for each transition, and again if the server died before its outcome was recorded, so an
/// implementation must be idempotent in effect: the same alarm again changes nothing unless more is needed.
#[async_trait]
pub trait AlarmAction: Send + Sync + 'static {
    /// Whether this ARN is for it.
    fn takes(&self, action: &str) -> bool;

    /// Seconds after which this action is repeated while the state lasts; `None`: it runs once for a transition. Those of Auto
    /// Scaling are repeated.
    fn repeat_s(&self, _action: &str) -> Option<u32> {
        None
    }

    /// Acts on all that fired in one evaluation; one outcome per entry, in order.
    async fn run(&self, fired: Vec<FiredAlarm>) -> Vec<ActionOutcome>;
}

/// Longest that one round of actions may take.
const ACTION_LIMIT: Duration = Duration::from_secs(30);

/// Runs what fired, each action's share at once. One outcome per entry, in order; `None`: it took too long and may have
/// happened or not.
pub(crate) async fn run_all(
    actions: &[Arc<dyn AlarmAction>],
    fired: Vec<FiredAlarm>,
) -> Vec<Option<ActionOutcome>> {
    let unknown = |f: &FiredAlarm| {
        let summary = format!("{} is not an action that Puffer knows", f.action);
        Some(ActionOutcome { succeeded: false, summary })
    };
    let mut outcomes: Vec<Option<ActionOutcome>> = fired.iter().map(unknown).collect();
    for action in actions {
        let places: Vec<usize> = (0..fired.len()).filter(|&i| action.takes(&fired[i].action)).collect();
        if places.is_empty() {
            continue;
        }
        let run = action.run(places.iter().map(|&i| fired[i].clone()).collect());
        match tokio::time::timeout(ACTION_LIMIT, run).await {
            Ok(done) => places.iter().zip(done).for_each(|(&i, outcome)| outcomes[i] = Some(outcome)),
            Err(_) => {
                tracing::error!(n = places.len(), "alarm actions took too long; they are run again");
                places.iter().for_each(|&i| outcomes[i] = None);
            }
        }
    }
    outcomes
}
