//! An instance as the source of a launch configuration: what it was launched with, without its tags and its address.

use puffer_core::Timestamp;
use puffer_core::autoscaling::LaunchConfiguration;
use puffer_core::ec2::{Instance, is_well_formed_id};
use puffer_store::{Reader, Transaction};

use crate::ApiError;

/// The configuration of an instance that has not gone.
pub(super) fn configuration(
    r: &Reader<'_>,
    instance_id: &str,
    name: &str,
    arn: &str,
    now: Timestamp,
) -> Result<LaunchConfiguration, ApiError> {
    if !is_well_formed_id("i", instance_id) {
        return Err(ApiError::validation(format!("Invalid Instance ID: {instance_id}")));
    }
    let i = r
        .get::<Instance>(instance_id)
        .filter(|i| i.state.is_alive())
        .ok_or_else(|| ApiError::validation(format!("The instance ID '{instance_id}' does not exist")))?;
    Ok(LaunchConfiguration {
        name: name.to_owned(),
        arn: arn.to_owned(),
        created_at: now,
        image_id: i.image_id.clone(),
        instance_type: i.instance_type.clone(),
        key_name: i.key_name.clone(),
        security_groups: i.security_groups.clone(),
        user_data: i.user_data.clone(),
        iam_instance_profile: i.iam_instance_profile.clone(),
        detailed_monitoring: i.detailed_monitoring,
        associate_public_ip: Some(i.public_ip.is_some()),
        metadata_options: Some(i.metadata_options.clone()),
        block_device_mappings: Vec::new(),
        ebs_optimized: i.ebs_optimized,
        spot_price: None,
        placement_tenancy: None,
    })
}

/// Stores a configuration under a name that is free.
pub(super) fn put_new(tx: &mut Transaction<'_>, configuration: LaunchConfiguration) -> Result<(), ApiError> {
    if tx.get::<LaunchConfiguration>(&configuration.name).is_some() {
        return Err(ApiError::sender(
            "AlreadyExists",
            format!(
                "Launch Configuration by this name already exists - A launch configuration already exists with the \
                 name {}",
                configuration.name
            ),
        ));
    }
    tx.put(configuration);
    Ok(())
}
