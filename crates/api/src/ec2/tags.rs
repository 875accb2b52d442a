//! Tags of any resource.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_inventory::tags::{self, ResourceTag};
use puffer_shapes::ec2 as shapes;

use super::error::{dry_run, invalid_value, missing};
use super::filter::{Field, Filters};
use super::page::Page;
use super::parts::{read_tags, s};
use crate::{ApiError, Ctx};

/// Resources in one request (EC2's limit).
const RESOURCES_MAX: usize = 1000;

fn resources(ids: Option<Vec<String>>) -> Result<Vec<String>, ApiError> {
    let ids = ids.unwrap_or_default();
    if ids.is_empty() {
        return Err(missing("ResourceId"));
    }
    if ids.len() > RESOURCES_MAX {
        return Err(invalid_value(format!("At most {RESOURCES_MAX} resources can be given in one request.")));
    }
    if let Some(bad) = ids.iter().find(|id| tags::resource_type(id).is_none()) {
        return Err(ApiError::sender("InvalidID", format!("The ID '{bad}' is not valid")));
    }
    Ok(ids)
}

pub(super) async fn create(cx: Arc<Ctx>, input: shapes::CreateTagsInput) -> Result<(), ApiError> {
    let ids = resources(input.resources)?;
    let new = read_tags(input.tags)?;
    if new.is_empty() {
        return Err(missing("Tag"));
    }
    cx.store
        .transact::<_, ApiError>(|tx| {
            for id in &ids {
                tags::change(tx, id, |t| t.extend(new.iter().map(|(k, v)| (k.clone(), v.clone()))))?;
            }
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(()) }
        })
        .await
}

pub(super) async fn delete(cx: Arc<Ctx>, input: shapes::DeleteTagsInput) -> Result<(), ApiError> {
    let ids = resources(input.resources)?;
    let given = input.tags.unwrap_or_default();
    if given.iter().any(|t| t.key.as_deref().is_some_and(|k| k.starts_with("aws:"))) {
        return Err(invalid_value("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    cx.store
        .transact::<_, ApiError>(|tx| {
            for id in &ids {
                tags::change(tx, id, |t| {
                    if given.is_empty() {
                        t.retain(|k, _| k.starts_with("aws:"));
                    }
                    for tag in &given {
                        let Some(key) = &tag.key else { continue };
                        // With a value the tag goes only if it has that value.
                        if tag.value.is_none() || t.get(key) == tag.value.as_ref() {
                            t.remove(key);
                        }
                    }
                })?;
            }
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(()) }
        })
        .await
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeTagsInput,
) -> Result<shapes::DescribeTagsOutput, ApiError> {
    let filters = Filters::parse(input.filters, &["key", "resource-id", "resource-type", "value"])?;
    let page = Page::parse(input.max_results, input.next_token)?;
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let all = cx.store.read(tags::list);
    let matching = all.into_iter().filter(|t| {
        let own: Tags = [(t.key.clone(), t.value.clone())].into();
        filters.matches(&own, |name| match name {
            "key" => Field::from(t.key.as_str()),
            "resource-id" => t.resource_id.as_str().into(),
            "resource-type" => t.resource_type.into(),
            _ => t.value.as_str().into(),
        })
    });
    let keyed = matching.map(|t: ResourceTag| (format!("{}\u{0}{}", t.resource_id, t.key), t));
    let mut keyed: Vec<_> = keyed.collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    let (found, next_token) = page.cut(keyed.into_iter(), |(key, _)| key);
    let show = |(_, t): (String, ResourceTag)| shapes::TagDescription {
        key: s(t.key),
        resource_id: s(t.resource_id),
        resource_type: s(t.resource_type),
        value: s(t.value),
    };
    Ok(shapes::DescribeTagsOutput { tags: Some(found.into_iter().map(show).collect()), next_token })
}
