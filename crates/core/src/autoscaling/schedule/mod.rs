//! Scheduled actions: a group's size by the clock, once or again and again.
//!
//! An action runs at its start time, if it has one, then by its recurrence until its end time. One whose time has passed by
//! more than [`LATE_MAX`] (the server was down) is not made up for, just as one whose group has the process suspended:
//! AWS promises no more than two minutes, and a size that belonged to this morning may be wrong by noon.
//! Source: EC2 Auto Scaling guide, "Scheduled scaling".

mod cron;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use cron::{Recurrence, RecurrenceError};

use super::Group;
use crate::{Record, Timestamp};

/// Actions of a group (AWS's quota).
pub const ACTIONS_PER_GROUP_MAX: usize = 125;
/// How late an action may run; beyond that it is skipped.
pub const LATE_MAX: Duration = Duration::from_secs(120);

/// What happens to an action next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Due {
    /// It runs.
    Run(Timestamp),
    /// Its end time comes before another run: it vanishes.
    Expire(Timestamp),
}

impl Due {
    /// When.
    pub fn at(self) -> Timestamp {
        match self {
            Due::Run(at) | Due::Expire(at) => at,
        }
    }
}

/// The sizes that an action sets; those it does not name stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sizes {
    /// `MinSize`.
    pub min: Option<u32>,
    /// `MaxSize`.
    pub max: Option<u32>,
    /// `DesiredCapacity`.
    pub desired: Option<u32>,
}

impl Sizes {
    /// The group's `(min, max, desired)` after the action: the desired capacity is moved into the bounds. An error is the
    /// text for people when the bounds contradict each other.
    pub fn applied_to(&self, group: &Group) -> Result<(u32, u32, u32), String> {
        let (min, max) = (self.min.unwrap_or(group.min), self.max.unwrap_or(group.max));
        if min > max {
            return Err(format!("Min bound, {min}, must be less than or equal to max bound, {max}"));
        }
        Ok((min, max, self.desired.unwrap_or(group.desired).clamp(min, max)))
    }
}

/// A scheduled action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledAction {
    /// Name, unique in its group.
    pub name: String,
    /// The group's name.
    pub group: String,
    /// Full ARN.
    pub arn: String,
    /// Place among the group's actions: those due at the same time run in the order they were made.
    pub position: u64,
    /// `StartTime` as given.
    pub start: Option<Timestamp>,
    /// `EndTime` as given.
    pub end: Option<Timestamp>,
    /// `Recurrence` as given.
    pub recurrence: Option<String>,
    /// `TimeZone` as given; it is the recurrence's, other times are absolute.
    pub time_zone: Option<String>,
    /// What it sets.
    pub sizes: Sizes,
    /// What happens next.
    pub due: Due,
}

impl Record for ScheduledAction {
    const COLLECTION: &'static str = "autoscaling-scheduled-actions";
    const INDEXES: &'static [&'static str] = &["group"];

    fn key(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("group", &self.group);
    }
}

/// When an action runs, as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timing<'a> {
    /// `StartTime`.
    pub start: Option<Timestamp>,
    /// `EndTime`.
    pub end: Option<Timestamp>,
    /// `Recurrence`.
    pub recurrence: Option<&'a str>,
    /// `TimeZone`.
    pub time_zone: Option<&'a str>,
}

/// Why a timing makes no sense. The texts are for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Neither start nor recurrence.
    #[error("Either StartTime or Recurrence must be specified")]
    Never,
    /// Start before now.
    #[error("Given start time is in the past")]
    StartPast,
    /// End before now.
    #[error("Given end time is in the past")]
    EndPast,
    /// End not after start.
    #[error("Given end time is not after the start time")]
    EndBeforeStart,
    /// No run before the end.
    #[error("The scheduled action would never run before its end time")]
    NoRun,
    /// Not a recurrence.
    #[error(transparent)]
    Recurrence(#[from] RecurrenceError),
}

/// What happens first to an action with this timing.
pub fn first_due(timing: &Timing<'_>, now: Timestamp) -> Result<Due, TimingError> {
    let recurrence = timing.recurrence.map(|text| Recurrence::parse(text, timing.time_zone)).transpose()?;
    if recurrence.is_none() && timing.time_zone.is_some() {
        // Checked although it has no effect without a recurrence, as on AWS.
        Recurrence::parse("0 0 * * *", timing.time_zone)?;
    }
    if timing.start.is_some_and(|start| start < now) {
        return Err(TimingError::StartPast);
    }
    if timing.end.is_some_and(|end| end <= now) {
        return Err(TimingError::EndPast);
    }
    if let (Some(start), Some(end)) = (timing.start, timing.end)
        && end <= start
    {
        return Err(TimingError::EndBeforeStart);
    }
    let first = match (timing.start, &recurrence) {
        (Some(start), _) => start,
        (None, Some(recurrence)) => recurrence.after(now).ok_or_else(|| recurrence.never())?,
        (None, None) => return Err(TimingError::Never),
    };
    match timing.end {
        Some(end) if first > end => Err(TimingError::NoRun),
        _ => Ok(Due::Run(first)),
    }
}

impl ScheduledAction {
    /// What happens after the run that was due, seen at `now`; `None`: nothing, so the action vanishes. Runs that a late look
    /// has passed over are not made up for.
    pub fn next(&self, now: Timestamp) -> Option<Due> {
        let Due::Run(ran) = self.due else { return None };
        let text = self.recurrence.as_deref()?;
        // A recurrence was checked when it was stored; one that no longer parses can only end.
        let recurrence = Recurrence::parse(text, self.time_zone.as_deref()).ok()?;
        let next = recurrence.after(ran.max(now - LATE_MAX));
        match (next, self.end) {
            (Some(next), Some(end)) if next > end => Some(Due::Expire(end)),
            (Some(next), _) => Some(Due::Run(next)),
            (None, _) => None,
        }
    }

    /// Whether the run that is due is too late to be made.
    pub fn is_missed(&self, now: Timestamp) -> bool {
        self.due.at() + LATE_MAX < now
    }
}
