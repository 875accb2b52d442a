use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::autoscaling::{Group, HealthStatus, LifecycleState, Member, UnhealthyCause};
use puffer_core::ec2::Instance;
use puffer_inventory::groups::{self, GroupError};
use puffer_shapes::autoscaling as shape;

use super::describe_groups::template;
use super::error::{Refused, required};
use super::paging::{self, PageSize};
use crate::{ApiError, Ctx, Registry};

/// Instances on a page.
const PAGE: PageSize = PageSize { default: 50, max: 50 };
/// Instances in one request.
const INSTANCES_PER_REQUEST_MAX: usize = 50;

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::DescribeAutoScalingInstances, _>(describe);
    registry.serve::<shape::SetInstanceHealth, _>(set_health);
    registry.serve::<shape::SetInstanceProtection, _>(set_protection);
}

async fn describe(
    cx: Arc<Ctx>,
    input: shape::DescribeAutoScalingInstancesType,
) -> Result<shape::AutoScalingInstancesType, ApiError> {
    let size = PAGE.of(input.max_records)?;
    let ids = input.instance_ids.unwrap_or_default();
    cx.store.read(|r| {
        let members: Vec<Arc<Member>> = match ids.is_empty() {
            true => r.list(),
            false => ids.iter().collect::<BTreeSet<_>>().into_iter().filter_map(|id| r.get(id)).collect(),
        };
        let (page, next_token) =
            paging::page(members, |m| m.instance_id.clone(), input.next_token.as_deref(), size)?;
        let details = page.iter().map(|m| shape::AutoScalingInstanceDetails {
            instance_id: Some(m.instance_id.clone()),
            instance_type: Some(m.instance_type.clone()),
            auto_scaling_group_name: Some(m.group.clone()),
            availability_zone: Some(m.zone.clone()),
            lifecycle_state: Some(m.state.name().to_owned()),
            // This call alone shows health in capitals.
            health_status: Some(super::describe_groups::health(m).to_uppercase()),
            launch_configuration_name: m.launch_configuration.clone(),
            launch_template: template(m),
            image_id: r.get::<Instance>(&m.instance_id).map(|i| i.image_id.clone()),
            protected_from_scale_in: Some(m.protected),
            weighted_capacity: r.get::<Group>(&m.group).and_then(|g| super::mixed_policy::show_weight(&g, m)),
            ..Default::default()
        });
        Ok(shape::AutoScalingInstancesType { auto_scaling_instances: Some(details.collect()), next_token })
    })
}

async fn set_health(cx: Arc<Ctx>, input: shape::SetInstanceHealthQuery) -> Result<(), ApiError> {
    let id = required(input.instance_id, "instanceId")?;
    let healthy = match required(input.health_status, "healthStatus")?.as_str() {
        "Healthy" => true,
        "Unhealthy" => false,
        other => {
            return Err(ApiError::validation(format!(
                "Health status {other} is not valid: it is Healthy or Unhealthy."
            )));
        }
    };
    let respect_grace = input.should_respect_grace_period.unwrap_or(true);
    let now = cx.clock.now();
    cx.store
        .transact::<_, GroupError>(|tx| {
            let member = groups::member(&tx.reader(), &id)?;
            let group = groups::active(&tx.reader(), &member.group)?;
            let grace_ends =
                |since: Timestamp| since + std::time::Duration::from_secs(group.health_check_grace_s.into());
            let in_grace = member.in_service_at.is_none_or(|since| now < grace_ends(since));
            if !healthy && respect_grace && in_grace && group.health_check_grace_s > 0 {
                return Ok(());
            }
            tx.update::<Member>(&id, |m| {
                (m.health, m.unhealthy_cause) = match healthy {
                    true => (HealthStatus::Healthy, None),
                    false => (HealthStatus::Unhealthy, Some(UnhealthyCause::User)),
                };
            });
            groups::change(tx, &group.name, |_| ()).map(drop)
        })
        .await?;
    Ok(())
}

async fn set_protection(
    cx: Arc<Ctx>,
    input: shape::SetInstanceProtectionQuery,
) -> Result<shape::SetInstanceProtectionAnswer, ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let instance_ids = required(input.instance_ids, "instanceIds")?;
    let protected = required(input.protected_from_scale_in, "protectedFromScaleIn")?;
    if instance_ids.len() > INSTANCES_PER_REQUEST_MAX {
        return Err(ApiError::validation(format!(
            "At most {INSTANCES_PER_REQUEST_MAX} instances can be protected by one request."
        )));
    }
    cx.store
        .transact::<_, Refused>(|tx| {
            groups::active(&tx.reader(), &name)?;
            for id in &instance_ids {
                let member = groups::member(&tx.reader(), id)?;
                if member.group != name {
                    return Err(ApiError::validation(format!(
                        "The instance {id} is not part of Auto Scaling group {name}."
                    ))
                    .into());
                }
                if !matches!(
                    member.state,
                    LifecycleState::InService | LifecycleState::EnteringStandby | LifecycleState::Standby
                ) && !member.is_pending()
                {
                    return Err(ApiError::validation(format!(
                        "The instance {id} is not in InService or EnteringStandby or Standby."
                    ))
                    .into());
                }
                tx.update::<Member>(id, |m| m.protected = protected);
            }
            groups::change(tx, &name, |_| ())?;
            Ok(())
        })
        .await?;
    Ok(shape::SetInstanceProtectionAnswer::default())
}
