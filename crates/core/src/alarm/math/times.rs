//! Functions of time: each gives, for every period of the range, a number that its start stands for, in UTC.
//!
//! The metric in the argument lends its range only, so there is a number even where it has no datapoint.
//! Source: CloudWatch user guide, "Metric math syntax and functions".

use super::MathError;
use super::functions::Evaluator;
use super::parse::Expr;
use super::value::{Value, defined};

pub(super) fn is_time(name: &str) -> bool {
    matches!(name, "MINUTE" | "HOUR" | "DAY" | "DATE" | "MONTH" | "YEAR" | "EPOCH")
}

pub(super) fn call(e: &dyn Evaluator, name: &str, args: &[Expr]) -> Result<Value, MathError> {
    let [arg] = args else { return Err(MathError::new(format!("{name} takes one argument"))) };
    match e.value(arg)? {
        Value::Series(_) => {}
        Value::Number(_) | Value::Several(_) => {
            return Err(MathError::new(format!("{name} needs a time series")));
        }
    }
    let number = |ms: i64| {
        let at = jiff::Timestamp::from_millisecond(ms).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
        Some(match name {
            "MINUTE" => f64::from(at.minute()),
            "HOUR" => f64::from(at.hour()),
            // Monday is 1.
            "DAY" => f64::from(at.weekday().to_monday_one_offset()),
            "DATE" => f64::from(at.day()),
            "MONTH" => f64::from(at.month()),
            "YEAR" => f64::from(at.year()),
            _ => ms.div_euclid(1000) as f64,
        })
    };
    Ok(Value::Series(defined(e.grid().times().filter_map(|t| Some((t, number(t)?))))))
}
