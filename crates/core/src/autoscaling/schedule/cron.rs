//! Five-field cron in a time zone.
//!
//! Days of month and of week together mean either, as in Unix cron. At a change to summer time, what falls into the hour
//! that is left out runs right after it; in the hour that comes twice, a fixed time runs once. Zone data are built in, so the
//! same recurrence means the same on every host.

use std::sync::OnceLock;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::Timestamp;

/// Zone of a recurrence that names none.
const UTC: &str = "Etc/UTC";
/// Names of months and days that a field may hold besides digits.
const NAMES: [&str; 19] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC", "SUN", "MON", "TUE",
    "WED", "THU", "FRI", "SAT",
];

/// When something happens again and again.
#[derive(Debug, Clone)]
pub struct Recurrence {
    cron: Cron,
    zone: TimeZone,
    text: String,
}

/// A recurrence that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecurrenceError {
    /// Not five fields of cron, or a day that no year has.
    #[error("Given recurrence string: {0} is invalid")]
    Pattern(String),
    /// Not a zone of the IANA database.
    #[error("Given time zone: {0} is invalid")]
    Zone(String),
}

impl Recurrence {
    /// Reads five fields (minute, hour, day of month, month, day of week) and an IANA zone name.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Recurrence, RecurrenceError> {
        static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
        let invalid = || RecurrenceError::Pattern(text.to_owned());
        // The library knows more than Unix cron does (seconds, years, nicknames, `L`, `W`, `#`, `?`); AWS does not.
        if text.split_whitespace().count() != 5 || !text.split_whitespace().all(is_plain_field) {
            return Err(invalid());
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|_| invalid())?;
        let zone = zone.unwrap_or(UTC);
        let zones = ZONES.get_or_init(TimeZoneDatabase::bundled);
        let zone = zones.get(zone).map_err(|_| RecurrenceError::Zone(zone.to_owned()))?;
        Ok(Recurrence { cron, zone, text: text.to_owned() })
    }

    /// The first time strictly after `at`; `None` if there is none.
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&at, false).ok()?;
        Some(Timestamp::from_millis(next.timestamp().as_millisecond()))
    }

    /// The error of one that has no next time.
    pub(super) fn never(&self) -> RecurrenceError {
        RecurrenceError::Pattern(self.text.clone())
    }
}

fn is_plain_field(field: &str) -> bool {
    let mut rest = field.to_ascii_uppercase();
    for name in NAMES {
        rest = rest.replace(name, "0");
    }
    rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'*' | b',' | b'-' | b'/'))
}
