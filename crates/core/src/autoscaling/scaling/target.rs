//! Target tracking: the capacity at which the metric would meet its target.
//!
//! With `n` warmed instances at an average of `m`, the load is `n·m`, so `ceil(n·m / target)` instances meet the target and
//! never fall short of it. Out: as many at once as needed; those that warm up count as capacity but not in the metric. In:
//! gradually, at most half of the group at a time, never while an instance warms up. There `n` is whoever the metric is an
//! average over, those that are on their way out included: what left already is not given up once more.
//! Source: EC2 Auto Scaling guide, "Target tracking scaling policies"; the bound from the guide to ECS cluster auto scaling.

use super::{Capacity, Decision, Keep};
use crate::Mutation;

/// The largest share of the capacity that one scale-in takes (but always at least one instance).
pub const SCALE_IN_SHARE_MAX: f64 = 0.5;

/// Which of the policy's alarms fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The metric is above the target.
    High,
    /// The metric is well below the target.
    Low,
}

/// Decides a target-tracking policy for a metric value. The caller has checked that scale-in is enabled and agreed upon.
pub fn decide_target(value: f64, target: f64, side: Side, capacity: &Capacity) -> Decision {
    if !value.is_finite() || target <= 0.0 {
        return Decision::Keep(Keep::NoData);
    }
    match side {
        Side::High => out(value, target, capacity),
        Side::Low => inward(value, target, capacity),
    }
}

/// `ceil(n × value / target)`, forgiving the last bits of the division.
fn needed(n: u32, value: f64, target: f64) -> i64 {
    const SLACK: f64 = 1e-9;
    let exact = f64::from(n) * value / target;
    (exact - SLACK).ceil().clamp(0.0, f64::from(u32::MAX)) as i64
}

fn out(value: f64, target: f64, capacity: &Capacity) -> Decision {
    if value <= target {
        return Decision::Keep(Keep::WithinTarget);
    }
    // With nothing in the group there is no load per instance to divide; one instance shows what is needed.
    let n = match (capacity.warmed, capacity.desired) {
        (0, 0) => 1,
        (0, _) => return Decision::Keep(Keep::NothingWarm),
        (n, _) => n,
    };
    let to = needed(n, value, target);
    let clamped = capacity.clamp(to);
    let reasons = vec![format!(
        "{value:.4} is above the target {target}: ceil({n} × {value:.4} / {target}) = {to}, within {}–{}: {clamped} \
         ({} wanted already, {} warming up)",
        capacity.min, capacity.max, capacity.desired, capacity.warming
    )];
    let otherwise = if i64::from(clamped) < to { Keep::AtBound(clamped) } else { Keep::Covered };
    Decision::to(clamped.max(capacity.desired), capacity, reasons, otherwise)
}

fn inward(value: f64, target: f64, capacity: &Capacity) -> Decision {
    if capacity.warming > 0 && !Mutation::ScaleInWhileWarming.is_on() {
        return Decision::Keep(Keep::Warming(capacity.warming));
    }
    if value >= target {
        return Decision::Keep(Keep::WithinTarget);
    }
    let n = capacity.desired;
    let metered = capacity.metered.max(n);
    let needed = needed(metered, value, target);
    let step_max = ((f64::from(n) * SCALE_IN_SHARE_MAX) as i64).max(1);
    let to = needed.max(i64::from(n) - step_max);
    let clamped = capacity.clamp(to).min(n);
    let reasons = vec![format!(
        "{value:.4} is below the target {target}: ceil({metered} × {value:.4} / {target}) = {needed}, at most {step_max} fewer at \
         a time, within {}–{}: {clamped}",
        capacity.min, capacity.max
    )];
    let otherwise = if i64::from(clamped) > to { Keep::AtBound(clamped) } else { Keep::Covered };
    Decision::to(clamped, capacity, reasons, otherwise)
}
