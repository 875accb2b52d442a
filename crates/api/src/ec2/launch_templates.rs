//! Launch templates and their versions.

use std::sync::Arc;

use puffer_core::ec2::{
    Account, Instance, LaunchTemplate, LaunchTemplateData, LaunchTemplateVersion, profile_arn,
};
use puffer_inventory::images;
use puffer_inventory::instances::InstanceError;
use puffer_inventory::launch::{LaunchError, TemplateRef};
use puffer_inventory::launch_templates::{self, NewTemplate, NewVersion, TemplateError};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::{combination, dry_run, invalid_value, missing, unsupported};
use super::filter::{Field, Filters};
use super::instances::account;
use super::launch_template_data as data;
use super::page::Page;
use super::parts::{check_ids, instance_ids, required, s, show_tags, tags_of_kind, time};
use crate::{ApiError, Ctx};

fn creator(account: &Account) -> Option<String> {
    s(format!("arn:aws:iam::{}:root", account.id))
}

fn number(n: u64) -> Option<i64> {
    i64::try_from(n).ok()
}

fn show(reader: &Reader<'_>, account: &Account, t: &LaunchTemplate) -> shapes::LaunchTemplate {
    shapes::LaunchTemplate {
        launch_template_id: s(&t.id),
        launch_template_name: s(&t.name),
        create_time: time(t.created_at),
        created_by: creator(account),
        default_version_number: number(t.default_version),
        latest_version_number: number(launch_templates::latest(reader, &t.id).unwrap_or(t.latest_version)),
        tags: show_tags(&t.tags),
        ..Default::default()
    }
}

fn show_version(
    account: &Account,
    t: &LaunchTemplate,
    v: &LaunchTemplateVersion,
) -> shapes::LaunchTemplateVersion {
    shapes::LaunchTemplateVersion {
        launch_template_id: s(&t.id),
        launch_template_name: s(&t.name),
        version_number: number(v.version),
        version_description: v.description.clone(),
        create_time: time(v.created_at),
        created_by: creator(account),
        default_version: Some(t.default_version == v.version),
        launch_template_data: Some(data::show(&v.data)),
        ..Default::default()
    }
}

/// Shows the image that an alias stands for now.
fn resolve_alias(r: &Reader<'_>, shown: &mut shapes::LaunchTemplateVersion) {
    if let Some(image) = shown.launch_template_data.as_mut().and_then(|d| d.image_id.as_mut())
        && let Some(resolved) = images::resolve(r, image)
    {
        *image = resolved;
    }
}

/// Template names: 3 to 128 letters, digits and a few signs.
fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "().-/_".contains(c);
    if !(3..=128).contains(&name.chars().count()) || !name.chars().all(allowed) {
        return Err(ApiError::sender(
            "InvalidLaunchTemplateName.MalformedException",
            "A launch template name must be 3 to 128 letters, digits and ().-/_",
        ));
    }
    Ok(())
}

/// Exactly one of id and name.
fn reference(id: Option<String>, name: Option<String>) -> Result<TemplateRef, ApiError> {
    let (id, name) = (id.filter(|i| !i.is_empty()), name.filter(|n| !n.is_empty()));
    if let Some(id) = &id {
        check_ids("lt", "InvalidLaunchTemplateId.Malformed", [id])?;
    }
    match (id.is_some(), name.is_some()) {
        (true, true) => {
            Err(combination("Either launchTemplateId or launchTemplateName must be given, but not both."))
        }
        (false, false) => Err(missing("LaunchTemplateId or LaunchTemplateName")),
        _ => Ok(TemplateRef { id, name, version: None }),
    }
}

/// What a template names need not exist yet, but an alias must be one that could.
fn check_data(d: &LaunchTemplateData) -> Result<(), ApiError> {
    if let Some(image) = &d.image_id
        && !image.starts_with(images::RESOLVE_PREFIX)
    {
        check_ids("ami", "InvalidAMIID.Malformed", [image])?;
    }
    Ok(())
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateLaunchTemplateInput,
) -> Result<shapes::CreateLaunchTemplateOutput, ApiError> {
    let name = required(input.launch_template_name, "LaunchTemplateName")?;
    check_name(&name)?;
    if input.operator.is_some() {
        return Err(unsupported("Operator-managed launch templates"));
    }
    let data = data::read(input.launch_template_data.ok_or_else(|| missing("LaunchTemplateData"))?)?;
    check_data(&data)?;
    let new = NewTemplate {
        name,
        description: input.version_description,
        data,
        client_token: input.client_token.filter(|t| !t.is_empty()),
        tags: tags_of_kind(input.tag_specifications, "launch-template")?,
    };
    let now = cx.clock.now();
    let shown = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let template = launch_templates::create(tx, new, now, &mut **cx.rng.lock())?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            let reader = tx.reader();
            Ok(show(&reader, &*account(&reader)?, &template))
        })
        .await?;
    Ok(shapes::CreateLaunchTemplateOutput { launch_template: Some(shown), ..Default::default() })
}

pub(super) async fn create_version(
    cx: Arc<Ctx>,
    input: shapes::CreateLaunchTemplateVersionInput,
) -> Result<shapes::CreateLaunchTemplateVersionOutput, ApiError> {
    let template = reference(input.launch_template_id, input.launch_template_name)?;
    let data = data::read(input.launch_template_data.ok_or_else(|| missing("LaunchTemplateData"))?)?;
    check_data(&data)?;
    let source = input.source_version.filter(|v| !v.is_empty());
    let now = cx.clock.now();
    let shown = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let new = NewVersion {
                source: source.as_deref(),
                description: input.version_description.as_deref(),
                data: &data,
                client_token: input.client_token.as_deref().filter(|t| !t.is_empty()),
            };
            let (template, version) = launch_templates::create_version(tx, &template, &new, now)?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            let reader = tx.reader();
            let mut shown = show_version(&*account(&reader)?, &template, &version);
            if input.resolve_alias == Some(true) {
                resolve_alias(&reader, &mut shown);
            }
            Ok(shown)
        })
        .await?;
    Ok(shapes::CreateLaunchTemplateVersionOutput {
        launch_template_version: Some(shown),
        ..Default::default()
    })
}

pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteLaunchTemplateInput,
) -> Result<shapes::DeleteLaunchTemplateOutput, ApiError> {
    let template = reference(input.launch_template_id, input.launch_template_name)?;
    let shown = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let reader = tx.reader();
            let shown = show(&reader, &*account(&reader)?, &*launch_templates::find(&reader, &template)?);
            launch_templates::delete(tx, &template)?;
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(shown) }
        })
        .await?;
    Ok(shapes::DeleteLaunchTemplateOutput { launch_template: Some(shown) })
}

/// Versions that one request deletes (EC2's limit).
const DELETED_VERSIONS_MAX: usize = 200;

pub(super) async fn delete_versions(
    cx: Arc<Ctx>,
    input: shapes::DeleteLaunchTemplateVersionsInput,
) -> Result<shapes::DeleteLaunchTemplateVersionsOutput, ApiError> {
    let template = reference(input.launch_template_id, input.launch_template_name)?;
    let versions = input.versions.unwrap_or_default();
    if versions.is_empty() {
        return Err(missing("LaunchTemplateVersion"));
    }
    if versions.len() > DELETED_VERSIONS_MAX {
        return Err(invalid_value(format!(
            "At most {DELETED_VERSIONS_MAX} versions can be deleted at once."
        )));
    }
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    cx.store
        .transact::<_, ApiError>(|tx| {
            let found = launch_templates::find(&tx.reader(), &template)?;
            for version in &versions {
                match launch_templates::delete_version(tx, &template, version) {
                    Ok(v) => gone.push(shapes::DeleteLaunchTemplateVersionsResponseSuccessItem {
                        launch_template_id: s(&found.id),
                        launch_template_name: s(&found.name),
                        version_number: number(v.version),
                    }),
                    Err(TemplateError::Store(e)) => return Err(e.into()),
                    Err(e) => {
                        let code = match &e {
                            TemplateError::Missing(LaunchError::TemplateVersionNotFound { .. }) => {
                                "launchTemplateVersionDoesNotExist"
                            }
                            _ => "unexpectedError",
                        };
                        kept.push(shapes::DeleteLaunchTemplateVersionsResponseErrorItem {
                            launch_template_id: s(&found.id),
                            launch_template_name: s(&found.name),
                            version_number: version.parse().ok(),
                            response_error: Some(shapes::ResponseError {
                                code: s(code),
                                message: s(e.to_string()),
                            }),
                        });
                    }
                }
            }
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(()) }
        })
        .await?;
    Ok(shapes::DeleteLaunchTemplateVersionsOutput {
        successfully_deleted_launch_template_versions: Some(gone),
        unsuccessfully_deleted_launch_template_versions: Some(kept),
    })
}

pub(super) async fn modify(
    cx: Arc<Ctx>,
    input: shapes::ModifyLaunchTemplateInput,
) -> Result<shapes::ModifyLaunchTemplateOutput, ApiError> {
    let template = reference(input.launch_template_id, input.launch_template_name)?;
    let version = required(input.default_version, "SetDefaultVersion")?;
    let shown = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let template = launch_templates::set_default(tx, &template, &version)?;
            if input.dry_run == Some(true) {
                return Err(dry_run());
            }
            let reader = tx.reader();
            Ok(show(&reader, &*account(&reader)?, &template))
        })
        .await?;
    Ok(shapes::ModifyLaunchTemplateOutput { launch_template: Some(shown) })
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeLaunchTemplatesInput,
) -> Result<shapes::DescribeLaunchTemplatesOutput, ApiError> {
    let ids = input.launch_template_ids.unwrap_or_default();
    let names = input.launch_template_names.unwrap_or_default();
    check_ids("lt", "InvalidLaunchTemplateId.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, &["create-time", "launch-template-name"])?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        if let Some(unknown) = ids.iter().find(|id| r.get::<LaunchTemplate>(id).is_none()) {
            return Err(LaunchError::TemplateIdNotFound(unknown.clone()).into());
        }
        let mut by_name = Vec::new();
        for name in &names {
            let of = TemplateRef { name: Some(name.clone()), ..Default::default() };
            by_name.push(launch_templates::find(r, &of)?.id.clone());
        }
        let no_choice = ids.is_empty() && by_name.is_empty();
        let matching = r.iter::<LaunchTemplate>().filter(|t| {
            (no_choice || ids.contains(&t.id) || by_name.contains(&t.id))
                && filters.matches(&t.tags, |name| match name {
                    "create-time" => Field::from(t.created_at.to_rfc3339_millis()),
                    _ => t.name.as_str().into(),
                })
        });
        let (found, next_token) = page.cut(matching, |t| &t.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let launch_templates = found.into_iter().map(|t| show(r, &account, t)).collect();
        Ok(shapes::DescribeLaunchTemplatesOutput { launch_templates: Some(launch_templates), next_token })
    })
}

fn version_field(t: &LaunchTemplate, v: &LaunchTemplateVersion, name: &str) -> Field {
    match name {
        "create-time" => v.created_at.to_rfc3339_millis().into(),
        "ebs-optimized" => v.data.ebs_optimized.map(|b| b.to_string()).into(),
        "iam-instance-profile" => v
            .data
            .iam_instance_profile_arn
            .clone()
            .or_else(|| v.data.iam_instance_profile_name.clone())
            .into(),
        "image-id" => v.data.image_id.clone().into(),
        "instance-type" => v.data.instance_type.clone().into(),
        "is-default-version" => (t.default_version == v.version).into(),
        _ => Field::Many(Vec::new()),
    }
}

/// The versions a describe call is about, in order, each with its template.
fn versions(
    r: &Reader<'_>,
    template: Option<&TemplateRef>,
    wanted: &[String],
) -> Result<Vec<(Arc<LaunchTemplate>, Arc<LaunchTemplateVersion>)>, ApiError> {
    let Some(template) = template else {
        // Without a template: the latest or default versions of all of them.
        if wanted.is_empty() || wanted.iter().any(|v| v != "$Latest" && v != "$Default") {
            return Err(missing(
                "LaunchTemplateId, LaunchTemplateName, or the versions $Latest and $Default",
            ));
        }
        let mut all = Vec::new();
        for t in r.iter::<LaunchTemplate>() {
            for version in wanted {
                let of = TemplateRef { id: Some(t.id.clone()), name: None, version: Some(version.clone()) };
                all.push(launch_templates::find_version(r, &of)?);
            }
        }
        return Ok(all);
    };
    let found = launch_templates::find(r, template)?;
    if wanted.is_empty() {
        let all = r.list_by::<LaunchTemplateVersion>("template", &found.id);
        return Ok(all.into_iter().map(|v| (Arc::clone(&found), v)).collect());
    }
    let mut all = Vec::new();
    for version in wanted {
        all.push(launch_templates::find_version(
            r,
            &TemplateRef { version: Some(version.clone()), ..template.clone() },
        )?);
    }
    Ok(all)
}

pub(super) async fn describe_versions(
    cx: Arc<Ctx>,
    input: shapes::DescribeLaunchTemplateVersionsInput,
) -> Result<shapes::DescribeLaunchTemplateVersionsOutput, ApiError> {
    const FILTERS: &[&str] = &[
        "create-time",
        "ebs-optimized",
        "iam-instance-profile",
        "image-id",
        "instance-type",
        "is-default-version",
    ];
    let (id, name) = (input.launch_template_id, input.launch_template_name);
    let template = match (&id, &name) {
        (None, None) => None,
        _ => Some(reference(id, name)?),
    };
    let wanted = input.versions.unwrap_or_default();
    let bound = |text: Option<String>| match text.filter(|t| !t.is_empty()) {
        None => Ok(None),
        Some(t) => {
            t.parse::<u64>().map(Some).map_err(|_| invalid_value(format!("Invalid version number '{t}'.")))
        }
    };
    let (least, most) = (bound(input.min_version)?, bound(input.max_version)?);
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    let resolve = input.resolve_alias == Some(true);
    cx.store.read(|r| {
        let account = account(r)?;
        let none = puffer_core::Tags::new();
        let mut all: Vec<(String, Arc<LaunchTemplate>, Arc<LaunchTemplateVersion>)> =
            versions(r, template.as_ref(), &wanted)?
                .into_iter()
                .filter(|(_, v)| least.is_none_or(|n| v.version >= n) && most.is_none_or(|n| v.version <= n))
                .filter(|(t, v)| filters.matches(&none, |name| version_field(t, v, name)))
                // Newest first, as EC2 tells them.
                .map(|(t, v)| (format!("{}|{:020}", t.id, u64::MAX - v.version), t, v))
                .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        let (found, next_token) = page.cut(all.into_iter(), |(key, ..)| key);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let one = |(_, t, v): &(String, Arc<LaunchTemplate>, Arc<LaunchTemplateVersion>)| {
            let mut shown = show_version(&account, t, v);
            if resolve {
                resolve_alias(r, &mut shown);
            }
            shown
        };
        Ok(shapes::DescribeLaunchTemplateVersionsOutput {
            launch_template_versions: Some(found.iter().map(one).collect()),
            next_token,
        })
    })
}

/// Template data that would launch an instance like this one.
pub(super) async fn get_data(
    cx: Arc<Ctx>,
    input: shapes::GetLaunchTemplateDataInput,
) -> Result<shapes::GetLaunchTemplateDataOutput, ApiError> {
    let id = instance_ids(Some(vec![required(input.instance_id, "InstanceId")?]))?
        .pop()
        .ok_or_else(|| missing("InstanceId"))?;
    let (i, account) = cx.store.read(|r| {
        let found = r.get::<Instance>(&id).ok_or_else(|| InstanceError::NotFound(vec![id.clone()]))?;
        Ok::<_, ApiError>((found, account(r)?))
    })?;
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let tags: puffer_core::Tags =
        i.tags.iter().filter(|(k, _)| !k.starts_with("aws:")).map(|(k, v)| (k.clone(), v.clone())).collect();
    let m = &i.metadata_options;
    let specification = puffer_core::ec2::TagSpecification { resource_type: "instance".into(), tags };
    let data = LaunchTemplateData {
        image_id: s(&i.image_id),
        instance_type: s(&i.instance_type),
        key_name: i.key_name.clone(),
        user_data: i.user_data.clone(),
        iam_instance_profile_arn: i.iam_instance_profile.as_ref().map(|p| profile_arn(&account.id, p)),
        metadata_options: Some(puffer_core::ec2::MetadataOptionsSpec {
            enabled: Some(m.enabled),
            tokens_required: Some(m.tokens_required),
            hop_limit: Some(m.hop_limit),
            tags: Some(m.tags),
        }),
        detailed_monitoring: Some(i.detailed_monitoring),
        disable_api_termination: Some(i.termination_protected),
        disable_api_stop: Some(i.stop_protected),
        shutdown_behavior: s(if i.terminate_on_shutdown { "terminate" } else { "stop" }),
        ebs_optimized: Some(i.ebs_optimized),
        tag_specifications: if specification.tags.is_empty() { Vec::new() } else { vec![specification] },
        network_interfaces: vec![puffer_core::ec2::InterfaceSpec {
            device_index: 0,
            subnet_id: s(&i.subnet_id),
            groups: i.security_groups.clone(),
            associate_public_ip: Some(i.public_ip.is_some()),
            delete_on_termination: Some(true),
            ..Default::default()
        }],
        placement_zone: s(&i.zone),
        ..Default::default()
    };
    Ok(shapes::GetLaunchTemplateDataOutput { launch_template_data: Some(data::show(&data)) })
}
