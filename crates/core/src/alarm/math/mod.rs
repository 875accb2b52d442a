//! Metric maths: expressions over the series of a query list (CloudWatch user guide, "Using metric math").
//!
//! A [`Program`] is a checked query list: expressions parsed, names resolved, order of evaluation fixed, kinds inferred. It
//! is evaluated on the series of its statistics. What is not known here (`SEARCH`, anomaly bands, …) is an error when
//! the list is checked, never a silent nothing.

mod functions;
mod order;
mod parse;
mod program;
#[cfg(test)]
mod tests;
mod times;
mod value;

pub use program::{Program, QUERIES_MAX};
pub use value::Series;

/// What is wrong with an expression or a list of queries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MathError(pub String);

impl MathError {
    fn new(text: impl Into<String>) -> MathError {
        MathError(text.into())
    }
}

/// The periods for which an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Start of the first period.
    pub start: crate::Timestamp,
    /// End of the last.
    pub end: crate::Timestamp,
    /// Seconds of each.
    pub period_s: u32,
}

impl Grid {
    fn times(&self) -> impl Iterator<Item = i64> {
        let step = i64::from(self.period_s.max(1)) * 1000;
        (0..).map(move |i| self.start.as_millis() + i * step).take_while(|t| *t < self.end.as_millis())
    }
}
