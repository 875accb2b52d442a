//! Tags of any EC2 resource, found by the form of its id. Tags live on the records of what they tag.

use puffer_core::Tags;
use puffer_core::ec2::{
    Image, Instance, KeyPair, LaunchTemplate, RootVolumeTask, SecurityGroup, Subnet, Vpc, sibling_id,
};
use puffer_store::{Reader, StoreError, Transaction};

use crate::root_volumes;

/// Tags of one resource (AWS's limit for tags of users; those of AWS's own services do not count).
pub const TAGS_PER_RESOURCE_MAX: usize = 50;

/// Why tags cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// No such resource.
    #[error("The ID '{0}' is not valid")]
    NotFound(String),
    /// Too many.
    #[error("The maximum number of tags for resource {0} has been reached ({TAGS_PER_RESOURCE_MAX}).")]
    Limit(String),
    /// Not durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One tag of one resource, as `DescribeTags` lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceTag {
    /// Resource's id.
    pub resource_id: String,
    /// `instance`, `vpc`, ….
    pub resource_type: &'static str,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// Kinds of resources that can have tags here, by the prefix of their ids.
const KINDS: &[(&str, &str)] = &[
    ("ami", "image"),
    ("eni", "network-interface"),
    ("i", "instance"),
    ("key", "key-pair"),
    ("lt", "launch-template"),
    ("replacevol", "replace-root-volume-task"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("subnet", "subnet"),
    ("vol", "volume"),
    ("vpc", "vpc"),
];

/// The kind of resource that has such an id.
pub fn resource_type(id: &str) -> Option<&'static str> {
    let prefix = id.rsplit_once('-')?.0;
    KINDS.iter().find(|(p, _)| *p == prefix).map(|(_, kind)| *kind)
}

/// Changes the tags of one resource.
pub fn change(tx: &mut Transaction<'_>, id: &str, change: impl Fn(&mut Tags)) -> Result<(), TagError> {
    let limited = |tags: &mut Tags, over: &mut bool| {
        change(tags);
        *over = tags.keys().filter(|k| !k.starts_with("aws:")).count() > TAGS_PER_RESOURCE_MAX;
    };
    let mut over = false;
    let found = match resource_type(id) {
        Some("image") => tx.update::<Image>(id, |r| limited(&mut r.tags, &mut over)).is_some(),
        Some("instance") => tx.update::<Instance>(id, |r| limited(&mut r.tags, &mut over)).is_some(),
        Some("launch-template") => {
            tx.update::<LaunchTemplate>(id, |r| limited(&mut r.tags, &mut over)).is_some()
        }
        Some("security-group") => {
            tx.update::<SecurityGroup>(id, |r| limited(&mut r.tags, &mut over)).is_some()
        }
        Some("subnet") => tx.update::<Subnet>(id, |r| limited(&mut r.tags, &mut over)).is_some(),
        Some("vpc") => tx.update::<Vpc>(id, |r| limited(&mut r.tags, &mut over)).is_some(),
        Some("volume") => match root_volumes::owner_of(&tx.reader(), id) {
            Some(owner) => {
                tx.update::<Instance>(&owner.id, |r| limited(&mut r.volume_tags, &mut over)).is_some()
            }
            None => false,
        },
        Some("replace-root-volume-task") => {
            tx.update::<RootVolumeTask>(id, |r| limited(&mut r.tags, &mut over)).is_some()
        }
        Some("network-interface") => tx
            .update::<Instance>(&sibling_id("i", id), |r| limited(&mut r.network_interface_tags, &mut over))
            .is_some(),
        Some("key-pair") => match tx.list_by::<KeyPair>("id", id).pop() {
            Some(pair) => tx.update::<KeyPair>(&pair.name, |r| limited(&mut r.tags, &mut over)).is_some(),
            None => false,
        },
        Some("security-group-rule") => match tx.list_by::<SecurityGroup>("rule", id).pop() {
            Some(group) => {
                let each = |r: &mut SecurityGroup| {
                    for rule in r.rules.iter_mut().filter(|rule| rule.id == id) {
                        limited(&mut rule.tags, &mut over);
                    }
                };
                tx.update::<SecurityGroup>(&group.id, each).is_some()
            }
            None => false,
        },
        _ => false,
    };
    if !found {
        return Err(TagError::NotFound(id.into()));
    }
    if over { Err(TagError::Limit(id.into())) } else { Ok(()) }
}

/// All tags of all resources.
pub fn list(reader: &Reader<'_>) -> Vec<ResourceTag> {
    let mut out = Vec::new();
    let mut add = |resource_type: &'static str, id: &str, tags: &Tags| {
        out.extend(tags.iter().map(|(key, value)| ResourceTag {
            resource_id: id.to_owned(),
            resource_type,
            key: key.clone(),
            value: value.clone(),
        }));
    };
    reader.iter::<Image>().for_each(|r| add("image", &r.id, &r.tags));
    for r in reader.iter::<Instance>() {
        add("instance", &r.id, &r.tags);
        if r.state.is_alive() {
            add("volume", &r.root_volume_id(), &r.volume_tags);
            add("network-interface", &r.network_interface_id, &r.network_interface_tags);
        }
    }
    reader.iter::<RootVolumeTask>().for_each(|r| add("replace-root-volume-task", &r.id, &r.tags));
    reader.iter::<KeyPair>().for_each(|r| add("key-pair", &r.id, &r.tags));
    reader.iter::<LaunchTemplate>().for_each(|r| add("launch-template", &r.id, &r.tags));
    for r in reader.iter::<SecurityGroup>() {
        add("security-group", &r.id, &r.tags);
        r.rules.iter().for_each(|rule| add("security-group-rule", &rule.id, &rule.tags));
    }
    reader.iter::<Subnet>().for_each(|r| add("subnet", &r.id, &r.tags));
    reader.iter::<Vpc>().for_each(|r| add("vpc", &r.id, &r.tags));
    out.sort();
    out
}
