//! CloudWatch: metric data in and out, metric alarms and composite alarms. Anomaly detection, dashboards and streams are not here
//! and answer an error.

mod alarm_history;
mod alarm_settings;
mod alarms;
mod describe_alarms;
mod get_metric_data;
mod get_metric_statistics;
mod labels;
mod list_metrics;
mod put_composite_alarm;
mod put_metric_alarm;
mod put_metric_data;
mod queries;
mod tags;
#[cfg(test)]
mod tests;
mod token;
mod v2009;
mod window;

use puffer_core::Timestamp;
use puffer_shapes::cloudwatch::{self as shapes, errors};
use puffer_wire::EpochMillis;

use crate::{ApiError, Registry};

/// Serves the operations of this service.
pub(crate) fn register(registry: &mut Registry) {
    registry.serve::<shapes::PutMetricData, _>(put_metric_data::put);
    registry.serve::<shapes::GetMetricData, _>(get_metric_data::get);
    registry.serve::<shapes::GetMetricStatistics, _>(get_metric_statistics::get);
    registry.serve::<shapes::ListMetrics, _>(list_metrics::list);
    registry.serve::<shapes::PutMetricAlarm, _>(put_metric_alarm::put);
    registry.serve::<shapes::PutCompositeAlarm, _>(put_composite_alarm::put);
    registry.serve::<shapes::DescribeAlarms, _>(describe_alarms::describe);
    registry.serve::<shapes::DescribeAlarmsForMetric, _>(describe_alarms::describe_for_metric);
    registry.serve::<shapes::DescribeAlarmHistory, _>(alarm_history::describe);
    registry.serve::<shapes::DeleteAlarms, _>(alarms::delete);
    registry.serve::<shapes::SetAlarmState, _>(alarms::set_state);
    registry.serve::<shapes::EnableAlarmActions, _>(alarms::enable_actions);
    registry.serve::<shapes::DisableAlarmActions, _>(alarms::disable_actions);
    registry.serve::<shapes::ListTagsForResource, _>(tags::list);
    registry.serve::<shapes::TagResource, _>(tags::tag);
    registry.serve::<shapes::UntagResource, _>(tags::untag);
    v2009::register(registry);
}

fn invalid_value(message: impl Into<String>) -> ApiError {
    ApiError::declared(&errors::INVALID_PARAMETER_VALUE_EXCEPTION, message)
}

fn invalid_combination(message: impl Into<String>) -> ApiError {
    ApiError::declared(&errors::INVALID_PARAMETER_COMBINATION_EXCEPTION, message)
}

fn missing(message: impl Into<String>) -> ApiError {
    ApiError::declared(&errors::MISSING_REQUIRED_PARAMETER_EXCEPTION, message)
}

fn time(at: EpochMillis) -> Timestamp {
    Timestamp::from_millis(at.0)
}

fn wire_time(at: Timestamp) -> EpochMillis {
    EpochMillis(at.as_millis())
}
