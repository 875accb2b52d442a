//! Taking data in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use puffer_core::Timestamp;
use puffer_core::alarm::{MetricId, Unit};

use crate::block::Block;
use crate::bucket::{Bucket, Sample};
use crate::error::PutError;
use crate::series::{Data, Series};
use crate::tier::Tier;
use crate::{Inner, Metrics};

/// Oldest data taken: two weeks (`PutMetricData`).
const AGE_MAX_S: i64 = 14 * 86_400;
/// Furthest future taken: two hours.
const AHEAD_MAX_S: i64 = 2 * 3600;
/// Blocks older than the window that may wait in memory for the next flush, about 100 MB.
pub(crate) const LATE_BLOCKS_MAX: usize = 200_000;

/// One datum of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum<'a> {
    /// Metric.
    pub metric: &'a MetricId,
    /// Unit.
    pub unit: Unit,
    /// When: the start of its period.
    pub at: Timestamp,
    /// What.
    pub sample: Sample<'a>,
    /// Below 60: kept by the second for three hours.
    pub resolution_s: u32,
}

/// Seconds since the epoch as the blocks have them.
pub(crate) fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_secs().max(0)).unwrap_or(u32::MAX)
}

impl Metrics {
    /// Adds one datum. Data of the same second (or minute, for resolutions of 60 s and more) are merged.
    pub fn put(
        &self,
        metric: &MetricId,
        unit: Unit,
        at: Timestamp,
        sample: Sample<'_>,
        resolution_s: u32,
    ) -> Result<(), PutError> {
        self.put_batch(&[Datum { metric, unit, at, sample, resolution_s }])
    }

    /// Adds many. All are checked before the first is added; an error of the disk may leave a part.
    pub fn put_batch(&self, data: &[Datum<'_>]) -> Result<(), PutError> {
        let now_s = self.inner.clock.now().as_secs();
        let mut buckets = Vec::with_capacity(data.len());
        for datum in data {
            let age_s = now_s - datum.at.as_secs();
            if !(-AHEAD_MAX_S..=AGE_MAX_S).contains(&age_s) || datum.at.as_millis() < 0 {
                return Err(PutError::BadTime);
            }
            buckets.push(Bucket::of(&datum.sample).ok_or(PutError::BadSample)?);
        }
        for (datum, bucket) in data.iter().zip(&buckets) {
            let series = self.inner.series(datum.metric, datum.unit)?;
            // What is too old to be kept by the second goes where it would be rolled up to.
            let fine =
                datum.resolution_s < 60 && now_s - datum.at.as_secs() < i64::from(Tier::Second.retention_s());
            let tier = if fine { Tier::Second } else { Tier::Minute };
            self.inner.push(&series, tier, seconds(datum.at), bucket)?;
        }
        Ok(())
    }

    /// A series resolved once, for producers that push each second.
    pub fn handle(&self, metric: &MetricId, unit: Unit, resolution_s: u32) -> Result<SeriesHandle, PutError> {
        let series = self.inner.series(metric, unit)?;
        let tier = if resolution_s < 60 { Tier::Second } else { Tier::Minute };
        Ok(SeriesHandle { inner: Arc::clone(&self.inner), series, tier })
    }
}

/// Pushes into one series without looking it up.
#[derive(Clone)]
pub struct SeriesHandle {
    inner: Arc<Inner>,
    series: Arc<Series>,
    tier: Tier,
}

impl SeriesHandle {
    /// Adds a sample. The caller's times are taken as they are: producers push what they measured now.
    pub fn push(&self, at: Timestamp, sample: Sample<'_>) -> Result<(), PutError> {
        let bucket = Bucket::of(&sample).ok_or(PutError::BadSample)?;
        self.inner.push(&self.series, self.tier, seconds(at), &bucket)
    }
}

impl Inner {
    fn series(&self, metric: &MetricId, unit: Unit) -> Result<Arc<Series>, PutError> {
        let find = |head: Option<&Arc<Series>>| head.and_then(|h| h.find_unit(unit));
        if let Some(series) = find(self.catalog.read().head(metric)) {
            return Ok(series);
        }
        let mut catalog = self.catalog.write();
        if let Some(series) = find(catalog.head(metric)) {
            return Ok(series);
        }
        if catalog.n_series >= self.options.series_max {
            return Err(PutError::TooManySeries(self.options.series_max));
        }
        let series = catalog.add(metric, unit, None);
        self.created.lock().push(series.number);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(series)
    }

    pub(crate) fn push(
        &self,
        series: &Series,
        tier: Tier,
        at_s: u32,
        bucket: &Bucket,
    ) -> Result<(), PutError> {
        let start_s = tier.block_start(at_s);
        let mut data = series.data.lock();
        if start_s < self.windows[tier as usize].load(Ordering::Acquire) && data.find(tier, start_s).is_err()
        {
            drop(data);
            let _moving = self.moving.read();
            let mut data = series.data.lock();
            self.fetch(series.number, &mut data, tier, start_s)?;
            data.merge(tier, at_s, bucket);
            self.mark(series.number, &mut data);
            return Ok(());
        }
        data.merge(tier, at_s, bucket);
        self.mark(series.number, &mut data);
        Ok(())
    }

    fn mark(&self, number: u32, data: &mut Data) {
        if !data.dirty {
            data.dirty = true;
            self.dirty.lock().push(number);
        }
    }

    /// Makes an old block resident, from disk if it is there. The caller holds `moving`.
    pub(crate) fn fetch(
        &self,
        number: u32,
        data: &mut Data,
        tier: Tier,
        start_s: u32,
    ) -> Result<(), PutError> {
        let Err(at) = data.find(tier, start_s) else { return Ok(()) };
        if self.n_late_blocks.load(Ordering::Relaxed) >= LATE_BLOCKS_MAX {
            return Err(PutError::TooMuchLateData);
        }
        let stored = self
            .disk
            .snapshot()
            .and_then(|s| s.block(tier, start_s, number))
            .map_err(|e| PutError::Disk(e.to_string()))?;
        data.insert(at, stored.unwrap_or_else(|| Block::new(tier, start_s)));
        self.n_late_blocks.fetch_add(1, Ordering::Relaxed);
        self.late.lock().push(number);
        Ok(())
    }
}
