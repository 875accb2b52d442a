//! Target groups.

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::ec2::Vpc;
use puffer_core::elb::limits::TARGET_GROUPS_MAX;
use puffer_core::elb::{HealthCheck, Rule, Target, TargetGroup, TargetProtocol, TargetType, arn};
use puffer_core::ids;
use puffer_shapes::elbv2::{self as shapes, errors};

use super::health_check::Given;
use super::load_balancers::check_name;
use super::page::page;
use super::{lookup, network, tags, view};
use crate::{ApiError, Ctx};

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateTargetGroupInput,
) -> Result<shapes::CreateTargetGroupOutput, ApiError> {
    let mut wanted = parse(input)?;
    let shown = cx
        .store
        .transact::<_, ApiError>(|tx| {
            if tx.get::<Vpc>(&wanted.vpc_id).is_none() {
                return Err(ApiError::validation(format!("The VPC ID '{}' is not found", wanted.vpc_id)));
            }
            if let Some(old) = lookup::target_group_named(&tx.reader(), &wanted.name) {
                return match equals(&old, &wanted) {
                    true => Ok(view::target_group(&tx.reader(), &old)),
                    false => Err(ApiError::declared(
                        &errors::DUPLICATE_TARGET_GROUP_NAME_EXCEPTION,
                        format!(
                            "A target group with the same name '{}' exists, but with different settings",
                            wanted.name
                        ),
                    )),
                };
            }
            if lookup::target_groups(&tx.reader()).len() >= TARGET_GROUPS_MAX {
                return Err(ApiError::declared(
                    &errors::TOO_MANY_TARGET_GROUPS_EXCEPTION,
                    format!("The limit of {TARGET_GROUPS_MAX} target groups in the region has been reached"),
                ));
            }
            let place = arn::Place { region: &cx.region, account: &cx.account };
            wanted.arn = place.target_group(&wanted.name, &ids::hex16(&mut **cx.rng.lock()));
            wanted.created_at = cx.clock.now();
            let group = tx.put(wanted);
            Ok(view::target_group(&tx.reader(), &group))
        })
        .await?;
    Ok(shapes::CreateTargetGroupOutput { target_groups: Some(vec![shown]) })
}

fn parse(input: shapes::CreateTargetGroupInput) -> Result<TargetGroup, ApiError> {
    let name = input.name.unwrap_or_default();
    check_name("target group", &name)?;
    let target_type = match input.target_type.as_deref() {
        None | Some("instance") => TargetType::Instance,
        Some("ip") => TargetType::Ip,
        Some(other) => {
            return Err(ApiError::declared(
                &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
                format!("Puffer has no targets of type '{other}' yet; use 'instance' or 'ip'"),
            ));
        }
    };
    match input.protocol.as_deref() {
        Some("HTTP") => {}
        None => return Err(ApiError::validation("A protocol must be specified")),
        Some(other) => {
            return Err(ApiError::declared(
                &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
                format!("Puffer has no target groups with the protocol '{other}' yet; use 'HTTP'"),
            ));
        }
    }
    match input.protocol_version.as_deref() {
        // Terraform sends an empty text for "as it comes".
        None | Some("" | "HTTP1") => {}
        Some(other) => {
            return Err(ApiError::declared(
                &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
                format!("Puffer speaks HTTP1 with targets, not '{other}'"),
            ));
        }
    }
    network::only_ipv4(input.ip_address_type.as_deref())?;
    if input.target_control_port.is_some() {
        return Err(ApiError::declared(
            &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
            "Target control ports are not supported by Puffer",
        ));
    }
    let port = match input.port {
        None => return Err(ApiError::validation("A port must be specified")),
        Some(port) => u16::try_from(port).ok().filter(|p| *p > 0).ok_or_else(|| {
            ApiError::validation(format!("Target group port '{port}' must be from 1 to 65535"))
        })?,
    };
    let vpc_id = input.vpc_id.ok_or_else(|| ApiError::validation("A VPC ID must be specified"))?;
    let given = Given {
        enabled: input.health_check_enabled,
        protocol: input.health_check_protocol,
        port: input.health_check_port,
        path: input.health_check_path,
        matcher: input.matcher,
        interval_s: input.health_check_interval_seconds,
        timeout_s: input.health_check_timeout_seconds,
        healthy_threshold: input.healthy_threshold_count,
        unhealthy_threshold: input.unhealthy_threshold_count,
    };
    Ok(TargetGroup {
        arn: String::new(),
        name,
        protocol: TargetProtocol::Http,
        port,
        vpc_id,
        target_type,
        health_check: given.over(&HealthCheck::default())?,
        attributes: Default::default(),
        created_at: Timestamp::default(),
        tags: tags::parse(input.tags)?,
    })
}

/// Whether the group of this name is just what is asked for: then creating it again is no error.
fn equals(old: &TargetGroup, wanted: &TargetGroup) -> bool {
    let identity = |g: &TargetGroup| {
        let settings = (g.protocol, g.port, g.vpc_id.clone(), g.target_type);
        (settings, g.health_check.clone(), g.tags.clone())
    };
    identity(old) == identity(wanted)
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeTargetGroupsInput,
) -> Result<shapes::DescribeTargetGroupsOutput, ApiError> {
    let arns = input.target_group_arns.unwrap_or_default();
    let names = input.names.unwrap_or_default();
    let n_selectors = [!arns.is_empty(), !names.is_empty(), input.load_balancer_arn.is_some()];
    if n_selectors.iter().filter(|given| **given).count() > 1 {
        return Err(ApiError::validation(
            "Only one of load balancer ARN, target group ARNs and target group names can be specified",
        ));
    }
    cx.store.read(|r| {
        let found: Vec<Arc<TargetGroup>> = if !arns.is_empty() {
            arns.iter().map(|arn| lookup::target_group(r, arn)).collect::<Result<_, _>>()?
        } else if !names.is_empty() {
            let absent = || {
                ApiError::declared(
                    &errors::TARGET_GROUP_NOT_FOUND_EXCEPTION,
                    "One or more target groups not found",
                )
            };
            let by_name = |n: &String| lookup::target_group_named(r, n).ok_or_else(absent);
            names.iter().map(by_name).collect::<Result<_, _>>()?
        } else if let Some(balancer) = &input.load_balancer_arn {
            lookup::load_balancer(r, balancer)?;
            let rules = r.list_by::<Rule>("load_balancer", balancer);
            let mut groups: Vec<&str> = rules.iter().flat_map(|rule| rule.target_groups()).collect();
            groups.sort_unstable();
            groups.dedup();
            groups.into_iter().filter_map(|arn| r.get(arn)).collect()
        } else {
            lookup::target_groups(r)
        };
        let (found, next_marker) = page(found, |g| &g.arn, input.marker.as_deref(), input.page_size);
        let target_groups = Some(found.iter().map(|g| view::target_group(r, g)).collect());
        Ok(shapes::DescribeTargetGroupsOutput { target_groups, next_marker })
    })
}

pub(super) async fn modify(
    cx: Arc<Ctx>,
    input: shapes::ModifyTargetGroupInput,
) -> Result<shapes::ModifyTargetGroupOutput, ApiError> {
    let group_arn = input.target_group_arn.unwrap_or_default();
    let given = Given {
        enabled: input.health_check_enabled,
        protocol: input.health_check_protocol,
        port: input.health_check_port,
        path: input.health_check_path,
        matcher: input.matcher,
        interval_s: input.health_check_interval_seconds,
        timeout_s: input.health_check_timeout_seconds,
        healthy_threshold: input.healthy_threshold_count,
        unhealthy_threshold: input.unhealthy_threshold_count,
    };
    let shown = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let old = lookup::target_group(&tx.reader(), &group_arn)?;
            let check = given.over(&old.health_check)?;
            let group = tx.update::<TargetGroup>(&group_arn, |g| g.health_check = check).unwrap_or(old);
            Ok(view::target_group(&tx.reader(), &group))
        })
        .await?;
    Ok(shapes::ModifyTargetGroupOutput { target_groups: Some(vec![shown]) })
}

/// A group that does not exist is deleted already; its targets go with it.
pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteTargetGroupInput,
) -> Result<shapes::DeleteTargetGroupOutput, ApiError> {
    let group_arn = input.target_group_arn.unwrap_or_default();
    if arn::kind_of(&group_arn) != Some(arn::ArnKind::TargetGroup) {
        return Err(ApiError::validation(format!("'{group_arn}' is not a valid target group ARN")));
    }
    cx.store
        .transact::<_, ApiError>(|tx| {
            if puffer_inventory::targets::is_in_use(&tx.reader(), &group_arn) {
                return Err(ApiError::declared(
                    &errors::RESOURCE_IN_USE_EXCEPTION,
                    format!("Target group '{group_arn}' is currently in use by a listener or a rule"),
                ));
            }
            for target in tx.list_by::<Target>("target_group", &group_arn) {
                tx.delete::<Target>(&Target::key_of(&group_arn, &target.id, target.port));
            }
            tx.delete::<TargetGroup>(&group_arn);
            Ok(())
        })
        .await?;
    Ok(shapes::DeleteTargetGroupOutput {})
}
