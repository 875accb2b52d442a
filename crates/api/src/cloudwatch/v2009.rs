//! CloudWatch, API version 2009-05-15: metrics were called measures, and their sample count `Samples`.

use std::sync::Arc;

use puffer_shapes::{cloudwatch as now, cloudwatch_2009 as then};

use super::{get_metric_statistics, list_metrics};
use crate::{ApiError, Ctx, Registry};

/// Namespace of a request that names none: in 2009 nearly all metrics were EC2's.
const NAMESPACE: &str = "AWS/EC2";

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<then::GetMetricStatistics, _>(statistics);
    registry.serve::<then::ListMetrics, _>(metrics);
}

async fn statistics(
    cx: Arc<Ctx>,
    input: then::GetMetricStatisticsType,
) -> Result<then::DatapointsType, ApiError> {
    let dimension = |d: then::Dimension| now::Dimension { name: d.name, value: d.value };
    let name = |s: String| if s == "Samples" { "SampleCount".to_owned() } else { s };
    let input = now::GetMetricStatisticsInput {
        namespace: input.namespace.filter(|n| !n.is_empty()).or_else(|| Some(NAMESPACE.to_owned())),
        metric_name: input.measure_name,
        dimensions: input.dimensions.map(|all| all.into_iter().map(dimension).collect()),
        start_time: input.start_time,
        end_time: input.end_time,
        period: input.period,
        statistics: input.statistics.map(|all| all.into_iter().map(name).collect()),
        // `None` is the text of a client whose user gave no unit.
        unit: input.unit.filter(|u| !u.is_empty() && u != "None"),
        ..Default::default()
    };
    let answer = get_metric_statistics::get(cx, input).await?;
    let point = |p: now::Datapoint| then::Datapoint {
        timestamp: p.timestamp,
        samples: p.sample_count,
        average: p.average,
        sum: p.sum,
        minimum: p.minimum,
        maximum: p.maximum,
        unit: p.unit,
        custom_unit: None,
    };
    Ok(then::DatapointsType {
        label: answer.label,
        datapoints: answer.datapoints.map(|all| all.into_iter().map(point).collect()),
    })
}

async fn metrics(cx: Arc<Ctx>, input: then::ListMetricsType) -> Result<then::MetricsType, ApiError> {
    let input = now::ListMetricsInput { next_token: input.next_token, ..Default::default() };
    let answer = list_metrics::list(cx, input).await?;
    let dimension = |d: now::Dimension| then::Dimension { name: d.name, value: d.value };
    let metric = |m: now::Metric| then::Metric {
        measure_name: m.metric_name,
        namespace: m.namespace,
        dimensions: m.dimensions.map(|all| all.into_iter().map(dimension).collect()),
    };
    Ok(then::MetricsType {
        metrics: answer.metrics.map(|all| all.into_iter().map(metric).collect()),
        next_token: answer.next_token,
    })
}
