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
