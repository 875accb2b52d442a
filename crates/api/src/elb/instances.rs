//! Instances of a load balancer: registered, deregistered and looked at.

use std::sync::Arc;

use puffer_core::ec2::Instance;
use puffer_core::elb::Target;
use puffer_core::elb::classic::{ClassicLoadBalancer, INSTANCES_MAX, WHOLE_INSTANCE, verdict};
use puffer_inventory::classic::registrations;
use puffer_inventory::targets::{self, TargetDescription, TargetsError};
use puffer_shapes::elb::{self as shapes, errors};
use puffer_store::Reader;

use super::{found, view};
use crate::{ApiError, Ctx};

fn invalid(text: String) -> ApiError {
    ApiError::declared(&errors::INVALID_END_POINT_EXCEPTION, text)
}

fn failed(error: TargetsError) -> ApiError {
    let named = |ids: &[String]| ids.join(", ");
    match &error {
        TargetsError::Unknown(ids) => invalid(format!("Could not find EC2 instance {}.", named(ids))),
        TargetsError::NotRunning(ids) => {
            invalid(format!("EC2 instance {} is not in a running state.", named(ids)))
        }
        TargetsError::OtherVpc { targets, .. } => {
            invalid(format!("EC2 instance {} is not in the same VPC as ELB.", named(targets)))
        }
        TargetsError::TooManyTargets => ApiError::validation(format!(
            "A load balancer can have at most {INSTANCES_MAX} instances, those that are on their way out included"
        )),
        TargetsError::TargetGroupNotFound(_)
        | TargetsError::NoAddress(_)
        | TargetsError::NotRegistered(_)
        | TargetsError::TooManyRegistrations(_) => invalid(error.to_string()),
    }
}

fn ids(given: Option<Vec<shapes::Instance>>) -> Vec<String> {
    let mut ids: Vec<String> = given.unwrap_or_default().into_iter().filter_map(|i| i.instance_id).collect();
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

fn registered(reader: &Reader<'_>, balancer: &ClassicLoadBalancer) -> Option<Vec<shapes::Instance>> {
    Some(view::instances(&registrations(reader, balancer)))
}

pub(crate) async fn register(
    cx: Arc<Ctx>,
    input: shapes::RegisterInstancesWithLoadBalancerInput,
) -> Result<shapes::RegisterInstancesWithLoadBalancerOutput, ApiError> {
    let name = input.load_balancer_name.unwrap_or_default();
    let wanted: Vec<TargetDescription> =
        ids(input.instances).iter().map(|id| TargetDescription::of(id)).collect();
    let now = cx.clock.now();
    let instances = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let balancer = found(&tx.reader(), &name)?;
            targets::register(tx, &balancer.arn, &wanted, now).map_err(failed)?;
            Ok(registered(&tx.reader(), &balancer))
        })
        .await?;
    Ok(shapes::RegisterInstancesWithLoadBalancerOutput { instances })
}

/// Deregistering an instance that is not registered succeeds, as on AWS: what is asked for is the case.
pub(crate) async fn deregister(
    cx: Arc<Ctx>,
    input: shapes::DeregisterInstancesFromLoadBalancerInput,
) -> Result<shapes::DeregisterInstancesFromLoadBalancerOutput, ApiError> {
    let name = input.load_balancer_name.unwrap_or_default();
    let named = ids(input.instances);
    let now = cx.clock.now();
    let instances = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let balancer = found(&tx.reader(), &name)?;
            let mut leaving = Vec::new();
            for id in &named {
                let key = Target::key_of(&balancer.arn, id, WHOLE_INSTANCE);
                match tx.get::<Target>(&key) {
                    Some(_) => leaving.push(TargetDescription::of(id)),
                    None => exists(&tx.reader(), id)?,
                }
            }
            targets::deregister(tx, &balancer.arn, &leaving, now).map_err(failed)?;
            Ok(registered(&tx.reader(), &balancer))
        })
        .await?;
    Ok(shapes::DeregisterInstancesFromLoadBalancerOutput { instances })
}

fn exists(reader: &Reader<'_>, id: &str) -> Result<(), ApiError> {
    match reader.get::<Instance>(id) {
        Some(_) => Ok(()),
        None => Err(invalid(format!("Could not find EC2 instance {id}."))),
    }
}

pub(crate) async fn describe_health(
    cx: Arc<Ctx>,
    input: shapes::DescribeInstanceHealthInput,
) -> Result<shapes::DescribeInstanceHealthOutput, ApiError> {
    let name = input.load_balancer_name.unwrap_or_default();
    let asked = ids(input.instances);
    cx.store.read(|r| {
        let balancer = found(r, &name)?;
        let state = |id: &str, target: Option<&Target>| {
            let seen = verdict(target, r.get::<Instance>(id).map(|i| i.state));
            shapes::InstanceState {
                instance_id: Some(id.to_owned()),
                state: Some(seen.state.to_owned()),
                reason_code: Some(seen.reason_code.to_owned()),
                description: Some(seen.description.to_owned()),
            }
        };
        let all = registrations(r, &balancer);
        let states = match asked.is_empty() {
            true => all.iter().map(|t| state(&t.id, Some(t))).collect(),
            false => {
                let mut states = Vec::with_capacity(asked.len());
                for id in &asked {
                    let target = all.iter().find(|t| t.id == *id);
                    if target.is_none() {
                        exists(r, id)?;
                    }
                    states.push(state(id, target.map(|t| &**t)));
                }
                states
            }
        };
        Ok(shapes::DescribeInstanceHealthOutput { instance_states: Some(states) })
    })
}
