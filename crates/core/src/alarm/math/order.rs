//! Functions that order an array of time series and take a part of it.
//! Source: CloudWatch user guide, "Metric math syntax and functions".

use super::MathError;
use super::functions::Evaluator;
use super::parse::Expr;
use super::value::{Series, Value};

/// `SORT(array, AVG | MIN | MAX | SUM, ASC | DESC[, count])`.
pub(super) fn sort(e: &dyn Evaluator, args: &[Expr]) -> Result<Value, MathError> {
    let (array, by, order, count) = match args {
        [array, Expr::Name(by), Expr::Name(order)] => (array, by, order, None),
        [array, Expr::Name(by), Expr::Name(order), count] => (array, by, order, Some(index(e, count)?)),
        _ => {
            return Err(MathError::new("SORT takes an array, a function, ASC or DESC, and perhaps a number"));
        }
    };
    let key: fn(&Series) -> f64 = match by.as_str() {
        "AVG" => |s| sum(s) / s.len() as f64,
        "SUM" => sum,
        "MIN" => |s| s.iter().map(|p| p.1).fold(f64::INFINITY, f64::min),
        "MAX" => |s| s.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max),
        other => return Err(MathError::new(format!("SORT sorts by AVG, MIN, MAX or SUM, not by {other}"))),
    };
    let descending = match order.as_str() {
        "ASC" => false,
        "DESC" => true,
        other => return Err(MathError::new(format!("SORT sorts ASC or DESC, not {other}"))),
    };
    let mut list = several(e, "SORT", array)?;
    // Series without a datapoint come last either way.
    list.sort_by(|(_, a), (_, b)| match (a.is_empty(), b.is_empty()) {
        (false, false) if descending => key(b).total_cmp(&key(a)),
        (false, false) => key(a).total_cmp(&key(b)),
        (a, b) => a.cmp(&b),
    });
    list.truncate(count.unwrap_or(usize::MAX));
    Ok(Value::Several(list))
}

fn sum(series: &Series) -> f64 {
    series.iter().map(|p| p.1).sum()
}

/// `SLICE(array, from[, to])`: from that place on, up to the one before `to`. Places count from 0.
pub(super) fn slice(e: &dyn Evaluator, args: &[Expr]) -> Result<Value, MathError> {
    let (array, from, to) = match args {
        [array, from] => (array, index(e, from)?, usize::MAX),
        [array, from, to] => (array, index(e, from)?, index(e, to)?),
        _ => return Err(MathError::new("SLICE takes an array and one or two numbers")),
    };
    let list = several(e, "SLICE", array)?;
    Ok(Value::Several(list.into_iter().take(to).skip(from).collect()))
}

fn several(e: &dyn Evaluator, name: &str, array: &Expr) -> Result<Vec<(String, Series)>, MathError> {
    match e.value(array)? {
        Value::Several(list) => Ok(list),
        _ => Err(MathError::new(format!("{name} needs an array of time series"))),
    }
}

fn index(e: &dyn Evaluator, expr: &Expr) -> Result<usize, MathError> {
    match e.value(expr)? {
        Value::Number(n) if n >= 0.0 && n.fract() == 0.0 => Ok(n as usize),
        _ => Err(MathError::new("A place in an array is a whole number, 0 or greater")),
    }
}
