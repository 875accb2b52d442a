//! How an alarm explains a change of state, in the wording and the JSON form that CloudWatch's answers have.

use serde_json::{Value, json};

use super::{Alarm, AlarmState, Evaluation, MetricSource, TreatMissingData};
use crate::Timestamp;

/// Datapoints named in a text; more are left out, as a text has at most 1,023 bytes.
const NAMED_MAX: usize = 5;

/// A Java `double` as text, which is what CloudWatch prints: `50.0`, `1.0E7`.
pub fn double(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return if value.fract() == 0.0 { format!("{value:.1}") } else { value.to_string() };
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

/// `dd/MM/yy HH:mm:ss`.
fn day_and_time(at: Timestamp) -> String {
    let iso = at.to_rfc3339_secs();
    // 2026-11-21T03:28:00Z
    match (iso.get(2..4), iso.get(5..7), iso.get(8..10), iso.get(11..19)) {
        (Some(year), Some(month), Some(day), Some(time)) => format!("{day}/{month}/{year} {time}"),
        _ => iso,
    }
}

/// `Saturday 21 November, 2026 03:28:00 UTC`.
fn long_time(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let iso = at.to_rfc3339_secs();
    // The epoch was a Thursday.
    let day = usize::try_from(at.as_secs().div_euclid(86_400).rem_euclid(7)).unwrap_or(0);
    let month = iso.get(5..7).and_then(|m| m.parse::<usize>().ok()).unwrap_or(1);
    match (DAYS.get(day), MONTHS.get(month.saturating_sub(1)), iso.get(..4), iso.get(8..10), iso.get(11..19))
    {
        (Some(day), Some(month), Some(year), Some(date), Some(time)) => {
            format!("{day} {date} {month}, {year} {time} UTC")
        }
        _ => iso,
    }
}

/// The text and the JSON for a move of the composite alarm `arn` to `state`: because of `child` (its ARN, state and when it moved), or
/// because it is new or changed.
pub fn composite_reason(
    arn: &str,
    state: AlarmState,
    child: Option<&(String, AlarmState, Timestamp)>,
) -> (String, String) {
    let Some((child, moved_to, at)) = child else {
        let text = format!("{arn} was created and its alarm rule evaluates to {}", state.name());
        return (text, json!({ "triggeringAlarms": [] }).to_string());
    };
    let text = format!("{child} transitioned to {} at {}", moved_to.name(), long_time(*at));
    let trigger = json!({ "arn": child, "state": { "value": moved_to.name(), "timestamp": json_time(*at) } });
    (text, json!({ "triggeringAlarms": [trigger] }).to_string())
}

/// `2026-11-21T03:28:00.123+0000`.
pub fn json_time(at: Timestamp) -> String {
    at.to_rfc3339_millis().replace('Z', "+0000")
}

/// The text and the JSON for a move of `alarm` to `state` by `evaluation`.
pub fn reason(alarm: &Alarm, state: AlarmState, evaluation: &Evaluation, now: Timestamp) -> (String, String) {
    (text(alarm, state, evaluation), data(alarm, evaluation, now).to_string())
}

fn plural(n: usize, one: &str, many: &str) -> String {
    if n == 1 { one.to_owned() } else { many.to_owned() }
}

fn text(alarm: &Alarm, state: AlarmState, evaluation: &Evaluation) -> String {
    let n = alarm.evaluation_periods as usize;
    if state == AlarmState::InsufficientData {
        return format!("Insufficient Data: {n} {} unknown.", plural(n, "datapoint was", "datapoints were"));
    }
    let treatment = match alarm.treat_missing_data {
        TreatMissingData::Breaching => Some("Breaching"),
        TreatMissingData::NotBreaching => Some("NonBreaching"),
        TreatMissingData::Missing | TreatMissingData::Ignore => None,
    };
    let n_missing = evaluation.n_missing;
    let filled = treatment.filter(|_| n_missing > 0).map(|treatment| {
        let datapoints = plural(n_missing, "missing datapoint was", "missing datapoints were");
        format!("{n_missing} {datapoints} treated as [{treatment}]")
    });
    if evaluation.datapoints.is_empty() {
        let periods = plural(n, "period", "periods");
        let filled = filled.map(|f| format!(" and {f}")).unwrap_or_default();
        return format!("Threshold Crossed: no datapoints were received for {n} {periods}{filled}.");
    }

    // In ALARM those that cross decide, in OK those that do not, or else that too few cross: a lone breach among gaps is told as it is.
    let breaches = |p: &super::Datapoint| alarm.comparison.breaches(p.value, alarm.threshold);
    let breaching = state == AlarmState::Alarm || evaluation.datapoints.iter().all(breaches);
    let crosses = |p: &&super::Datapoint| breaches(p) == breaching;
    let mut named: Vec<String> = Vec::new();
    let mut n_named = 0;
    for point in evaluation.datapoints.iter().rev().filter(crosses) {
        n_named += 1;
        if named.len() < NAMED_MAX {
            named.push(format!("{} ({})", double(point.value), day_and_time(point.at)));
        }
    }
    if n_named > named.len() {
        named.push("...".to_owned());
    }
    let verb = match (n_named, breaching) {
        (1, true) => "was",
        (1, false) => "was not",
        (_, true) => "were",
        (_, false) => "were not",
    };
    let m = alarm.m() as usize;
    // To leave ALARM it takes one more datapoint on the good side than N − M.
    let (needed, transition) =
        if breaching { (m, "OK -> ALARM") } else { (n.saturating_sub(m) + 1, "ALARM -> OK") };
    let filled = filled.map(|f| format!(" and {f}")).unwrap_or_default();
    format!(
        "Threshold Crossed: {n_named} out of the last {n} datapoints [{named}] {verb} {words} the threshold \
         ({threshold}){filled} (minimum {needed} {datapoints} for {transition} transition).",
        named = named.join(", "),
        words = alarm.comparison.words(),
        threshold = double(alarm.threshold),
        datapoints = plural(needed, "datapoint", "datapoints"),
    )
}

fn data(alarm: &Alarm, evaluation: &Evaluation, now: Timestamp) -> Value {
    let statistic = alarm.queries.iter().find_map(|q| match &q.source {
        MetricSource::Stat { statistic, unit, .. } if alarm.plain => Some((statistic, unit)),
        _ => None,
    });
    let mut data = json!({ "version": "1.0", "queryDate": json_time(now) });
    if let Some(oldest) = evaluation.datapoints.first() {
        data["startDate"] = json!(json_time(oldest.at));
    }
    if let Some((statistic, unit)) = statistic {
        data["statistic"] = json!(statistic);
        if let Some(unit) = unit {
            data["unit"] = json!(unit);
        }
    }
    data["period"] = json!(alarm.period_s);
    data["recentDatapoints"] = evaluation.datapoints.iter().map(|p| json!(p.value)).collect();
    data["threshold"] = json!(alarm.threshold);
    let evaluated = evaluation.datapoints.iter().rev().map(|p| {
        let mut point = json!({ "timestamp": json_time(p.at), "value": p.value });
        if let Some(samples) = p.samples {
            point["sampleCount"] = json!(samples);
        }
        point
    });
    data["evaluatedDatapoints"] = evaluated.collect();
    data
}
