//! Classic load balancers, API version 2009-05-15: the load balancers of version 2012-06-01 in the words of their first clients.
//!
//! A request of 2009 becomes the request of 2012 that means the same, so both have one behaviour. What load balancers have learnt
//! since (policies, subnets, attributes) has no name here.

use std::sync::Arc;

use puffer_shapes::{elb as now, elb_2009 as then};

use crate::{ApiError, Ctx, Registry, elb};

pub(crate) fn register(registry: &mut Registry) {
    registry.serve::<then::CreateLoadBalancer, _>(create);
    registry.serve::<then::DeleteLoadBalancer, _>(delete);
    registry.serve::<then::DescribeLoadBalancers, _>(describe);
    registry.serve::<then::EnableAvailabilityZonesForLoadBalancer, _>(enable_zones);
    registry.serve::<then::DisableAvailabilityZonesForLoadBalancer, _>(disable_zones);
    registry.serve::<then::RegisterInstancesWithLoadBalancer, _>(register_instances);
    registry.serve::<then::DeregisterInstancesFromLoadBalancer, _>(deregister_instances);
    registry.serve::<then::DescribeInstanceHealth, _>(describe_health);
    registry.serve::<then::ConfigureHealthCheck, _>(configure_health_check);
}

async fn create(cx: Arc<Ctx>, input: then::CreateLoadBalancerType) -> Result<then::CreatedType, ApiError> {
    let listener = |l: then::Listener| now::Listener {
        protocol: l.protocol,
        load_balancer_port: l.load_balancer_port,
        instance_port: l.instance_port,
        ..Default::default()
    };
    let input = now::CreateLoadBalancerInput {
        load_balancer_name: input.load_balancer_name,
        listeners: input.listeners.map(|all| all.into_iter().map(listener).collect()),
        availability_zones: input.availability_zones,
        ..Default::default()
    };
    let made = elb::create(cx, input).await?;
    Ok(then::CreatedType { dns_name: made.dns_name })
}

async fn delete(cx: Arc<Ctx>, input: then::LoadBalancerNameType) -> Result<then::DeletedType, ApiError> {
    let input = now::DeleteLoadBalancerInput { load_balancer_name: input.load_balancer_name };
    elb::delete(cx, input).await?;
    Ok(then::DeletedType {})
}

/// All load balancers, or those named; this version has no pages of them. Boto 1.9b gives a single name as `LoadBalancerName`.
async fn describe(
    cx: Arc<Ctx>,
    input: then::DescribeLoadBalancersType,
) -> Result<then::LoadBalancersType, ApiError> {
    let mut names = input.load_balancer_names.unwrap_or_default();
    names.extend(input.load_balancer_name);
    let mut found = Vec::new();
    let mut marker = None;
    loop {
        let page = now::DescribeLoadBalancersInput {
            load_balancer_names: (!names.is_empty()).then(|| names.clone()),
            marker,
            page_size: None,
        };
        let answer = elb::describe(Arc::clone(&cx), page).await?;
        found.extend(answer.load_balancer_descriptions.unwrap_or_default().into_iter().map(load_balancer));
        marker = answer.next_marker;
        if marker.is_none() {
            return Ok(then::LoadBalancersType { load_balancer_descriptions: Some(found) });
        }
    }
}

fn load_balancer(b: now::LoadBalancerDescription) -> then::LoadBalancerDescription {
    let listener = |l: now::Listener| then::Listener {
        load_balancer_port: l.load_balancer_port,
        instance_port: l.instance_port,
        protocol: l.protocol,
    };
    let listeners = b.listener_descriptions.unwrap_or_default().into_iter().filter_map(|d| d.listener);
    then::LoadBalancerDescription {
        load_balancer_name: b.load_balancer_name,
        dns_name: b.dns_name,
        listeners: Some(listeners.map(listener).collect()),
        availability_zones: b.availability_zones,
        instances: b.instances.map(instances_then),
        health_check: b.health_check.map(health_check_then),
        created_time: b.created_time,
    }
}

async fn enable_zones(
    cx: Arc<Ctx>,
    input: then::ZonesOfLoadBalancerType,
) -> Result<then::ZonesType, ApiError> {
    let input = now::EnableAvailabilityZonesForLoadBalancerInput {
        load_balancer_name: input.load_balancer_name,
        availability_zones: input.availability_zones,
    };
    let answer = elb::enable_zones(cx, input).await?;
    Ok(then::ZonesType { availability_zones: answer.availability_zones })
}

async fn disable_zones(
    cx: Arc<Ctx>,
    input: then::ZonesOfLoadBalancerType,
) -> Result<then::ZonesType, ApiError> {
    let input = now::DisableAvailabilityZonesForLoadBalancerInput {
        load_balancer_name: input.load_balancer_name,
        availability_zones: input.availability_zones,
    };
    let answer = elb::disable_zones(cx, input).await?;
    Ok(then::ZonesType { availability_zones: answer.availability_zones })
}

fn instances_now(instances: Option<Vec<then::Instance>>) -> Option<Vec<now::Instance>> {
    let one = |i: then::Instance| now::Instance { instance_id: i.instance_id };
    instances.map(|all| all.into_iter().map(one).collect())
}

fn instances_then(instances: Vec<now::Instance>) -> Vec<then::Instance> {
    instances.into_iter().map(|i| then::Instance { instance_id: i.instance_id }).collect()
}

async fn register_instances(
    cx: Arc<Ctx>,
    input: then::InstancesOfLoadBalancerType,
) -> Result<then::InstancesType, ApiError> {
    let input = now::RegisterInstancesWithLoadBalancerInput {
        load_balancer_name: input.load_balancer_name,
        instances: instances_now(input.instances),
    };
    let answer = elb::register_instances(cx, input).await?;
    Ok(then::InstancesType { instances: answer.instances.map(instances_then) })
}

async fn deregister_instances(
    cx: Arc<Ctx>,
    input: then::InstancesOfLoadBalancerType,
) -> Result<then::InstancesType, ApiError> {
    let input = now::DeregisterInstancesFromLoadBalancerInput {
        load_balancer_name: input.load_balancer_name,
        instances: instances_now(input.instances),
    };
    let answer = elb::deregister(cx, input).await?;
    Ok(then::InstancesType { instances: answer.instances.map(instances_then) })
}

/// Boto 1.9b names the instances by bare ids in a list that it spells in lower case.
async fn describe_health(
    cx: Arc<Ctx>,
    input: then::DescribeInstanceHealthType,
) -> Result<then::InstanceStatesType, ApiError> {
    let mut instances = instances_now(input.instances).unwrap_or_default();
    let bare = input.instance_ids.unwrap_or_default().into_iter();
    instances.extend(bare.map(|id| now::Instance { instance_id: Some(id) }));
    let input = now::DescribeInstanceHealthInput {
        load_balancer_name: input.load_balancer_name,
        instances: Some(instances),
    };
    let answer = elb::describe_health(cx, input).await?;
    let state = |s: now::InstanceState| then::InstanceState {
        instance_id: s.instance_id,
        state: s.state,
        reason_code: s.reason_code,
        description: s.description,
    };
    let states = answer.instance_states.unwrap_or_default().into_iter().map(state).collect();
    Ok(then::InstanceStatesType { instance_states: Some(states) })
}

async fn configure_health_check(
    cx: Arc<Ctx>,
    input: then::ConfigureHealthCheckType,
) -> Result<then::HealthCheckType, ApiError> {
    let input = now::ConfigureHealthCheckInput {
        load_balancer_name: input.load_balancer_name,
        health_check: input.health_check.map(|h| now::HealthCheck {
            target: h.target,
            interval: h.interval,
            timeout: h.timeout,
            unhealthy_threshold: h.unhealthy_threshold,
            healthy_threshold: h.healthy_threshold,
        }),
    };
    let answer = elb::configure_health_check(cx, input).await?;
    Ok(then::HealthCheckType { health_check: answer.health_check.map(health_check_then) })
}

fn health_check_then(h: now::HealthCheck) -> then::HealthCheck {
    then::HealthCheck {
        target: h.target,
        interval: h.interval,
        timeout: h.timeout,
        unhealthy_threshold: h.unhealthy_threshold,
        healthy_threshold: h.healthy_threshold,
    }
}
