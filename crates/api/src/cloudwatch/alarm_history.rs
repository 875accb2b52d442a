//! `DescribeAlarmHistory`.

use std::sync::Arc;

use puffer_core::Record;
use puffer_core::alarm::{HistoryItem, HistoryKind};
use puffer_shapes::cloudwatch as shapes;

use super::{time, token, wire_time};
use crate::{ApiError, Ctx};

/// Items of a page.
const PAGE: usize = 100;

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeAlarmHistoryInput,
) -> Result<shapes::DescribeAlarmHistoryOutput, ApiError> {
    let kind = input.history_item_type.as_deref().map(HistoryKind::parse);
    let size = input.max_records.and_then(|n| usize::try_from(n).ok()).unwrap_or(PAGE).clamp(1, PAGE);
    let after = token::decode(input.next_token.as_deref())?;
    let (from, to) = (input.start_date.map(time), input.end_date.map(time));
    let types = input.alarm_types.unwrap_or_default();
    let asked = |name: &str, unless_said: bool| {
        if types.is_empty() { unless_said } else { types.iter().any(|t| t == name) }
    };
    let (metric, composite) = (asked("MetricAlarm", true), asked("CompositeAlarm", false));
    let ascending = input.scan_by.as_deref() == Some("TimestampAscending");

    // No alarm here has contributors, so none has a history.
    let of_contributor = input.alarm_contributor_id.is_some();
    let wanted = |item: &HistoryItem| {
        !of_contributor
            && (if item.composite { composite } else { metric })
            && kind.is_none_or(|k| k == Some(item.kind))
            && from.is_none_or(|t| item.at >= t)
            && to.is_none_or(|t| item.at <= t)
            && after.as_deref().is_none_or(|a| {
                let key = item.key();
                if ascending { key.as_str() > a } else { key.as_str() < a }
            })
    };
    let mut items: Vec<Arc<HistoryItem>> = cx.store.read(|r| match &input.alarm_name {
        Some(name) => r.list_by::<HistoryItem>("alarm", name).into_iter().filter(|i| wanted(i)).collect(),
        None => r.iter::<HistoryItem>().filter(|i| wanted(i)).cloned().collect(),
    });
    if !ascending {
        items.reverse();
    }
    let more = items.len() > size;
    items.truncate(size);
    let next = items.last().filter(|_| more).map(|i| token::encode(&i.key()));
    let shape = |item: &Arc<HistoryItem>| shapes::AlarmHistoryItem {
        alarm_name: Some(item.alarm.clone()),
        alarm_type: Some(if item.composite { "CompositeAlarm" } else { "MetricAlarm" }.to_owned()),
        timestamp: Some(wire_time(item.at)),
        history_item_type: Some(item.kind.name().to_owned()),
        history_summary: Some(item.summary.clone()),
        history_data: Some(item.data.clone()),
        ..Default::default()
    };
    Ok(shapes::DescribeAlarmHistoryOutput {
        alarm_history_items: Some(items.iter().map(shape).collect()),
        next_token: next,
    })
}
