//! Pieces that many operations share: ids, tags, small shapes.

use puffer_core::ec2::is_well_formed_id;
use puffer_core::{Tags, Timestamp};
use puffer_shapes::ec2 as shapes;
use puffer_wire::EpochMillis;

use super::error::{invalid_value, missing};
use crate::ApiError;

/// Characters of a tag's key (AWS's limit).
const TAG_KEY_CHARS_MAX: usize = 128;
/// Characters of a tag's value (AWS's limit).
const TAG_VALUE_CHARS_MAX: usize = 256;

/// A member that is present.
pub(super) fn s(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

pub(super) fn time(at: Timestamp) -> Option<EpochMillis> {
    Some(EpochMillis(at.as_millis()))
}

pub(super) fn flag(value: Option<&shapes::AttributeBooleanValue>) -> Option<bool> {
    value.and_then(|v| v.value)
}

pub(super) fn boolean(value: bool) -> Option<shapes::AttributeBooleanValue> {
    Some(shapes::AttributeBooleanValue { value: Some(value) })
}

pub(super) fn text(value: Option<String>) -> Option<shapes::AttributeValue> {
    Some(shapes::AttributeValue { value })
}

/// Tags for an answer; `None` if there are none.
pub(super) fn show_tags(tags: &Tags) -> Option<Vec<shapes::Tag>> {
    let shown = |(key, value): (&String, &String)| shapes::Tag { key: s(key), value: s(value) };
    (!tags.is_empty()).then(|| tags.iter().map(shown).collect())
}

/// Tags from a request, checked.
pub(super) fn read_tags(tags: Option<Vec<shapes::Tag>>) -> Result<Tags, ApiError> {
    let mut read = Tags::new();
    for tag in tags.unwrap_or_default() {
        let key = tag.key.unwrap_or_default();
        let value = tag.value.unwrap_or_default();
        if key.is_empty() {
            return Err(invalid_value("Tag key cannot be empty"));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid_value("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if key.chars().count() > TAG_KEY_CHARS_MAX {
            return Err(invalid_value(format!(
                "Tag key exceeds the maximum length of {TAG_KEY_CHARS_MAX} characters"
            )));
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX {
            return Err(invalid_value(format!(
                "Tag value exceeds the maximum length of {TAG_VALUE_CHARS_MAX} characters"
            )));
        }
        if read.insert(key.clone(), value).is_some() {
            return Err(invalid_value(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    if read.len() > puffer_inventory::tags::TAGS_PER_RESOURCE_MAX {
        return Err(ApiError::sender(
            "TagLimitExceeded",
            "The maximum number of tags for a resource has been reached.",
        ));
    }
    Ok(read)
}

/// Tags for resources that a request makes, by kind; kinds not in `allowed` are refused.
pub(super) fn read_tag_specifications(
    specifications: Option<Vec<shapes::TagSpecification>>,
    allowed: &[&str],
) -> Result<Vec<(String, Tags)>, ApiError> {
    let mut read: Vec<(String, Tags)> = Vec::new();
    for specification in specifications.unwrap_or_default() {
        let kind = specification.resource_type.ok_or_else(|| missing("ResourceType"))?;
        if !allowed.contains(&kind.as_str()) {
            return Err(invalid_value(format!(
                "'{kind}' is not a valid taggable resource type for this operation."
            )));
        }
        if read.iter().any(|(k, _)| *k == kind) {
            return Err(ApiError::sender(
                "InvalidParameterValue",
                format!(
                    "The same resource type may not be specified more than once in tag specifications: {kind}"
                ),
            ));
        }
        read.push((kind, read_tags(specification.tags)?));
    }
    Ok(read)
}

/// Tags for the one kind of resource that a request makes.
pub(super) fn tags_of_kind(
    specifications: Option<Vec<shapes::TagSpecification>>,
    kind: &str,
) -> Result<Tags, ApiError> {
    Ok(read_tag_specifications(specifications, &[kind])?.into_iter().flat_map(|(_, tags)| tags).collect())
}

/// Refuses ids that cannot be such ids.
pub(super) fn check_ids<'a>(
    prefix: &str,
    code: &'static str,
    ids: impl IntoIterator<Item = &'a String>,
) -> Result<(), ApiError> {
    for id in ids {
        if !is_well_formed_id(prefix, id) {
            return Err(ApiError::sender(code, format!("Invalid id: \"{id}\" (expecting \"{prefix}-...\")")));
        }
    }
    Ok(())
}

/// The ids of instances in a request, checked and each once.
pub(super) fn instance_ids(ids: Option<Vec<String>>) -> Result<Vec<String>, ApiError> {
    let mut ids = ids.unwrap_or_default();
    check_ids("i", "InvalidInstanceID.Malformed", &ids)?;
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}

/// A member that the request must have.
pub(super) fn required(member: Option<String>, name: &str) -> Result<String, ApiError> {
    member.filter(|m| !m.is_empty()).ok_or_else(|| missing(name))
}

/// Refuses members of a request that ask for what Puffer does not do.
macro_rules! refuse {
    ($input:expr; $($member:ident => $what:literal),+ $(,)?) => {
        $(if $input.$member.is_some() {
            return Err($crate::ec2::error::unsupported($what));
        })+
    };
}
pub(super) use refuse;

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> shapes::Tag {
        shapes::Tag { key: s(key), value: s(value) }
    }

    #[test]
    fn tags_are_checked() {
        assert_eq!(read_tags(Some(vec![tag("a", "1"), tag("b", "")])).unwrap().len(), 2);
        for bad in [
            vec![tag("", "x")],
            vec![tag("aws:x", "x")],
            vec![tag("AWS:x", "x")],
            vec![tag(&"k".repeat(129), "x")],
            vec![tag("k", &"v".repeat(257))],
            vec![tag("k", "1"), tag("k", "2")],
            (0..51).map(|n| tag(&n.to_string(), "")).collect(),
        ] {
            assert!(read_tags(Some(bad)).is_err());
        }
    }

    #[test]
    fn ids_are_checked_and_told_once() {
        let id = || "i-0123456789abcdef0".to_owned();
        assert_eq!(instance_ids(Some(vec![id(), id()])).unwrap(), [id()]);
        assert_eq!(instance_ids(Some(vec!["i-x".into()])).unwrap_err().code, "InvalidInstanceID.Malformed");
    }
}
