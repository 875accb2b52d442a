//! Forecasts of predictive scaling: kept, acted on, and gone with their policies.

use std::sync::Arc;

use puffer_core::autoscaling::predict::{Forecast, ForecastPoint, Mode, raise};
use puffer_core::autoscaling::{PolicyKind, ScalingPolicy, texts};
use puffer_core::{Record, Timestamp};
use puffer_store::{Reader, Transaction};

use crate::groups::{self, GroupError};

/// What a policy has forecast.
pub fn of_policy(reader: &Reader<'_>, policy: &ScalingPolicy) -> Option<Arc<Forecast>> {
    reader.get::<Forecast>(&policy.key())
}

/// The capacity that the group's policies foresee for this hour, the largest of them.
pub fn predicted(reader: &Reader<'_>, group: &str, now: Timestamp) -> Option<u32> {
    // Few servers forecast anything, and groups are looked at often.
    if reader.count::<Forecast>() == 0 {
        return None;
    }
    let policies = crate::policies::of_group(reader, group);
    policies.iter().filter_map(|p| Some(of_policy(reader, p)?.of_hour(now)?.capacity)).max()
}

/// Forgets what a policy has forecast: it goes, or forecasts something else from now on.
pub fn remove(tx: &mut Transaction<'_>, policy: &ScalingPolicy) {
    tx.delete::<Forecast>(&policy.key());
}

/// A forecast as it was made: its points and the correlation of the metrics, or why there is none.
pub type Made = Result<(Vec<ForecastPoint>, Option<f64>), String>;

/// Writes down a forecast, unless the policy has changed meanwhile.
pub fn put(tx: &mut Transaction<'_>, policy: &ScalingPolicy, made: Made, now: Timestamp) {
    let key = policy.key();
    if tx.get::<ScalingPolicy>(&key).is_none_or(|p| p.kind != policy.kind) {
        return;
    }
    let mut forecast = match tx.get::<Forecast>(&key) {
        Some(forecast) => Forecast::clone(&forecast),
        None => Forecast::empty(&policy.group, &policy.name),
    };
    match made {
        Ok((points, correlation)) => forecast.renew(now, points, correlation),
        Err(problem) => (forecast.tried_at, forecast.problem) = (now, Some(problem)),
    }
    tx.put(forecast);
}

/// Whether a policy has yet to look after the hour that its buffer has reached. A look that writes nothing.
pub fn is_to_act(reader: &Reader<'_>, policy: &ScalingPolicy, now: Timestamp) -> bool {
    let PolicyKind::Predictive(predictive) = &policy.kind else { return false };
    let hour = predictive.hour_to_prepare(now);
    policy.enabled
        && predictive.mode == Mode::ForecastAndScale
        && of_policy(reader, policy)
            .is_some_and(|f| f.scaled_for.is_none_or(|done| done < hour) && f.of_hour(hour).is_some())
}

/// Raises the group's capacity to the forecast of the hour that the policy's buffer has reached, once for each hour. Says from
/// what to what, if anything changed.
pub fn act(tx: &mut Transaction<'_>, policy: &str, now: Timestamp) -> Result<Option<(u32, u32)>, GroupError> {
    let Some(policy) = tx.get::<ScalingPolicy>(policy) else { return Ok(None) };
    let PolicyKind::Predictive(predictive) = &policy.kind else { return Ok(None) };
    if !is_to_act(&tx.reader(), &policy, now) {
        return Ok(None);
    }
    let hour = predictive.hour_to_prepare(now);
    let point = of_policy(&tx.reader(), &policy).and_then(|f| f.of_hour(hour));
    let Some(point) = point else { return Ok(None) };
    let group = match groups::active(&tx.reader(), &policy.group) {
        Ok(group) => group,
        Err(GroupError::NotFound(_) | GroupError::Deleting(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    tx.update::<Forecast>(&policy.key(), |f| f.scaled_for = Some(hour));
    let Some(raised) = raise(predictive, &point, &group) else { return Ok(None) };
    let from = group.desired;
    groups::change(tx, &policy.group, |g| {
        g.max = raised.max;
        if g.desired != raised.desired {
            let text = texts::predicted(&policy.name, from, raised.desired);
            texts::note_desired(g, texts::sentence(now, text), vec![raised.reason]);
            g.desired = raised.desired;
        }
    })?;
    tx.update::<ScalingPolicy>(&policy.key(), |p| p.last_executed_at = Some(now));
    Ok(Some((from, raised.desired)))
}
