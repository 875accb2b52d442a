use std::sync::Arc;

use puffer_core::autoscaling::LaunchConfiguration;
use puffer_shapes::{autoscaling as now, autoscaling_2009 as then};

use super::super::launch_configurations as configurations;
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<then::CreateLaunchConfiguration, _>(create);
    registry.serve::<then::DescribeLaunchConfigurations, _>(describe);
    registry.serve::<then::DeleteLaunchConfiguration, _>(delete);
}

async fn create(cx: Arc<Ctx>, input: then::CreateLaunchConfigurationType) -> Result<(), ApiError> {
    let device = |d: then::BlockDeviceMapping| now::BlockDeviceMapping {
        virtual_name: d.virtual_name,
        device_name: d.device_name,
        ..Default::default()
    };
    let given = |text: Option<String>| text.filter(|t| !t.is_empty());
    let input = now::CreateLaunchConfigurationType {
        launch_configuration_name: input.launch_configuration_name,
        image_id: input.image_id,
        key_name: input.key_name,
        security_groups: input.security_groups,
        user_data: input.user_data,
        instance_type: input.instance_type,
        kernel_id: given(input.kernel_id),
        ramdisk_id: given(input.ramdisk_id),
        block_device_mappings: input.block_device_mappings.map(|all| all.into_iter().map(device).collect()),
        ..Default::default()
    };
    configurations::create(cx, input).await
}

/// All launch configurations, or those named; this version has no pages of them.
async fn describe(
    cx: Arc<Ctx>,
    input: then::LaunchConfigurationNamesType,
) -> Result<then::LaunchConfigurationsType, ApiError> {
    let names = input.launch_configuration_names.unwrap_or_default();
    let found: Vec<Arc<LaunchConfiguration>> = match names.is_empty() {
        true => cx.store.list(),
        false => cx.store.read(|r| names.iter().filter_map(|n| r.get(n)).collect()),
    };
    let shapes = found.iter().map(|c| configuration(configurations::shape_of(c)));
    Ok(then::LaunchConfigurationsType { launch_configurations: Some(shapes.collect()) })
}

fn configuration(c: now::LaunchConfiguration) -> then::LaunchConfiguration {
    let device = |d: now::BlockDeviceMapping| then::BlockDeviceMapping {
        virtual_name: d.virtual_name,
        device_name: d.device_name,
    };
    then::LaunchConfiguration {
        launch_configuration_name: c.launch_configuration_name,
        image_id: c.image_id,
        key_name: c.key_name,
        security_groups: c.security_groups,
        user_data: c.user_data,
        instance_type: c.instance_type,
        kernel_id: c.kernel_id,
        ramdisk_id: c.ramdisk_id,
        block_device_mappings: c.block_device_mappings.map(|all| all.into_iter().map(device).collect()),
        created_time: c.created_time,
    }
}

async fn delete(cx: Arc<Ctx>, input: then::LaunchConfigurationNameType) -> Result<(), ApiError> {
    let input =
        now::LaunchConfigurationNameType { launch_configuration_name: input.launch_configuration_name };
    configurations::delete(cx, input).await
}
