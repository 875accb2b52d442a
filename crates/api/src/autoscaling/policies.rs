use std::sync::Arc;

use puffer_core::autoscaling::scaling::AlarmNames;
use puffer_core::autoscaling::{ScalingPolicy, texts};
use puffer_core::{Record, ids};
use puffer_inventory::{groups, policies};
use puffer_shapes::autoscaling as shape;

use super::error::{Refused, required};
use super::paging::{self, PageSize};
use super::{policy_shapes, resource_labels};
use crate::{ApiError, Ctx, Registry};

/// Policies of a group (AWS's quota).
const POLICIES_PER_GROUP_MAX: usize = 50;
/// Policies on a page.
const PAGE: PageSize = PageSize { default: 50, max: 100 };

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::PutScalingPolicy, _>(put);
    registry.serve::<shape::DescribePolicies, _>(describe);
    registry.serve::<shape::DeletePolicy, _>(delete);
}

async fn put(cx: Arc<Ctx>, input: shape::PutScalingPolicyType) -> Result<shape::PolicyARNType, ApiError> {
    let group_name = required(input.auto_scaling_group_name.clone(), "autoScalingGroupName")?;
    let name = required(input.policy_name.clone(), "policyName")?;
    let kind = policy_shapes::kind(&input)?;
    let warmup_s = policy_shapes::warmup(&input)?;
    let now = cx.clock.now();
    let (uuid, names) = {
        let mut rng = cx.rng.lock();
        let uuid = ids::uuid(&mut **rng);
        let names = AlarmNames {
            arn_prefix: format!("arn:aws:cloudwatch:{}:{}:alarm:", cx.region, cx.account),
            high_uuid: ids::uuid(&mut **rng),
            low_uuid: ids::uuid(&mut **rng),
        };
        (uuid, names)
    };
    let policy = cx
        .store
        .transact::<_, Refused>(|tx| {
            let group = groups::active(&tx.reader(), &group_name)?;
            resource_labels::check(&tx.reader(), &group, &kind)?;
            let mut policy = ScalingPolicy {
                arn: texts::policy_arn(&cx.region, &cx.account, &uuid, &group_name, &name),
                name,
                group: group_name.clone(),
                kind,
                enabled: input.enabled.unwrap_or(true),
                warmup_s,
                alarms: Vec::new(),
                last_executed_at: None,
            };
            match tx.get::<ScalingPolicy>(&policy.key()) {
                // A policy keeps its ARN when it is overwritten: users' alarms name it.
                Some(old) => policy.arn.clone_from(&old.arn),
                None => {
                    if policies::of_group(&tx.reader(), &group_name).len() >= POLICIES_PER_GROUP_MAX {
                        return Err(ApiError::sender(
                            "LimitExceeded",
                            format!("A group can have at most {POLICIES_PER_GROUP_MAX} scaling policies."),
                        )
                        .into());
                    }
                }
            }
            Ok(policies::put(tx, policy, &group, &names, now).map_err(ApiError::validation)?)
        })
        .await?;
    Ok(shape::PolicyARNType {
        policy_arn: Some(policy.arn.clone()),
        alarms: Some(policy.alarms.iter().map(policy_shapes::alarm).collect()),
    })
}

async fn describe(cx: Arc<Ctx>, input: shape::DescribePoliciesType) -> Result<shape::PoliciesType, ApiError> {
    let size = PAGE.of(input.max_records)?;
    let names = input.policy_names.unwrap_or_default();
    let kinds = input.policy_types.unwrap_or_default();
    let (page, next_token, alarms) = cx.store.read(|r| {
        let mut found = match &input.auto_scaling_group_name {
            Some(group) => {
                groups::active(r, group)?;
                policies::of_group(r, group)
            }
            None => r.list(),
        };
        // A policy can be named by its ARN too.
        found.retain(|p| names.is_empty() || names.contains(&p.name) || names.contains(&p.arn));
        found.retain(|p| kinds.is_empty() || kinds.iter().any(|k| k == policy_shapes::kind_name(&p.kind)));
        let (page, next) = paging::page(found, |p| p.key(), input.next_token.as_deref(), size)?;
        let alarms: Vec<_> = page.iter().map(|p| policy_shapes::alarms_of(r, p)).collect();
        Ok::<_, ApiError>((page, next, alarms))
    })?;
    let shapes = page.iter().zip(alarms).map(|(p, alarms)| policy_shapes::shape_of(p, alarms));
    Ok(shape::PoliciesType { scaling_policies: Some(shapes.collect()), next_token })
}

async fn delete(cx: Arc<Ctx>, input: shape::DeletePolicyType) -> Result<(), ApiError> {
    let name = required(input.policy_name, "policyName")?;
    let now = cx.clock.now();
    cx.store
        .transact::<_, Refused>(|tx| {
            let found = match &input.auto_scaling_group_name {
                _ if texts::is_policy_arn(&name) => policies::by_arn(&tx.reader(), &name),
                Some(group) => {
                    groups::active(&tx.reader(), group)?;
                    policies::of_group(&tx.reader(), group).into_iter().find(|p| p.name == name)
                }
                None => None,
            };
            let policy =
                found.ok_or_else(|| ApiError::validation(format!("PolicyName not found: {name}")))?;
            policies::remove(tx, &policy, now);
            Ok(())
        })
        .await?;
    Ok(())
}
