//! Images (AMIs). `image_build` makes the files of an image and removes them; here are its record and its views.

use std::sync::Arc;

use puffer_core::ec2::{Account, Image, ImageState, Instance, InstanceState};
use puffer_core::ids;
use puffer_inventory::images::{self, ImageError};
use puffer_inventory::instances::{self, InstanceError};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::{combination, dry_run, invalid_value, missing, unsupported};
use super::filter::{Field, Filters};
use super::instance_view;
use super::instances::account;
use super::page::Page;
use super::parts::{check_ids, instance_ids, read_tag_specifications, refuse, required, s, show_tags, text};
use crate::{ApiError, Ctx};

const FILTERS: &[&str] = &[
    "architecture",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.volume-size",
    "creation-date",
    "description",
    "hypervisor",
    "image-id",
    "image-type",
    "is-public",
    "name",
    "owner-alias",
    "owner-id",
    "platform-details",
    "root-device-name",
    "root-device-type",
    "source-instance-id",
    "state",
    "virtualization-type",
];

fn field(account: &Account, m: &Image, name: &str) -> Field {
    match name {
        "architecture" => m.architecture.as_str().into(),
        "block-device-mapping.snapshot-id" => m.snapshot_id().into(),
        "block-device-mapping.volume-size" => m.root_volume_gib.to_string().into(),
        "creation-date" => m.created_at.to_rfc3339_millis().into(),
        "description" => m.description.clone().into(),
        "hypervisor" => "xen".into(),
        "image-id" => m.id.as_str().into(),
        "image-type" => "machine".into(),
        "is-public" => m.public.into(),
        "name" => m.name.as_str().into(),
        "owner-alias" => Field::Many(Vec::new()),
        "owner-id" => account.id.as_str().into(),
        "platform-details" => "Linux/UNIX".into(),
        "root-device-name" => instance_view::ROOT_DEVICE.into(),
        "root-device-type" => "ebs".into(),
        "source-instance-id" => m.source_instance_id.clone().into(),
        "state" => m.state.name().into(),
        "virtualization-type" => "hvm".into(),
        _ => Field::Many(Vec::new()),
    }
}

fn show(account: &Account, m: &Image) -> shapes::Image {
    shapes::Image {
        platform_details: s("Linux/UNIX"),
        usage_operation: s("RunInstances"),
        block_device_mappings: Some(vec![shapes::BlockDeviceMapping {
            device_name: s(instance_view::ROOT_DEVICE),
            ebs: Some(shapes::EbsBlockDevice {
                delete_on_termination: Some(true),
                snapshot_id: s(m.snapshot_id()),
                volume_size: i32::try_from(m.root_volume_gib).ok(),
                volume_type: s("gp3"),
                encrypted: Some(false),
                ..Default::default()
            }),
            ..Default::default()
        }]),
        description: m.description.clone(),
        ena_support: Some(true),
        hypervisor: s("xen"),
        name: s(&m.name),
        root_device_name: s(instance_view::ROOT_DEVICE),
        root_device_type: s("ebs"),
        sriov_net_support: s("simple"),
        state_reason: m
            .state_reason
            .as_ref()
            .map(|r| shapes::StateReason { code: s(&r.code), message: s(&r.message) }),
        tags: show_tags(&m.tags),
        virtualization_type: s("hvm"),
        source_instance_id: m.source_instance_id.clone(),
        deprecation_time: m.deprecated_at.map(|t| t.to_rfc3339_millis()),
        image_id: s(&m.id),
        image_location: s(format!("{}/{}", account.id, m.name)),
        state: s(m.state.name()),
        owner_id: s(&account.id),
        creation_date: s(m.created_at.to_rfc3339_millis()),
        public: Some(m.public),
        product_codes: None,
        architecture: s(&m.architecture),
        image_type: s("machine"),
        ..Default::default()
    }
}

/// An image that is there to be seen.
fn find(reader: &Reader<'_>, id: &str) -> Result<Arc<Image>, ApiError> {
    check_ids("ami", "InvalidAMIID.Malformed", &[id.to_owned()])?;
    reader
        .get::<Image>(id)
        .filter(|m| m.state != ImageState::Deregistered)
        .ok_or_else(|| ImageError::NotFound(id.to_owned()).into())
}

/// Image names: 3 to 128 letters, digits and a few signs.
fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ()[]./-'@_".contains(c);
    if !(3..=128).contains(&name.chars().count()) || !name.chars().all(allowed) {
        return Err(ApiError::sender(
            "InvalidAMIName.Malformed",
            format!("AMI names must be 3 to 128 letters, digits, spaces and ()[]./-'@_ and not ({name})."),
        ));
    }
    Ok(())
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateImageInput,
) -> Result<shapes::CreateImageOutput, ApiError> {
    refuse!(input; snapshot_location => "Local snapshots", boot_mode_override => "Choosing a boot mode");
    let instance_id = instance_ids(Some(vec![required(input.instance_id, "InstanceId")?]))?
        .pop()
        .ok_or_else(|| missing("InstanceId"))?;
    let name = required(input.name, "Name")?;
    check_name(&name)?;
    if input.block_device_mappings.as_ref().is_some_and(|m| m.iter().any(|d| d.no_device.is_none())) {
        return Err(unsupported("Choosing block devices of a new image"));
    }
    let tags = read_tag_specifications(input.tag_specifications, &["image", "snapshot"])?;
    let tags = tags.into_iter().filter(|(kind, _)| kind == "image").flat_map(|(_, tags)| tags).collect();
    let now = cx.clock.now();
    let id = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let instance = tx
                .get::<Instance>(&instance_id)
                .ok_or_else(|| InstanceError::NotFound(vec![instance_id.clone()]))?;
            if !matches!(
                instance.state,
                InstanceState::Running | InstanceState::Stopped | InstanceState::Stopping
            ) {
                return Err(ApiError::sender(
                    "IncorrectInstanceState",
                    format!("The instance '{instance_id}' is not in the 'running' or 'stopped' state."),
                ));
            }
            let base = tx.get::<Image>(&instance.image_id);
            let image = Image {
                id: ids::resource_id("ami", &mut **cx.rng.lock()),
                name,
                description: input.description,
                state: ImageState::Pending,
                state_reason: None,
                architecture: base.map_or_else(|| "x86_64".into(), |b| b.architecture.clone()),
                created_at: now,
                source_instance_id: Some(instance_id),
                no_reboot: input.no_reboot == Some(true),
                source_at_rest: false,
                root_volume_gib: instance.root_volume_gib,
                public: false,
                client_token: None,
                deprecated_at: None,
                tags,
            };
            let image = images::create(tx, image)?;
            if instance.state == InstanceState::Running && !image.no_reboot {
                instances::request_reboot(tx, std::slice::from_ref(&instance.id))?;
            }
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(image.id.clone()) }
        })
        .await?;
    Ok(shapes::CreateImageOutput { image_id: s(id) })
}

pub(super) async fn deregister(
    cx: Arc<Ctx>,
    input: shapes::DeregisterImageInput,
) -> Result<shapes::DeregisterImageOutput, ApiError> {
    let id = required(input.image_id, "ImageId")?;
    cx.store
        .transact::<_, ApiError>(|tx| {
            find(&tx.reader(), &id)?;
            // The record goes when the files have gone.
            tx.update::<Image>(&id, |m| m.state = ImageState::Deregistered);
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(()) }
        })
        .await?;
    Ok(shapes::DeregisterImageOutput { return_: Some(true), ..Default::default() })
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeImagesInput,
) -> Result<shapes::DescribeImagesOutput, ApiError> {
    let ids = input.image_ids.unwrap_or_default();
    check_ids("ami", "InvalidAMIID.Malformed", &ids)?;
    if !ids.is_empty() && input.max_results.is_some() {
        return Err(combination("The parameter imageIds cannot be used with the parameter maxResults"));
    }
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    let owners = input.owners.unwrap_or_default();
    // Nothing is shared with single accounts, so images that others may launch are those of all.
    let launchers = input.executable_users.unwrap_or_default();
    let for_launchers = |m: &Image| launchers.is_empty() || m.public && launchers.iter().any(|u| u == "all");
    cx.store.read(|r| {
        let account = account(r)?;
        let missing: Vec<&str> = ids.iter().filter(|id| find(r, id).is_err()).map(String::as_str).collect();
        match missing.as_slice() {
            [] => {}
            [one] => return Err(ImageError::NotFound((*one).to_owned()).into()),
            many => {
                return Err(ApiError::sender(
                    "InvalidAMIID.NotFound",
                    format!("The image ids '[{}]' do not exist", many.join(", ")),
                ));
            }
        }
        let mine = owners.is_empty() || owners.iter().any(|o| o == "self" || *o == account.id);
        let matching = r.iter::<Image>().filter(|m| {
            mine && m.state != ImageState::Deregistered
                && for_launchers(m)
                && (ids.is_empty() || ids.contains(&m.id))
                && filters.matches(&m.tags, |name| field(&account, m, name))
        });
        let (found, next_token) = page.cut(matching, |m| &m.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let images = found.into_iter().map(|m| show(&account, m)).collect();
        Ok(shapes::DescribeImagesOutput { images: Some(images), next_token })
    })
}

pub(super) async fn describe_attribute(
    cx: Arc<Ctx>,
    input: shapes::DescribeImageAttributeInput,
) -> Result<shapes::DescribeImageAttributeOutput, ApiError> {
    let image = cx.store.read(|r| find(r, &required(input.image_id, "ImageId")?))?;
    let mut out = shapes::ImageAttribute { image_id: s(&image.id), ..Default::default() };
    match required(input.attribute, "Attribute")?.as_str() {
        "description" => out.description = text(image.description.clone()),
        "launchPermission" => {
            let all = shapes::LaunchPermission { group: s("all"), ..Default::default() };
            out.launch_permissions = Some(if image.public { vec![all] } else { Vec::new() });
        }
        "productCodes" => out.product_codes = Some(Vec::new()),
        "blockDeviceMapping" => {
            let account = cx.store.read(account)?;
            out.block_device_mappings = show(&account, &image).block_device_mappings;
        }
        "sriovNetSupport" => out.sriov_net_support = text(s("simple")),
        "bootMode" => out.boot_mode = text(None),
        other => return Err(invalid_value(format!("Value ({other}) for parameter attribute is invalid."))),
    }
    if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(out) }
}

pub(super) async fn modify_attribute(
    cx: Arc<Ctx>,
    input: shapes::ModifyImageAttributeInput,
) -> Result<(), ApiError> {
    refuse!(input;
        imds_support => "Requiring a metadata version by image",
        product_codes => "Product codes",
        organization_arns => "Organizations",
        organizational_unit_arns => "Organizations",
    );
    let id = required(input.image_id, "ImageId")?;
    let description = match (input.attribute.as_deref(), input.description, input.value) {
        (None | Some("description"), Some(d), _) => d.value,
        (Some("description"), None, value) => value,
        _ => None,
    };
    let permission = input.launch_permission.unwrap_or_default();
    let (added, removed) = (permission.add.unwrap_or_default(), permission.remove.unwrap_or_default());
    // There is one account, so sharing with others has no meaning; being public is shown and means as much.
    let users = |list: &[shapes::LaunchPermission]| list.iter().any(|p| p.group.as_deref() != Some("all"));
    let orgs = |list: &[shapes::LaunchPermission]| {
        list.iter().any(|p| p.organization_arn.is_some() || p.organizational_unit_arn.is_some())
    };
    if orgs(&added) || orgs(&removed) || users(&added) || users(&removed) || input.user_ids.is_some() {
        return Err(unsupported("Sharing an image with another account"));
    }
    let groups = input.user_groups.unwrap_or_default();
    let by_name =
        groups.iter().any(|g| g == "all").then(|| input.operation_type.as_deref() != Some("remove"));
    let public = match (added.is_empty(), removed.is_empty()) {
        (false, _) => Some(true),
        (true, false) => Some(false),
        (true, true) => by_name,
    };
    if description.is_none() && public.is_none() {
        return Err(missing("Description or LaunchPermission"));
    }
    cx.store
        .transact::<_, ApiError>(|tx| {
            find(&tx.reader(), &id)?;
            tx.update::<Image>(&id, |m| {
                if description.is_some() {
                    m.description = description;
                }
                m.public = public.unwrap_or(m.public);
            });
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(()) }
        })
        .await
}
