use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::autoscaling::PolicyKind;
use puffer_core::autoscaling::predict::{ForecastPoint, KEPT_H};
use puffer_inventory::{forecasts, groups, policies};
use puffer_shapes::autoscaling as shape;
use puffer_wire::EpochMillis;

use super::super::error::required;
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::GetPredictiveScalingForecast, _>(get);
}

/// What is forecast for the hours in a span, and what was for those past.
async fn get(
    cx: Arc<Ctx>,
    input: shape::GetPredictiveScalingForecastType,
) -> Result<shape::GetPredictiveScalingForecastAnswer, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let name = required(input.policy_name, "policyName")?;
    let start = Timestamp::from_millis(required(input.start_time, "startTime")?.0);
    let end = Timestamp::from_millis(required(input.end_time, "endTime")?.0);
    if start >= end {
        return Err(ApiError::validation("StartTime must be before EndTime"));
    }
    if end.as_secs() - start.as_secs() > KEPT_H * 3600 {
        return Err(ApiError::validation(format!(
            "The time from StartTime to EndTime must be at most {} days",
            KEPT_H / 24
        )));
    }
    let (policy, found) = cx.store.read(|r| {
        groups::active(r, &group)?;
        let policy = policies::of_group(r, &group).into_iter().find(|p| p.name == name);
        let policy = policy.ok_or_else(|| ApiError::validation(format!("PolicyName not found: {name}")))?;
        let found = forecasts::of_policy(r, &policy);
        Ok::<_, ApiError>((policy, found))
    })?;
    let PolicyKind::Predictive(predictive) = &policy.kind else {
        return Err(ApiError::validation(format!("Policy {name} is not of type PredictiveScaling")));
    };
    let none = || ApiError::validation(format!("There is no forecast for policy {name} yet"));
    let forecast = found.ok_or_else(none)?;
    let Some(made_at) = forecast.made_at else {
        return Err(match &forecast.problem {
            Some(problem) => {
                ApiError::validation(format!("There is no forecast for policy {name} yet: {problem}"))
            }
            None => none(),
        });
    };
    let points: Vec<&ForecastPoint> =
        forecast.points.iter().filter(|p| p.at >= start && p.at < end).collect();
    let times: Vec<EpochMillis> = points.iter().map(|p| EpochMillis(p.at.as_millis())).collect();
    let load = shape::LoadForecast {
        timestamps: Some(times.clone()),
        values: Some(points.iter().map(|p| p.load).collect()),
        metric_specification: Some(super::shapes::specification(predictive)),
    };
    let capacity = shape::CapacityForecast {
        timestamps: Some(times),
        values: Some(points.iter().map(|p| f64::from(p.capacity)).collect()),
    };
    Ok(shape::GetPredictiveScalingForecastAnswer {
        load_forecast: Some(vec![load]),
        capacity_forecast: Some(capacity),
        update_time: Some(EpochMillis(made_at.as_millis())),
    })
}
