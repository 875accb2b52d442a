//! Launch templates and their versions.

use std::sync::Arc;

use puffer_core::autoscaling::{Group, InstanceSource, backoff};
use puffer_core::ec2::{LaunchTemplate, LaunchTemplateData, LaunchTemplateVersion};
use puffer_core::{Tags, Timestamp, ids};
use puffer_store::{Reader, StoreError, Transaction};
use rand::Rng;

use crate::launch::{LaunchError, TemplateRef};

/// Templates in an account (AWS's quota in a region).
pub const TEMPLATES_MAX: usize = 5_000;
/// Versions of a template (AWS's quota).
pub const VERSIONS_PER_TEMPLATE_MAX: usize = 10_000;

/// Why a template cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Not there.
    #[error(transparent)]
    Missing(#[from] LaunchError),
    /// Another template has the name.
    #[error("Launch template name already in use.")]
    DuplicateName,
    /// The default version stays.
    #[error("The default version {0} cannot be deleted; make another version the default first.")]
    DefaultVersion(u64),
    /// Too many.
    #[error("The maximum number of launch template{0} has been reached.")]
    Limit(&'static str),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The template that is named.
pub fn find(reader: &Reader<'_>, template: &TemplateRef) -> Result<Arc<LaunchTemplate>, LaunchError> {
    match (&template.id, &template.name) {
        (Some(id), _) => {
            reader.get::<LaunchTemplate>(id).ok_or_else(|| LaunchError::TemplateIdNotFound(id.clone()))
        }
        (None, Some(name)) => reader
            .list_by::<LaunchTemplate>("name", name)
            .pop()
            .ok_or_else(|| LaunchError::TemplateNameNotFound(name.clone())),
        (None, None) => Err(LaunchError::Missing("LaunchTemplateId")),
    }
}

/// The template that is named and the version that is meant.
pub fn find_version(
    reader: &Reader<'_>,
    template: &TemplateRef,
) -> Result<(Arc<LaunchTemplate>, Arc<LaunchTemplateVersion>), LaunchError> {
    let found = find(reader, template)?;
    let wanted = template.version.as_deref().unwrap_or("$Default");
    let number = match wanted {
        "$Default" => Some(found.default_version),
        "$Latest" => latest(reader, &found.id),
        number => number.parse::<u64>().ok(),
    };
    let version = number
        .and_then(|n| reader.get::<LaunchTemplateVersion>(&LaunchTemplateVersion::key_of(&found.id, n)))
        .ok_or_else(|| LaunchError::TemplateVersionNotFound {
            id: found.id.clone(),
            version: wanted.into(),
        })?;
    Ok((found, version))
}

/// The highest version that exists.
pub fn latest(reader: &Reader<'_>, template_id: &str) -> Option<u64> {
    // Numbers are never used again, so the newest record is nearly always the highest number given; only after its
    // removal does this walk.
    let template = reader.get::<LaunchTemplate>(template_id)?;
    if reader
        .get::<LaunchTemplateVersion>(&LaunchTemplateVersion::key_of(template_id, template.latest_version))
        .is_some()
    {
        return Some(template.latest_version);
    }
    reader.list_by::<LaunchTemplateVersion>("template", template_id).last().map(|v| v.version)
}

/// A template to make.
#[derive(Debug, Clone, Default)]
pub struct NewTemplate {
    /// Name, unique in the account.
    pub name: String,
    /// Text about the first version.
    pub description: Option<String>,
    /// What the first version says.
    pub data: LaunchTemplateData,
    /// Idempotency token.
    pub client_token: Option<String>,
    /// Tags.
    pub tags: Tags,
}

/// Makes a template with its first version.
pub fn create(
    tx: &mut Transaction<'_>,
    new: NewTemplate,
    now: Timestamp,
    rng: &mut dyn Rng,
) -> Result<Arc<LaunchTemplate>, TemplateError> {
    if let Some(other) = tx.list_by::<LaunchTemplate>("name", &new.name).pop() {
        return match (&new.client_token, &other.client_token) {
            (Some(now), Some(then)) if now == then => Ok(other),
            _ => Err(TemplateError::DuplicateName),
        };
    }
    if tx.reader().count::<LaunchTemplate>() >= TEMPLATES_MAX {
        return Err(TemplateError::Limit("s"));
    }
    let id = ids::resource_id("lt", rng);
    tx.put(LaunchTemplateVersion {
        template_id: id.clone(),
        version: 1,
        description: new.description,
        created_at: now,
        data: new.data,
        client_token: None,
    });
    Ok(tx.put(LaunchTemplate {
        id,
        name: new.name,
        created_at: now,
        default_version: 1,
        latest_version: 1,
        client_token: new.client_token,
        tags: new.tags,
    }))
}

/// A version to make: `data`, put over `source`'s if one is given.
#[derive(Debug, Clone, Copy)]
pub struct NewVersion<'a> {
    /// Version to begin with.
    pub source: Option<&'a str>,
    /// Text for people.
    pub description: Option<&'a str>,
    /// What it says.
    pub data: &'a LaunchTemplateData,
    /// Idempotency token.
    pub client_token: Option<&'a str>,
}

/// Adds a version; the same token again gives the same one.
pub fn create_version(
    tx: &mut Transaction<'_>,
    template: &TemplateRef,
    new: &NewVersion<'_>,
    now: Timestamp,
) -> Result<(Arc<LaunchTemplate>, Arc<LaunchTemplateVersion>), TemplateError> {
    let found = find(&tx.reader(), template)?;
    if tx.count_by::<LaunchTemplateVersion>("template", &found.id) >= VERSIONS_PER_TEMPLATE_MAX {
        return Err(TemplateError::Limit(" versions"));
    }
    let made = tx.list_by::<LaunchTemplateVersion>("template", &found.id);
    if let Some(token) = new.client_token
        && let Some(version) = made.into_iter().find(|v| v.client_token.as_deref() == Some(token))
    {
        return Ok((found, version));
    }
    let data = match new.source {
        None => new.data.clone(),
        Some(version) => {
            let of = TemplateRef { id: Some(found.id.clone()), name: None, version: Some(version.into()) };
            find_version(&tx.reader(), &of)?.1.data.overlaid(new.data)
        }
    };
    let version = found.latest_version + 1;
    let made = tx.put(LaunchTemplateVersion {
        template_id: found.id.clone(),
        version,
        description: new.description.map(str::to_owned),
        created_at: now,
        data,
        client_token: new.client_token.map(str::to_owned),
    });
    let mut template = LaunchTemplate::clone(&found);
    template.latest_version = version;
    groups_launch_anew(tx, &found.id, "$Latest");
    Ok((tx.put(template), made))
}

/// Makes another version the default.
pub fn set_default(
    tx: &mut Transaction<'_>,
    template: &TemplateRef,
    version: &str,
) -> Result<Arc<LaunchTemplate>, TemplateError> {
    let wanted = TemplateRef { version: Some(version.into()), ..template.clone() };
    let (found, version) = find_version(&tx.reader(), &wanted)?;
    let mut changed = LaunchTemplate::clone(&found);
    if changed.default_version != version.version {
        changed.default_version = version.version;
        groups_launch_anew(tx, &found.id, "$Default");
    }
    Ok(tx.put(changed))
}

/// Groups that follow a template by this symbolic version make other instances from now on: what failed before may work.
fn groups_launch_anew(tx: &mut Transaction<'_>, template_id: &str, symbol: &str) {
    for group in tx.list_by::<Group>("launch_template", template_id) {
        let own = match &group.source {
            InstanceSource::LaunchTemplate(template) => Some(template),
            InstanceSource::LaunchConfiguration(_) => None,
        };
        let mut templates = own.into_iter().chain(group.mixed.iter().flat_map(|m| m.templates()));
        if templates.any(|t| t.id == template_id && t.version == symbol) && backoff::remembers_any(&group) {
            tx.update::<Group>(&group.name, backoff::forget);
        }
    }
}

/// Removes a version other than the default.
pub fn delete_version(
    tx: &mut Transaction<'_>,
    template: &TemplateRef,
    version: &str,
) -> Result<Arc<LaunchTemplateVersion>, TemplateError> {
    let wanted = TemplateRef { version: Some(version.into()), ..template.clone() };
    let (found, version) = find_version(&tx.reader(), &wanted)?;
    if found.default_version == version.version {
        return Err(TemplateError::DefaultVersion(version.version));
    }
    tx.delete::<LaunchTemplateVersion>(&LaunchTemplateVersion::key_of(&found.id, version.version));
    Ok(version)
}

/// Removes a template with its versions, whoever uses it: as on AWS, a group's next launch fails and says why.
pub fn delete(
    tx: &mut Transaction<'_>,
    template: &TemplateRef,
) -> Result<Arc<LaunchTemplate>, TemplateError> {
    let found = find(&tx.reader(), template)?;
    for version in tx.list_by::<LaunchTemplateVersion>("template", &found.id) {
        tx.delete::<LaunchTemplateVersion>(&LaunchTemplateVersion::key_of(&found.id, version.version));
    }
    tx.delete::<LaunchTemplate>(&found.id);
    Ok(found)
}
