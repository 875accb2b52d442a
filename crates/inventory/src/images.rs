//! Images and the names by which they are looked up.

use std::sync::Arc;

use puffer_core::ec2::{Account, Image, ImageState, Instance, InstanceState, StateReason};
use puffer_core::ssm::Parameter;
use puffer_core::{Tags, Timestamp};
use puffer_store::{Reader, StoreError, Transaction};

/// Prefix by which an image id may be given as the name of a parameter.
pub const RESOLVE_PREFIX: &str = "resolve:ssm:";

/// Images in an account; bounds the list that describe calls walk.
pub const IMAGES_MAX: usize = 10_000;

/// Why an image cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No such image.
    #[error("The image id '[{0}]' does not exist")]
    NotFound(String),
    /// Another image has the name.
    #[error("AMI name {name} is already in use by AMI {id}")]
    DuplicateName {
        /// Name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// Too many.
    #[error("The maximum number of images has been reached.")]
    Limit,
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The image that has the name now.
pub fn find_by_name(reader: &Reader<'_>, name: &str) -> Option<Arc<Image>> {
    let shown = |i: &Arc<Image>| matches!(i.state, ImageState::Pending | ImageState::Available);
    reader.list_by::<Image>("name", name).into_iter().find(shown)
}

/// Whether instances can be launched from the image now. An account that takes any well-formed id has no record of most.
pub fn is_launchable(reader: &Reader<'_>, id: &str) -> bool {
    match reader.get::<Image>(id) {
        Some(image) => image.state == ImageState::Available,
        None => reader.get::<Account>(Account::KEY).is_some_and(|a| a.any_image),
    }
}

/// Records a new image.
pub fn create(tx: &mut Transaction<'_>, image: Image) -> Result<Arc<Image>, ImageError> {
    if let Some(other) = find_by_name(&tx.reader(), &image.name)
        && other.id != image.id
    {
        return Err(ImageError::DuplicateName { name: image.name, id: other.id.clone() });
    }
    if tx.reader().count::<Image>() >= IMAGES_MAX {
        return Err(ImageError::Limit);
    }
    Ok(tx.put(image))
}

/// An image found in the image store, where `puffer image build|import` put it.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundImage {
    /// `ami-…`.
    pub id: String,
    /// Name.
    pub name: String,
    /// Text for people.
    pub description: Option<String>,
    /// `x86_64`, `arm64`.
    pub architecture: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Size of its files.
    pub size_bytes: u64,
    /// Parameters that shall name it, besides `/puffer/images/<name>/latest`.
    pub aliases: Vec<String>,
}

/// Size shown for a root of so many bytes, GiB.
pub fn root_gib(size_bytes: u64) -> u32 {
    u32::try_from(size_bytes.div_ceil(1 << 30)).unwrap_or(u32::MAX).max(1)
}

/// Records an image found in the image store, and lets its parameters name it unless they name a newer one. Says whether anything
/// changed.
pub fn adopt(tx: &mut Transaction<'_>, found: &FoundImage, now: Timestamp) -> bool {
    match tx.get::<Image>(&found.id) {
        Some(image) if image.state == ImageState::Deregistered => return false,
        Some(_) => {}
        None => {
            tx.put(Image {
                id: found.id.clone(),
                name: found.name.clone(),
                description: found.description.clone(),
                state: ImageState::Available,
                state_reason: None,
                architecture: found.architecture.clone(),
                created_at: found.created_at,
                source_instance_id: None,
                no_reboot: false,
                source_at_rest: false,
                root_volume_gib: root_gib(found.size_bytes),
                public: false,
                client_token: None,
                deprecated_at: None,
                tags: Tags::new(),
            });
            for name in found.aliases.iter().cloned().chain([alias_of(&found.name)]) {
                point(tx, name, &found.id, found.created_at, now);
            }
            return true;
        }
    }
    false
}

/// Images that are to be copied while the guest of this running instance is shut down, and are not yet.
pub fn waiting_for_rest(reader: &Reader<'_>, instance_id: &str) -> Vec<Arc<Image>> {
    let of_instance = |i: &Arc<Image>| !i.no_reboot && i.source_instance_id.as_deref() == Some(instance_id);
    let pending = reader.list_by::<Image>("state", ImageState::Pending.name());
    pending.into_iter().filter(of_instance).collect()
}

/// The guest is shut down: its disk can be copied.
pub fn source_rests(tx: &mut Transaction<'_>, instance_id: &str) {
    for image in waiting_for_rest(&tx.reader(), instance_id) {
        tx.update::<Image>(&image.id, |i| i.source_at_rest = true);
    }
}

/// Whether a pending image can be copied now: its instance's guest need not rest, rests, or nobody is about to shut it down.
pub fn can_be_copied(reader: &Reader<'_>, image: &Image) -> bool {
    let source = image.source_instance_id.as_deref().unwrap_or_default();
    let about_to_rest = reader
        .get::<Instance>(source)
        .is_some_and(|i| i.state == InstanceState::Running && i.reboot_requests != i.reboots_done);
    image.no_reboot || image.source_at_rest || !about_to_rest
}

/// The files of a pending image are there. Nothing happens if it was deregistered meanwhile.
pub fn complete(tx: &mut Transaction<'_>, id: &str, size_bytes: u64, now: Timestamp) {
    let Some(image) = tx.get::<Image>(id).filter(|i| i.state == ImageState::Pending) else { return };
    tx.update::<Image>(id, |i| {
        i.state = ImageState::Available;
        i.root_volume_gib = i.root_volume_gib.max(root_gib(size_bytes));
    });
    point(tx, alias_of(&image.name), id, image.created_at, now);
}

/// A pending image cannot be made.
pub fn fail(tx: &mut Transaction<'_>, id: &str, reason: StateReason) {
    if tx.get::<Image>(id).is_some_and(|i| i.state == ImageState::Pending) {
        tx.update::<Image>(id, |i| {
            i.state = ImageState::Failed;
            i.state_reason = Some(reason);
        });
    }
}

/// Drops the record of a deregistered image whose files are gone. Parameters that named it name the newest other image of its
/// name, or vanish.
pub fn forget(tx: &mut Transaction<'_>, id: &str, now: Timestamp) {
    let Some(gone) = tx.get::<Image>(id) else { return };
    tx.delete::<Image>(id);
    let available = |i: &Arc<Image>| i.state == ImageState::Available;
    let next =
        tx.list_by::<Image>("name", &gone.name).into_iter().filter(available).max_by_key(|i| i.created_at);
    let naming: Vec<Arc<Parameter>> = tx.list::<Parameter>().into_iter().filter(|p| p.value == id).collect();
    for parameter in naming {
        match &next {
            Some(next) => point(tx, parameter.name.clone(), &next.id, next.created_at, now),
            None => drop(tx.delete::<Parameter>(&parameter.name)),
        }
    }
}

/// `/puffer/images/<name>/latest`.
pub fn alias_of(name: &str) -> String {
    format!("/puffer/images/{name}/latest")
}

fn point(tx: &mut Transaction<'_>, name: String, id: &str, created_at: Timestamp, now: Timestamp) {
    let present = tx.get::<Parameter>(&name);
    let newer = present
        .as_ref()
        .and_then(|p| tx.get::<Image>(&p.value))
        .is_some_and(|i| i.id != id && i.state == ImageState::Available && i.created_at > created_at);
    if newer || present.as_ref().is_some_and(|p| p.value == id) {
        return;
    }
    let version = present.map_or(0, |p| p.version) + 1;
    tx.put(Parameter { name, value: id.to_owned(), version, modified_at: now });
}

/// The image id that `image_id` means: itself, or the value of the parameter that `resolve:ssm:` names.
pub fn resolve(reader: &Reader<'_>, image_id: &str) -> Option<String> {
    match image_id.strip_prefix(RESOLVE_PREFIX) {
        None => Some(image_id.to_owned()),
        Some(name) => reader.get::<Parameter>(name).map(|p| p.value.clone()),
    }
}
