//! The functions of metric maths.

use std::collections::BTreeMap;

use super::parse::Expr;
use super::value::{Series, Value, defined};
use super::{Grid, MathError, order, times};

/// Functions that exist on CloudWatch and that Puffer does not have.
const NOT_HERE: &[&str] = &[
    "ANOMALY_DETECTION_BAND",
    "DB_PERF_INSIGHTS",
    "INSIGHT_RULE_METRIC",
    "LAMBDA",
    "SEARCH",
    "SERVICE_QUOTA",
];

/// Evaluates sub-expressions for a function.
pub(super) trait Evaluator {
    fn value(&self, expr: &Expr) -> Result<Value, MathError>;
    fn metrics(&self, containing: Option<&str>) -> Vec<(String, Series)>;
    fn grid(&self) -> Grid;
}

pub(super) fn call(e: &dyn Evaluator, name: &str, args: &[Expr]) -> Result<Value, MathError> {
    let one = || match args {
        [arg] => e.value(arg),
        _ => Err(MathError::new(format!("{name} takes one argument"))),
    };
    match name {
        "METRICS" => metrics(e, args),
        "ABS" => Ok(one()?.map(f64::abs)),
        "CEIL" => Ok(one()?.map(f64::ceil)),
        "FLOOR" => Ok(one()?.map(f64::floor)),
        "LOG" => Ok(one()?.map(f64::ln)),
        "LOG10" => Ok(one()?.map(f64::log10)),
        "AVG" => reduce(one()?, |v| v.iter().sum::<f64>() / v.len() as f64),
        "SUM" => reduce(one()?, |v| v.iter().sum()),
        "MIN" => reduce(one()?, |v| v.iter().copied().fold(f64::INFINITY, f64::min)),
        "MAX" => reduce(one()?, |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        "STDDEV" => reduce(one()?, |v| {
            let mean = v.iter().sum::<f64>() / v.len() as f64;
            (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64).sqrt()
        }),
        "DATAPOINT_COUNT" => match one()? {
            Value::Series(s) => Ok(Value::Number(s.len() as f64)),
            Value::Several(list) => Ok(Value::Series(across(&list, |v| v.len() as f64))),
            Value::Number(_) => Err(MathError::new("DATAPOINT_COUNT needs a time series")),
        },
        "METRIC_COUNT" => match one()? {
            Value::Several(list) => Ok(Value::Number(list.len() as f64)),
            Value::Series(_) => Ok(Value::Number(1.0)),
            Value::Number(_) => Err(MathError::new("METRIC_COUNT needs time series")),
        },
        "DIFF" => one()?.each(name, |s| pairs(&s, |(_, a), (_, b)| b - a)),
        "DIFF_TIME" => one()?.each(name, |s| pairs(&s, |(ta, _), (tb, _)| (tb - ta) as f64 / 1000.0)),
        "RATE" => one()?.each(name, |s| pairs(&s, |(ta, a), (tb, b)| (b - a) / ((tb - ta) as f64 / 1000.0))),
        "RUNNING_SUM" => one()?.each(name, |s| {
            let mut sum = 0.0;
            s.into_iter()
                .map(|(t, v)| {
                    sum += v;
                    (t, sum)
                })
                .collect()
        }),
        "PERIOD" => one().map(|_| Value::Number(f64::from(e.grid().period_s))),
        "TIME_SERIES" => match one()? {
            Value::Number(n) => Ok(Value::Series(defined(e.grid().times().map(|t| (t, n))))),
            _ => Err(MathError::new("TIME_SERIES takes a number")),
        },
        "REMOVE_EMPTY" => match one()? {
            Value::Several(list) => {
                Ok(Value::Several(list.into_iter().filter(|(_, s)| !s.is_empty()).collect()))
            }
            other => Ok(other),
        },
        "FIRST" | "LAST" => match one()? {
            Value::Several(list) => {
                let chosen =
                    if name == "FIRST" { list.into_iter().next() } else { list.into_iter().next_back() };
                Ok(Value::Series(chosen.map(|(_, s)| s).unwrap_or_default()))
            }
            _ => Err(MathError::new(format!("{name} needs an array of time series"))),
        },
        _ if times::is_time(name) => times::call(e, name, args),
        "SORT" => order::sort(e, args),
        "SLICE" => order::slice(e, args),
        "FILL" => fill(e, args),
        "IF" => condition(e, args),
        _ if NOT_HERE.contains(&name) => {
            Err(MathError::new(format!("The function {name} is not supported by Puffer")))
        }
        _ => Err(MathError::new(format!("Unknown function {name}"))),
    }
}

fn metrics(e: &dyn Evaluator, args: &[Expr]) -> Result<Value, MathError> {
    match args {
        [] => Ok(Value::Several(e.metrics(None))),
        [Expr::Text(part)] => Ok(Value::Several(e.metrics(Some(part)))),
        _ => Err(MathError::new("METRICS takes no argument or a string")),
    }
}

/// One series becomes a number, several become one series.
fn reduce(value: Value, f: impl Fn(&[f64]) -> f64) -> Result<Value, MathError> {
    Ok(match value {
        Value::Number(n) => Value::Number(n),
        Value::Series(s) => {
            let values: Vec<f64> = s.iter().map(|p| p.1).collect();
            Value::Number(if values.is_empty() { f64::NAN } else { f(&values) })
        }
        Value::Several(list) => Value::Series(across(&list, f)),
    })
}

/// Reduces over the series that have a point, time by time.
fn across(list: &[(String, Series)], f: impl Fn(&[f64]) -> f64) -> Series {
    let mut by_time: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for &(t, v) in list.iter().flat_map(|(_, s)| s) {
        by_time.entry(t).or_default().push(v);
    }
    defined(by_time.into_iter().map(|(t, values)| (t, f(&values))))
}

fn pairs(series: &Series, f: impl Fn((i64, f64), (i64, f64)) -> f64) -> Series {
    defined(series.windows(2).map(|w| (w[1].0, f(w[0], w[1]))))
}

/// `FILL(series, number | series | LINEAR | REPEAT)`.
fn fill(e: &dyn Evaluator, args: &[Expr]) -> Result<Value, MathError> {
    let [what, with] = args else { return Err(MathError::new("FILL takes two arguments")) };
    let value = e.value(what)?;
    let times: Vec<i64> = e.grid().times().collect();
    match with {
        Expr::Name(mode) if mode == "REPEAT" => value.each("FILL", |s| fill_with(&times, &s, repeat)),
        Expr::Name(mode) if mode == "LINEAR" => value.each("FILL", |s| fill_with(&times, &s, linear)),
        _ => match e.value(with)? {
            Value::Number(n) => value.each("FILL", |s| fill_with(&times, &s, |_, _| Some(n))),
            Value::Series(other) => value.each("FILL", |s| {
                fill_with(&times, &s, |t, _| other.binary_search_by_key(&t, |p| p.0).ok().map(|i| other[i].1))
            }),
            Value::Several(_) => Err(MathError::new("FILL cannot fill from an array of time series")),
        },
    }
}

fn fill_with(times: &[i64], series: &Series, f: impl Fn(i64, &Series) -> Option<f64>) -> Series {
    let gaps = times.iter().filter(|t| series.binary_search_by_key(*t, |p| p.0).is_err());
    let mut filled = series.clone();
    filled.extend(gaps.filter_map(|&t| f(t, series).map(|v| (t, v))));
    filled.sort_by_key(|p| p.0);
    filled
}

fn repeat(t: i64, series: &Series) -> Option<f64> {
    series.iter().take_while(|p| p.0 < t).last().map(|p| p.1)
}

fn linear(t: i64, series: &Series) -> Option<f64> {
    let before = series.iter().take_while(|p| p.0 < t).last()?;
    let after = series.iter().find(|p| p.0 > t)?;
    let part = (t - before.0) as f64 / (after.0 - before.0) as f64;
    Some(before.1 + (after.1 - before.1) * part)
}

/// `IF(condition, then[, else])`; without `else`, points where the condition does not hold are left out.
fn condition(e: &dyn Evaluator, args: &[Expr]) -> Result<Value, MathError> {
    let (condition, then, otherwise) = match args {
        [c, t] => (e.value(c)?, e.value(t)?, None),
        [c, t, o] => (e.value(c)?, e.value(t)?, Some(e.value(o)?)),
        _ => return Err(MathError::new("IF takes two or three arguments")),
    };
    let condition = match condition {
        Value::Number(n) if n != 0.0 => return Ok(then),
        Value::Number(_) => {
            return otherwise.ok_or_else(|| MathError::new("IF has no value for its condition"));
        }
        Value::Series(s) => s,
        Value::Several(_) => {
            return Err(MathError::new("IF needs a number or a time series as its condition"));
        }
    };
    let pick = |value: &Value, t: i64| match value {
        Value::Number(n) => Ok(Some(*n)),
        Value::Series(s) => Ok(s.binary_search_by_key(&t, |p| p.0).ok().map(|i| s[i].1)),
        Value::Several(_) => Err(MathError::new("IF cannot choose between arrays of time series")),
    };
    let mut chosen = Vec::new();
    // Both branches are looked at, so that an unusable one is found when the expression is checked.
    for (t, c) in condition {
        let yes = pick(&then, t)?;
        let no = otherwise.as_ref().map(|o| pick(o, t)).transpose()?.flatten();
        chosen.extend(if c != 0.0 { yes } else { no }.map(|v| (t, v)));
    }
    Ok(Value::Series(chosen))
}
