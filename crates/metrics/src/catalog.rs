//! Which series exist: strings interned, one entry per metric, units of one metric chained.

use std::collections::HashMap;
use std::sync::Arc;

use puffer_core::alarm::{MetricId, Unit};

use crate::series::Series;

/// Each distinct string once. Strings are not given back before a restart; they are bounded by the number of series.
#[derive(Default)]
pub(crate) struct Symbols {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Symbols {
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    fn intern(&mut self, text: &str) -> u32 {
        if let Some(n) = self.find(text) {
            return n;
        }
        let n = self.names.len() as u32;
        let text: Arc<str> = text.into();
        self.names.push(Arc::clone(&text));
        self.numbers.insert(text, n);
        n
    }

    pub(crate) fn name(&self, n: u32) -> &str {
        self.names.get(n as usize).map_or("", |n| n)
    }
}

/// Series by metric and by number.
#[derive(Default)]
pub(crate) struct Catalog {
    pub(crate) symbols: Symbols,
    /// First series of each metric, by `[namespace, name, dimension, value, …]`.
    heads: HashMap<Arc<[u32]>, Arc<Series>>,
    /// By series number.
    pub(crate) slots: Vec<Option<Arc<Series>>>,
    pub(crate) n_series: usize,
}

impl Catalog {
    /// The first series of a metric.
    pub(crate) fn head(&self, id: &MetricId) -> Option<&Arc<Series>> {
        let mut key = Vec::with_capacity(2 + 2 * id.dimensions.len());
        key.push(self.symbols.find(&id.namespace)?);
        key.push(self.symbols.find(&id.name)?);
        for (name, value) in &id.dimensions {
            key.push(self.symbols.find(name)?);
            key.push(self.symbols.find(value)?);
        }
        self.heads.get(key.as_slice())
    }

    /// Adds a series, new (`number` = `None`) or read from disk.
    pub(crate) fn add(&mut self, id: &MetricId, unit: Unit, number: Option<u32>) -> Arc<Series> {
        let mut key = vec![self.symbols.intern(&id.namespace), self.symbols.intern(&id.name)];
        for (name, value) in &id.dimensions {
            key.push(self.symbols.intern(name));
            key.push(self.symbols.intern(value));
        }
        let number = number.unwrap_or(self.slots.len() as u32);
        let key: Arc<[u32]> = key.into();
        let head = self.heads.get(&key).cloned();
        let series = Arc::new(Series::new(
            number,
            head.as_ref().map_or(key, |h| Arc::clone(&h.key)),
            unit,
            head.is_none(),
        ));
        match head {
            Some(head) => head.last_in_chain().chain(Arc::clone(&series)),
            None => {
                self.heads.insert(Arc::clone(&series.key), Arc::clone(&series));
            }
        }
        if self.slots.len() <= number as usize {
            self.slots.resize(number as usize + 1, None);
        }
        self.slots[number as usize] = Some(Arc::clone(&series));
        self.n_series += 1;
        series
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Arc<Series>> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// The metric of a series, spelled out.
    pub(crate) fn metric(&self, series: &Series) -> MetricId {
        let name = |i: usize| self.symbols.name(series.key.get(i).copied().unwrap_or(u32::MAX)).to_owned();
        MetricId {
            namespace: name(0),
            name: name(1),
            dimensions: (2..series.key.len()).step_by(2).map(|i| (name(i), name(i + 1))).collect(),
        }
    }

    /// Forgets a metric with all its units unless somebody holds a handle; gives the numbers of its series.
    pub(crate) fn remove(&mut self, head: &Arc<Series>) -> Vec<u32> {
        // The table and the slot hold the head, the slot and the chain hold the others; the caller holds one more.
        let in_use = Arc::strong_count(head) > 3
            || head.units().skip(1).any(|s| self.get(s.number).is_none_or(|a| Arc::strong_count(a) > 2));
        if in_use {
            return Vec::new();
        }
        let numbers: Vec<u32> = head.units().map(|s| s.number).collect();
        self.heads.remove(&head.key);
        for &n in &numbers {
            self.slots[n as usize] = None;
        }
        self.n_series -= numbers.len();
        numbers
    }
}
