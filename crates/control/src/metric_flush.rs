//! Brings metrics to disk. What a crash loses is what arrived since the last flush.

use std::time::Duration;

use puffer_metrics::{FlushReport, Metrics};

use crate::Reconciler;

/// Seconds between two flushes: with a crash, at most so much (and the flush's own time) of the metrics is lost.
const FLUSH_PERIOD: Duration = Duration::from_secs(30);

/// Flushes the metric store.
pub struct MetricFlush {
    metrics: Metrics,
}

impl MetricFlush {
    /// For this store.
    pub fn new(metrics: Metrics) -> Self {
        MetricFlush { metrics }
    }
}

impl Reconciler for MetricFlush {
    type Status = Option<FlushReport>;

    fn name(&self) -> &'static str {
        "metric_flush"
    }

    fn period(&self) -> Duration {
        FLUSH_PERIOD
    }

    async fn wake(&self) {
        std::future::pending().await
    }

    async fn activate(&self) -> Option<FlushReport> {
        let metrics = self.metrics.clone();
        match tokio::task::spawn_blocking(move || metrics.flush()).await {
            Ok(Ok(report)) => Some(report),
            Ok(Err(error)) => {
                tracing::error!(%error, "metrics could not be written; they are kept in memory and tried again");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the flush of the metrics ended early");
                None
            }
        }
    }
}
