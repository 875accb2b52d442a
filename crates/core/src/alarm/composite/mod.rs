//! Composite alarms: alarms over the states of other alarms (CloudWatch user guide, "Combining alarms").

mod rule;
mod suppress;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use rule::{CHILDREN_MAX, ELEMENTS_MAX, Rule, RuleError};
pub use suppress::{SuppressedBy, Suppression, Suppressor, suppression};

use super::AlarmState;
use crate::{Record, Tags, Timestamp};

/// A composite alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompositeAlarm {
    /// Name, unique among all alarms of the account.
    pub name: String,
    /// Full ARN.
    pub arn: String,
    /// Description.
    pub description: Option<String>,
    /// The rule as given.
    pub rule_text: String,
    /// The rule as read.
    pub rule: Rule,
    /// Whether actions run.
    pub actions_enabled: bool,
    /// ARNs on entering OK.
    pub ok_actions: Vec<String>,
    /// ARNs on entering ALARM.
    pub alarm_actions: Vec<String>,
    /// ARNs on entering INSUFFICIENT_DATA.
    pub insufficient_data_actions: Vec<String>,
    /// The alarm that keeps actions from running.
    pub suppressor: Option<SuppressorSettings>,
    /// State now.
    pub state: AlarmState,
    /// Why, for people.
    pub state_reason: String,
    /// Why, as JSON.
    pub state_reason_data: Option<String>,
    /// When `state`, reason or data last changed.
    pub state_updated_at: Timestamp,
    /// When `state` last became another one.
    pub state_transitioned_at: Timestamp,
    /// The state before that.
    #[serde(default)]
    pub state_before: AlarmState,
    /// When the settings last changed.
    pub configured_at: Timestamp,
    /// The transition (its time) whose actions have run, or were not to run. Another one than `state_transitioned_at`: they
    /// are still due.
    pub actions_done_for: Option<Timestamp>,
    /// What keeps the actions that are due from running.
    pub suppressed_by: Option<SuppressedBy>,
    /// Tags.
    pub tags: Tags,
}

/// Which alarm suppresses actions, and how long is waited for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressorSettings {
    /// As given: a name or an ARN.
    pub given: String,
    /// Its name.
    pub alarm: String,
    /// Seconds that actions wait for the suppressor to go to ALARM.
    pub wait_s: u32,
    /// Seconds that actions wait on after the suppressor left ALARM.
    pub extension_s: u32,
}

impl CompositeAlarm {
    /// The actions named for a state.
    pub fn actions_for(&self, state: AlarmState) -> &[String] {
        match state {
            AlarmState::Ok => &self.ok_actions,
            AlarmState::Alarm => &self.alarm_actions,
            AlarmState::InsufficientData => &self.insufficient_data_actions,
        }
    }

    /// Whether the actions of the last transition are still to run.
    pub fn actions_due(&self) -> bool {
        self.actions_done_for != Some(self.state_transitioned_at)
    }
}

impl Record for CompositeAlarm {
    const COLLECTION: &'static str = "cloudwatch-composite-alarms";
    const INDEXES: &'static [&'static str] = &["child", "suppressor"];

    fn key(&self) -> String {
        self.name.clone()
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        for child in self.rule.children() {
            push("child", child);
        }
        if let Some(suppressor) = &self.suppressor {
            push("suppressor", &suppressor.alarm);
        }
    }
}
