//! Making, changing and deleting groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::autoscaling::mixed::CapacityType;
use puffer_core::autoscaling::{DeletionProtection, Group, GroupStatus, InstanceSource, backoff, texts};
use puffer_core::ec2::{Instance, Subnet};
use puffer_core::{Timestamp, ids};
use puffer_inventory::{group_step, groups, refreshes};
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;

use super::error::{Refused, natural, required, unsupported};
use super::static_types::TERMINATION_POLICIES;
use super::traffic::Source;
use super::{
    from_instance, lifecycle_hooks, maintenance, mixed_policy, source, tags, traffic, warm_pools,
    zone_settings,
};
use crate::{ApiError, Ctx, Registry};

/// Subnets or zones of a group; AWS has no more in any region.
const ZONES_MAX: usize = 100;

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::CreateAutoScalingGroup, _>(create);
    registry.serve::<shape::UpdateAutoScalingGroup, _>(update);
    registry.serve::<shape::DeleteAutoScalingGroup, _>(delete);
}

pub(super) async fn create(cx: Arc<Ctx>, input: shape::CreateAutoScalingGroupType) -> Result<(), ApiError> {
    refuse_unbuilt_of_create(&input)?;
    let name = required(input.auto_scaling_group_name.clone(), "autoScalingGroupName")?;
    if name.contains(':') {
        // An ARN, in which the name stands, is parted by them.
        return Err(ApiError::validation("Group name cannot contain colons: ".to_owned() + &name));
    }
    let now = cx.clock.now();
    let uuid = ids::uuid(&mut **cx.rng.lock());
    let arn = texts::group_arn(&cx.region, &cx.account, &uuid, &name);
    let configuration_arn = {
        let uuid = ids::uuid(&mut **cx.rng.lock());
        texts::launch_configuration_arn(&cx.region, &cx.account, &uuid, &name)
    };
    cx.store
        .transact::<_, Refused>(|tx| {
            if tx.get::<Group>(&name).is_some() {
                return Err(ApiError::sender(
                    "AlreadyExists",
                    "AutoScalingGroup by this name already exists - A group with the name ".to_owned()
                        + &name
                        + " already exists",
                )
                .into());
            }
            let r = tx.reader();
            let mixed = match &input.mixed_instances_policy {
                Some(policy) => Some(mixed_policy::of_create(&r, policy)?),
                None => None,
            };
            let sources = (&input.launch_configuration_name, &input.launch_template, &mixed, &input.instance_id);
            let mut configuration_made = None;
            let mut instance = None;
            let from = match sources {
                (Some(configuration), None, None, None) => source::launch_configuration(&r, configuration)?,
                (None, Some(template), None, None) => source::launch_template(&r, template)?,
                (None, None, Some(policy), None) => InstanceSource::LaunchTemplate(policy.template.clone()),
                (None, None, None, Some(id)) => {
                    // The instance becomes a launch configuration with the group's name.
                    let made = from_instance::configuration(&r, id, &name, &configuration_arn, now)?;
                    configuration_made = Some(made);
                    instance = r.get::<Instance>(id);
                    InstanceSource::LaunchConfiguration(name.clone())
                }
                _ => {
                    return Err(ApiError::validation(
                        "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or \
                         MixedInstancesPolicy parameter.",
                    )
                    .into());
                }
            };
            let mut group = Group::new(&name, &uuid, &arn, from, now);
            group.mixed = mixed;
            group.capacity_rebalance = input.capacity_rebalance.unwrap_or(false);
            mixed_policy::set_capacity_type(&mut group, input.desired_capacity_type.as_deref())?;
            zone_settings::distribute(&mut group, input.availability_zone_distribution.as_ref())?;
            // Cross-zone balancing cannot be off, so there is nothing that `SkipZonalShiftValidation` would skip.
            zone_settings::impair(&mut group, input.availability_zone_impairment_policy.as_ref())?;
            group.min = natural(required(input.min_size, "minSize")?, "MinSize")?;
            group.max = natural(required(input.max_size, "maxSize")?, "MaxSize")?;
            group.desired = input.desired_capacity.map_or(Ok(group.min), |n| natural(n, "DesiredCapacity"))?;
            check_sizes(&group)?;
            let zones = zone_settings::names(
                &r,
                input.availability_zones.as_deref(),
                input.availability_zone_ids.as_deref(),
            )?;
            match &instance {
                // Without a place of its own, the group is where its instance is.
                Some(i) if input.vpc_zone_identifier.is_none() && zones.is_none() => {
                    place(&r, &mut group, Some(&i.subnet_id), None)?;
                }
                _ => place(&r, &mut group, input.vpc_zone_identifier.as_deref(), zones.as_deref())?,
            }
            apply_settings(&mut group, &Settings::of_create(&input))?;
            maintenance::apply(&mut group, input.instance_maintenance_policy.as_ref(), input.max_instance_lifetime)?;
            for arn in input.target_group_arns.iter().flatten() {
                traffic::attach(&r, &mut group, Source::TargetGroup(arn))?;
            }
            for name in input.load_balancer_names.iter().flatten() {
                traffic::attach(&r, &mut group, Source::Classic(name))?;
            }
            traffic::attach_sources(&r, &mut group, input.traffic_sources.as_deref().unwrap_or_default())?;
            group.new_instances_protected = input.new_instances_protected_from_scale_in.unwrap_or(false);
            tags::add(&mut group, input.tags.as_deref().unwrap_or_default())?;
            let hooks = input.lifecycle_hook_specification_list.as_deref().unwrap_or_default();
            lifecycle_hooks::add(&mut group, hooks)?;
            if let Some(policy) = &input.instance_lifecycle_policy {
                group.retain_on_abandon = lifecycle_hooks::retains(policy)?;
            }
            if group.desired > 0 {
                let cause = texts::sentence(now, texts::created(group.desired));
                let reason = format!("the group began with {}", group.desired);
                texts::note_desired(&mut group, cause, vec![reason]);
            }
            if let Some(made) = configuration_made {
                from_instance::put_new(tx, made)?;
            }
            let group = tx.put(group);
            for hook in group.hooks.values() {
                lifecycle_hooks::test_target(&cx, tx, &group, hook)?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}

pub(super) async fn update(cx: Arc<Ctx>, input: shape::UpdateAutoScalingGroupType) -> Result<(), ApiError> {
    refuse_unbuilt_of_update(&input)?;
    let name = required(input.auto_scaling_group_name.clone(), "autoScalingGroupName")?;
    let now = cx.clock.now();
    cx.store
        .transact::<_, Refused>(|tx| {
            let before = groups::active(&tx.reader(), &name)?;
            let mut group = Group::clone(&before);
            let r = tx.reader();
            let sources =
                (&input.launch_configuration_name, &input.launch_template, &input.mixed_instances_policy);
            if sources != (&None, &None, &None) {
                check_not_refreshed(&r, &name)?;
            }
            match sources {
                (Some(configuration), None, None) => {
                    group.source = source::launch_configuration(&r, configuration)?;
                    (group.mixed, group.capacity_type) = (None, CapacityType::Units);
                }
                (None, Some(template), None) => {
                    group.source = source::launch_template(&r, template)?;
                    (group.mixed, group.capacity_type) = (None, CapacityType::Units);
                }
                (None, None, Some(policy)) => mixed_policy::update(&r, &mut group, policy)?,
                (None, None, None) => {}
                _ => {
                    return Err(ApiError::validation(
                        "Valid requests must contain one of LaunchTemplate, LaunchConfigurationName and \
                         MixedInstancesPolicy only.",
                    )
                    .into());
                }
            }
            mixed_policy::set_capacity_type(&mut group, input.desired_capacity_type.as_deref())?;
            zone_settings::distribute(&mut group, input.availability_zone_distribution.as_ref())?;
            zone_settings::impair(&mut group, input.availability_zone_impairment_policy.as_ref())?;
            let zones = zone_settings::names(
                &r,
                input.availability_zones.as_deref(),
                input.availability_zone_ids.as_deref(),
            )?;
            if input.vpc_zone_identifier.is_some() || zones.is_some() {
                place(&r, &mut group, input.vpc_zone_identifier.as_deref(), zones.as_deref())?;
            }
            let sources_change = sources != (&None, &None, &None) || input.desired_capacity_type.is_some();
            if group.warm_pool.is_some() && sources_change {
                warm_pools::check_source(&r, &group)?;
            }
            apply_settings(&mut group, &Settings::of_update(&input))?;
            maintenance::apply(
                &mut group,
                input.instance_maintenance_policy.as_ref(),
                input.max_instance_lifetime,
            )?;
            if let Some(on) = input.capacity_rebalance {
                group.capacity_rebalance = on;
            }
            if let Some(protected) = input.new_instances_protected_from_scale_in {
                group.new_instances_protected = protected;
            }
            if let Some(policy) = &input.instance_lifecycle_policy {
                group.retain_on_abandon = lifecycle_hooks::retains(policy)?;
            }
            resize(&mut group, &input, now)?;
            if launches_differ(&before, &group) {
                // What failed so far says nothing about the launches to come.
                backoff::forget(&mut group);
            }
            group.generation += 1;
            mixed_policy::reweigh(tx, &group);
            tx.put(group);
            Ok(())
        })
        .await?;
    Ok(())
}

/// A refresh writes its desired configuration into the group once it has succeeded, and turns back to the group's own if not; so
/// the group keeps its own meanwhile.
fn check_not_refreshed(r: &Reader<'_>, group: &str) -> Result<(), ApiError> {
    match refreshes::active(r, group).is_some_and(|refresh| refresh.desired.is_some()) {
        true => Err(ApiError::validation(
            "An active instance refresh with a desired configuration exists. All configuration options derived from \
             the desired configuration are not available for update while the instance refresh is active.",
        )),
        false => Ok(()),
    }
}

/// Whether the next launch may do what the last one could not.
fn launches_differ(before: &Group, now: &Group) -> bool {
    (&before.source, &before.mixed, &before.zones, &before.subnets)
        != (&now.source, &now.mixed, &now.zones, &now.subnets)
}

/// New bounds move the capacity into them, unless the request names one itself.
fn resize(
    group: &mut Group,
    input: &shape::UpdateAutoScalingGroupType,
    now: Timestamp,
) -> Result<(), ApiError> {
    let from = group.desired;
    if let Some(min) = input.min_size {
        group.min = natural(min, "MinSize")?;
    }
    if let Some(max) = input.max_size {
        group.max = natural(max, "MaxSize")?;
    }
    match input.desired_capacity {
        Some(desired) => group.desired = natural(desired, "DesiredCapacity")?,
        None if group.min <= group.max => group.desired = group.desired.clamp(group.min, group.max),
        None => {}
    }
    check_sizes(group)?;
    if group.desired != from {
        let text = texts::updated(group.min, group.max, from, group.desired);
        let reason = format!("bounds {} to {}, capacity {}", group.min, group.max, group.desired);
        texts::note_desired(group, texts::sentence(now, text), vec![reason]);
    }
    Ok(())
}

pub(super) async fn delete(cx: Arc<Ctx>, input: shape::DeleteAutoScalingGroupType) -> Result<(), ApiError> {
    let name = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let force = input.force_delete.unwrap_or(false);
    let now = cx.clock.now();
    cx.store
        .transact::<_, Refused>(|tx| {
            let group = match tx.get::<Group>(&name) {
                Some(group) if group.status == GroupStatus::Deleting => return Ok(()),
                _ => groups::active(&tx.reader(), &name)?,
            };
            let refused = match group.deletion_protection {
                DeletionProtection::None => false,
                DeletionProtection::PreventForceDeletion => force,
                DeletionProtection::PreventAllDeletion => true,
            };
            if refused {
                return Err(ApiError::sender(
                    "ResourceInUse",
                    format!("You cannot delete an AutoScalingGroup whose deletion protection is {}.", group.deletion_protection.name()),
                )
                .into());
            }
            if force && group.retain_on_abandon {
                return Err(ApiError::validation(
                    "The AutoScalingGroup cannot be deleted with ForceDelete while its InstanceLifecyclePolicy retains \
                     instances. Set TerminateHookAbandon to terminate first.",
                )
                .into());
            }
            if !force && !groups::members(&tx.reader(), &name).is_empty() {
                return Err(ApiError::sender(
                    "ResourceInUse",
                    "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance \
                     request(s) still in the group.",
                )
                .into());
            }
            if groups::members(&tx.reader(), &name).is_empty() {
                group_step::remove_group(tx, &group, now);
                return Ok(());
            }
            groups::change(tx, &name, |g| {
                g.status = GroupStatus::Deleting;
                (g.min, g.max, g.desired) = (0, 0, 0);
            })?;
            Ok(())
        })
        .await?;
    Ok(())
}

fn check_sizes(group: &Group) -> Result<(), ApiError> {
    let (min, max, desired) = (group.min, group.max, group.desired);
    if min > max {
        return Err(ApiError::validation(format!(
            "Min bound, {min}, must be less than or equal to max bound, {max}"
        )));
    }
    if desired < min || desired > max {
        return Err(ApiError::validation(format!(
            "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
        )));
    }
    Ok(())
}

/// Zones and subnets. Subnets decide the zones, also those that the group has already; zones alone mean their default subnets.
fn place(
    r: &Reader<'_>,
    group: &mut Group,
    subnets: Option<&str>,
    zones: Option<&[String]>,
) -> Result<(), ApiError> {
    let asked: BTreeSet<String> = zones.unwrap_or_default().iter().cloned().collect();
    let listed =
        |text: &str| text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
    let subnets: Vec<String> = subnets.map_or_else(|| group.subnets.clone(), listed);
    if subnets.len() > ZONES_MAX || asked.len() > ZONES_MAX {
        return Err(ApiError::validation(format!("A group spans at most {ZONES_MAX} zones or subnets.")));
    }
    if subnets.is_empty() {
        if asked.is_empty() {
            return Err(ApiError::validation("At least one Availability Zone or VPC Subnet is required."));
        }
        let known: BTreeSet<String> =
            r.iter::<Subnet>().filter(|s| s.default_for_az).map(|s| s.zone.clone()).collect();
        if let Some(zone) = asked.iter().find(|z| !known.contains(*z)) {
            return Err(ApiError::validation(format!("Invalid availability zone: [{zone}]")));
        }
        group.zones = asked.into_iter().collect();
        group.subnets = Vec::new();
        return Ok(());
    }
    let mut found = BTreeSet::new();
    let mut vpcs = BTreeSet::new();
    for id in &subnets {
        let subnet = r
            .get::<Subnet>(id)
            .ok_or_else(|| ApiError::validation(format!("The subnet ID '{id}' does not exist")))?;
        found.insert(subnet.zone.clone());
        vpcs.insert(subnet.vpc_id.clone());
    }
    if vpcs.len() > 1 {
        return Err(ApiError::validation("The subnets of a group must be in one VPC."));
    }
    if !asked.is_empty() && asked != found {
        return Err(ApiError::validation(
            "The availability zones of the specified subnets and the Auto Scaling group do not match",
        ));
    }
    group.zones = found.into_iter().collect();
    group.subnets = subnets;
    Ok(())
}

/// What Create and Update set in the same way; `None`: not given, so unchanged.
struct Settings<'a> {
    cooldown: Option<i32>,
    warmup: Option<i32>,
    health_check_type: Option<&'a str>,
    grace: Option<i32>,
    termination_policies: Option<&'a [String]>,
    role: Option<&'a str>,
    context: Option<&'a str>,
    deletion_protection: Option<&'a str>,
}

impl<'a> Settings<'a> {
    fn of_create(input: &'a shape::CreateAutoScalingGroupType) -> Settings<'a> {
        Settings {
            cooldown: input.default_cooldown,
            warmup: input.default_instance_warmup,
            health_check_type: input.health_check_type.as_deref(),
            grace: input.health_check_grace_period,
            termination_policies: input.termination_policies.as_deref(),
            role: input.service_linked_role_arn.as_deref(),
            context: input.context.as_deref(),
            deletion_protection: input.deletion_protection.as_deref(),
        }
    }

    fn of_update(input: &'a shape::UpdateAutoScalingGroupType) -> Settings<'a> {
        Settings {
            cooldown: input.default_cooldown,
            warmup: input.default_instance_warmup,
            health_check_type: input.health_check_type.as_deref(),
            grace: input.health_check_grace_period,
            termination_policies: input.termination_policies.as_deref(),
            role: input.service_linked_role_arn.as_deref(),
            context: input.context.as_deref(),
            deletion_protection: input.deletion_protection.as_deref(),
        }
    }
}

fn apply_settings(group: &mut Group, s: &Settings<'_>) -> Result<(), ApiError> {
    if let Some(cooldown) = s.cooldown {
        group.default_cooldown_s = natural(cooldown, "DefaultCooldown")?;
    }
    match s.warmup {
        None => {}
        // -1 takes the setting away; 0 is a setting.
        Some(-1) => group.default_instance_warmup_s = None,
        Some(warmup) => group.default_instance_warmup_s = Some(natural(warmup, "DefaultInstanceWarmup")?),
    }
    if let Some(types) = s.health_check_type {
        group.health_check_elb = health_check_elb(types)?;
        group.health_checks = Some(types.split_whitespace().collect());
    }
    if let Some(grace) = s.grace {
        group.health_check_grace_s = natural(grace, "HealthCheckGracePeriod")?;
    }
    if let Some(policies) = s.termination_policies {
        group.termination_policies = termination_policies(policies)?;
    }
    if let Some(role) = s.role {
        group.service_linked_role_arn = Some(service_linked_role(role)?.to_owned());
    }
    if let Some(context) = s.context {
        group.context = Some(context.to_owned());
    }
    if let Some(protection) = s.deletion_protection {
        group.deletion_protection = match protection {
            "none" => DeletionProtection::None,
            "prevent-force-deletion" => DeletionProtection::PreventForceDeletion,
            "prevent-all-deletion" => DeletionProtection::PreventAllDeletion,
            other => return Err(ApiError::validation(format!("Invalid deletion protection: {other}"))),
        };
    }
    Ok(())
}

/// `AWSServiceRoleForAutoScaling`, with or without a custom suffix, as the service lets nobody else be its role. The account is taken
/// as it is said: this server has one.
fn service_linked_role(arn: &str) -> Result<&str, ApiError> {
    const PATH: &str = ":role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling";
    let account =
        arn.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(':')).map(|(account, _)| account);
    let suffix = arn.split_once(PATH).map(|(_, suffix)| suffix);
    let is_account = account.is_some_and(|a| a.len() == 12 && a.bytes().all(|b| b.is_ascii_digit()));
    match suffix {
        Some(suffix) if is_account && (suffix.is_empty() || suffix.starts_with('_')) => Ok(arn),
        _ => Err(ApiError::validation(format!("Invalid service-linked role ARN: {arn}"))),
    }
}

fn health_check_elb(types: &str) -> Result<bool, ApiError> {
    let mut elb = false;
    for kind in types.split(',').map(str::trim) {
        match kind {
            "EC2" => {}
            "ELB" => elb = true,
            "EBS" | "VPC_LATTICE" => return Err(unsupported(&format!("Health check type {kind}"))),
            other => return Err(ApiError::validation(format!("Invalid health check type: {other}"))),
        }
    }
    Ok(elb)
}

fn termination_policies(policies: &[String]) -> Result<Vec<String>, ApiError> {
    for (at, policy) in policies.iter().enumerate() {
        if policy.starts_with("arn:aws:lambda:") {
            return Err(unsupported("A Lambda function as termination policy"));
        }
        if !TERMINATION_POLICIES.contains(&policy.as_str()) {
            return Err(ApiError::validation(format!("Invalid termination policy: {policy}")));
        }
        if policy == "Default" && at + 1 != policies.len() {
            return Err(ApiError::validation(
                "The Default termination policy must be the last one in the list.",
            ));
        }
    }
    Ok(policies.to_vec())
}

fn refuse_unbuilt_of_create(input: &shape::CreateAutoScalingGroupType) -> Result<(), ApiError> {
    let given = [
        (input.placement_group.as_ref().is_some_and(|p| !p.is_empty()), "PlacementGroup"),
        (input.capacity_reservation_specification.is_some(), "CapacityReservationSpecification"),
        (input.operator.is_some(), "Operator"),
    ];
    refuse(&given)
}

fn refuse_unbuilt_of_update(input: &shape::UpdateAutoScalingGroupType) -> Result<(), ApiError> {
    let given = [
        (input.placement_group.as_ref().is_some_and(|p| !p.is_empty()), "PlacementGroup"),
        (input.capacity_reservation_specification.is_some(), "CapacityReservationSpecification"),
    ];
    refuse(&given)
}

fn refuse(given: &[(bool, &str)]) -> Result<(), ApiError> {
    match given.iter().find(|(given, _)| *given) {
        Some((_, name)) => Err(unsupported(&format!("The parameter {name}"))),
        None => Ok(()),
    }
}
