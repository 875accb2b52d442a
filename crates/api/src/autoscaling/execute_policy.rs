use std::sync::Arc;

use puffer_core::autoscaling::scaling::Keep;
use puffer_core::autoscaling::{PolicyKind, ScalingPolicy, texts};
use puffer_inventory::policies;
use puffer_inventory::policy_run::{self, Outcome, RunError, Trigger};
use puffer_shapes::autoscaling as shape;

use super::error::required;
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::ExecutePolicy, _>(execute);
}

/// Executes a simple or step policy as if its alarm had fired.
async fn execute(cx: Arc<Ctx>, input: shape::ExecutePolicyType) -> Result<(), ApiError> {
    let name = required(input.policy_name, "policyName")?;
    let not_found = || ApiError::validation(format!("PolicyName not found: {name}"));
    let policy = cx.store.read(|r| match &input.auto_scaling_group_name {
        _ if texts::is_policy_arn(&name) => policies::by_arn(r, &name),
        Some(group) => policies::of_group(r, group).into_iter().find(|p| p.name == name),
        None => None,
    });
    let policy = policy.ok_or_else(not_found)?;
    check(&policy, input.metric_value, input.breach_threshold, input.honor_cooldown)?;
    let trigger = Trigger::User {
        metric_value: input.metric_value,
        breach_threshold: input.breach_threshold,
        honor_cooldown: input.honor_cooldown.unwrap_or(false),
    };
    let (now, group) = (cx.clock.now(), policy.group.clone());
    let fired = [(policy, trigger)];
    let outcomes = cx
        .store
        .transact::<_, RunError>(|tx| policy_run::run(tx, &group, &fired, now))
        .await
        .map_err(refused)?;
    match outcomes.into_iter().next() {
        Some(Outcome::Kept(why @ (Keep::Cooldown(_) | Keep::ActivityInProgress))) => {
            Err(ApiError::sender("ScalingActivityInProgress", format!("The policy was not executed: {why}.")))
        }
        Some(Outcome::Kept(why @ (Keep::NoStep(_) | Keep::Disabled))) => {
            Err(ApiError::validation(format!("The policy was not executed: {why}.")))
        }
        _ => Ok(()),
    }
}

fn check(
    policy: &ScalingPolicy,
    metric_value: Option<f64>,
    breach_threshold: Option<f64>,
    honor_cooldown: Option<bool>,
) -> Result<(), ApiError> {
    match &policy.kind {
        PolicyKind::TargetTracking(_) => Err(ApiError::validation(
            "ExecutePolicy is not supported for policies of type TargetTrackingScaling.",
        )),
        PolicyKind::Predictive(_) => Err(ApiError::validation(
            "ExecutePolicy is not supported for policies of type PredictiveScaling.",
        )),
        PolicyKind::Step { .. } if metric_value.is_none() || breach_threshold.is_none() => {
            Err(ApiError::validation(
                "MetricValue and BreachThreshold are required for policies of type StepScaling.",
            ))
        }
        PolicyKind::Step { .. } if honor_cooldown == Some(true) => {
            Err(ApiError::validation("HonorCooldown is not supported for policies of type StepScaling."))
        }
        PolicyKind::Simple { .. } if metric_value.is_some() || breach_threshold.is_some() => {
            Err(ApiError::validation(
                "MetricValue and BreachThreshold are not supported for policies of type SimpleScaling.",
            ))
        }
        PolicyKind::Simple { .. } | PolicyKind::Step { .. } => Ok(()),
    }
}

fn refused(error: RunError) -> ApiError {
    match error {
        RunError::Group(error) => error.into(),
        RunError::Store(error) => ApiError::internal(&error),
        RunError::NotFound(_) => ApiError::validation(error.to_string()),
    }
}
