//! Root volumes of running instances are replaced, by tasks.
//!
//! A replaced volume is always deleted: Puffer has no volumes apart from those that instances run from. So a request must say that it
//! shall be (`DeleteReplacedRootVolume`), which is not EC2's default.

use std::sync::Arc;

use puffer_core::ec2::{Image, ImageState, Instance, RootVolumeTask};
use puffer_inventory::images::{self, ImageError};
use puffer_inventory::instances::InstanceError;
use puffer_inventory::launch::{ClientToken, LaunchError};
use puffer_inventory::root_volumes::{self, RootRequest, TASK_PREFIX};
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::{combination, dry_run, missing, unsupported};
use super::filter::{Field, Filters};
use super::page::Page;
use super::parts::{check_ids, instance_ids, refuse, required, s, show_tags, tags_of_kind};
use crate::{ApiError, Ctx};

fn show(task: &RootVolumeTask) -> shapes::ReplaceRootVolumeTask {
    shapes::ReplaceRootVolumeTask {
        replace_root_volume_task_id: s(&task.id),
        instance_id: s(&task.instance_id),
        task_state: s(task.state.name()),
        start_time: s(task.started_at.to_rfc3339_secs()),
        complete_time: task.completed_at.map(|at| at.to_rfc3339_secs()),
        tags: show_tags(&task.tags),
        image_id: s(&task.image_id),
        snapshot_id: task.snapshot_id.clone(),
        delete_replaced_root_volume: Some(true),
    }
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateReplaceRootVolumeTaskInput,
) -> Result<shapes::CreateReplaceRootVolumeTaskOutput, ApiError> {
    refuse!(input;
        volume_id => "Replacing a root volume by an existing volume",
        volume_initialization_rate => "VolumeInitializationRate",
    );
    if input.delete_replaced_root_volume != Some(true) {
        return Err(unsupported("Keeping the replaced root volume (DeleteReplacedRootVolume must be true)"));
    }
    if input.image_id.is_some() && input.snapshot_id.is_some() {
        return Err(combination("The parameter ImageId cannot be used with the parameter SnapshotId"));
    }
    let instance_id = instance_ids(Some(vec![required(input.instance_id, "InstanceId")?]))?
        .pop()
        .ok_or_else(|| missing("InstanceId"))?;
    check_ids("ami", "InvalidAMIID.Malformed", &input.image_id)?;
    check_ids("snap", "InvalidSnapshotID.Malformed", &input.snapshot_id)?;
    let tags = tags_of_kind(input.tag_specifications, "replace-root-volume-task")?;
    let token = input.client_token.filter(|t| !t.is_empty());
    let asked = (&instance_id, &input.image_id, &input.snapshot_id, &tags);
    let token = token.map(|token| ClientToken::new(token, &asked)).transpose();
    let token = token.map_err(|e| ApiError::internal(&e))?;
    let now = cx.clock.now();
    let task = cx
        .store
        .transact::<_, ApiError>(|tx| {
            if let Some(before) = token.as_ref().map(|t| asked_before(&tx.reader(), t)).transpose()?.flatten()
            {
                return if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(before) };
            }
            let image_id = source(&tx.reader(), &instance_id, &input.image_id, &input.snapshot_id)?;
            let request = RootRequest {
                instance_id,
                image_id,
                snapshot_id: input.snapshot_id,
                client_token: token,
                tags,
            };
            let task = root_volumes::begin(tx, request, now, &mut **cx.rng.lock())?;
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(task) }
        })
        .await?;
    Ok(shapes::CreateReplaceRootVolumeTaskOutput { replace_root_volume_task: Some(show(&task)) })
}

fn asked_before(r: &Reader<'_>, token: &ClientToken) -> Result<Option<Arc<RootVolumeTask>>, ApiError> {
    match r.list_by::<RootVolumeTask>("client_token", &token.token).pop() {
        Some(task) if task.client_digest.as_ref() != Some(&token.digest) => {
            Err(LaunchError::TokenMismatch.into())
        }
        found => Ok(found),
    }
}

/// The image that the new volume is made from: the one named, the one of a snapshot of this instance, or the one that the instance has.
fn source(
    r: &Reader<'_>,
    instance_id: &str,
    image_id: &Option<String>,
    snapshot_id: &Option<String>,
) -> Result<String, ApiError> {
    let missing = || InstanceError::NotFound(vec![instance_id.to_owned()]);
    let instance = r.get::<Instance>(instance_id).ok_or_else(missing)?;
    let wanted = match (image_id, snapshot_id) {
        (Some(image), _) => image.clone(),
        (None, Some(snapshot)) => of_snapshot(r, &instance, snapshot)?,
        (None, None) => instance.image_id.clone(),
    };
    let unavailable = r.get::<Image>(&wanted).is_some_and(|image| image.state == ImageState::Pending);
    if unavailable {
        return Err(LaunchError::ImageUnavailable(wanted).into());
    }
    if !images::is_launchable(r, &wanted) {
        return Err(ImageError::NotFound(wanted).into());
    }
    root_volumes::check_architecture(r, &instance, &wanted)
        .map_err(|foreign| ApiError::sender("InvalidParameterValue", foreign.to_string()))?;
    Ok(wanted)
}

fn of_snapshot(r: &Reader<'_>, instance: &Instance, snapshot: &str) -> Result<String, ApiError> {
    let of = |image: &&Arc<Image>| image.snapshot_id() == snapshot && image.state != ImageState::Deregistered;
    let Some(image) = r.iter::<Image>().find(of) else {
        let message = format!("The snapshot '{snapshot}' does not exist.");
        return Err(ApiError::sender("InvalidSnapshot.NotFound", message));
    };
    let descends = image.source_instance_id.as_ref() == Some(&instance.id) || image.id == instance.image_id;
    match descends {
        true => Ok(image.id.clone()),
        false => Err(ApiError::sender(
            "InvalidParameterValue",
            format!("The snapshot '{snapshot}' is none of a root volume of the instance '{}'.", instance.id),
        )),
    }
}

fn field(task: &RootVolumeTask, name: &str) -> Field {
    match name {
        "instance-id" => task.instance_id.as_str().into(),
        _ => Field::Many(Vec::new()),
    }
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeReplaceRootVolumeTasksInput,
) -> Result<shapes::DescribeReplaceRootVolumeTasksOutput, ApiError> {
    let ids = input.replace_root_volume_task_ids.unwrap_or_default();
    check_ids(TASK_PREFIX, "InvalidReplaceRootVolumeTaskId.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, &["instance-id"])?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        if let Some(unknown) = ids.iter().find(|id| r.get::<RootVolumeTask>(id).is_none()) {
            return Err(ApiError::sender(
                "InvalidReplaceRootVolumeTaskId.NotFound",
                format!("The root volume replacement task '{unknown}' does not exist."),
            ));
        }
        let matching = r.iter::<RootVolumeTask>().filter(|task| {
            (ids.is_empty() || ids.contains(&task.id))
                && filters.matches(&task.tags, |name| field(task, name))
        });
        let (found, next_token) = page.cut(matching, |task| &task.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let tasks = found.iter().map(|task| show(task)).collect();
        Ok(shapes::DescribeReplaceRootVolumeTasksOutput {
            replace_root_volume_tasks: Some(tasks),
            next_token,
        })
    })
}
