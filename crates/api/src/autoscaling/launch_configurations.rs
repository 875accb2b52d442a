use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::autoscaling::{Group, LaunchConfiguration, texts};
use puffer_core::ec2::{MetadataOptions, Price, instance_types};
use puffer_core::{Timestamp, ids};
use puffer_inventory::launch;
use puffer_shapes::autoscaling as shape;
use puffer_wire::EpochMillis;

use super::error::{Refused, required, unsupported};
use super::paging::{self, USUAL};
use super::{block_devices, from_instance};
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::CreateLaunchConfiguration, _>(create);
    registry.serve::<shape::DescribeLaunchConfigurations, _>(describe);
    registry.serve::<shape::DeleteLaunchConfiguration, _>(delete);
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shape::CreateLaunchConfigurationType,
) -> Result<(), ApiError> {
    for (given, name) in [
        (input.classic_link_vpc_id.is_some(), "ClassicLinkVPCId"),
        (
            input.classic_link_vpc_security_groups.as_ref().is_some_and(|g| !g.is_empty()),
            "ClassicLinkVPCSecurityGroups",
        ),
        (input.kernel_id.is_some(), "KernelId"),
        (input.ramdisk_id.is_some(), "RamdiskId"),
        (input.placement_tenancy.as_deref().is_some_and(|t| t != "default"), "PlacementTenancy"),
    ] {
        if given {
            return Err(unsupported(&format!("The parameter {name}")));
        }
    }
    let name = required(input.launch_configuration_name.clone(), "launchConfigurationName")?;
    let uuid = ids::uuid(&mut **cx.rng.lock());
    let arn = texts::launch_configuration_arn(&cx.region, &cx.account, &uuid, &name);
    let now = cx.clock.now();
    cx.store
        .transact::<_, Refused>(|tx| {
            // An instance gives what the request does not say.
            let base = match &input.instance_id {
                Some(id) => Some(from_instance::configuration(&tx.reader(), id, &name, &arn, now)?),
                None => None,
            };
            let configuration = read(input, base, name, arn, now)?;
            Ok(from_instance::put_new(tx, configuration)?)
        })
        .await?;
    Ok(())
}

fn read(
    input: shape::CreateLaunchConfigurationType,
    base: Option<LaunchConfiguration>,
    name: String,
    arn: String,
    now: Timestamp,
) -> Result<LaunchConfiguration, ApiError> {
    let needed = |given: Option<String>, of_base: fn(&LaunchConfiguration) -> &String| {
        given.or_else(|| base.as_ref().map(|b| of_base(b).clone())).ok_or_else(|| {
            ApiError::validation("Valid requests must contain either the InstanceID parameter or both the ImageId and InstanceType parameters.")
        })
    };
    let image_id = needed(input.image_id, |b| &b.image_id)?;
    let instance_type = needed(input.instance_type, |b| &b.instance_type)?;
    if instance_types::find(&instance_type).is_none() {
        return Err(ApiError::validation(format!("Invalid instance type: {instance_type}")));
    }
    // Early clients send the text `None` for no key.
    let key_name = input.key_name.filter(|k| !k.is_empty() && k != "None");
    let user_data = launch::check_user_data(input.user_data).map_err(|e| super::error::launch(&e))?;
    let metadata_options = input.metadata_options.map(metadata_options).transpose()?;
    let spot_price = input.spot_price.map(spot_price).transpose()?;
    let block_device_mappings = block_devices::read(input.block_device_mappings.unwrap_or_default())?;
    let monitoring = input.instance_monitoring.and_then(|m| m.enabled);
    let base = base.unwrap_or_else(|| LaunchConfiguration {
        name: name.clone(),
        arn: arn.clone(),
        created_at: now,
        image_id: String::new(),
        instance_type: String::new(),
        key_name: None,
        security_groups: Vec::new(),
        user_data: None,
        iam_instance_profile: None,
        detailed_monitoring: true,
        associate_public_ip: None,
        metadata_options: None,
        block_device_mappings: Vec::new(),
        ebs_optimized: false,
        spot_price: None,
        placement_tenancy: None,
    });
    Ok(LaunchConfiguration {
        image_id,
        instance_type,
        key_name: key_name.or(base.key_name),
        security_groups: input.security_groups.unwrap_or(base.security_groups),
        user_data: user_data.or(base.user_data),
        iam_instance_profile: input.iam_instance_profile.or(base.iam_instance_profile),
        detailed_monitoring: monitoring.unwrap_or(base.detailed_monitoring),
        associate_public_ip: input.associate_public_ip_address.or(base.associate_public_ip),
        metadata_options: metadata_options.or(base.metadata_options),
        ebs_optimized: input.ebs_optimized.unwrap_or(base.ebs_optimized),
        // Not an instance's, but those of the image and of the request.
        block_device_mappings,
        spot_price,
        placement_tenancy: input.placement_tenancy,
        ..base
    })
}

fn spot_price(text: String) -> Result<String, ApiError> {
    match text.parse::<Price>() {
        Ok(price) if price > Price(0) => Ok(text),
        _ => Err(ApiError::validation(format!("SpotPrice must be a price above 0, but is {text}."))),
    }
}

fn metadata_options(given: shape::InstanceMetadataOptions) -> Result<MetadataOptions, ApiError> {
    let defaults = MetadataOptions::default();
    let hop_limit = match given.http_put_response_hop_limit {
        None => defaults.hop_limit,
        Some(n) => u8::try_from(n).ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| {
            ApiError::validation(format!("HttpPutResponseHopLimit must be between 1 and 64, but is {n}."))
        })?,
    };
    Ok(MetadataOptions {
        enabled: given.http_endpoint.as_deref() != Some("disabled"),
        tokens_required: given.http_tokens.map_or(defaults.tokens_required, |t| t == "required"),
        hop_limit,
        tags: false,
    })
}

async fn describe(
    cx: Arc<Ctx>,
    input: shape::LaunchConfigurationNamesType,
) -> Result<shape::LaunchConfigurationsType, ApiError> {
    let size = USUAL.of(input.max_records)?;
    let names = input.launch_configuration_names.unwrap_or_default();
    let found: Vec<Arc<LaunchConfiguration>> = match names.is_empty() {
        true => cx.store.list(),
        false => {
            let names: BTreeSet<&String> = names.iter().collect();
            cx.store.read(|r| names.into_iter().filter_map(|n| r.get(n)).collect())
        }
    };
    let (page, next_token) = paging::page(found, |c| c.name.clone(), input.next_token.as_deref(), size)?;
    Ok(shape::LaunchConfigurationsType {
        launch_configurations: Some(page.iter().map(|c| shape_of(c)).collect()),
        next_token,
    })
}

pub(super) fn shape_of(c: &LaunchConfiguration) -> shape::LaunchConfiguration {
    let text = |s: &Option<String>| Some(s.clone().unwrap_or_default());
    shape::LaunchConfiguration {
        launch_configuration_name: Some(c.name.clone()),
        launch_configuration_arn: Some(c.arn.clone()),
        image_id: Some(c.image_id.clone()),
        key_name: text(&c.key_name),
        security_groups: Some(c.security_groups.clone()),
        user_data: text(&c.user_data),
        instance_type: Some(c.instance_type.clone()),
        kernel_id: Some(String::new()),
        ramdisk_id: Some(String::new()),
        block_device_mappings: Some(c.block_device_mappings.iter().map(block_devices::show).collect()),
        instance_monitoring: Some(shape::InstanceMonitoring { enabled: Some(c.detailed_monitoring) }),
        iam_instance_profile: c.iam_instance_profile.clone(),
        created_time: Some(EpochMillis(c.created_at.as_millis())),
        ebs_optimized: Some(c.ebs_optimized),
        associate_public_ip_address: c.associate_public_ip,
        placement_tenancy: c.placement_tenancy.clone(),
        spot_price: c.spot_price.clone(),
        metadata_options: c.metadata_options.as_ref().map(|m| shape::InstanceMetadataOptions {
            http_tokens: Some(if m.tokens_required { "required" } else { "optional" }.to_owned()),
            http_put_response_hop_limit: Some(i32::from(m.hop_limit)),
            http_endpoint: Some(if m.enabled { "enabled" } else { "disabled" }.to_owned()),
        }),
        ..Default::default()
    }
}

pub(super) async fn delete(cx: Arc<Ctx>, input: shape::LaunchConfigurationNameType) -> Result<(), ApiError> {
    let name = required(input.launch_configuration_name, "launchConfigurationName")?;
    cx.store
        .transact::<_, Refused>(|tx| {
            if tx.count_by::<Group>("launch_configuration", &name) > 0 {
                return Err(ApiError::sender(
                    "ResourceInUse",
                    format!("Cannot delete launch configuration {name} because it is attached to an AutoScalingGroup"),
                )
                .into());
            }
            if !tx.delete::<LaunchConfiguration>(&name) {
                return Err(ApiError::validation(format!(
                    "Launch configuration name not found - Launch configuration {name} not found"
                ))
                .into());
            }
            Ok(())
        })
        .await?;
    Ok(())
}
