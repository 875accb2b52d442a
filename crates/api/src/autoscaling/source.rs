//! What a group's instances are made from, checked as far as AWS checks it: the source must exist and yield a launch.

use puffer_core::autoscaling::{InstanceSource, LaunchConfiguration, LaunchTemplateRef};
use puffer_core::ec2::LaunchTemplateData;
use puffer_inventory::launch::{TemplateRef, resolve_template};
use puffer_shapes::autoscaling as shape;
use puffer_store::Reader;

use super::error::launch;
use crate::ApiError;

/// The launch configuration of this name.
pub(super) fn launch_configuration(r: &Reader<'_>, name: &str) -> Result<InstanceSource, ApiError> {
    if r.get::<LaunchConfiguration>(name).is_none() {
        return Err(ApiError::validation(format!("Launch configuration name not found - {name}")));
    }
    Ok(InstanceSource::LaunchConfiguration(name.to_owned()))
}

/// The launch template of this specification. Its version must launch something now; `$Latest` and `$Default` stay symbolic.
pub(super) fn launch_template(
    r: &Reader<'_>,
    given: &shape::LaunchTemplateSpecification,
) -> Result<InstanceSource, ApiError> {
    let asked = TemplateRef {
        id: given.launch_template_id.clone(),
        name: given.launch_template_name.clone(),
        version: given.version.clone(),
    };
    if asked.id.is_some() == asked.name.is_some() {
        return Err(ApiError::validation(
            "Valid requests must contain either LaunchTemplateId or LaunchTemplateName",
        ));
    }
    let request = resolve_template(r, &asked, &LaunchTemplateData::default()).map_err(|e| launch(&e))?;
    let source = request.launch_template.ok_or_else(|| ApiError::internal(&"a template without itself"))?;
    Ok(InstanceSource::LaunchTemplate(LaunchTemplateRef {
        id: source.id,
        name: source.name,
        version: asked.version.unwrap_or_else(|| "$Default".to_owned()),
    }))
}
