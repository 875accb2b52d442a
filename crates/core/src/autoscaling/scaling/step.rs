//! Step scaling: the further the metric is beyond the threshold, the larger the adjustment.
//!
//! While instances warm up, the adjustment starts from the capacity without them, and the result never falls below what is
//! wanted already; so a breach that lasts launches once, and one that grows launches the rest.
//!
//! The metric's value is what `MetricAggregationType` makes of the alarm's datapoints ([`aggregate`]).
//! Source: EC2 Auto Scaling guide, "Step and simple scaling policies".

use super::{Capacity, Decision, Keep, adjusted};
use crate::autoscaling::{AdjustmentType, StepAdjustment};

/// Steps of a policy at most (PutScalingPolicy).
pub const STEPS_MAX: usize = 20;

/// The value that steps are chosen by: `Minimum`, `Maximum` or `Average` of the datapoints that speak for the alarm's state.
///
/// In `ALARM` those are the ones that cross the threshold: with "M of N", the others say that the breach was not there all the
/// time, not how far it went, and would pull an average to the wrong side of the threshold. If none crosses it (a state set by
/// hand) and in other states, all count. `None` without data.
pub fn aggregate(aggregation: &str, datapoints: &[f64], breaches: impl Fn(f64) -> bool) -> Option<f64> {
    let crossing: Vec<f64> = datapoints.iter().copied().filter(|d| breaches(*d)).collect();
    let points = if crossing.is_empty() { datapoints } else { &crossing };
    let n = points.len();
    match aggregation {
        _ if n == 0 => None,
        "Minimum" => points.iter().copied().reduce(f64::min),
        "Maximum" => points.iter().copied().reduce(f64::max),
        _ => Some(points.iter().sum::<f64>() / n as f64),
    }
}

/// The step for a difference (metric − threshold): at and above the threshold a step holds its lower bound, below it its upper.
pub fn step_for(steps: &[StepAdjustment], diff: f64) -> Option<&StepAdjustment> {
    let above = |s: &&StepAdjustment| {
        s.lower.is_none_or(|lower| lower <= diff) && s.upper.is_none_or(|upper| diff < upper)
    };
    let below = |s: &&StepAdjustment| {
        s.lower.is_none_or(|lower| lower < diff) && s.upper.is_none_or(|upper| diff <= upper)
    };
    if diff > 0.0 {
        return steps.iter().find(above);
    }
    if diff < 0.0 {
        return steps.iter().find(below);
    }
    steps.iter().find(above).or_else(|| steps.iter().find(below))
}

/// Decides a step policy for a metric value and its threshold.
pub fn decide_step(
    kind: AdjustmentType,
    steps: &[StepAdjustment],
    min_magnitude: Option<u32>,
    value: f64,
    threshold: f64,
    capacity: &Capacity,
) -> Decision {
    let diff = value - threshold;
    let Some(step) = step_for(steps, diff) else { return Decision::Keep(Keep::NoStep(diff)) };
    // From what serves already; an exact capacity does not care.
    let base = if capacity.warming > 0 { capacity.warmed } else { capacity.desired };
    let to = adjusted(kind, step.adjustment, min_magnitude, base);
    let shrinks = match kind {
        AdjustmentType::ExactCapacity => to < i64::from(capacity.desired),
        _ => step.adjustment < 0,
    };
    if shrinks && capacity.warming > 0 {
        return Decision::Keep(Keep::Warming(capacity.warming));
    }
    let clamped = capacity.clamp(to);
    let result = if shrinks { clamped.min(capacity.desired) } else { clamped.max(capacity.desired) };
    let reasons = vec![format!(
        "{value} is {diff:+} from the threshold {threshold}: {} from {base} ({} warming up) gives {to}, within {}–{}: {result}",
        kind.describe(step.adjustment),
        capacity.warming,
        capacity.min,
        capacity.max,
    )];
    let otherwise = match to {
        _ if step.adjustment == 0 && kind != AdjustmentType::ExactCapacity => Keep::Nothing,
        to if to != i64::from(clamped) => Keep::AtBound(clamped),
        _ => Keep::Covered,
    };
    Decision::to(result, capacity, reasons, otherwise)
}

/// Checks the bounds of a policy's steps against each other.
pub fn validate_steps(steps: &[StepAdjustment]) -> Result<(), String> {
    if steps.is_empty() {
        return Err("At least one StepAdjustment must be specified".into());
    }
    if steps.len() > STEPS_MAX {
        return Err(format!("At most {STEPS_MAX} StepAdjustments may be specified"));
    }
    let mut sorted: Vec<(f64, f64)> = Vec::with_capacity(steps.len());
    for s in steps {
        let (lower, upper) = (s.lower.unwrap_or(f64::NEG_INFINITY), s.upper.unwrap_or(f64::INFINITY));
        if s.lower.is_none() && s.upper.is_none() && steps.len() > 1 {
            return Err("A StepAdjustment must have a lower or an upper bound if there are several".into());
        }
        if lower.is_nan() || upper.is_nan() || lower >= upper {
            return Err(format!(
                "StepAdjustment lower bound {lower} must be less than its upper bound {upper}"
            ));
        }
        sorted.push((lower, upper));
    }
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    for pair in sorted.windows(2) {
        if pair[0].1 > pair[1].0 {
            return Err(format!("StepAdjustment intervals overlap at {}", pair[1].0));
        }
        if pair[0].1 < pair[1].0 {
            return Err(format!(
                "There is a gap between StepAdjustment intervals from {} to {}",
                pair[0].1, pair[1].0
            ));
        }
    }
    let (first, last) = (sorted[0].0, sorted[sorted.len() - 1].1);
    if first < 0.0 && first.is_finite() {
        return Err("There must be a StepAdjustment with an unspecified lower bound when one has a negative lower bound".into());
    }
    if last > 0.0 && last.is_finite() {
        return Err("There must be a StepAdjustment with an unspecified upper bound when one has a positive upper bound".into());
    }
    Ok(())
}
