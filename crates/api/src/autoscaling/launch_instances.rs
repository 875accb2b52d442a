use std::sync::Arc;

use puffer_core::autoscaling::launch_call::{LaunchCall, LaunchCallAsked, LaunchCallPart};
use puffer_core::ec2::Account;
use puffer_inventory::group_step::{LaunchNowError, launch_now};
use puffer_shapes::autoscaling as shape;

use super::error::{Refused, natural, required};
use super::zone_settings;
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::LaunchInstances, _>(launch);
}

async fn launch(
    cx: Arc<Ctx>,
    input: shape::LaunchInstancesRequest,
) -> Result<shape::LaunchInstancesResult, ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let token = required(input.client_token, "clientToken")?;
    let capacity = natural(required(input.requested_capacity, "requestedCapacity")?, "RequestedCapacity")?;
    let retry = match input.retry_strategy.as_deref() {
        None | Some("none") => false,
        Some("retry-with-group-configuration") => true,
        Some(other) => return Err(ApiError::validation(format!("Invalid retry strategy: {other}"))),
    };
    let (now, mut rng) = (cx.clock.now(), cx.fork_rng());
    let (call, account) = cx
        .store
        .transact::<_, Refused>(|tx| {
            let zones = zone_settings::names(
                &tx.reader(),
                input.availability_zones.as_deref(),
                input.availability_zone_ids.as_deref(),
            )?;
            let asked = LaunchCallAsked {
                capacity,
                zone: zones.unwrap_or_default().pop(),
                subnet: input.subnet_ids.unwrap_or_default().pop(),
                retry,
            };
            let call = launch_now(tx, &group, &token, asked, now, &mut rng).map_err(refused)?;
            let account =
                tx.get::<Account>(Account::KEY).ok_or_else(|| ApiError::internal(&"there is no account"))?;
            Ok((call, account))
        })
        .await?;
    Ok(shape_of(call, &account))
}

fn refused(error: LaunchNowError) -> Refused {
    match error {
        LaunchNowError::Group(e) => Refused::from(e),
        LaunchNowError::Store(e) => Refused::Store(e),
        LaunchNowError::Mismatch => {
            ApiError::declared(&shape::schema::errors::IDEMPOTENT_PARAMETER_MISMATCH_ERROR, error.to_string())
                .into()
        }
        other => ApiError::validation(other.to_string()).into(),
    }
}

fn market(part: &LaunchCallPart) -> Option<String> {
    Some(if part.spot { "Spot" } else { "OnDemand" }.to_owned())
}

fn shape_of(call: LaunchCall, account: &Account) -> shape::LaunchInstancesResult {
    let launched = call.launched.into_iter().map(|part| shape::InstanceCollection {
        market_type: market(&part),
        availability_zone_id: Some(account.zone_id(&part.zone)),
        instance_type: Some(part.instance_type),
        subnet_id: Some(part.subnet),
        availability_zone: Some(part.zone),
        instance_ids: Some(part.instance_ids),
    });
    let errors = call.refused.into_iter().map(|(part, code, text)| shape::LaunchInstancesError {
        market_type: market(&part),
        availability_zone_id: Some(account.zone_id(&part.zone)),
        instance_type: Some(part.instance_type),
        subnet_id: Some(part.subnet),
        availability_zone: Some(part.zone),
        error_code: Some(code),
        error_message: Some(text),
    });
    shape::LaunchInstancesResult {
        auto_scaling_group_name: Some(call.group),
        client_token: Some(call.token),
        instances: Some(launched.collect()),
        errors: Some(errors.collect()),
    }
}
