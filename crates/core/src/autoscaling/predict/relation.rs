//! How the load per instance moves the scaling metric.
//!
//! The scaling metric is taken to be proportional to the load per instance: twice the requests, twice the CPU. For predefined
//! pairs the factor is known, because both are the same samples, summed and averaged. Else it is learnt from the hours
//! past by least squares, and the correlation says how far to trust it.

use std::collections::BTreeMap;

use crate::Timestamp;

/// Hours with all three metrics that learning needs.
const HOURS_MIN: usize = 12;

/// Where the factor comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Relation {
    /// Known: scaling metric per unit of hourly load per instance.
    Known(f64),
    /// To be learnt.
    Learnt,
}

/// What the hours past teach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learnt {
    /// Scaling metric per unit of hourly load per instance.
    pub factor: f64,
    /// Between load per instance and scaling metric, −1–1.
    pub correlation: Option<f64>,
}

type Hours = [(Timestamp, f64)];

/// Learns from hourly load, scaling metric and capacity; `None` if they share too few hours or the load is nothing.
pub fn learn(load: &Hours, scaling: &Hours, capacity: &Hours) -> Option<Learnt> {
    let pairs = pairs(load, scaling, capacity);
    if pairs.len() < HOURS_MIN {
        return None;
    }
    let xy: f64 = pairs.iter().map(|(x, y)| x * y).sum();
    let xx: f64 = pairs.iter().map(|(x, _)| x * x).sum();
    let factor = xy / xx;
    (factor.is_finite() && factor > 0.0).then(|| Learnt { factor, correlation: pearson(&pairs) })
}

/// The correlation of load per instance with the scaling metric.
pub fn correlation(load: &Hours, scaling: &Hours, capacity: &Hours) -> Option<f64> {
    let pairs = pairs(load, scaling, capacity);
    if pairs.len() < HOURS_MIN { None } else { pearson(&pairs) }
}

/// `(load per instance, scaling metric)` of the hours that have both and some capacity.
fn pairs(load: &Hours, scaling: &Hours, capacity: &Hours) -> Vec<(f64, f64)> {
    let scaling: BTreeMap<Timestamp, f64> = scaling.iter().copied().collect();
    let capacity: BTreeMap<Timestamp, f64> = capacity.iter().copied().collect();
    let pair = |(at, load): &(Timestamp, f64)| {
        let n = capacity.get(at).filter(|n| **n > 0.0)?;
        Some((load / n, *scaling.get(at)?))
    };
    load.iter().filter_map(pair).filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}

fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let (mx, my) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (dx, dy) = (x - mx, y - my);
        (xx, yy, xy) = (xx + dx * dx, yy + dy * dy, xy + dx * dy);
    }
    let r = xy / (xx * yy).sqrt();
    // A constant correlates with nothing.
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}

/// The capacity that carries a load at the target, rounded up.
pub(super) fn capacity(load: f64, factor: f64, target: f64) -> u32 {
    const SLACK: f64 = 1e-9;
    let exact = load * factor / target;
    if exact.is_finite() { (exact - SLACK).ceil().clamp(0.0, f64::from(u32::MAX)) as u32 } else { 0 }
}

impl Learnt {
    /// The capacity that carries a load at the target.
    pub fn capacity(&self, load: f64, target: f64) -> u32 {
        capacity(load, self.factor, target)
    }
}
