//! Whether the actions of a composite alarm run now, wait, or are kept down by its suppressor.
//!
//! After a transition the actions wait for the suppressor (*wait period*): it may be about to go to ALARM itself. While it is
//! in ALARM they are kept down; after that for another while (*extension period*), in which the composite alarm may come
//! to rest. Then they run, for the state in which the alarm is then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CompositeAlarm, SuppressorSettings, rule};
use crate::Timestamp;
use crate::alarm::AlarmState;

/// What keeps actions from running (`ActionsSuppressedBy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum SuppressedBy {
    WaitPeriod,
    ExtensionPeriod,
    Alarm,
}

impl SuppressedBy {
    /// CloudWatch's name.
    pub fn name(self) -> &'static str {
        match self {
            SuppressedBy::WaitPeriod => "WaitPeriod",
            SuppressedBy::ExtensionPeriod => "ExtensionPeriod",
            SuppressedBy::Alarm => "Alarm",
        }
    }
}

/// The suppressor as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppressor {
    /// Its state.
    pub state: AlarmState,
    /// Since when.
    pub since: Timestamp,
}

/// What becomes of the actions of the last transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppression {
    /// They run.
    Run,
    /// They do not run as long as nothing changes.
    Down(SuppressedBy),
    /// They do not run before then.
    Until(SuppressedBy, Timestamp),
}

impl SuppressorSettings {
    /// Settings for a suppressor given by name or ARN.
    pub fn new(given: &str, wait_s: u32, extension_s: u32) -> SuppressorSettings {
        let alarm = rule::alarm_name(given).to_owned();
        SuppressorSettings { given: given.to_owned(), alarm, wait_s, extension_s }
    }
}

/// Decides on the actions of `alarm`'s last transition, which are due. `suppressor`: `None` if it has none or it is gone.
pub fn suppression(alarm: &CompositeAlarm, suppressor: Option<Suppressor>, now: Timestamp) -> Suppression {
    let (Some(settings), Some(suppressor)) = (&alarm.suppressor, suppressor) else { return Suppression::Run };
    if suppressor.state == AlarmState::Alarm {
        return Suppression::Down(SuppressedBy::Alarm);
    }
    let seconds = |s: u32| Duration::from_secs(s.into());
    let was_down = matches!(alarm.suppressed_by, Some(SuppressedBy::Alarm | SuppressedBy::ExtensionPeriod));
    let (by, until) = match was_down {
        true => (SuppressedBy::ExtensionPeriod, suppressor.since + seconds(settings.extension_s)),
        false => (SuppressedBy::WaitPeriod, alarm.state_transitioned_at + seconds(settings.wait_s)),
    };
    if now < until { Suppression::Until(by, until) } else { Suppression::Run }
}
