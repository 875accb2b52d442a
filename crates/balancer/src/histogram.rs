//! Response times in buckets of equal relative width: 32 per doubling, so a bucket's middle is within 1.6 % of what
//! was measured. Finding the bucket takes a handful of integer instructions, and buckets add up across workers
//! and subtract between reports.

use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metrics::Count;

/// log2 of the buckets per doubling.
const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
/// Longest time told apart, as a power of two of microseconds: 2³³ µs is 2.4 hours.
const TOP_BITS: u32 = 33;
/// Number of buckets.
pub const BUCKETS: usize = (TOP_BITS - SUB_BITS + 1) as usize * SUB;

/// Times counted by bucket.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// How many times were counted.
    pub count: u64,
    /// Their sum, in microseconds.
    pub sum_us: u64,
    /// (bucket, how many) by ascending bucket, empty ones left out.
    pub buckets: Vec<(u16, u64)>,
}

/// Bucket of a time.
pub fn bucket_of(time_us: u64) -> u16 {
    let us = time_us.min((1 << TOP_BITS) - 1);
    if us < SUB as u64 {
        return us as u16;
    }
    let top = us.ilog2();
    let shift = top - SUB_BITS;
    // The bits below the highest one choose among the doubling's buckets.
    let sub = (us >> shift) as usize - SUB;
    ((shift as usize + 1) * SUB + sub) as u16
}

/// Middle of a bucket, in seconds: the value to record for its times.
pub fn bucket_value_s(bucket: u16) -> f64 {
    let b = usize::from(bucket);
    if b < SUB {
        return b as f64 / 1e6;
    }
    let shift = b / SUB - 1;
    let low = ((SUB + b % SUB) << shift) as f64;
    (low + (((1u64 << shift) - 1) as f64) / 2.0) / 1e6
}

impl Histogram {
    /// What was counted since `earlier`, a report of the same process; the whole if it is not an earlier one.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        if earlier.count > self.count {
            return self.clone();
        }
        let mut old = earlier.buckets.iter().copied().peekable();
        let mut buckets = Vec::new();
        for &(bucket, n) in &self.buckets {
            while old.next_if(|&(b, _)| b < bucket).is_some() {}
            let before = old.next_if(|&(b, _)| b == bucket).map_or(0, |(_, n)| n);
            if n > before {
                buckets.push((bucket, n - before));
            }
        }
        Histogram {
            count: self.count - earlier.count,
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
            buckets,
        }
    }

    /// (value in seconds, how many), for a store of measurements.
    pub fn values_s(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.buckets.iter().map(|&(b, n)| (bucket_value_s(b), n))
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Histogram) {
        self.count += other.count;
        self.sum_us += other.sum_us;
        let mut merged = std::collections::BTreeMap::new();
        for &(b, n) in self.buckets.iter().chain(&other.buckets) {
            *merged.entry(b).or_insert(0) += n;
        }
        self.buckets = merged.into_iter().collect();
    }
}

/// One worker's histogram of one scope; takes memory from the first time on.
#[derive(Debug, Default)]
pub(crate) struct LiveHistogram {
    sum_us: Count,
    buckets: OnceLock<Box<[Count]>>,
}

impl LiveHistogram {
    pub(crate) fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let buckets = self.buckets.get_or_init(|| (0..BUCKETS).map(|_| Count::default()).collect());
        buckets[usize::from(bucket_of(us))].add(1);
        self.sum_us.add(us);
    }

    pub(crate) fn read(&self) -> Histogram {
        let mut out = Histogram { sum_us: self.sum_us.get(), ..Histogram::default() };
        for (bucket, count) in (0u16..).zip(self.buckets.get().into_iter().flatten()) {
            let n = count.get();
            if n > 0 {
                out.count += n;
                out.buckets.push((bucket, n));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_close_to_their_times() {
        let mut last = 0;
        for us in (0..10_000).chain((10_000..8_000_000_000).step_by(7_654_321)) {
            let bucket = bucket_of(us);
            assert!(bucket >= last && usize::from(bucket) < BUCKETS, "{us}");
            last = bucket;
            let error = (bucket_value_s(bucket) * 1e6 - us as f64).abs();
            assert!(error <= us as f64 * 0.016 + 0.001, "{us}: {error}");
        }
        assert!(usize::from(bucket_of(u64::MAX)) < BUCKETS);
    }

    #[test]
    fn differences() {
        let live = LiveHistogram::default();
        live.record(Duration::from_micros(100));
        let first = live.read();
        live.record(Duration::from_micros(100));
        live.record(Duration::from_millis(5));
        let second = live.read().since(&first);
        assert_eq!((second.count, second.sum_us), (2, 5_100));
        assert_eq!(second.buckets, [(bucket_of(100), 1), (bucket_of(5_000), 1)]);
        let mut sum = first.clone();
        sum.add(&second);
        assert_eq!(sum, live.read());
        assert_eq!(first.since(&live.read()), first);
    }
}
