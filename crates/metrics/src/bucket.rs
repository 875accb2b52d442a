//! The samples of one series in one bucket of time.

use std::borrow::Cow;

use crate::sketch::Sketch;

/// Distinct values kept exactly in a bucket; beyond, a sketch takes over. 64 × 16 bytes = 1 KiB.
const EXACT_VALUES_MAX: usize = 64;

/// What a producer hands over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample<'a> {
    /// One observation.
    Value(f64),
    /// A summary of several.
    Statistics {
        /// Sum.
        sum: f64,
        /// How many.
        count: f64,
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// Values, each seen as often as its count says; a missing count is 1.
    Values {
        /// Values.
        values: &'a [f64],
        /// Counts, in the same order; empty: all 1.
        counts: &'a [f64],
    },
}

/// Sum, count, extremes and, where known, the distribution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) sum: f64,
    pub(crate) count: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) values: Values,
}

/// The distribution of a bucket's samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// Not known (statistic sets) or not kept (negative values, as CloudWatch).
    Unknown,
    /// All samples have the value `min`.
    Same,
    /// `(value, weight)` by value.
    List(Vec<(f64, f64)>),
    /// Too many for a list.
    Sketch(Sketch),
}

impl Bucket {
    /// A bucket with nothing in it.
    pub(crate) const EMPTY: Bucket =
        Bucket { sum: 0.0, count: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, values: Values::Same };

    /// `count` samples of one value.
    pub(crate) fn same(value: f64, count: f64) -> Bucket {
        Bucket { sum: value * count, count, min: value, max: value, values: Values::Same }
    }

    /// `None` if the sample holds nothing or something that is no number.
    pub(crate) fn of(sample: &Sample<'_>) -> Option<Bucket> {
        let finite = |v: f64| v.is_finite();
        match *sample {
            Sample::Value(v) => finite(v).then(|| Bucket::same(v, 1.0)),
            Sample::Statistics { sum, count, min, max } => {
                let good = [sum, count, min, max].into_iter().all(finite) && count > 0.0 && min <= max;
                let values = if min == max { Values::Same } else { Values::Unknown };
                good.then_some(Bucket { sum, count, min, max, values })
            }
            Sample::Values { values, counts } => {
                let mut bucket = Bucket::EMPTY;
                for (i, &value) in values.iter().enumerate() {
                    let count = counts.get(i).copied().unwrap_or(1.0);
                    if !finite(value) || !finite(count) || count < 0.0 {
                        return None;
                    }
                    if count > 0.0 {
                        bucket.merge(&Bucket::same(value, count));
                    }
                }
                (bucket.count > 0.0).then_some(bucket)
            }
        }
    }

    /// Adds the samples of `other`.
    pub(crate) fn merge(&mut self, other: &Bucket) {
        if self.count == 0.0 {
            *self = other.clone();
            return;
        }
        if other.count == 0.0 {
            return;
        }
        let values = std::mem::replace(&mut self.values, Values::Unknown);
        self.values = if self.min.min(other.min) < 0.0 {
            if matches!((&values, &other.values), (Values::Same, Values::Same)) && self.min == other.min {
                Values::Same
            } else {
                Values::Unknown
            }
        } else {
            join(values, (self.min, self.count), &other.values, (other.min, other.count))
        };
        self.merge_totals(other);
    }

    /// Adds the samples of `other` but forgets the distribution: all that the classic statistics need.
    pub(crate) fn merge_totals(&mut self, other: &Bucket) {
        self.sum += other.sum;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// `(value, weight)` in rising order; `None` if the distribution is not known.
    pub(crate) fn points(&self) -> Option<Cow<'_, [(f64, f64)]>> {
        match &self.values {
            Values::Unknown => None,
            Values::Same if self.count > 0.0 => Some(Cow::Owned(vec![(self.min, self.count)])),
            Values::Same => Some(Cow::Owned(Vec::new())),
            Values::List(list) => Some(Cow::Borrowed(list)),
            Values::Sketch(sketch) => {
                let mut points = sketch.points();
                for p in &mut points {
                    p.0 = p.0.clamp(self.min, self.max);
                }
                Some(Cow::Owned(points))
            }
        }
    }
}

fn join(a: Values, a_same: (f64, f64), b: &Values, b_same: (f64, f64)) -> Values {
    let list = match a {
        Values::Unknown => return Values::Unknown,
        Values::Sketch(mut sketch) => {
            match b {
                Values::Unknown => return Values::Unknown,
                Values::Same => sketch.add(b_same.0, b_same.1),
                Values::List(list) => list.iter().for_each(|&(v, w)| sketch.add(v, w)),
                Values::Sketch(other) => sketch.merge(other),
            }
            return Values::Sketch(sketch);
        }
        Values::Same => {
            if matches!(b, Values::Same) && a_same.0 == b_same.0 {
                return Values::Same;
            }
            vec![a_same]
        }
        Values::List(list) => list,
    };
    match b {
        Values::Unknown => Values::Unknown,
        Values::Same => insert_all(list, &[b_same]),
        Values::List(other) => insert_all(list, other),
        Values::Sketch(other) => {
            let mut sketch = other.clone();
            list.iter().for_each(|&(v, w)| sketch.add(v, w));
            Values::Sketch(sketch)
        }
    }
}

fn insert_all(mut list: Vec<(f64, f64)>, more: &[(f64, f64)]) -> Values {
    for &(value, weight) in more {
        match list.binary_search_by(|p| p.0.total_cmp(&value)) {
            Ok(i) => list[i].1 += weight,
            Err(i) => list.insert(i, (value, weight)),
        }
    }
    if list.len() <= EXACT_VALUES_MAX {
        return Values::List(list);
    }
    let mut sketch = Sketch::default();
    list.iter().for_each(|&(v, w)| sketch.add(v, w));
    Values::Sketch(sketch)
}
