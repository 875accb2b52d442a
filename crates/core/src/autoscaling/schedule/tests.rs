use proptest::prelude::*;

use super::*;
use crate::autoscaling::view::fixtures::group;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// The first runs after a moment.
fn runs(pattern: &str, zone: Option<&str>, from: &str, n: usize) -> Vec<String> {
    let recurrence = Recurrence::parse(pattern, zone).unwrap();
    let mut now = at(from);
    let mut seen = Vec::new();
    for _ in 0..n {
        now = recurrence.after(now).unwrap();
        seen.push(now.to_rfc3339_secs());
    }
    seen
}

#[test]
fn five_fields_in_utc() {
    let table: &[(&str, &str, &[&str])] = &[
        ("*/15 * * * *", "2026-11-21T03:28:00Z", &["2026-11-21T03:30:00Z", "2026-11-21T03:45:00Z"]),
        ("0 8 * * MON-FRI", "2026-11-20T08:00:00Z", &["2026-11-23T08:00:00Z", "2026-11-24T08:00:00Z"]),
        // 1 December, or any Sunday: days of month and week together mean either.
        ("30 0 1 12 0", "2026-11-28T00:00:00Z", &["2026-12-01T00:30:00Z", "2026-12-06T00:30:00Z"]),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]),
        ("0 0 * * 7", "2026-11-21T00:00:00Z", &["2026-11-22T00:00:00Z"]),
        ("5,10 1-2 1 jan *", "2026-12-31T23:00:00Z", &["2027-01-01T01:05:00Z", "2027-01-01T01:10:00Z"]),
    ];
    for (pattern, from, want) in table {
        assert_eq!(runs(pattern, None, from, want.len()), *want, "{pattern}");
    }
}

#[test]
fn time_zones_follow_summer_time() {
    let table: &[(&str, &str, &str, &[&str])] = &[
        // 9 in the morning stays 9 in the morning.
        (
            "0 9 * * *",
            "America/New_York",
            "2026-03-06T20:00:00Z",
            &["2026-03-07T14:00:00Z", "2026-03-08T13:00:00Z", "2026-03-09T13:00:00Z"],
        ),
        // Half past two does not exist on 8 March: right after the gap.
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T08:00:00Z",
            &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        ),
        // Half past one comes twice on 1 November: once.
        (
            "30 1 * * *",
            "America/New_York",
            "2026-11-01T00:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        ),
        (
            "0 6 * * *",
            "Europe/Berlin",
            "2026-10-24T05:00:00Z",
            &["2026-10-25T05:00:00Z", "2026-10-26T05:00:00Z"],
        ),
        ("0 0 * * *", "Asia/Kolkata", "2026-11-21T00:00:00Z", &["2026-11-21T18:30:00Z"]),
        ("0 12 * * *", "Pacific/Kiritimati", "2026-11-21T00:00:00Z", &["2026-11-21T22:00:00Z"]),
    ];
    for (pattern, zone, from, want) in table {
        assert_eq!(runs(pattern, Some(zone), from, want.len()), *want, "{pattern} in {zone}");
    }
}

#[test]
fn what_is_no_recurrence_is_refused() {
    let patterns = [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "cron(0 1 * * *)",
        "0 25 * * *",
        "60 * * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 L * *",
        "0 0 ? * MON",
        "0 0 1W * *",
        "0 0 * * MON#2",
        "a * * * *",
        "0 0 * * 8",
        "0 0 5-1 * *",
    ];
    for pattern in patterns {
        let refused = Recurrence::parse(pattern, None).unwrap_err();
        assert_eq!(refused.to_string(), format!("Given recurrence string: {pattern} is invalid"));
    }
    let refused = Recurrence::parse("* * * * *", Some("Mars/Olympus")).unwrap_err();
    assert_eq!(refused.to_string(), "Given time zone: Mars/Olympus is invalid");
    assert_eq!(
        first_due(
            &Timing { recurrence: Some("0 0 31 2 *"), ..Timing::default() },
            at("2026-11-21T00:00:00Z")
        ),
        Err(TimingError::Recurrence(RecurrenceError::Pattern("0 0 31 2 *".into())))
    );
}

#[test]
fn the_first_run_is_the_start_time_and_then_the_recurrence() {
    let now = at("2026-11-21T10:00:00Z");
    let later = |h: u64| now + Duration::from_secs(h * 3600);
    let daily = Timing { recurrence: Some("0 8 * * *"), ..Timing::default() };
    let run = |text| Ok(Due::Run(at(text)));
    let table = [
        (daily.clone(), run("2026-11-22T08:00:00Z")),
        (Timing { start: Some(later(1)), ..daily.clone() }, run("2026-11-21T11:00:00Z")),
        (Timing { start: Some(later(1)), ..Timing::default() }, run("2026-11-21T11:00:00Z")),
        (Timing { start: Some(now), ..Timing::default() }, run("2026-11-21T10:00:00Z")),
        (Timing::default(), Err(TimingError::Never)),
        (Timing { end: Some(later(1)), ..Timing::default() }, Err(TimingError::Never)),
        (Timing { start: Some(now - Duration::from_secs(1)), ..daily.clone() }, Err(TimingError::StartPast)),
        (Timing { end: Some(now), ..daily.clone() }, Err(TimingError::EndPast)),
        (
            Timing { start: Some(later(2)), end: Some(later(2)), ..daily.clone() },
            Err(TimingError::EndBeforeStart),
        ),
        (Timing { end: Some(later(2)), ..daily.clone() }, Err(TimingError::NoRun)),
    ];
    for (timing, want) in table {
        assert_eq!(first_due(&timing, now), want, "{timing:?}");
    }
}

fn action(recurrence: Option<&str>, end: Option<Timestamp>, due: Timestamp) -> ScheduledAction {
    ScheduledAction {
        name: "a".into(),
        group: "g".into(),
        arn: String::new(),
        position: 0,
        start: None,
        end,
        recurrence: recurrence.map(Into::into),
        time_zone: None,
        sizes: Sizes::default(),
        due: Due::Run(due),
    }
}

#[test]
fn after_a_run_comes_the_next_the_end_or_nothing() {
    let due = at("2026-11-21T08:00:00Z");
    let day = Duration::from_secs(86_400);
    assert_eq!(action(None, None, due).next(due), None);
    assert_eq!(action(Some("0 8 * * *"), None, due).next(due), Some(Due::Run(due + day)));
    let half = due + day / 2;
    assert_eq!(action(Some("0 8 * * *"), Some(half), due).next(due), Some(Due::Expire(half)));
    assert_eq!(action(Some("0 8 * * *"), Some(due + day), due).next(due), Some(Due::Run(due + day)));
    let expiring = ScheduledAction { due: Due::Expire(half), ..action(Some("0 8 * * *"), Some(half), due) };
    assert_eq!(expiring.next(half), None);
    // Down for days: only what is still within two minutes counts.
    let late = due + day * 3 + Duration::from_secs(119);
    let stale = action(Some("0 8 * * *"), None, due);
    assert!(stale.is_missed(late));
    assert_eq!(stale.next(late), Some(Due::Run(due + day * 3)));
    assert!(!action(None, None, due + day * 3).is_missed(late));
}

#[test]
fn sizes_move_the_capacity_into_the_bounds() {
    let g = group(2, 10, 4);
    let sizes = |min, max, desired| Sizes { min, max, desired };
    let table = [
        (sizes(None, None, Some(7)), Ok((2, 10, 7))),
        (sizes(None, None, Some(70)), Ok((2, 10, 10))),
        (sizes(None, None, Some(0)), Ok((2, 10, 2))),
        (sizes(Some(5), None, None), Ok((5, 10, 5))),
        (sizes(None, Some(3), None), Ok((2, 3, 3))),
        (sizes(Some(0), Some(0), Some(0)), Ok((0, 0, 0))),
        (
            sizes(Some(11), None, Some(11)),
            Err("Min bound, 11, must be less than or equal to max bound, 10".into()),
        ),
    ];
    for (sizes, want) in table {
        assert_eq!(sizes.applied_to(&g), want, "{sizes:?}");
    }
}

proptest! {
    #[test]
    fn runs_grow_and_never_repeat(
        minute in 0u8..60, hour in 0u8..24, from in 1_600_000_000i64..2_000_000_000,
        zone in prop::sample::select(vec!["Etc/UTC", "America/New_York", "Australia/Lord_Howe", "Europe/London"]),
    ) {
        let recurrence = Recurrence::parse(&format!("{minute} {hour} * * *"), Some(zone)).unwrap();
        let mut now = Timestamp::from_secs(from);
        for _ in 0..5 {
            let next = recurrence.after(now).unwrap();
            prop_assert!(next > now);
            prop_assert!(next.since(now) <= Duration::from_secs(26 * 3600));
            now = next;
        }
    }
}
