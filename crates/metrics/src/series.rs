//! One stream of data: a metric in one unit.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use puffer_core::alarm::Unit;

use crate::block::Block;
use crate::bucket::Bucket;
use crate::tier::Tier;

/// The directory on disk may be this far behind with the time of the newest datum.
const LAST_SEEN_SLACK_S: u32 = 6 * 3600;

pub(crate) struct Series {
    pub(crate) number: u32,
    pub(crate) unit: Unit,
    pub(crate) is_head: bool,
    pub(crate) key: Arc<[u32]>,
    /// The next unit of the same metric.
    next: OnceLock<Arc<Series>>,
    pub(crate) data: Mutex<Data>,
}

/// What a series holds in memory.
#[derive(Default)]
pub(crate) struct Data {
    /// Sorted by tier and start.
    pub(crate) blocks: Vec<Block>,
    /// Time of the oldest and the newest datum, seconds; 0 and 0: none yet.
    pub(crate) first_s: u32,
    pub(crate) last_s: u32,
    /// Tiers in which it ever had data, a bit each: spares readers the disk.
    pub(crate) tiers: u8,
    /// `(first_s, last_s, tiers)` as the directory on disk has them.
    pub(crate) saved: (u32, u32, u8),
    /// In the list of series to journal.
    pub(crate) dirty: bool,
}

impl Series {
    pub(crate) fn new(number: u32, key: Arc<[u32]>, unit: Unit, is_head: bool) -> Series {
        Series { number, unit, is_head, key, next: OnceLock::new(), data: Mutex::default() }
    }

    pub(crate) fn units(&self) -> impl Iterator<Item = &Series> {
        std::iter::successors(Some(self), |s| s.next.get().map(|n| &**n))
    }

    pub(crate) fn find_unit(self: &Arc<Self>, unit: Unit) -> Option<Arc<Series>> {
        std::iter::successors(Some(self), |s| s.next.get()).find(|s| s.unit == unit).cloned()
    }

    pub(crate) fn last_in_chain(&self) -> &Series {
        self.units().last().unwrap_or(self)
    }

    pub(crate) fn chain(&self, next: Arc<Series>) {
        // Only called under the catalog's write lock, on the last of the chain.
        let _ = self.next.set(next);
    }
}

impl Data {
    /// Where the block is, or where it belongs.
    pub(crate) fn find(&self, tier: Tier, start_s: u32) -> Result<usize, usize> {
        // The newest block is asked for most.
        match self.blocks.last() {
            Some(b) if (b.tier, b.start_s) == (tier, start_s) => Ok(self.blocks.len() - 1),
            _ => self.blocks.binary_search_by(|b| (b.tier, b.start_s).cmp(&(tier, start_s))),
        }
    }

    /// Inserts a block where [`Data::find`] said.
    pub(crate) fn insert(&mut self, at: usize, block: Block) {
        if self.blocks.len() == self.blocks.capacity() {
            self.blocks.reserve_exact(1);
        }
        self.blocks.insert(at, block);
    }

    pub(crate) fn seen(&mut self, tier: Tier, at_s: u32) {
        self.tiers |= 1 << tier as u8;
        if self.first_s == 0 || at_s < self.first_s {
            self.first_s = at_s;
        }
        self.last_s = self.last_s.max(at_s);
    }

    /// Whether the directory on disk no longer tells the truth (for `last_s`: not nearly).
    pub(crate) fn directory_is_stale(&self) -> bool {
        (self.first_s, self.tiers) != (self.saved.0, self.saved.2)
            || self.last_s > self.saved.1.saturating_add(LAST_SEEN_SLACK_S)
    }

    /// Adds a bucket to a block known to be resident or new.
    pub(crate) fn merge(&mut self, tier: Tier, at_s: u32, bucket: &Bucket) {
        let start_s = tier.block_start(at_s);
        let i = match self.find(tier, start_s) {
            Ok(i) => i,
            Err(i) => {
                self.insert(i, Block::new(tier, start_s));
                i
            }
        };
        self.blocks[i].merge(at_s, bucket);
        self.seen(tier, at_s);
    }
}
