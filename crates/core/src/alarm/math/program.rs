//! A checked list of queries and its evaluation.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::functions::{Evaluator, call};
use super::parse::{Expr, parse};
use super::value::{Series, Value, binary};
use super::{Grid, MathError};
use crate::Timestamp;
use crate::alarm::{MetricQuery, MetricSource};

/// Most queries in a list (`GetMetricData`: 500).
pub const QUERIES_MAX: usize = 500;

/// Expressions ready to be evaluated.
#[derive(Debug, Clone)]
pub struct Program {
    expressions: BTreeMap<String, Expr>,
    metrics: Vec<String>,
}

impl Program {
    /// Checks a list: ids well-formed and unique, expressions readable, names known, no circles, kinds fit.
    pub fn new(queries: &[MetricQuery]) -> Result<Program, MathError> {
        if queries.len() > QUERIES_MAX {
            return Err(MathError::new(format!("At most {QUERIES_MAX} queries are allowed")));
        }
        let mut ids = BTreeSet::new();
        let mut program = Program { expressions: BTreeMap::new(), metrics: Vec::new() };
        for query in queries {
            let good = query.id.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
                && query.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good || query.id.len() > 255 {
                return Err(MathError::new(format!(
                    "The id '{}' is not valid: an id starts with a lower case letter and has letters, digits and _ only",
                    query.id
                )));
            }
            if !ids.insert(query.id.as_str()) {
                return Err(MathError::new(format!("The id '{}' is used twice", query.id)));
            }
            match &query.source {
                MetricSource::Stat { .. } => program.metrics.push(query.id.clone()),
                MetricSource::Expression { expression, .. } => {
                    let expr = parse(expression)
                        .map_err(|e| MathError::new(format!("Error in expression '{}': {e}", query.id)))?;
                    program.expressions.insert(query.id.clone(), expr);
                }
            }
        }
        program.check()?;
        Ok(program)
    }

    /// Evaluates everything on one point each: names, circles, functions and kinds come to light.
    fn check(&self) -> Result<(), MathError> {
        let grid = Grid { start: Timestamp::from_secs(0), end: Timestamp::from_secs(60), period_s: 60 };
        let data: BTreeMap<String, Series> =
            self.metrics.iter().map(|id| (id.clone(), vec![(0, 1.0)])).collect();
        for id in self.expressions.keys() {
            Run::new(self, &data, grid)
                .result(id)
                .map_err(|e| MathError::new(format!("Error in expression '{id}': {e}")))?;
        }
        Ok(())
    }

    /// Whether the query yields one series; numbers and arrays cannot be watched.
    pub fn is_one_series(&self, id: &str) -> bool {
        let grid = Grid { start: Timestamp::from_secs(0), end: Timestamp::from_secs(60), period_s: 60 };
        let data = self.metrics.iter().map(|id| (id.clone(), vec![(0, 1.0)])).collect();
        self.metrics.iter().any(|m| m == id)
            || matches!(Run::new(self, &data, grid).result(id), Ok(Value::Series(_)))
    }

    /// The ids of the metrics that the query needs, itself or through others.
    pub fn metrics_of(&self, id: &str) -> Vec<String> {
        let mut needed = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut to_do = vec![id.to_owned()];
        while let Some(id) = to_do.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            match self.expressions.get(&id) {
                Some(expr) => self.names(expr, &mut to_do),
                None if self.metrics.contains(&id) => {
                    needed.insert(id);
                }
                None => {}
            }
        }
        needed.into_iter().collect()
    }

    fn names(&self, expr: &Expr, into: &mut Vec<String>) {
        match expr {
            Expr::Number(_) | Expr::Text(_) => {}
            Expr::Name(name) => into.push(name.clone()),
            Expr::Call(name, args) => {
                if name == "METRICS" {
                    into.extend(self.metrics.iter().cloned());
                }
                args.iter().for_each(|a| self.names(a, into));
            }
            Expr::List(list) => list.iter().for_each(|a| self.names(a, into)),
            Expr::Negate(inner) => self.names(inner, into),
            Expr::Binary(_, a, b) => {
                self.names(a, into);
                self.names(b, into);
            }
        }
    }

    /// Evaluates query `id` on the series of the metrics. Several series come with the ids of their metrics; a number is
    /// one point at the start of the grid.
    pub fn evaluate(
        &self,
        id: &str,
        data: &BTreeMap<String, Series>,
        grid: Grid,
    ) -> Result<Vec<(Option<String>, Series)>, MathError> {
        Ok(match Run::new(self, data, grid).result(id)? {
            Value::Number(n) if n.is_finite() => vec![(None, vec![(grid.start.as_millis(), n)])],
            Value::Number(_) => vec![(None, Vec::new())],
            Value::Series(s) => vec![(None, s)],
            Value::Several(list) => list.into_iter().map(|(id, s)| (Some(id), s)).collect(),
        })
    }
}

/// One evaluation: results so far, and what is being worked on (to find circles).
struct Run<'a> {
    program: &'a Program,
    data: &'a BTreeMap<String, Series>,
    grid: Grid,
    done: RefCell<BTreeMap<String, Value>>,
    open: RefCell<BTreeSet<String>>,
}

impl<'a> Run<'a> {
    fn new(program: &'a Program, data: &'a BTreeMap<String, Series>, grid: Grid) -> Run<'a> {
        Run { program, data, grid, done: RefCell::default(), open: RefCell::default() }
    }

    fn result(&self, id: &str) -> Result<Value, MathError> {
        if let Some(value) = self.done.borrow().get(id) {
            return Ok(value.clone());
        }
        let Some(expr) = self.program.expressions.get(id) else {
            return match self.program.metrics.iter().any(|m| m == id) {
                true => Ok(Value::Series(self.data.get(id).cloned().unwrap_or_default())),
                false => Err(MathError::new(format!("There is no query with the id '{id}'"))),
            };
        };
        if !self.open.borrow_mut().insert(id.to_owned()) {
            return Err(MathError::new(format!("The expression '{id}' depends on itself")));
        }
        let value = self.value(expr)?;
        self.open.borrow_mut().remove(id);
        self.done.borrow_mut().insert(id.to_owned(), value.clone());
        Ok(value)
    }
}

impl Evaluator for Run<'_> {
    fn value(&self, expr: &Expr) -> Result<Value, MathError> {
        match expr {
            Expr::Number(n) => Ok(Value::Number(*n)),
            Expr::Text(_) => Err(MathError::new("A string cannot be used here")),
            Expr::Name(name) => self.result(name),
            Expr::Call(name, args) => call(self, name, args),
            Expr::Negate(inner) => Ok(self.value(inner)?.map(|v| -v)),
            Expr::Binary(op, a, b) => binary(*op, self.value(a)?, self.value(b)?),
            Expr::List(list) => {
                let mut several = Vec::new();
                for (i, item) in list.iter().enumerate() {
                    let label = match item {
                        Expr::Name(name) => name.clone(),
                        _ => i.to_string(),
                    };
                    match self.value(item)? {
                        Value::Series(s) => several.push((label, s)),
                        Value::Several(more) => several.extend(more),
                        Value::Number(_) => {
                            return Err(MathError::new("An array holds time series, not numbers"));
                        }
                    }
                }
                Ok(Value::Several(several))
            }
        }
    }

    fn metrics(&self, containing: Option<&str>) -> Vec<(String, Series)> {
        let wanted = self.program.metrics.iter().filter(|id| containing.is_none_or(|part| id.contains(part)));
        wanted.map(|id| (id.clone(), self.data.get(id).cloned().unwrap_or_default())).collect()
    }

    fn grid(&self) -> Grid {
        self.grid
    }
}
