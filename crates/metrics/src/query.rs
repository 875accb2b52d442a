//! Reading statistics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use puffer_core::Timestamp;
use puffer_core::alarm::{MetricId, Statistic, Unit};

use crate::bucket::{Bucket, Values};
use crate::evaluate::evaluate;
use crate::series::Series;
use crate::tier::Tier;
use crate::write::seconds;
use crate::{Inner, Metrics};

/// Most datapoints that one query yields (`GetMetricData` answers at most 100,800 per call).
pub const QUERY_POINTS_MAX: usize = 100_800;

/// A statistic of one period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Start of the period.
    pub at: Timestamp,
    /// Value.
    pub value: f64,
    /// Samples it was made of.
    pub samples: f64,
}

/// The data of one period, from which several statistics can be taken.
#[derive(Debug, Clone)]
pub struct PeriodData {
    /// Start of the period.
    pub at: Timestamp,
    bucket: Bucket,
}

impl PeriodData {
    /// `None` if the data do not allow the statistic.
    pub fn statistic(&self, statistic: Statistic) -> Option<f64> {
        evaluate(&self.bucket, statistic)
    }
}

impl Metrics {
    /// The statistic for each period with data in `[start, end)`, oldest first. Periods are counted from `start`.
    /// Without a unit, data of all units count together. At most [`QUERY_POINTS_MAX`] points, the oldest.
    pub fn query(
        &self,
        metric: &MetricId,
        unit: Option<Unit>,
        statistic: Statistic,
        period_s: u32,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<(Timestamp, f64)> {
        let mut points = Vec::new();
        self.reader(metric, unit).read(statistic, period_s, start, end, &mut points);
        points.into_iter().map(|p| (p.at, p.value)).collect()
    }

    /// The data of each period in `[start, end)`, for several statistics at once.
    pub fn periods(
        &self,
        metric: &MetricId,
        unit: Option<Unit>,
        period_s: u32,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<PeriodData> {
        let Some(head) = self.inner.catalog.read().head(metric).cloned() else { return Vec::new() };
        let span = Span::new(period_s, start, end);
        let found = self.inner.gather(&head, unit, &span, true);
        found.into_iter().map(|(n, bucket)| PeriodData { at: start + span.offset(n), bucket }).collect()
    }

    /// The units in which a metric has data.
    pub fn units(&self, metric: &MetricId) -> Vec<Unit> {
        self.inner
            .catalog
            .read()
            .head(metric)
            .map(|h| h.units().map(|s| s.unit).collect())
            .unwrap_or_default()
    }

    /// A metric resolved once, for evaluators that read it again and again. The metric need not exist yet.
    pub fn reader(&self, metric: &MetricId, unit: Option<Unit>) -> MetricReader {
        MetricReader { metrics: self.clone(), metric: metric.clone(), unit, head: None, generation: 0 }
    }
}

/// Reads one metric without looking it up each time.
#[derive(Clone)]
pub struct MetricReader {
    metrics: Metrics,
    metric: MetricId,
    unit: Option<Unit>,
    head: Option<Arc<Series>>,
    generation: u64,
}

impl MetricReader {
    /// Appends the statistic for each period with data in `[start, end)` to `out`, oldest first.
    pub fn read(
        &mut self,
        statistic: Statistic,
        period_s: u32,
        start: Timestamp,
        end: Timestamp,
        out: &mut Vec<Point>,
    ) {
        let inner = &self.metrics.inner;
        if self.head.is_none() {
            let generation = inner.generation.load(Ordering::Acquire);
            if generation != self.generation {
                self.generation = generation;
                self.head = inner.catalog.read().head(&self.metric).cloned();
            }
        }
        let Some(head) = &self.head else { return };
        let span = Span::new(period_s, start, end);
        for (n, bucket) in inner.gather(head, self.unit, &span, !statistic.is_classic()) {
            if let Some(value) = evaluate(&bucket, statistic) {
                out.push(Point { at: start + span.offset(n), value, samples: bucket.count });
            }
        }
    }
}

/// Periods counted from a start.
struct Span {
    start_s: u32,
    end_s: u32,
    period_s: u32,
}

impl Span {
    fn new(period_s: u32, start: Timestamp, end: Timestamp) -> Span {
        let period_s = period_s.max(1);
        let start_s = seconds(start);
        // An end within a second includes that second.
        let end_s = seconds(end + std::time::Duration::from_millis(999));
        let most = u64::from(start_s) + u64::from(period_s) * QUERY_POINTS_MAX as u64;
        Span { start_s, end_s: end_s.min(u32::try_from(most).unwrap_or(u32::MAX)), period_s }
    }

    fn offset(&self, n: u32) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(n) * u64::from(self.period_s))
    }

    fn overlaps(&self, tier: Tier, block_start_s: u32) -> bool {
        block_start_s < self.end_s && block_start_s.saturating_add(tier.span_s()) > self.start_s
    }
}

/// Periods with data, by number.
struct Gathered {
    periods: Vec<(u32, Bucket)>,
    keep_values: bool,
}

impl Gathered {
    fn add(&mut self, span: &Span, at_s: u32, bucket: &Bucket) {
        if at_s < span.start_s || at_s >= span.end_s {
            return;
        }
        let n = (at_s - span.start_s) / span.period_s;
        let merge = |into: &mut Bucket| match self.keep_values {
            true => into.merge(bucket),
            false => into.merge_totals(bucket),
        };
        // Blocks come in order of time, so the place is nearly always at the end.
        match self.periods.last_mut() {
            Some((last, into)) if *last == n => merge(into),
            Some((last, _)) if *last > n => match self.periods.binary_search_by_key(&n, |p| p.0) {
                Ok(i) => merge(&mut self.periods[i].1),
                Err(i) => self.periods.insert(i, (n, self.copy(bucket))),
            },
            _ => self.periods.push((n, self.copy(bucket))),
        }
    }

    fn copy(&self, bucket: &Bucket) -> Bucket {
        match self.keep_values {
            true => bucket.clone(),
            false => Bucket { values: Values::Unknown, ..*bucket },
        }
    }
}

impl Inner {
    fn gather(
        &self,
        head: &Series,
        unit: Option<Unit>,
        span: &Span,
        keep_values: bool,
    ) -> Vec<(u32, Bucket)> {
        let mut gathered = Gathered { periods: Vec::new(), keep_values };
        for series in head.units().filter(|s| unit.is_none_or(|u| u == s.unit)) {
            if !self.gather_resident(series, span, &mut gathered) {
                self.gather_all(series, span, &mut gathered);
            }
        }
        gathered.periods
    }

    /// Reads memory only; `false`, with nothing added, if the span reaches what may be on disk.
    fn gather_resident(&self, series: &Series, span: &Span, gathered: &mut Gathered) -> bool {
        let data = series.data.lock();
        // Blocks leave memory only after the window has moved past them; seen under the lock, this is decisive.
        let resident = Tier::ALL.iter().all(|&tier| {
            let window_s = self.windows[tier as usize].load(Ordering::Acquire);
            data.tiers & (1 << tier as u8) == 0
                || tier.block_start(span.start_s.max(data.first_s)) >= window_s
        });
        if resident {
            for block in data.blocks.iter().filter(|b| span.overlaps(b.tier, b.start_s)) {
                block.for_each(|at_s, bucket| gathered.add(span, at_s, bucket));
            }
        }
        resident
    }

    fn gather_all(&self, series: &Series, span: &Span, gathered: &mut Gathered) {
        let _moving = self.moving.read();
        let snapshot = match self.disk.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::error!(%error, "old metric data cannot be read");
                return;
            }
        };
        let now_s = seconds(self.clock.now());
        let data = series.data.lock();
        for tier in Tier::ALL.into_iter().rev() {
            let slack_s = 2 * tier.span_s() + 2 * 86_400;
            let kept_from_s = now_s.saturating_sub(tier.retention_s().saturating_add(slack_s));
            let window_s = self.windows[tier as usize].load(Ordering::Acquire);
            let mut start_s = tier.block_start(span.start_s.max(kept_from_s).max(data.first_s));
            while start_s < span.end_s && start_s < window_s && start_s <= data.last_s {
                if data.find(tier, start_s).is_err() {
                    match snapshot.block(tier, start_s, series.number) {
                        Ok(Some(block)) => block.for_each(|at_s, b| gathered.add(span, at_s, b)),
                        Ok(None) => {}
                        Err(error) => tracing::error!(%error, "old metric data cannot be read"),
                    }
                }
                start_s = start_s.saturating_add(tier.span_s());
            }
            let resident = data.blocks.iter().filter(|b| b.tier == tier && span.overlaps(tier, b.start_s));
            for block in resident {
                block.for_each(|at_s, bucket| gathered.add(span, at_s, bucket));
            }
        }
    }
}
