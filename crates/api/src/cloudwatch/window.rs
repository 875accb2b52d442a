//! Time ranges of queries: which periods are allowed, and where the first one starts.

use puffer_core::Timestamp;

const DAY_S: i64 = 86_400;

/// Seconds to whole multiples of which a range's start is rounded down, and of which a period must be a multiple: what is
/// older than 15 days is kept by five minutes, what is older than 63 days by the hour.
fn resolution_s(start: Timestamp, now: Timestamp) -> i64 {
    let age_s = now.as_secs() - start.as_secs();
    match age_s {
        a if a > 63 * DAY_S => 3600,
        a if a > 15 * DAY_S => 300,
        _ => 60,
    }
}

/// Whether a period can be asked for with this start.
pub(super) fn is_period(period_s: i32, start: Timestamp, now: Timestamp) -> bool {
    let period_s = i64::from(period_s);
    match resolution_s(start, now) {
        60 if period_s < 60 => matches!(period_s, 1 | 5 | 10 | 20 | 30),
        resolution_s => period_s > 0 && period_s <= DAY_S && period_s % resolution_s == 0,
    }
}

/// The start of the first period.
pub(super) fn first_period(start: Timestamp, period_s: i32, now: Timestamp) -> Timestamp {
    let unit_s = if period_s < 60 { i64::from(period_s.max(1)) } else { resolution_s(start, now) };
    start.floor_to(unit_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_by_age() {
        let now = Timestamp::from_secs(1_795_219_200);
        let ago = |days: i64| Timestamp::from_secs(now.as_secs() - days * DAY_S);
        for (period, age, good) in [
            (1, 0, true),
            (7, 0, false),
            (60, 14, true),
            (90, 0, false),
            (60, 16, false),
            (300, 16, true),
            (300, 64, false),
            (3600, 64, true),
            (10, 20, false),
            (86_400, 0, true),
            (172_800, 0, false),
        ] {
            assert_eq!(is_period(period, ago(age), now), good, "{period} s, {age} days old");
        }
        let odd = Timestamp::from_secs(now.as_secs() - 3_333);
        assert_eq!(first_period(odd, 300, now).as_secs(), now.as_secs() - 3_360);
        assert_eq!(first_period(odd, 10, now).as_secs(), now.as_secs() - 3_340);
    }
}
