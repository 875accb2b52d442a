//! Labels of results, with the dynamic parts that do not depend on a time zone (CloudWatch user guide, "Dynamic labels").

use puffer_core::alarm::MetricSource;
use puffer_core::alarm::math::Series;

/// The label of a query's result: what was asked for with `${…}` filled in, or `default`.
pub(super) fn label(asked: Option<&str>, default: &str, source: &MetricSource, series: &Series) -> String {
    let Some(asked) = asked.filter(|l| !l.is_empty()) else { return default.to_owned() };
    let mut label = String::with_capacity(asked.len());
    let mut rest = asked;
    while let Some((before, after)) = rest.split_once("${") {
        label.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            label.push_str("${");
            rest = after;
            continue;
        };
        match dynamic(name, default, source, series) {
            Some(text) => label.push_str(&text),
            None => {
                label.push_str("${");
                label.push_str(name);
                label.push('}');
            }
        }
        rest = tail;
    }
    label.push_str(rest);
    label
}

fn dynamic(name: &str, default: &str, source: &MetricSource, series: &Series) -> Option<String> {
    let values = || series.iter().map(|p| p.1);
    let number = |v: Option<f64>| Some(v.map_or_else(|| "--".to_owned(), |v| v.to_string()));
    match name {
        "LABEL" => Some(default.to_owned()),
        "DATAPOINT_COUNT" => Some(series.len().to_string()),
        "AVG" => number((!series.is_empty()).then(|| values().sum::<f64>() / series.len() as f64)),
        "SUM" => number((!series.is_empty()).then(|| values().sum())),
        "MIN" => number(values().reduce(f64::min)),
        "MAX" => number(values().reduce(f64::max)),
        "FIRST" => number(values().next()),
        "LAST" => number(values().next_back()),
        _ => property(name.strip_prefix("PROP('")?.strip_suffix("')")?, source),
    }
}

fn property(name: &str, source: &MetricSource) -> Option<String> {
    let MetricSource::Stat { metric, statistic, period_s, .. } = source else { return None };
    match name {
        "MetricName" => Some(metric.name.clone()),
        "Namespace" => Some(metric.namespace.clone()),
        "Stat" => Some(statistic.clone()),
        "Period" => Some(period_s.to_string()),
        _ => {
            let dimension = name.strip_prefix("Dim.")?;
            metric.dimensions.iter().find(|(n, _)| n == dimension).map(|(_, v)| v.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use puffer_core::alarm::MetricId;

    #[test]
    fn fills_in() {
        let source = MetricSource::Stat {
            metric: MetricId::new("AWS/EC2", "CPUUtilization", &[("InstanceId", "i-1")]),
            statistic: "Average".into(),
            period_s: 60,
            unit: None,
        };
        let series = vec![(0, 1.0), (60_000, 4.0)];
        for (asked, expected) in [
            (None, "CPU"),
            (Some("plain"), "plain"),
            (Some("max ${MAX} of ${LABEL}"), "max 4 of CPU"),
            (Some("${PROP('Dim.InstanceId')} ${PROP('Stat')}"), "i-1 Average"),
            (Some("${NOPE} ${"), "${NOPE} ${"),
        ] {
            assert_eq!(label(asked, "CPU", &source, &series), expected);
        }
    }
}
