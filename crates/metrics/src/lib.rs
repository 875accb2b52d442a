//! Floor 1: the time-series store behind the CloudWatch operations, the alarms and the policies.
//!
//! A *series* is a metric (namespace, name, dimensions) in one unit. Its data lie in *blocks*, stretches of time in one
//! of four resolutions (`tier.rs`); within a block each *bucket* keeps sum, count, extremes and, as far as it is small, the
//! exact distribution, else a sketch (`sketch.rs`). The current block and the one before are in memory, so alarms and
//! policies never wait for a disk; older blocks are rows of a redb file of their own.
//!
//! # Durability
//! Metrics are not worth a disk write each. [`Metrics::flush`], called about twice a minute, writes what changed as one
//! journal entry; so a crash loses what arrived since the last flush, at most about a minute. Blocks are written as rows by a
//! sweep that visits each series every quarter of an hour; what a full sweep has written leaves the journal.
//!
//! # Retention
//! As CloudWatch: 1-second data 3 hours, 1-minute data 15 days, 5-minute data 63 days, 1-hour data 455 days. Data are kept
//! once, at the finest resolution of their age, and rolled up when they grow older; coarser periods are computed.
//!
//! # Bounds
//! Series ([`Options::series_max`]), late blocks in memory, the file ([`Options::disk_bytes_max`]: the oldest
//! fine data go first), values per bucket, datapoints per query ([`QUERY_POINTS_MAX`]).
//!
//! Invariant: a block that starts at or after its tier's window (`Tier::window_start`) is in memory if it exists at all.

mod block;
mod bucket;
mod catalog;
mod disk;
mod error;
mod evaluate;
mod flush;
mod list;
mod query;
mod series;
mod sketch;
#[cfg(test)]
mod tests;
mod tier;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use parking_lot::{Mutex, RwLock};
use puffer_core::Clock;

pub use bucket::Sample;
pub use error::{DiskError, PutError};
pub use flush::FlushReport;
pub use list::{ListFilter, ListPage};
pub use query::{MetricReader, PeriodData, Point, QUERY_POINTS_MAX};
pub use write::{Datum, SeriesHandle};

use catalog::Catalog;
use disk::Disk;
use flush::Writer;

/// Series of a store unless it is told otherwise: a million of its users', and the server's own. About 1 KiB of memory each.
const SERIES_MAX: usize = 1_200_000;

/// Bounds of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most series.
    pub series_max: usize,
    /// The file does not grow beyond about this many bytes.
    pub disk_bytes_max: u64,
    /// Memory that redb may use to cache pages, bytes.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { series_max: SERIES_MAX, disk_bytes_max: 8 << 30, cache_bytes: 16 << 20 }
    }
}

/// The store. Clone it freely; all clones are one store.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    clock: Arc<dyn Clock>,
    options: Options,
    catalog: RwLock<Catalog>,
    /// Grows with each new or forgotten metric: tells readers of unknown metrics to look again.
    generation: AtomicU64,
    /// Start of each tier's window at the last flush, seconds.
    windows: [AtomicU32; 4],
    /// Series changed since the last flush.
    dirty: Mutex<Vec<u32>>,
    /// Series created since the last flush.
    created: Mutex<Vec<u32>>,
    /// Series with blocks older than the window in memory.
    late: Mutex<Vec<u32>>,
    n_late_blocks: AtomicUsize,
    /// Held for writing while blocks move between memory and disk, for reading by whoever looks at both. Taken before a
    /// series' lock.
    moving: RwLock<()>,
    disk: Disk,
    writer: Mutex<Writer>,
}

/// Figures about a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series known.
    pub n_series: usize,
    /// Blocks in memory.
    pub n_blocks: usize,
    /// Bytes of the blocks in memory.
    pub block_bytes: usize,
}

impl Metrics {
    /// Opens (or creates) the store at `path` and reads what was flushed.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Metrics, DiskError> {
        let disk = Disk::open(path, options.cache_bytes)?;
        Metrics::on(disk, Some(path), clock, options)
    }

    /// An empty store whose file is memory: for simulations.
    pub fn in_memory(clock: Arc<dyn Clock>, options: Options) -> Result<Metrics, DiskError> {
        let disk = Disk::in_memory(options.cache_bytes)?;
        Metrics::on(disk, None, clock, options)
    }

    fn on(
        disk: Disk,
        path: Option<&Path>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Metrics, DiskError> {
        let now_s = write::seconds(clock.now());
        let (catalog, mut writer) = disk.load(now_s)?;
        writer.path = path.map(Path::to_owned);
        let inner = Inner {
            clock,
            options,
            catalog: RwLock::new(catalog),
            generation: AtomicU64::new(1),
            windows: tier::Tier::ALL.map(|t| AtomicU32::new(t.window_start(now_s))),
            dirty: Mutex::default(),
            created: Mutex::default(),
            late: Mutex::default(),
            n_late_blocks: AtomicUsize::new(0),
            moving: RwLock::new(()),
            disk,
            writer: Mutex::new(writer),
        };
        Ok(Metrics { inner: Arc::new(inner) })
    }

    /// Counts series, blocks and bytes; walks all series.
    pub fn stats(&self) -> Stats {
        let catalog = self.inner.catalog.read();
        let mut stats = Stats { n_series: catalog.n_series, ..Stats::default() };
        for series in catalog.slots.iter().flatten() {
            let data = series.data.lock();
            stats.n_blocks += data.blocks.len();
            stats.block_bytes += data.blocks.iter().map(|b| b.heap_bytes() + size_of_val(b)).sum::<usize>();
        }
        stats
    }
}
