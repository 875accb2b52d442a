use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp};

/// Seconds for which CloudWatch keeps an alarm's history: 14 days.
pub const HISTORY_S: u64 = 14 * 86_400;

/// What a history item tells of (`HistoryItemType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum HistoryKind {
    ConfigurationUpdate,
    StateUpdate,
    Action,
}

impl HistoryKind {
    /// CloudWatch's name.
    pub fn name(self) -> &'static str {
        match self {
            HistoryKind::ConfigurationUpdate => "ConfigurationUpdate",
            HistoryKind::StateUpdate => "StateUpdate",
            HistoryKind::Action => "Action",
        }
    }

    /// Reads CloudWatch's name.
    pub fn parse(name: &str) -> Option<HistoryKind> {
        [HistoryKind::ConfigurationUpdate, HistoryKind::StateUpdate, HistoryKind::Action]
            .into_iter()
            .find(|k| k.name() == name)
    }
}

/// Something that happened to an alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryItem {
    /// The alarm's name; the alarm itself may be gone.
    pub alarm: String,
    /// When.
    pub at: Timestamp,
    /// Tells items of one alarm and one millisecond apart.
    pub number: u32,
    /// What kind.
    pub kind: HistoryKind,
    /// A sentence.
    pub summary: String,
    /// JSON.
    pub data: String,
    /// Of a composite alarm.
    #[serde(default)]
    pub composite: bool,
}

impl HistoryItem {
    /// Keys sort by time: those of items before `at` are smaller than this, those after greater.
    pub fn key_at(at: Timestamp) -> String {
        format!("{:015}", at.as_millis().max(0))
    }
}

impl Record for HistoryItem {
    const COLLECTION: &'static str = "cloudwatch-alarm-history";
    const INDEXES: &'static [&'static str] = &["alarm"];

    fn key(&self) -> String {
        format!("{}|{}|{:06}", HistoryItem::key_at(self.at), self.alarm, self.number)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("alarm", &self.alarm);
    }
}
