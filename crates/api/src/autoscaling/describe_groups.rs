use std::sync::{Arc, OnceLock};

use puffer_core::autoscaling::{Group, GroupStatus, HealthStatus, InstanceSource, Member};
use puffer_core::ec2::{Account, Instance};
use puffer_inventory::forecasts;
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;
use puffer_wire::EpochMillis;

use super::filters::group_passes;
use super::group_shapes::{GroupShapes, GroupsAnswer};
use super::paging::{self, USUAL};
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    let shapes = Arc::new(OnceLock::new());
    registry.serve_as::<shape::DescribeAutoScalingGroups, GroupsAnswer, _>(move |cx, input| {
        describe(Arc::clone(&shapes), cx, input)
    });
}

async fn describe(
    shapes: Arc<OnceLock<GroupShapes>>,
    cx: Arc<Ctx>,
    input: shape::AutoScalingGroupNamesType,
) -> Result<GroupsAnswer, ApiError> {
    let shapes = shapes.get_or_init(|| GroupShapes::new(&cx.store));
    let size = USUAL.of(input.max_records)?;
    let filters = input.filters.unwrap_or_default();
    let with_instances = input.include_instances.unwrap_or(true);
    let after: Option<String> = paging::after(input.next_token.as_deref())?;
    // One more than the page, to know whether there is a next one.
    let mut found: Vec<Arc<str>> = Vec::new();
    cx.store.read(|r| {
        let start = after.as_deref();
        match input.auto_scaling_group_names.filter(|names| !names.is_empty()) {
            Some(mut names) => {
                names.sort();
                names.dedup();
                for name in names.into_iter().filter(|n| start.is_none_or(|s| n.as_str() > s)) {
                    let Some(group) = r.get::<Group>(&name) else { continue };
                    if found.len() <= size && group_passes(&group, &filters)? {
                        found.push(name.into());
                    }
                }
            }
            None => {
                for group in r.after::<Group>(start.unwrap_or("")) {
                    if found.len() > size {
                        break;
                    }
                    if group_passes(group, &filters)? {
                        found.push(group.name.as_str().into());
                    }
                }
            }
        }
        Ok::<_, ApiError>(())
    })?;
    let next_token = match found.len() > size {
        true => Some(paging::token(&*found[size - 1])?),
        false => None,
    };
    found.truncate(size);
    let mut groups = match with_instances {
        true => shapes.of(&cx.store, &found),
        false => cx.store.read(|r| {
            let one = |name: &Arc<str>| Some(Arc::new(group(r, &*r.get::<Group>(name)?, false)));
            found.iter().filter_map(one).collect()
        }),
    };
    predict(&cx, &mut groups);
    Ok(GroupsAnswer::new(groups, next_token))
}

/// What is foreseen changes with the hour, so it is no part of the shapes that are kept.
fn predict(cx: &Ctx, groups: &mut [Arc<shape::AutoScalingGroup>]) {
    let now = cx.clock.now();
    cx.store.read(|r| {
        for shape in groups {
            let name = shape.auto_scaling_group_name.as_deref().unwrap_or_default();
            if let Some(capacity) = forecasts::predicted(r, name, now) {
                Arc::make_mut(shape).predicted_capacity = Some(signed(capacity));
            }
        }
    });
}

/// The role that every group has unless its user names another one.
fn service_role(account: &str) -> String {
    format!(
        "arn:aws:iam::{account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    )
}

/// A group as the API shows it.
pub(super) fn group(r: &Reader<'_>, g: &Group, with_instances: bool) -> shape::AutoScalingGroup {
    let (launch_configuration_name, launch_template) = match &g.source {
        InstanceSource::LaunchConfiguration(name) => (Some(name.clone()), None),
        InstanceSource::LaunchTemplate(t) => (
            None,
            Some(shape::LaunchTemplateSpecification {
                launch_template_id: Some(t.id.clone()),
                launch_template_name: Some(t.name.clone()),
                version: Some(t.version.clone()),
            }),
        ),
    };
    // A group with a mixed instances policy shows its template inside that policy.
    let launch_template = launch_template.filter(|_| g.mixed.is_none());
    let instances = match with_instances {
        true => {
            let members = r.list_by::<Member>("group", &g.name);
            members.iter().filter(|m| !m.state.is_of_pool()).map(|m| member(r, g, m)).collect()
        }
        false => Vec::new(),
    };
    // Boto 2 takes the end of an item in a list that it does not know for the end of the group, and loses what follows. It
    // makes groups from launch configurations only.
    let account = r.get::<Account>(Account::KEY);
    let role = g.service_linked_role_arn.clone().or_else(|| Some(service_role(&account.as_ref()?.id)));
    let account = account.filter(|_| launch_configuration_name.is_none());
    let termination_policies = match g.termination_policies.is_empty() {
        true => vec!["Default".to_owned()],
        false => g.termination_policies.clone(),
    };
    shape::AutoScalingGroup {
        auto_scaling_group_name: Some(g.name.clone()),
        auto_scaling_group_arn: Some(g.arn.clone()),
        launch_configuration_name,
        launch_template,
        mixed_instances_policy: g.mixed.as_ref().map(super::mixed_policy::show),
        desired_capacity_type: g.mixed.as_ref().map(|_| g.capacity_type.name().to_owned()),
        availability_zone_ids: account.as_ref().map(|a| g.zones.iter().map(|z| a.zone_id(z)).collect()),
        availability_zone_distribution: Some(super::zone_settings::show_distribution(g)),
        availability_zone_impairment_policy: Some(super::zone_settings::show_impairment(g)),
        capacity_rebalance: Some(g.capacity_rebalance),
        min_size: Some(signed(g.min)),
        max_size: Some(signed(g.max)),
        desired_capacity: Some(signed(g.desired)),
        default_cooldown: Some(signed(g.default_cooldown_s)),
        availability_zones: Some(g.zones.clone()),
        load_balancer_names: Some(super::traffic::classic_names(g)),
        target_group_arns: Some(super::traffic::target_group_arns(g)),
        health_check_type: Some(g.health_checks.clone().unwrap_or_else(|| {
            // Groups of before the text was kept.
            if g.health_check_elb { "ELB" } else { "EC2" }.to_owned()
        })),
        health_check_grace_period: Some(signed(g.health_check_grace_s)),
        instances: Some(instances),
        created_time: Some(EpochMillis(g.created_at.as_millis())),
        suspended_processes: Some(
            g.suspended
                .iter()
                .map(|p| shape::SuspendedProcess {
                    process_name: Some(p.name.clone()),
                    suspension_reason: Some(p.reason.clone()),
                })
                .collect(),
        ),
        vpc_zone_identifier: Some(g.subnets.join(",")),
        enabled_metrics: Some(
            g.metrics_collection
                .metrics
                .iter()
                .map(|m| shape::EnabledMetric {
                    metric: Some(m.clone()),
                    granularity: Some("1Minute".to_owned()),
                })
                .collect(),
        ),
        status: (g.status == GroupStatus::Deleting).then(|| "Delete in progress".to_owned()),
        tags: Some(super::tags::of_group(g)),
        termination_policies: Some(termination_policies),
        new_instances_protected_from_scale_in: Some(g.new_instances_protected),
        service_linked_role_arn: role,
        context: g.context.clone(),
        default_instance_warmup: g.default_instance_warmup_s.map(signed),
        traffic_sources: Some(super::traffic::sources_of(g)),
        instance_lifecycle_policy: super::lifecycle_hooks::lifecycle_policy(g),
        instance_maintenance_policy: super::maintenance::shape_of(g),
        max_instance_lifetime: super::maintenance::lifetime_of(g),
        warm_pool_configuration: g.warm_pool.as_ref().map(super::warm_pools::configuration),
        warm_pool_size: g.warm_pool.as_ref().map(|_| {
            let members = r.list_by::<Member>("group", &g.name);
            signed(u32::try_from(members.iter().filter(|m| m.state.is_of_pool()).count()).unwrap_or(u32::MAX))
        }),
        deletion_protection: Some(g.deletion_protection.name().to_owned()),
        ..Default::default()
    }
}

/// A member as groups and warm pools show it.
pub(super) fn member(r: &Reader<'_>, g: &Group, m: &Member) -> shape::Instance {
    shape::Instance {
        instance_id: Some(m.instance_id.clone()),
        instance_type: Some(m.instance_type.clone()),
        availability_zone: Some(m.zone.clone()),
        lifecycle_state: Some(m.state.name().to_owned()),
        health_status: Some(health(m).to_owned()),
        launch_configuration_name: m.launch_configuration.clone(),
        launch_template: template(m),
        image_id: r.get::<Instance>(&m.instance_id).map(|i| i.image_id.clone()),
        protected_from_scale_in: Some(m.protected),
        weighted_capacity: super::mixed_policy::show_weight(g, m),
        ..Default::default()
    }
}

/// `Healthy` or `Unhealthy`, as groups show it.
pub(super) fn health(m: &Member) -> &'static str {
    match m.health {
        HealthStatus::Healthy => "Healthy",
        HealthStatus::Unhealthy => "Unhealthy",
    }
}

/// The template a member was made from.
pub(super) fn template(m: &Member) -> Option<shape::LaunchTemplateSpecification> {
    m.launch_template.as_ref().map(|t| shape::LaunchTemplateSpecification {
        launch_template_id: Some(t.id.clone()),
        launch_template_name: Some(t.name.clone()),
        version: Some(t.version.to_string()),
    })
}

/// Stored sizes come from AWS's 32-bit integers, so they fit.
pub(super) fn signed(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
