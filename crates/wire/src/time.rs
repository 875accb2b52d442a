//! Times on the wire: ISO 8601 in the query protocols, seconds since the epoch in JSON. Writing is on the path of every
//! answer, so it goes digit by digit into the buffer.

use crate::value::EpochMillis;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Year, month and day of a day number since 1970-01-01 (Howard Hinnant's `civil_from_days`: eras of 400 years that start
/// in March, so that the leap day is the last of its year).
fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

fn digits<const N: usize>(out: &mut Vec<u8>, mut value: u32) {
    let mut text = [b'0'; N];
    for place in text.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text);
}

/// Writes `2026-11-21T03:28:00.123Z`. Years outside 0–9999 are clamped, since no client reads them.
pub(crate) fn write_iso(out: &mut Vec<u8>, time: EpochMillis) {
    const FIRST: i64 = -62_167_219_200_000;
    const LAST: i64 = 253_402_300_799_999;
    let ms = time.0.clamp(FIRST, LAST);
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let of_day = ms.rem_euclid(DAY_MS) as u32;
    digits::<4>(out, year as u32);
    out.push(b'-');
    digits::<2>(out, month);
    out.push(b'-');
    digits::<2>(out, day);
    out.push(b'T');
    digits::<2>(out, of_day / 3_600_000);
    out.push(b':');
    digits::<2>(out, of_day / 60_000 % 60);
    out.push(b':');
    digits::<2>(out, of_day / 1000 % 60);
    out.push(b'.');
    digits::<3>(out, of_day % 1000);
    out.push(b'Z');
}

/// Writes a time as [`write_iso`] does, but whole seconds without their zeros: old clients of the query protocol parse
/// what AWS sends there to the letter.
pub(crate) fn write_iso_short(out: &mut Vec<u8>, time: EpochMillis) {
    write_iso(out, time);
    if out.ends_with(b".000Z") {
        out.truncate(out.len() - b".000Z".len());
        out.push(b'Z');
    }
}

/// Writes seconds since the epoch, with three decimals unless they are zero.
pub(crate) fn write_epoch(out: &mut Vec<u8>, time: EpochMillis) {
    let (sign, ms) = if time.0 < 0 { ("-", time.0.unsigned_abs()) } else { ("", time.0 as u64) };
    out.extend_from_slice(sign.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(ms / 1000).as_bytes());
    if ms % 1000 != 0 {
        out.push(b'.');
        digits::<3>(out, (ms % 1000) as u32);
    }
}

/// Reads what clients send: RFC 3339 with any offset, ISO 8601 without an offset (taken as UTC, as old clients mean it), a date
/// alone, or seconds since the epoch.
pub(crate) fn parse(text: &str) -> Option<EpochMillis> {
    if let Ok(t) = text.parse::<jiff::Timestamp>() {
        return Some(EpochMillis(t.as_millisecond()));
    }
    if let Ok(t) = text.parse::<jiff::civil::DateTime>() {
        return Some(EpochMillis(t.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()));
    }
    from_seconds(text.parse().ok()?)
}

/// From seconds since the epoch, rounded to milliseconds.
pub(crate) fn from_seconds(seconds: f64) -> Option<EpochMillis> {
    // Up to the year 10000; beyond, milliseconds would also lose precision.
    (seconds.abs() < 2.6e11).then(|| EpochMillis((seconds * 1000.0).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(ms: i64) -> String {
        let mut out = Vec::new();
        write_iso(&mut out, EpochMillis(ms));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_and_reads() {
        assert_eq!(iso(1_795_231_680_123), "2026-11-21T03:28:00.123Z");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(i64::MAX), "9999-12-31T23:59:59.999Z");
        for text in [
            "2026-11-21T03:28:00.123Z",
            "2026-11-21T04:28:00.123+01:00",
            "2026-11-21T03:28:00.123",
            "1795231680.123",
        ] {
            assert_eq!(parse(text), Some(EpochMillis(1_795_231_680_123)), "{text}");
        }
        for (ms, text) in
            [(1_795_231_680_123, "2026-11-21T03:28:00.123Z"), (1_795_231_680_000, "2026-11-21T03:28:00Z")]
        {
            let mut out = Vec::new();
            write_iso_short(&mut out, EpochMillis(ms));
            assert_eq!(out, text.as_bytes());
        }
        assert_eq!(parse("2026-11-21"), Some(EpochMillis(1_795_219_200_000)));
        for text in ["", "yesterday", "NaN", "1e300", "2026-13-01T00:00:00Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_jiff(ms in -62_000_000_000_000i64..253_000_000_000_000) {
            proptest::prop_assert_eq!(iso(ms), format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap()));
            proptest::prop_assert_eq!(parse(&iso(ms)), Some(EpochMillis(ms)));
            let mut out = Vec::new();
            write_epoch(&mut out, EpochMillis(ms));
            proptest::prop_assert_eq!(parse(std::str::from_utf8(&out).unwrap()), Some(EpochMillis(ms)));
        }
    }
}
