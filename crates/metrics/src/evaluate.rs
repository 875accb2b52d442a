//! From a bucket to a statistic's value.
//!
//! Percentiles are by nearest rank: the smallest value at or below which at least p % of the samples lie. Ranges between
//! percentiles cut the samples, laid side by side in order with their weights as widths, at both ends, so a
//! sample at a cut counts in part; that is the usual definition of the interquartile mean. Ranges between values leave out
//! the lower end and include the upper one (CloudWatch user guide, "Statistics definitions").

use puffer_core::alarm::{Range, Statistic};

use crate::bucket::Bucket;

/// Slack for weights that are sums of fractions.
const RANK_SLACK: f64 = 1e-9;

/// `None` if the bucket is empty, if the statistic needs a distribution that is not known, or if nothing is in the range.
pub(crate) fn evaluate(bucket: &Bucket, statistic: Statistic) -> Option<f64> {
    if bucket.count <= 0.0 {
        return None;
    }
    match statistic {
        Statistic::SampleCount => Some(bucket.count),
        Statistic::Sum => Some(bucket.sum),
        Statistic::Average => Some(bucket.sum / bucket.count),
        Statistic::Minimum => Some(bucket.min),
        Statistic::Maximum => Some(bucket.max),
        Statistic::Percentile(p) => percentile(&bucket.points()?, bucket.count, p),
        Statistic::TrimmedMean(range) => {
            let (sum, weight) = trimmed(bucket, range)?;
            (weight > 0.0).then(|| sum / weight)
        }
        Statistic::TrimmedCount(range) => trimmed(bucket, range).map(|(_, weight)| weight),
        Statistic::TrimmedSum(range) => trimmed(bucket, range).map(|(sum, _)| sum),
        Statistic::WinsorizedMean(range) => winsorized(bucket, range),
        Statistic::PercentileRank(range) => {
            trimmed(bucket, range).map(|(_, weight)| 100.0 * weight / bucket.count)
        }
    }
}

fn percentile(points: &[(f64, f64)], count: f64, p: f64) -> Option<f64> {
    let rank = p / 100.0 * count - RANK_SLACK * count;
    let mut below = 0.0;
    for &(value, weight) in points {
        below += weight;
        if below >= rank {
            return Some(value);
        }
    }
    points.last().map(|p| p.0)
}

/// Sum and weight of the samples in the range.
fn trimmed(bucket: &Bucket, range: Range) -> Option<(f64, f64)> {
    let points = bucket.points()?;
    let mut totals = (0.0, 0.0);
    let mut before = 0.0;
    for &(value, weight) in &*points {
        let kept = match range {
            Range::Percent(from, to) => {
                let (from, to) = (from / 100.0 * bucket.count, to / 100.0 * bucket.count);
                ((before + weight).min(to) - before.max(from)).max(0.0)
            }
            Range::Values(from, to) => {
                if value > from && value <= to {
                    weight
                } else {
                    0.0
                }
            }
        };
        before += weight;
        totals.0 += value * kept;
        totals.1 += kept;
    }
    Some(totals)
}

fn winsorized(bucket: &Bucket, range: Range) -> Option<f64> {
    let points = bucket.points()?;
    let (low, high) = match range {
        Range::Percent(from, to) => {
            (percentile(&points, bucket.count, from)?, percentile(&points, bucket.count, to)?)
        }
        Range::Values(from, to) => (from, to),
    };
    let sum: f64 = points.iter().map(|&(v, w)| v.clamp(low, high) * w).sum();
    Some(sum / bucket.count)
}
