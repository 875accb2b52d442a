//! What an expression yields: a number, a series, or several series.

use super::MathError;
use super::parse::Op;

/// `(milliseconds since the epoch, value)`, oldest first.
pub type Series = Vec<(i64, f64)>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Series(Series),
    /// `(id, series)`.
    Several(Vec<(String, Series)>),
}

impl Value {
    pub(super) fn map(self, f: impl Fn(f64) -> f64) -> Value {
        let all = |series: Series| defined(series.into_iter().map(|(t, v)| (t, f(v))));
        match self {
            Value::Number(n) => Value::Number(f(n)),
            Value::Series(s) => Value::Series(all(s)),
            Value::Several(list) => Value::Several(list.into_iter().map(|(id, s)| (id, all(s))).collect()),
        }
    }

    /// Applies `f` to each series.
    pub(super) fn each(self, what: &str, f: impl Fn(Series) -> Series) -> Result<Value, MathError> {
        match self {
            Value::Number(_) => Err(MathError::new(format!("{what} needs a time series"))),
            Value::Series(s) => Ok(Value::Series(f(s))),
            Value::Several(list) => Ok(Value::Several(list.into_iter().map(|(id, s)| (id, f(s))).collect())),
        }
    }
}

/// Leaves out what is no number: a division by zero is a gap, not an infinity.
pub(super) fn defined(points: impl Iterator<Item = (i64, f64)>) -> Series {
    points.filter(|(_, v)| v.is_finite()).collect()
}

/// Puts two series together where both have a point.
pub(super) fn zip(a: &Series, b: &Series, f: impl Fn(f64, f64) -> f64) -> Series {
    let mut b = b.iter().peekable();
    defined(a.iter().filter_map(|&(t, x)| {
        while b.next_if(|p| p.0 < t).is_some() {}
        b.peek().filter(|p| p.0 == t).map(|p| (t, f(x, p.1)))
    }))
}

pub(super) fn binary(op: Op, a: Value, b: Value) -> Result<Value, MathError> {
    let f = |x: f64, y: f64| apply(op, x, y);
    Ok(match (a, b) {
        (Value::Number(x), Value::Number(y)) => Value::Number(f(x, y)),
        (a, Value::Number(y)) => a.map(|x| f(x, y)),
        (Value::Number(x), b) => b.map(|y| f(x, y)),
        (Value::Series(a), Value::Series(b)) => Value::Series(zip(&a, &b, f)),
        (Value::Several(list), Value::Series(b)) => {
            Value::Several(list.into_iter().map(|(id, a)| (id, zip(&a, &b, f))).collect())
        }
        (Value::Series(a), Value::Several(list)) => {
            Value::Several(list.into_iter().map(|(id, b)| (id, zip(&a, &b, f))).collect())
        }
        (Value::Several(_), Value::Several(_)) => {
            return Err(MathError::new("An operator cannot be applied to two arrays of time series"));
        }
    })
}

fn apply(op: Op, x: f64, y: f64) -> f64 {
    let truth = |b: bool| if b { 1.0 } else { 0.0 };
    match op {
        Op::Add => x + y,
        Op::Sub => x - y,
        Op::Mul => x * y,
        Op::Div => x / y,
        Op::Pow => x.powf(y),
        Op::Eq => truth(x == y),
        Op::Ne => truth(x != y),
        Op::Lt => truth(x < y),
        Op::Le => truth(x <= y),
        Op::Gt => truth(x > y),
        Op::Ge => truth(x >= y),
        Op::And => truth(x != 0.0 && y != 0.0),
        Op::Or => truth(x != 0.0 || y != 0.0),
    }
}
