//! Tags of load balancers. `puffer:health-check-period` and `puffer:metric-period` ask for second-level reaction, as for target
//! groups.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_inventory::classic;
use puffer_shapes::elb as shapes;

use super::found;
use crate::elbv2::tags::{check_count, checked};
use crate::{ApiError, Ctx};

/// Checked tags of a request.
pub(super) fn parse(tags: Option<Vec<shapes::Tag>>) -> Result<Tags, ApiError> {
    checked(tags.into_iter().flatten().map(|t| (t.key, t.value)))
}

/// Changes the tags of several load balancers, all or none.
async fn change(cx: &Ctx, names: &[String], edit: impl Fn(&mut Tags)) -> Result<(), ApiError> {
    cx.store
        .transact::<_, ApiError>(|tx| {
            for name in names {
                let mut balancer = ClassicLoadBalancer::clone(&*found(&tx.reader(), name)?);
                edit(&mut balancer.tags);
                check_count(&balancer.tags)?;
                classic::put(tx, balancer);
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
    let names = input.load_balancer_names.unwrap_or_default();
    change(&cx, &names, |tags| tags.extend(new.clone())).await?;
    Ok(shapes::AddTagsOutput {})
}

pub(super) async fn remove(
    cx: Arc<Ctx>,
    input: shapes::RemoveTagsInput,
) -> Result<shapes::RemoveTagsOutput, ApiError> {
    let keys: Vec<String> = input.tags.unwrap_or_default().into_iter().filter_map(|t| t.key).collect();
    let names = input.load_balancer_names.unwrap_or_default();
    change(&cx, &names, |tags| tags.retain(|key, _| !keys.contains(key))).await?;
    Ok(shapes::RemoveTagsOutput {})
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeTagsInput,
) -> Result<shapes::DescribeTagsOutput, ApiError> {
    let names = input.load_balancer_names.unwrap_or_default();
    let tag =
        |(key, value): (&String, &String)| shapes::Tag { key: Some(key.clone()), value: Some(value.clone()) };
    let found = cx.store.read(|r| names.iter().map(|n| found(r, n)).collect::<Result<Vec<_>, _>>())?;
    let one = |balancer: &Arc<ClassicLoadBalancer>| shapes::TagDescription {
        load_balancer_name: Some(balancer.name.clone()),
        tags: Some(balancer.tags.iter().map(tag).collect()),
    };
    Ok(shapes::DescribeTagsOutput { tag_descriptions: Some(found.iter().map(one).collect()) })
}
