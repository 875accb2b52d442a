//! Triggers of the API of 2009: one metric with a lower and an upper threshold, each with an adjustment of the group.
//!
//! A trigger fires when **all** datapoints of the last `BreachDuration` seconds are beyond the same threshold; a gap is no
//! breach. While an activity or the group's cooldown runs, nothing happens, as with simple policies.

use serde::{Deserialize, Serialize};

use super::AdjustmentType;
use crate::alarm::{MetricId, Unit};
use crate::{Record, Timestamp};

/// `BreachDuration`, seconds.
pub const BREACH_S: std::ops::RangeInclusive<u32> = 120..=86_400;
/// `Period` is a multiple of this, seconds.
pub const PERIOD_STEP_S: u32 = 60;

/// `LowerBreachScaleIncrement` and its like: `1`, `-2`, `10%`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Increment {
    /// As given.
    pub text: String,
    /// By how many instances, or by how many percent of the group.
    pub adjustment: (AdjustmentType, i32),
}

impl Increment {
    /// Reads a signed number, perhaps with a percent sign.
    pub fn parse(text: &str) -> Option<Increment> {
        let trimmed = text.trim();
        let (number, kind) = match trimmed.strip_suffix('%') {
            Some(number) => (number, AdjustmentType::PercentChangeInCapacity),
            None => (trimmed, AdjustmentType::ChangeInCapacity),
        };
        let adjustment = number.trim().parse().ok()?;
        Some(Increment { text: trimmed.to_owned(), adjustment: (kind, adjustment) })
    }
}

/// A threshold and what to do beyond it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Of the metric, in its unit.
    pub value: f64,
    /// The adjustment.
    pub increment: Increment,
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Name, unique in its group.
    pub name: String,
    /// The group's name.
    pub group: String,
    /// `MeasureName`, `Namespace` and `Dimensions`.
    pub metric: MetricId,
    /// `Average`, `Sum`, `Minimum` or `Maximum`.
    pub statistic: String,
    /// `Unit` as given; `None` as text means any.
    pub unit: Option<String>,
    /// `CustomUnit` as given.
    pub custom_unit: Option<String>,
    /// Seconds.
    pub period_s: u32,
    /// Below it.
    pub lower: Threshold,
    /// Above it.
    pub upper: Threshold,
    /// Seconds.
    pub breach_s: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Record for Trigger {
    const COLLECTION: &'static str = "autoscaling-triggers";
    const INDEXES: &'static [&'static str] = &["group"];

    fn key(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("group", &self.group);
    }
}

/// Where a trigger's metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// A datapoint of the window is missing.
    NoData,
    /// Not all datapoints are beyond one threshold.
    None,
    /// All are below the lower one.
    Lower,
    /// All are above the upper one.
    Upper,
}

impl Breach {
    /// The trigger's `Status`.
    pub fn status(self) -> &'static str {
        match self {
            Breach::NoData => "NoData",
            Breach::None => "OK",
            Breach::Lower => "LowBreaching",
            Breach::Upper => "HighBreaching",
        }
    }
}

impl Trigger {
    /// The unit that the metric's data must have, if any.
    pub fn metric_unit(&self) -> Option<Unit> {
        self.unit.as_deref().filter(|u| *u != "None").and_then(Unit::parse)
    }

    /// Datapoints of the window.
    pub fn n_points(&self) -> usize {
        (self.breach_s / self.period_s.max(1)).max(1) as usize
    }

    /// The window that ends with the last whole period before `now`.
    pub fn window(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let end = now.floor_to(self.period_s.max(1).into());
        let length_s = u64::from(self.period_s) * self.n_points() as u64;
        (end - std::time::Duration::from_secs(length_s), end)
    }

    /// Judges the window's datapoints.
    pub fn judge(&self, points: &[f64]) -> Breach {
        if points.len() < self.n_points() {
            return Breach::NoData;
        }
        if points.iter().all(|v| *v < self.lower.value) {
            return Breach::Lower;
        }
        if points.iter().all(|v| *v > self.upper.value) {
            return Breach::Upper;
        }
        Breach::None
    }

    /// The threshold that is broken.
    pub fn broken(&self, breach: Breach) -> Option<&Threshold> {
        match breach {
            Breach::Lower => Some(&self.lower),
            Breach::Upper => Some(&self.upper),
            Breach::NoData | Breach::None => None,
        }
    }
}

#[cfg(test)]
fn fixture() -> Trigger {
    let threshold = |value, text: &str| Threshold { value, increment: Increment::parse(text).unwrap() };
    Trigger {
        name: "t".into(),
        group: "g".into(),
        metric: MetricId::new("AWS/EC2", "CPUUtilization", &[("AutoScalingGroupName", "g")]),
        statistic: "Average".into(),
        unit: None,
        custom_unit: None,
        period_s: 60,
        lower: threshold(20.0, "-1"),
        upper: threshold(80.0, "25%"),
        breach_s: 180,
        created_at: Timestamp::from_secs(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn increments_are_numbers_or_percentages() {
        use AdjustmentType as T;
        let table = [
            ("1", Some((T::ChangeInCapacity, 1))),
            ("-2", Some((T::ChangeInCapacity, -2))),
            ("+3", Some((T::ChangeInCapacity, 3))),
            (" 10% ", Some((T::PercentChangeInCapacity, 10))),
            ("-25%", Some((T::PercentChangeInCapacity, -25))),
            ("", None),
            ("%", None),
            ("1.5", None),
            ("many", None),
        ];
        for (text, want) in table {
            assert_eq!(Increment::parse(text).map(|i| i.adjustment), want, "{text}");
        }
    }

    #[test]
    fn all_datapoints_must_breach_and_none_may_be_missing() {
        let t = fixture();
        let table: &[(&[f64], Breach)] = &[
            (&[81.0, 90.0, 99.0], Breach::Upper),
            (&[81.0, 80.0, 99.0], Breach::None),
            (&[10.0, 0.0, 19.9], Breach::Lower),
            (&[10.0, 0.0, 20.0], Breach::None),
            (&[10.0, 90.0, 10.0], Breach::None),
            (&[90.0, 90.0], Breach::NoData),
            (&[], Breach::NoData),
        ];
        for (points, want) in table {
            assert_eq!(t.judge(points), *want, "{points:?}");
        }
        let five = Trigger { period_s: 300, breach_s: 120, ..t };
        assert_eq!((five.n_points(), five.judge(&[90.0])), (1, Breach::Upper));
        let at = Timestamp::from_secs;
        assert_eq!(five.window(at(1_000)), (at(600), at(900)));
        assert_eq!(fixture().window(at(1_000)), (at(780), at(960)));
    }
}
