//! Adjustments of the capacity and their rounding.
//!
//! Percentages round towards zero but never to nothing: 12.7 → 12, 0.67 → 1, −0.58 → −1, −6.67 → −6.
//! Source: EC2 Auto Scaling guide, "Scaling adjustment types".

use crate::autoscaling::AdjustmentType;

impl AdjustmentType {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            AdjustmentType::ChangeInCapacity => "ChangeInCapacity",
            AdjustmentType::ExactCapacity => "ExactCapacity",
            AdjustmentType::PercentChangeInCapacity => "PercentChangeInCapacity",
        }
    }

    /// By AWS's name.
    pub fn parse(name: &str) -> Option<AdjustmentType> {
        [
            AdjustmentType::ChangeInCapacity,
            AdjustmentType::ExactCapacity,
            AdjustmentType::PercentChangeInCapacity,
        ]
        .into_iter()
        .find(|t| t.name() == name)
    }

    pub(super) fn describe(self, adjustment: i32) -> String {
        match self {
            AdjustmentType::ChangeInCapacity => format!("a change by {adjustment}"),
            AdjustmentType::ExactCapacity => format!("exactly {adjustment}"),
            AdjustmentType::PercentChangeInCapacity => format!("a change by {adjustment} %"),
        }
    }
}

/// The capacity after an adjustment of `current`, before the group's bounds.
pub fn adjusted(kind: AdjustmentType, adjustment: i32, min_magnitude: Option<u32>, current: u32) -> i64 {
    let current = i64::from(current);
    let adjustment = i64::from(adjustment);
    match kind {
        AdjustmentType::ChangeInCapacity => current + adjustment,
        AdjustmentType::ExactCapacity => adjustment,
        AdjustmentType::PercentChangeInCapacity => {
            let hundredths = current * adjustment;
            let rounded = match hundredths {
                0 => 0,
                1..100 => 1,
                -99..0 => -1,
                other => other / 100,
            };
            let least = i64::from(min_magnitude.unwrap_or(0));
            // A magnitude also acts where the percentage of an empty group is nothing.
            current + adjustment.signum() * rounded.abs().max(least)
        }
    }
}
