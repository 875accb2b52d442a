//! How quickly target tracking reacts: AWS's timing, or what the group's `puffer:` tags ask for.
//!
//! AWS's alarms look at three minutes above and fifteen minutes below. The tags choose other periods and counts for all
//! target-tracking policies of the group, which nothing in AWS's API could carry.

use std::collections::BTreeMap;

/// Seconds of a datapoint of the policy's alarms, 1–60.
pub const TAG_METRIC_PERIOD: &str = "puffer:metric-period";
/// Datapoints above the target that make the group grow.
pub const TAG_SCALE_OUT_DATAPOINTS: &str = "puffer:scale-out-datapoints";
/// Datapoints below the scale-in threshold that make the group shrink.
pub const TAG_SCALE_IN_DATAPOINTS: &str = "puffer:scale-in-datapoints";

/// Most datapoints of an alarm by tag. At the longest period that is an hour and forty minutes.
pub const DATAPOINTS_MAX: u32 = 100;
/// Longest period by tag: AWS's own.
pub const PERIOD_S_MAX: u32 = 60;

/// Period and counts of the alarms of target tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaction {
    /// Seconds; `None`: the policy's own.
    pub period_s: Option<u32>,
    /// Of the high alarm.
    pub out_datapoints: u32,
    /// Of the low alarm.
    pub in_datapoints: u32,
}

impl Default for Reaction {
    fn default() -> Self {
        Reaction { period_s: None, out_datapoints: 3, in_datapoints: 15 }
    }
}

impl Reaction {
    /// Reads the tags (`key → value`). An error says which tag is wrong and what it may be.
    pub fn from_tags<'t>(mut value_of: impl FnMut(&str) -> Option<&'t str>) -> Result<Reaction, String> {
        let mut number = |key: &str, max: u32| match value_of(key) {
            None => Ok(None),
            Some(text) => match text.trim().parse::<u32>() {
                Ok(n) if (1..=max).contains(&n) => Ok(Some(n)),
                _ => Err(format!("The value '{text}' of tag {key} must be a whole number from 1 to {max}")),
            },
        };
        let standard = Reaction::default();
        Ok(Reaction {
            period_s: number(TAG_METRIC_PERIOD, PERIOD_S_MAX)?,
            out_datapoints: number(TAG_SCALE_OUT_DATAPOINTS, DATAPOINTS_MAX)?
                .unwrap_or(standard.out_datapoints),
            in_datapoints: number(TAG_SCALE_IN_DATAPOINTS, DATAPOINTS_MAX)?.unwrap_or(standard.in_datapoints),
        })
    }

    /// The reaction of a group with these tags. Tags were checked when they were set; a value that is no number any more
    /// counts as absent.
    pub fn of(tags: &BTreeMap<String, super::super::GroupTag>) -> Reaction {
        Reaction::from_tags(|key| tags.get(key).map(|t| t.value.as_str())).unwrap_or_default()
    }

    /// Whether this tag is one of these.
    pub fn reads(key: &str) -> bool {
        [TAG_METRIC_PERIOD, TAG_SCALE_OUT_DATAPOINTS, TAG_SCALE_IN_DATAPOINTS].contains(&key)
    }
}
