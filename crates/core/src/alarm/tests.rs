use super::*;
use crate::Timestamp;

const START: Timestamp = Timestamp::from_secs(1_795_219_200);

pub(super) fn alarm(m: u32, n: u32, treat: TreatMissingData) -> Alarm {
    Alarm {
        name: "a".into(),
        arn: "arn:aws:cloudwatch:us-east-1:123456789012:alarm:a".into(),
        description: None,
        actions_enabled: true,
        ok_actions: vec![],
        alarm_actions: vec![],
        insufficient_data_actions: vec![],
        queries: vec![MetricQuery {
            id: "m1".into(),
            source: MetricSource::Stat {
                metric: MetricId::new("App", "Load", &[]),
                statistic: "Average".into(),
                period_s: 60,
                unit: None,
            },
            label: None,
            return_data: true,
        }],
        plain: true,
        period_s: 60,
        evaluation_periods: n,
        datapoints_to_alarm: Some(m),
        threshold: 50.0,
        comparison: Comparison::GreaterThanThreshold,
        treat_missing_data: treat,
        ignore_low_samples: false,
        state: AlarmState::Ok,
        state_reason: String::new(),
        state_reason_data: None,
        state_updated_at: START,
        state_transitioned_at: START,
        state_before: Default::default(),
        has_transitioned: false,
        configured_at: START,
        actions_done_for: Some(START),
        owner: None,
        tags: Default::default(),
    }
}

/// `0` good, `X` breaching, `-` missing; oldest first.
fn points(pattern: &str) -> Vec<Datapoint> {
    pattern
        .chars()
        .enumerate()
        .filter(|(_, c)| *c != '-')
        .map(|(i, c)| Datapoint {
            at: START + std::time::Duration::from_secs(60 * i as u64),
            value: if c == 'X' { 80.0 } else { 10.0 },
            samples: Some(1.0),
        })
        .collect()
}

const OK: Option<AlarmState> = Some(AlarmState::Ok);
const ALARM: Option<AlarmState> = Some(AlarmState::Alarm);
const INSUFFICIENT: Option<AlarmState> = Some(AlarmState::InsufficientData);
const KEEP: Option<AlarmState> = None;

/// The user guide's tables; columns: missing, ignore, breaching, notBreaching.
#[test]
fn published_tables_of_missing_data() {
    use TreatMissingData::{Breaching, Ignore, Missing, NotBreaching};
    for (m, pattern, expected) in [
        (3, "0-X-X", [OK, OK, OK, OK]),
        (3, "0----", [OK, OK, OK, OK]),
        (3, "-----", [INSUFFICIENT, KEEP, ALARM, OK]),
        (3, "0XX-X", [ALARM, ALARM, ALARM, ALARM]),
        (3, "--X--", [ALARM, KEEP, ALARM, OK]),
        (2, "0-X-X", [ALARM, ALARM, ALARM, ALARM]),
        (2, "00X0X", [ALARM, ALARM, ALARM, ALARM]),
        (2, "0-X--", [OK, OK, ALARM, OK]),
        (2, "----0", [OK, OK, ALARM, OK]),
        (2, "---X-", [ALARM, KEEP, ALARM, OK]),
    ] {
        for (treat, expected) in [Missing, Ignore, Breaching, NotBreaching].into_iter().zip(expected) {
            let found = evaluate(&alarm(m, 3, treat), START, &points(pattern)).state;
            assert_eq!(found, expected, "{m} of 3, {pattern}, {treat:?}");
        }
    }
}

#[test]
fn premature_alarms_wait_for_more_data() {
    for pattern in ["----X", "---X-", "---XX"] {
        assert_eq!(
            evaluate(&alarm(3, 3, TreatMissingData::Missing), START, &points(pattern)).state,
            KEEP,
            "{pattern}"
        );
    }
    assert_eq!(evaluate(&alarm(1, 3, TreatMissingData::Missing), START, &points("----X")).state, ALARM);
}

#[test]
fn percentiles_of_few_samples_may_be_ignored() {
    let mut a = alarm(1, 1, TreatMissingData::Missing);
    if let MetricSource::Stat { statistic, .. } = &mut a.queries[0].source {
        *statistic = "p90".into();
    }
    let mut data = points("--X");
    assert_eq!(evaluate(&a, START, &data).state, ALARM);
    a.ignore_low_samples = true;
    assert_eq!(evaluate(&a, START, &data).state, KEEP);
    data[0].samples = Some(101.0);
    assert_eq!(evaluate(&a, START, &data).state, ALARM);
}

#[test]
fn intervals_and_ranges() {
    let mut a = alarm(3, 3, TreatMissingData::Missing);
    let now = START + std::time::Duration::from_millis(299_500);
    let range = |a: &Alarm| {
        let (from, to) = a.range(now);
        (from.as_secs() - START.as_secs(), to.as_secs() - START.as_secs())
    };
    assert_eq!((a.evaluation_interval_s(), range(&a)), (60, (-60, 240)));
    a.period_s = 300;
    assert_eq!((a.evaluation_interval_s(), range(&a)), (60, (240 - 1500, 240)));
    a.period_s = 20;
    assert_eq!((a.evaluation_interval_s(), range(&a)), (10, (190, 290)));
    a.period_s = 2;
    assert_eq!((a.evaluation_interval_s(), range(&a)), (2, (288, 298)));
}

#[test]
fn reasons_read_as_cloudwatchs() {
    let now = START + std::time::Duration::from_secs(300);
    let say = |a: &Alarm, pattern: &str| {
        let evaluation = evaluate(a, START, &points(pattern));
        reason(a, evaluation.state.unwrap(), &evaluation, now)
    };
    let a = alarm(3, 3, TreatMissingData::Missing);
    let (text, data) = say(&a, "00XXX");
    assert_eq!(
        text,
        "Threshold Crossed: 3 out of the last 3 datapoints [80.0 (21/11/26 00:04:00), 80.0 (21/11/26 00:03:00), \
         80.0 (21/11/26 00:02:00)] were greater than the threshold (50.0) (minimum 3 datapoints for OK -> ALARM \
         transition)."
    );
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(data["startDate"], "2026-11-21T00:02:00.000+0000");
    assert_eq!(data["recentDatapoints"], serde_json::json!([80.0, 80.0, 80.0]));
    assert_eq!(data["evaluatedDatapoints"][0]["timestamp"], "2026-11-21T00:04:00.000+0000");

    assert_eq!(
        say(&a, "0XXX0").0,
        "Threshold Crossed: 1 out of the last 3 datapoints [10.0 (21/11/26 00:04:00)] was not greater than the \
         threshold (50.0) (minimum 1 datapoint for ALARM -> OK transition)."
    );
    assert_eq!(say(&a, "-----").0, "Insufficient Data: 3 datapoints were unknown.");
    assert_eq!(
        say(&alarm(3, 3, TreatMissingData::NotBreaching), "-----").0,
        "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as \
         [NonBreaching]."
    );
}

#[test]
fn doubles_read_as_javas() {
    for (value, text) in
        [(50.0, "50.0"), (0.0, "0.0"), (0.25, "0.25"), (1e7, "1.0E7"), (1.5e-4, "1.5E-4"), (-3.0, "-3.0")]
    {
        assert_eq!(double(value), text);
    }
}
