//! Tags of load balancers, listeners, rules and target groups.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::elb::arn::{ArnKind, kind_of};
use puffer_core::elb::limits::TAGS_PER_RESOURCE_MAX;
use puffer_core::elb::{
    HEALTH_CHECK_PERIOD_TAG, Listener, LoadBalancer, METRIC_PERIOD_TAG, Rule, TargetGroup, check_period_tags,
};
use puffer_shapes::elbv2::{self as shapes, errors};
use puffer_store::{Reader, Transaction};

use super::{lookup, view};
use crate::{ApiError, Ctx};

/// Resources of one describe call.
const DESCRIBE_ARNS_MAX: usize = 20;

/// Checked tags of a request.
pub(super) fn parse(tags: Option<Vec<shapes::Tag>>) -> Result<Tags, ApiError> {
    checked(tags.into_iter().flatten().map(|t| (t.key, t.value)))
}

/// Checked tags, of this version of the service as well as of the one before.
pub(crate) fn checked(
    tags: impl Iterator<Item = (Option<String>, Option<String>)>,
) -> Result<Tags, ApiError> {
    let mut out = Tags::new();
    for (key, value) in tags {
        let key = key.unwrap_or_default();
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(ApiError::validation(format!(
                "The tag key '{key}' is not valid: keys that begin with 'aws:' are reserved"
            )));
        }
        if out.insert(key.clone(), value.unwrap_or_default()).is_some() {
            return Err(ApiError::declared(
                &errors::DUPLICATE_TAG_KEYS_EXCEPTION,
                format!("The tag key '{key}' is specified more than once"),
            ));
        }
    }
    check_count(&out)?;
    check_period_tags(&out, &[METRIC_PERIOD_TAG, HEALTH_CHECK_PERIOD_TAG]).map_err(ApiError::validation)?;
    Ok(out)
}

/// Bounds the tags of a resource.
pub(crate) fn check_count(tags: &Tags) -> Result<(), ApiError> {
    match tags.len() <= TAGS_PER_RESOURCE_MAX {
        true => Ok(()),
        false => Err(ApiError::declared(
            &errors::TOO_MANY_TAGS_EXCEPTION,
            format!("A resource can have at most {TAGS_PER_RESOURCE_MAX} tags"),
        )),
    }
}

fn tags_of(reader: &Reader<'_>, arn: &str) -> Result<Tags, ApiError> {
    Ok(match kind_of(arn) {
        Some(ArnKind::LoadBalancer) => lookup::load_balancer(reader, arn)?.tags.clone(),
        Some(ArnKind::Listener) => lookup::listener(reader, arn)?.tags.clone(),
        Some(ArnKind::Rule) => lookup::rule(reader, arn)?.tags.clone(),
        Some(ArnKind::TargetGroup) => lookup::target_group(reader, arn)?.tags.clone(),
        None => return Err(ApiError::validation(format!("'{arn}' is not a valid ARN of this service"))),
    })
}

fn set_tags(tx: &mut Transaction<'_>, arn: &str, tags: Tags) {
    match kind_of(arn) {
        Some(ArnKind::LoadBalancer) => drop(tx.update::<LoadBalancer>(arn, |r| r.tags = tags)),
        Some(ArnKind::Listener) => drop(tx.update::<Listener>(arn, |r| r.tags = tags)),
        Some(ArnKind::Rule) => drop(tx.update::<Rule>(arn, |r| r.tags = tags)),
        Some(ArnKind::TargetGroup) => drop(tx.update::<TargetGroup>(arn, |r| r.tags = tags)),
        None => {}
    }
}

/// Changes the tags of several resources, all or none.
async fn change(cx: &Ctx, arns: &[String], edit: impl Fn(&mut Tags)) -> Result<(), ApiError> {
    cx.store
        .transact(|tx| {
            for arn in arns {
                let before = tags_of(&tx.reader(), arn)?;
                let mut after = before.clone();
                edit(&mut after);
                check_count(&after)?;
                if after != before {
                    set_tags(tx, arn, after);
                }
            }
            Ok(())
        })
        .await
}

pub(super) async fn add(
    cx: Arc<Ctx>,
    input: shapes::AddTagsInput,
) -> Result<shapes::AddTagsOutput, ApiError> {
    let new = parse(input.tags)?;
    let arns = input.resource_arns.unwrap_or_default();
    change(&cx, &arns, |tags| tags.extend(new.clone())).await?;
    Ok(shapes::AddTagsOutput {})
}

pub(super) async fn remove(
    cx: Arc<Ctx>,
    input: shapes::RemoveTagsInput,
) -> Result<shapes::RemoveTagsOutput, ApiError> {
    let keys = input.tag_keys.unwrap_or_default();
    let arns = input.resource_arns.unwrap_or_default();
    change(&cx, &arns, |tags| tags.retain(|key, _| !keys.contains(key))).await?;
    Ok(shapes::RemoveTagsOutput {})
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeTagsInput,
) -> Result<shapes::DescribeTagsOutput, ApiError> {
    let arns = input.resource_arns.unwrap_or_default();
    if arns.len() > DESCRIBE_ARNS_MAX {
        return Err(ApiError::validation(format!(
            "At most {DESCRIBE_ARNS_MAX} resources can be described at a time"
        )));
    }
    let one = |reader: &Reader<'_>, arn: &String| {
        let tags = tags_of(reader, arn)?;
        Ok(shapes::TagDescription { resource_arn: Some(arn.clone()), tags: Some(view::tags(&tags)) })
    };
    let all = cx.store.read(|r| arns.iter().map(|arn| one(r, arn)).collect::<Result<_, ApiError>>())?;
    Ok(shapes::DescribeTagsOutput { tag_descriptions: Some(all) })
}
