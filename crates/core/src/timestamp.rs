use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, the resolution of AWS's answers.
///
/// Stored and sent between rooms as that number; written for people as RFC 3339.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Timestamp(ms)
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(s: i64) -> Self {
        Timestamp(s * 1000)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Seconds since the epoch with a fraction (the JSON protocols' form).
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Start of the period of `period_s` seconds that holds this time, counted from the epoch.
    pub const fn floor_to(self, period_s: i64) -> Timestamp {
        let p = period_s * 1000;
        Timestamp(self.0.div_euclid(p) * p)
    }

    /// `2026-11-21T03:28:00Z`: whole seconds, as in activity causes.
    pub fn to_rfc3339_secs(self) -> String {
        jiff::Timestamp::from_second(self.as_secs()).map(|t| t.to_string()).unwrap_or_default()
    }

    /// `2026-11-21T03:28:00.123Z`: always three digits, as in the query protocols' answers.
    pub fn to_rfc3339_millis(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map(|t| format!("{t:.3}")).unwrap_or_default()
    }

    /// Parses RFC 3339.
    pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Timestamp(t.as_millisecond()))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_parses() {
        let t = Timestamp::from_millis(1_795_231_680_123);
        assert_eq!(t.to_rfc3339_millis(), "2026-11-21T03:28:00.123Z");
        assert_eq!(t.to_rfc3339_secs(), "2026-11-21T03:28:00Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-21T03:28:00.123Z"), Some(t));
        assert_eq!(Timestamp::from_secs(5).to_rfc3339_millis(), "1970-01-01T00:00:05.000Z");
    }

    #[test]
    fn floors_to_periods_and_saturates() {
        assert_eq!(Timestamp::from_secs(119).floor_to(60), Timestamp::from_secs(60));
        assert_eq!(Timestamp::from_secs(1).since(Timestamp::from_secs(2)), Duration::ZERO);
    }
}
