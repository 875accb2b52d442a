//! Tags of alarms.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::alarm::{Alarm, CompositeAlarm};
use puffer_core::elb::{METRIC_PERIOD_TAG, check_period_tags};
use puffer_shapes::cloudwatch::{self as shapes, errors};
use puffer_store::Transaction;

use super::{alarm_settings::Home, invalid_value};
use crate::{ApiError, Ctx};

/// Tags of one alarm.
const TAGS_MAX: usize = 50;

/// Reads and checks tags; the last of several with the same key counts.
pub(super) fn read(list: Vec<shapes::Tag>) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in list {
        let key = tag.key.unwrap_or_default();
        if key.starts_with("aws:") {
            return Err(invalid_value("Tag keys that start with aws: are for the services."));
        }
        tags.insert(key, tag.value.unwrap_or_default());
    }
    check_count(&tags)?;
    check_period_tags(&tags, &[METRIC_PERIOD_TAG]).map_err(invalid_value)?;
    Ok(tags)
}

fn check_count(tags: &Tags) -> Result<(), ApiError> {
    match tags.len() {
        n if n > TAGS_MAX => Err(invalid_value(format!("An alarm has at most {TAGS_MAX} tags."))),
        _ => Ok(()),
    }
}

fn unknown(arn: &str) -> ApiError {
    ApiError::declared(
        &errors::RESOURCE_NOT_FOUND_EXCEPTION,
        format!("There is no alarm with the ARN {arn}."),
    )
}

/// The name in an alarm's ARN of this account and region.
fn name<'a>(cx: &Ctx, arn: &'a str) -> Result<&'a str, ApiError> {
    let prefix = Home { account: &cx.account, region: &cx.region }.alarm_arn("");
    arn.strip_prefix(prefix.as_str()).ok_or_else(|| unknown(arn))
}

pub(super) async fn list(
    cx: Arc<Ctx>,
    input: shapes::ListTagsForResourceInput,
) -> Result<shapes::ListTagsForResourceOutput, ApiError> {
    let arn = input.resource_arn.unwrap_or_default();
    let name = name(&cx, &arn)?;
    let of_metric = cx.store.get::<Alarm>(name).map(|a| a.tags.clone());
    let tags = of_metric.or_else(|| cx.store.get::<CompositeAlarm>(name).map(|a| a.tags.clone()));
    let tags = tags.ok_or_else(|| unknown(&arn))?;
    let tag = |(k, v): (&String, &String)| shapes::Tag { key: Some(k.clone()), value: Some(v.clone()) };
    Ok(shapes::ListTagsForResourceOutput { tags: Some(tags.iter().map(tag).collect()) })
}

pub(super) async fn tag(
    cx: Arc<Ctx>,
    input: shapes::TagResourceInput,
) -> Result<shapes::TagResourceOutput, ApiError> {
    let arn = input.resource_arn.unwrap_or_default();
    let more = read(input.tags.unwrap_or_default())?;
    change(&cx, &arn, |tags| tags.extend(more)).await?;
    Ok(shapes::TagResourceOutput {})
}

pub(super) async fn untag(
    cx: Arc<Ctx>,
    input: shapes::UntagResourceInput,
) -> Result<shapes::UntagResourceOutput, ApiError> {
    let arn = input.resource_arn.unwrap_or_default();
    let keys = input.tag_keys.unwrap_or_default();
    change(&cx, &arn, |tags| tags.retain(|k, _| !keys.contains(k))).await?;
    Ok(shapes::UntagResourceOutput {})
}

async fn change(cx: &Ctx, arn: &str, change: impl FnOnce(&mut Tags)) -> Result<(), ApiError> {
    let name = name(cx, arn)?;
    cx.store
        .transact(|tx: &mut Transaction<'_>| {
            if let Some(alarm) = tx.get::<Alarm>(name) {
                let mut tags = alarm.tags.clone();
                change(&mut tags);
                check_count(&tags)?;
                tx.update::<Alarm>(name, |alarm| alarm.tags = tags);
                return Ok(());
            }
            let mut tags = tx.get::<CompositeAlarm>(name).ok_or_else(|| unknown(arn))?.tags.clone();
            change(&mut tags);
            check_count(&tags)?;
            tx.update::<CompositeAlarm>(name, |alarm| alarm.tags = tags);
            Ok(())
        })
        .await
}
