use std::collections::BTreeMap;

use super::*;
use crate::Timestamp;
use crate::alarm::{MetricId, MetricQuery, MetricSource};

fn queries(expressions: &[(&str, &str)]) -> Vec<MetricQuery> {
    let query = |id: &str, source| MetricQuery { id: id.into(), source, label: None, return_data: true };
    let stat = |id: &str| {
        query(
            id,
            MetricSource::Stat {
                metric: MetricId::new("A", id, &[]),
                statistic: "Sum".into(),
                period_s: 60,
                unit: None,
            },
        )
    };
    let mut list = vec![stat("m1"), stat("m2")];
    list.extend(
        expressions.iter().map(|(id, e)| {
            query(id, MetricSource::Expression { expression: (*e).to_owned(), period_s: None })
        }),
    );
    list
}

const GRID: Grid = Grid { start: Timestamp::from_secs(0), end: Timestamp::from_secs(240), period_s: 60 };

/// m1 = 1, 2, 3, 4; m2 = 10, –, 30, –.
fn data() -> BTreeMap<String, Series> {
    let points = |values: &[Option<f64>]| -> Series {
        values.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i as i64 * 60_000, v))).collect()
    };
    BTreeMap::from([
        ("m1".to_owned(), points(&[Some(1.0), Some(2.0), Some(3.0), Some(4.0)])),
        ("m2".to_owned(), points(&[Some(10.0), None, Some(30.0), None])),
    ])
}

fn values(expression: &str) -> Vec<Option<f64>> {
    let program = Program::new(&queries(&[("e1", expression)])).unwrap();
    let series = program.evaluate("e1", &data(), GRID).unwrap();
    assert_eq!(series.len(), 1, "{expression}");
    (0..4).map(|i| series[0].1.iter().find(|p| p.0 == i * 60_000).map(|p| p.1)).collect()
}

#[test]
fn expressions() {
    let all = |v: [f64; 4]| v.map(Some).to_vec();
    for (expression, expected) in [
        ("m1 + 1", all([2.0, 3.0, 4.0, 5.0])),
        ("m1+m2", vec![Some(11.0), None, Some(33.0), None]),
        ("2 * m1 ^ 2 - -1", all([3.0, 9.0, 19.0, 33.0])),
        ("m2 / (m1 - 1)", vec![None, None, Some(15.0), None]),
        ("SUM(METRICS())", vec![Some(11.0), Some(2.0), Some(33.0), Some(4.0)]),
        ("AVG([m1, m2])", vec![Some(5.5), Some(2.0), Some(16.5), Some(4.0)]),
        ("MAX(METRICS(\"m2\"))", vec![Some(10.0), None, Some(30.0), None]),
        ("m1 / MAX(m1)", all([0.25, 0.5, 0.75, 1.0])),
        ("FILL(m2, 0)", all([10.0, 0.0, 30.0, 0.0])),
        ("FILL(m2, REPEAT)", all([10.0, 10.0, 30.0, 30.0])),
        ("FILL(m2, LINEAR)", vec![Some(10.0), Some(20.0), Some(30.0), None]),
        ("FILL(m2, m1)", all([10.0, 2.0, 30.0, 4.0])),
        ("IF(m1 > 2, m1, 0)", all([0.0, 0.0, 3.0, 4.0])),
        ("IF(m1 > 1 AND m1 < 4, 7)", vec![None, Some(7.0), Some(7.0), None]),
        ("RATE(m1)", vec![None, Some(1.0 / 60.0), Some(1.0 / 60.0), Some(1.0 / 60.0)]),
        ("DIFF(m1)", vec![None, Some(1.0), Some(1.0), Some(1.0)]),
        ("RUNNING_SUM(m1)", all([1.0, 3.0, 6.0, 10.0])),
        ("m1 * PERIOD(m1)", all([60.0, 120.0, 180.0, 240.0])),
        ("TIME_SERIES(1.5e1)", all([15.0; 4])),
        ("m1 == 3 || m1 == 1", all([1.0, 0.0, 1.0, 0.0])),
    ] {
        assert_eq!(values(expression), expected, "{expression}");
    }
}

#[test]
fn expressions_use_each_other() {
    let program = Program::new(&queries(&[("e1", "e2 * 2"), ("e2", "m1 + 1")])).unwrap();
    assert_eq!(program.evaluate("e1", &data(), GRID).unwrap()[0].1[0], (0, 4.0));
    assert_eq!(program.metrics_of("e1"), vec!["m1".to_owned()]);
    assert!(program.is_one_series("e1"));
    assert!(program.is_one_series("m2"));
    let program = Program::new(&queries(&[("e1", "METRICS()"), ("e2", "SUM(m1)")])).unwrap();
    assert!(!program.is_one_series("e1"));
    assert!(!program.is_one_series("e2"));
    assert_eq!(program.evaluate("e1", &data(), GRID).unwrap().len(), 2);
}

#[test]
fn refuses_what_it_cannot_do() {
    for (expressions, part) in [
        (vec![("e1", "m1 +")], "syntax error"),
        (vec![("e1", "SELECT AVG(CPUUtilization) FROM \"AWS/EC2\"")], "not supported by Puffer"),
        (vec![("e1", "select m1")], "not supported by Puffer"),
        (vec![("e1", "m1 m2")], "syntax error"),
        (vec![("e1", "(m1")], "syntax error"),
        (vec![("e1", "m3 + 1")], "no query with the id 'm3'"),
        (vec![("e1", "e2"), ("e2", "e1")], "depends on itself"),
        (vec![("e1", "SEARCH('x', 'Sum', 60)")], "not supported by Puffer"),
        (vec![("e1", "FROB(m1)")], "Unknown function FROB"),
        (vec![("e1", "METRICS() + METRICS()")], "two arrays"),
        (vec![("E1", "m1")], "not valid"),
        (vec![("m1", "m2")], "used twice"),
    ] {
        let error = Program::new(&queries(&expressions)).unwrap_err();
        assert!(error.0.contains(part), "{expressions:?}: {error}");
    }
    let deep = format!("{}m1{}", "(".repeat(300), ")".repeat(300));
    assert!(Program::new(&queries(&[("e1", &deep)])).unwrap_err().0.contains("nested"));
}

/// 2024-02-29 was a Thursday, 2024-03-03 a Sunday. (function, seconds since the epoch) → number.
#[test]
fn functions_of_time() {
    let thursday = 1_709_251_140; // 2024-02-29T23:59:00Z
    let sunday = 1_709_424_000; // 2024-03-03T00:00:00Z
    let table = [
        ("MINUTE", thursday, 59.0),
        ("HOUR", thursday, 23.0),
        ("DAY", thursday, 4.0),
        ("DATE", thursday, 29.0),
        ("MONTH", thursday, 2.0),
        ("YEAR", thursday, 2024.0),
        ("EPOCH", thursday, 1_709_251_140.0),
        ("MINUTE", sunday, 0.0),
        ("HOUR", sunday, 0.0),
        ("DAY", sunday, 7.0),
        ("DATE", sunday, 3.0),
        ("MONTH", sunday, 3.0),
    ];
    for (function, at, expected) in table {
        let start = Timestamp::from_secs(at);
        let grid = Grid { start, end: Timestamp::from_secs(at + 60), period_s: 60 };
        let program = Program::new(&queries(&[("e1", &format!("{function}(m1)"))])).unwrap();
        // Without a datapoint of the metric.
        let found = program.evaluate("e1", &BTreeMap::new(), grid).unwrap();
        assert_eq!(found[0].1, [(start.as_millis(), expected)], "{function} of {at}");
    }
    // Every period, not only those with a datapoint; 1970 began on a Thursday.
    assert_eq!(values("MINUTE(m2)"), [0.0, 1.0, 2.0, 3.0].map(Some));
    assert_eq!(values("IF(DAY(m1) < 6 AND HOUR(m1) == 0, m1)"), [1.0, 2.0, 3.0, 4.0].map(Some));
    assert_eq!(values("IF(DAY(m1) > 5, m1, 0)"), [0.0; 4].map(Some));
    assert!(Program::new(&queries(&[("e1", "HOUR(5)")])).unwrap_err().0.contains("needs a time series"));
    assert!(Program::new(&queries(&[("e1", "HOUR()")])).unwrap_err().0.contains("one argument"));
}

/// m1 has the greater count of points, m2 the greater values.
#[test]
fn arrays_are_sorted_and_sliced() {
    let table: [(&str, &[&str]); 10] = [
        ("SORT(METRICS(), MAX, DESC)", &["m2", "m1"]),
        ("SORT(METRICS(), SUM, ASC)", &["m1", "m2"]),
        ("SORT([m2, m1], MIN, ASC)", &["m1", "m2"]),
        ("SORT(METRICS(), AVG, DESC, 1)", &["m2"]),
        ("SLICE(METRICS(), 0, 1)", &["m1"]),
        ("SLICE(METRICS(), 1)", &["m2"]),
        ("SLICE(METRICS(), 2)", &[]),
        ("SLICE(SORT(METRICS(), SUM, DESC), 0, 10)", &["m2", "m1"]),
        ("SLICE(SORT(METRICS(), AVG, ASC), 1, 2)", &["m2"]),
        ("SLICE(METRICS(), 2, 1)", &[]),
    ];
    for (expression, ids) in table {
        let program = Program::new(&queries(&[("e1", expression)])).unwrap();
        let found = program.evaluate("e1", &data(), GRID).unwrap();
        let found: Vec<&str> = found.iter().filter_map(|(id, _)| id.as_deref()).collect();
        assert_eq!(found, ids, "{expression}");
    }
    assert_eq!(values("SUM(SLICE(SORT(METRICS(), MAX, DESC), 0, 1))"), values("m2"));
    for (wrong, part) in [
        ("SORT(METRICS(), STDDEV, ASC)", "not by STDDEV"),
        ("SORT(METRICS(), MAX, DOWN)", "ASC or DESC"),
        ("SORT(m1, MAX, ASC)", "needs an array"),
        ("SORT(METRICS())", "SORT takes"),
        ("SLICE(METRICS(), 0.5)", "whole number"),
        ("SLICE(METRICS(), -1)", "whole number"),
        ("SLICE(METRICS(), m1)", "whole number"),
    ] {
        let error = Program::new(&queries(&[("e1", wrong)])).unwrap_err();
        assert!(error.0.contains(part), "{wrong}: {error}");
    }
}
