//! Volumes and snapshots: views of instances' roots and of images, as Puffer has no disks apart from those.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::ec2::{Account, Image, ImageState, Instance};
use puffer_inventory::root_volumes;
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;

use super::error::dry_run;
use super::filter::{Field, Filters};
use super::instance_view;
use super::instances::account;
use super::page::Page;
use super::parts::{check_ids, s, show_tags, time};
use crate::{ApiError, Ctx};

fn volume(reader: &Reader<'_>, account: &Account, i: &Instance) -> shapes::Volume {
    let id = i.root_volume_id();
    shapes::Volume {
        iops: Some(3000),
        throughput: Some(125),
        tags: show_tags(&i.volume_tags),
        volume_type: s("gp3"),
        multi_attach_enabled: Some(false),
        owner_id: s(&account.id),
        size: i32::try_from(i.root_volume_gib).ok(),
        snapshot_id: Some(reader.get::<Image>(&i.image_id).map(|m| m.snapshot_id()).unwrap_or_default()),
        availability_zone: s(&i.zone),
        state: s("in-use"),
        create_time: time(i.root_since()),
        attachments: Some(vec![shapes::VolumeAttachment {
            delete_on_termination: Some(true),
            volume_id: s(&id),
            instance_id: s(&i.id),
            device: s(instance_view::ROOT_DEVICE),
            state: s("attached"),
            attach_time: time(i.root_since()),
            ..Default::default()
        }]),
        encrypted: Some(false),
        volume_id: s(id),
        ..Default::default()
    }
}

fn volume_field(reader: &Reader<'_>, i: &Instance, name: &str) -> Field {
    match name {
        "attachment.attach-time" | "create-time" => i.root_since().to_rfc3339_millis().into(),
        "attachment.delete-on-termination" => true.into(),
        "attachment.device" => instance_view::ROOT_DEVICE.into(),
        "attachment.instance-id" => i.id.as_str().into(),
        "attachment.status" => "attached".into(),
        "availability-zone" => i.zone.as_str().into(),
        "encrypted" => false.into(),
        "size" => i.root_volume_gib.to_string().into(),
        "snapshot-id" => reader.get::<Image>(&i.image_id).map(|m| m.snapshot_id()).into(),
        "status" => "in-use".into(),
        "volume-id" => i.root_volume_id().into(),
        "volume-type" => "gp3".into(),
        _ => Field::Many(Vec::new()),
    }
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeVolumesInput,
) -> Result<shapes::DescribeVolumesOutput, ApiError> {
    const FILTERS: &[&str] = &[
        "attachment.attach-time",
        "attachment.delete-on-termination",
        "attachment.device",
        "attachment.instance-id",
        "attachment.status",
        "availability-zone",
        "create-time",
        "encrypted",
        "size",
        "snapshot-id",
        "status",
        "volume-id",
        "volume-type",
    ];
    let ids = input.volume_ids.unwrap_or_default();
    check_ids("vol", "InvalidVolumeID.Malformed", &ids)?;
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        let mut candidates: Vec<Arc<Instance>> = Vec::new();
        for id in &ids {
            candidates.push(root_volumes::owner_of(r, id).ok_or_else(|| {
                ApiError::sender("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))
            })?);
        }
        if ids.is_empty() {
            candidates = match filters.exact("attachment.instance-id") {
                Some(instances) => instances.iter().filter_map(|id| r.get::<Instance>(id)).collect(),
                None => r.list::<Instance>(),
            };
        }
        // Volumes are paged by their instances.
        candidates.sort_by(|a, b| a.id.cmp(&b.id));
        candidates.dedup_by(|a, b| a.id == b.id);
        let matching = candidates.into_iter().filter(|i| {
            i.state.is_alive() && filters.matches(&i.volume_tags, |name| volume_field(r, i, name))
        });
        let (found, next_token) = page.cut(matching, |i| &i.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let volumes = found.iter().map(|i| volume(r, &account, i)).collect();
        Ok(shapes::DescribeVolumesOutput { volumes: Some(volumes), next_token })
    })
}

fn snapshot(account: &Account, m: &Image) -> shapes::Snapshot {
    let done = m.state == ImageState::Available;
    shapes::Snapshot {
        tags: Some(Vec::new()),
        storage_tier: s("standard"),
        snapshot_id: s(m.snapshot_id()),
        volume_id: s(m
            .source_instance_id
            .as_ref()
            .map_or_else(|| "vol-ffffffff".to_owned(), |id| puffer_core::ec2::sibling_id("vol", id))),
        state: s(if done { "completed" } else { "pending" }),
        start_time: time(m.created_at),
        progress: s(if done { "100%" } else { "0%" }),
        owner_id: s(&account.id),
        description: s(format!("Files of image {}", m.id)),
        volume_size: i32::try_from(m.root_volume_gib).ok(),
        encrypted: Some(false),
        ..Default::default()
    }
}

pub(super) async fn describe_snapshots(
    cx: Arc<Ctx>,
    input: shapes::DescribeSnapshotsInput,
) -> Result<shapes::DescribeSnapshotsOutput, ApiError> {
    const FILTERS: &[&str] =
        &["description", "encrypted", "owner-id", "snapshot-id", "status", "storage-tier", "volume-size"];
    let ids = input.snapshot_ids.unwrap_or_default();
    check_ids("snap", "InvalidSnapshotID.Malformed", &ids)?;
    let owners = input.owner_ids.unwrap_or_default();
    // Snapshots are shared with nobody.
    let restorers = input.restorable_by_user_ids.unwrap_or_default();
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    cx.store.read(|r| {
        let account = account(r)?;
        let is_self = |id: &String| id == "self" || *id == account.id;
        let mine = (owners.is_empty() || owners.iter().any(is_self))
            && (restorers.is_empty() || restorers.iter().any(is_self));
        let shown = |m: &&Arc<Image>| matches!(m.state, ImageState::Available | ImageState::Pending);
        let mut all: Vec<(String, &Arc<Image>)> =
            r.iter::<Image>().filter(shown).map(|m| (m.snapshot_id(), m)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(unknown) = ids.iter().find(|id| !all.iter().any(|(snap, _)| snap == *id)) {
            return Err(ApiError::sender(
                "InvalidSnapshot.NotFound",
                format!("The snapshot '{unknown}' does not exist."),
            ));
        }
        let no_tags = Tags::new();
        let matching = all.into_iter().filter(|(snap, m)| {
            mine && (ids.is_empty() || ids.contains(snap))
                && filters.matches(&no_tags, |name| match name {
                    "description" => format!("Files of image {}", m.id).into(),
                    "encrypted" => false.into(),
                    "owner-id" => account.id.as_str().into(),
                    "snapshot-id" => snap.as_str().into(),
                    "status" => if m.state == ImageState::Available { "completed" } else { "pending" }.into(),
                    "storage-tier" => "standard".into(),
                    _ => m.root_volume_gib.to_string().into(),
                })
        });
        let (found, next_token) = page.cut(matching, |(snap, _)| snap);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let snapshots = found.iter().map(|(_, m)| snapshot(&account, m)).collect();
        Ok(shapes::DescribeSnapshotsOutput { snapshots: Some(snapshots), next_token })
    })
}
