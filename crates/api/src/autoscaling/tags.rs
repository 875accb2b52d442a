use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::autoscaling::{Group, GroupTag, puffer_tags};
use puffer_inventory::{groups, policies};
use puffer_shapes::autoscaling as shape;

use super::error::{Refused, required};
use super::filters::tag_passes;
use super::paging::{self, USUAL};
use crate::{ApiError, Ctx, Registry};

/// Tags of a group.
const TAGS_PER_GROUP_MAX: usize = 50;
/// Keys that only AWS may use.
const RESERVED: &str = "aws:";

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::CreateOrUpdateTags, _>(create_or_update);
    registry.serve::<shape::DeleteTags, _>(delete);
    registry.serve::<shape::DescribeTags, _>(describe);
}

/// Adds tags to a group, checked.
pub(super) fn add(group: &mut Group, tags: &[shape::Tag]) -> Result<(), ApiError> {
    let mut given = BTreeMap::new();
    for tag in tags {
        let key = required(tag.key.clone(), "tags.1.member.key")?;
        if key.starts_with(RESERVED) {
            return Err(ApiError::validation(format!(
                "Invalid tag key: {key}. Tag keys cannot begin with {RESERVED}"
            )));
        }
        let value = tag.value.clone().unwrap_or_default();
        let propagate_at_launch = tag.propagate_at_launch.unwrap_or(false);
        given.insert(key, GroupTag { value, propagate_at_launch });
    }
    puffer_tags::check(&given).map_err(ApiError::validation)?;
    group.tags.extend(given);
    if group.tags.len() > TAGS_PER_GROUP_MAX {
        return Err(ApiError::validation(format!("A group can have at most {TAGS_PER_GROUP_MAX} tags.")));
    }
    Ok(())
}

/// A group's tags as the API shows them.
pub(super) fn of_group(group: &Group) -> Vec<shape::TagDescription> {
    group.tags.iter().map(|(key, tag)| shape_of(&group.name, key, tag)).collect()
}

fn shape_of(group: &str, key: &str, tag: &GroupTag) -> shape::TagDescription {
    shape::TagDescription {
        resource_id: Some(group.to_owned()),
        resource_type: Some("auto-scaling-group".to_owned()),
        key: Some(key.to_owned()),
        value: Some(tag.value.clone()),
        propagate_at_launch: Some(tag.propagate_at_launch),
    }
}

async fn create_or_update(cx: Arc<Ctx>, input: shape::CreateOrUpdateTagsType) -> Result<(), ApiError> {
    let tags = required(input.tags, "tags")?;
    let now = cx.clock.now();
    cx.store
        .transact::<_, Refused>(|tx| {
            for tag in &tags {
                let name = group_of(tag)?;
                let mut group = Group::clone(&*groups::active(&tx.reader(), name)?);
                add(&mut group, std::slice::from_ref(tag))?;
                group.generation += 1;
                let group = tx.put(group);
                policies::fit_alarms(tx, &group, now).map_err(ApiError::validation)?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}

async fn delete(cx: Arc<Ctx>, input: shape::DeleteTagsType) -> Result<(), ApiError> {
    let tags = required(input.tags, "tags")?;
    let now = cx.clock.now();
    cx.store
        .transact::<_, Refused>(|tx| {
            for tag in &tags {
                let name = group_of(tag)?;
                let key = required(tag.key.clone(), "tags.1.member.key")?;
                let group = groups::change(tx, name, |g| {
                    // With a value given, only a tag that has it goes.
                    if g.tags.get(&key).is_some_and(|t| tag.value.as_ref().is_none_or(|v| *v == t.value)) {
                        g.tags.remove(&key);
                    }
                })?;
                policies::fit_alarms(tx, &group, now).map_err(ApiError::validation)?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}

fn group_of(tag: &shape::Tag) -> Result<&str, ApiError> {
    if let Some(kind) = tag.resource_type.as_deref()
        && kind != "auto-scaling-group"
    {
        return Err(ApiError::validation(format!("Invalid resource type {kind}: it is auto-scaling-group.")));
    }
    tag.resource_id.as_deref().ok_or_else(|| ApiError::validation("The resource id of a tag is missing."))
}

async fn describe(cx: Arc<Ctx>, input: shape::DescribeTagsType) -> Result<shape::TagsType, ApiError> {
    let size = USUAL.of(input.max_records)?;
    let filters = input.filters.unwrap_or_default();
    let found = cx.store.read(|r| {
        let mut found = Vec::new();
        for group in r.iter::<Group>() {
            for (key, tag) in &group.tags {
                if tag_passes(&group.name, key, tag, &filters)? {
                    found.push(shape_of(&group.name, key, tag));
                }
            }
        }
        Ok::<_, ApiError>(found)
    })?;
    let key = |t: &shape::TagDescription| (t.resource_id.clone(), t.key.clone());
    let (tags, next_token) = paging::page(found, key, input.next_token.as_deref(), size)?;
    Ok(shape::TagsType { tags: Some(tags), next_token })
}
