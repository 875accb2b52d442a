use std::sync::Arc;

use puffer_core::autoscaling::{Group, LaunchConfiguration, texts};
use puffer_core::ec2::MetadataOptions;
use puffer_core::ids;
use puffer_shapes::autoscaling as shape;
use puffer_wire::EpochMillis;

use super::error::{Refused, required, unsupported};
use super::paging::{self, USUAL};
use crate::{ApiError, Ctx, Registry};

/// Bytes of user data before base64 (EC2's limit).
const USER_DATA_BYTES_MAX: usize = 16 * 1024;

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
        (input.instance_id.is_some(), "InstanceId"),
        (input.spot_price.is_some(), "SpotPrice"),
        (input.classic_link_vpc_id.is_some(), "ClassicLinkVPCId"),
        (input.kernel_id.is_some(), "KernelId"),
        (input.ramdisk_id.is_some(), "RamdiskId"),
        (input.block_device_mappings.as_ref().is_some_and(|b| !b.is_empty()), "BlockDeviceMappings"),
        (input.placement_tenancy.as_deref().is_some_and(|t| t != "default"), "PlacementTenancy"),
    ] {
        if given {
            return Err(unsupported(&format!("The parameter {name}")));
        }
    }
    let name = required(input.launch_configuration_name, "launchConfigurationName")?;
    if input.user_data.as_ref().is_some_and(|d| d.len() > USER_DATA_BYTES_MAX.div_ceil(3) * 4) {
        return Err(ApiError::validation("User data is limited to 16384 bytes"));
    }
    let uuid = ids::uuid(&mut **cx.rng.lock());
    let configuration = LaunchConfiguration {
        arn: texts::launch_configuration_arn(&cx.region, &cx.account, &uuid, &name),
        name,
        created_at: cx.clock.now(),
        image_id: input.image_id.ok_or_else(|| {
            ApiError::validation("Valid requests must contain either the InstanceID parameter or both the ImageId and InstanceType parameters.")
        })?,
        instance_type: input.instance_type.ok_or_else(|| {
            ApiError::validation("Valid requests must contain either the InstanceID parameter or both the ImageId and InstanceType parameters.")
        })?,
        // Early clients send the text `None` for no key.
        key_name: input.key_name.filter(|k| !k.is_empty() && k != "None"),
        security_groups: input.security_groups.unwrap_or_default(),
        user_data: input.user_data.filter(|d| !d.is_empty()),
        iam_instance_profile: input.iam_instance_profile,
        detailed_monitoring: input.instance_monitoring.and_then(|m| m.enabled).unwrap_or(true),
        associate_public_ip: input.associate_public_ip_address,
        metadata_options: input.metadata_options.map(metadata_options).transpose()?,
        block_device_mappings: Vec::new(),
        ebs_optimized: input.ebs_optimized.unwrap_or(false),
        spot_price: None,
        placement_tenancy: input.placement_tenancy,
    };
    cx.store
        .transact::<_, Refused>(|tx| {
            if tx.get::<LaunchConfiguration>(&configuration.name).is_some() {
                return Err(ApiError::sender(
                    "AlreadyExists",
                    format!(
                        "Launch Configuration by this name already exists - A launch configuration already exists \
                         with the name {}",
                        configuration.name
                    ),
                )
                .into());
            }
            tx.put(configuration);
            Ok(())
        })
        .await?;
    Ok(())
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
        false => cx.store.read(|r| names.iter().filter_map(|n| r.get(n)).collect()),
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
        block_device_mappings: Some(Vec::new()),
        instance_monitoring: Some(shape::InstanceMonitoring { enabled: Some(c.detailed_monitoring) }),
        iam_instance_profile: c.iam_instance_profile.clone(),
        created_time: Some(EpochMillis(c.created_at.as_millis())),
        ebs_optimized: Some(c.ebs_optimized),
        associate_public_ip_address: c.associate_public_ip,
        placement_tenancy: c.placement_tenancy.clone(),
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
