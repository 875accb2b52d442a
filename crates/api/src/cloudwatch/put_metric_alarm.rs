//! `PutMetricAlarm`.

use std::sync::Arc;

use puffer_core::alarm::{Alarm, CompositeAlarm};
use puffer_inventory::alarms;
use puffer_shapes::cloudwatch::{self as shapes, errors};

use super::{alarm_settings, tags};
use crate::{ApiError, Ctx};

/// Alarms of the account, those of scaling policies included.
const ALARMS_MAX: usize = 200_000;

pub(super) async fn put(cx: Arc<Ctx>, input: shapes::PutMetricAlarmInput) -> Result<(), ApiError> {
    let now = cx.clock.now();
    let home = alarm_settings::Home { account: &cx.account, region: &cx.region };
    let given = tags::read(input.tags.clone().unwrap_or_default())?;
    cx.store
        .transact(|tx| {
            let name = input.alarm_name.clone().unwrap_or_default();
            if tx.get::<CompositeAlarm>(&name).is_some() {
                return Err(ApiError::validation(format!("{name} is the name of a composite alarm")));
            }
            let before = tx.get::<Alarm>(&name);
            // An alarm that exists keeps its tags: there are operations of their own for those.
            let tags = before.as_ref().map_or(given, |b| b.tags.clone());
            if before.is_none() && tx.reader().count::<Alarm>() >= ALARMS_MAX {
                return Err(ApiError::declared(
                    &errors::LIMIT_EXCEEDED_FAULT,
                    format!("There are {ALARMS_MAX} alarms already; no more are allowed."),
                ));
            }
            let mut alarm = alarm_settings::alarm(&home, input, tags, now)?;
            alarm.owner = before.and_then(|b| b.owner.clone());
            let actions = [&alarm.ok_actions, &alarm.alarm_actions, &alarm.insufficient_data_actions];
            alarm_settings::check_topics(&tx.reader(), actions)?;
            alarms::put(tx, alarm);
            Ok(())
        })
        .await
}
