//! Writing to disk, and forgetting.
//!
//! A flush writes (1) a journal entry with all buckets changed since the last flush; (2) the sweep: the changed blocks of a
//! slice of all series, as rows; and removes the journal entries that a completed sweep has made needless. Then, as a
//! transaction of its own and only if there is something to do, (3) it rolls up rows that have outlived their tier. Last,
//! blocks older than the window leave memory. If the disk refuses, nothing in memory is lost: the entry waits for
//! the next flush, the blocks stay marked.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::WriteTransaction;

use crate::bucket::Bucket;
use crate::disk::{BLOCKS, Disk, JOURNAL, Row, SERIES, push_entry};
use crate::error::DiskError;
use crate::series::Series;
use crate::tier::Tier;
use crate::write::{LATE_BLOCKS_MAX, seconds};
use crate::{Inner, Metrics};

/// Seconds in which the sweep visits every series.
const SWEEP_S: u32 = 15 * 60;
/// Journal entries are cut at about this many bytes, so that no row of the file is huge.
const ENTRY_BYTES: usize = 1 << 20;
/// While the disk refuses, at most this much of the journal waits in memory; then the oldest is dropped (the data stay in
/// memory and reach the disk with the sweep).
const WAITING_ENTRIES_MAX: usize = 64;
/// Rows rolled up per flush.
const ROLL_ROWS_MAX: usize = 4_000;
/// Rows forgotten per flush for want of room, beyond those just written.
const SHED_ROWS: usize = 2_000;
/// Series looked at under one hold of the catalog's lock, about a millisecond: whoever makes a new series waits for it, and all who
/// look one up wait behind that.
const SERIES_AT_ONCE: usize = 1_000;
/// Series whose age is checked per flush.
const EXPIRE_SERIES_MAX: usize = 20_000;

type BlockKey = (u8, u32, u32);
/// A series and what the directory says of it.
type Saved = (Arc<Series>, (u32, u32, u8));

/// What only the flush touches.
pub(crate) struct Writer {
    next_entry: u64,
    /// Where the sweep goes on, and what to catch up with.
    cursor: usize,
    flushed_s: u32,
    /// First entry written after the current sweep began: older ones go when it ends.
    sweep_entry: u64,
    trim_below: u64,
    waiting: VecDeque<Vec<u8>>,
    created: Vec<u32>,
    /// Directory entries to write again.
    directory: HashSet<u32>,
    /// Rows whose data are in memory already: to be deleted before anything else looks at them. (After a failed commit
    /// the next one, which every flush begins with, deletes them.)
    rolled: Vec<BlockKey>,
    forgotten: Vec<u32>,
    expire_cursor: usize,
    pub(crate) path: Option<PathBuf>,
}

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Series journaled.
    pub n_series: usize,
    /// Bytes of journal written.
    pub journal_bytes: usize,
    /// Blocks written as rows.
    pub n_blocks: usize,
    /// Blocks that left memory.
    pub n_evicted: usize,
    /// Rows rolled up into a coarser tier or past their retention.
    pub n_rolled: usize,
}

impl Writer {
    pub(crate) fn new(next_entry: u64, now_s: u32) -> Writer {
        Writer {
            next_entry,
            cursor: 0,
            flushed_s: now_s,
            // Entries from before the restart go after the first full sweep.
            sweep_entry: next_entry,
            trim_below: 0,
            waiting: VecDeque::new(),
            created: Vec::new(),
            directory: HashSet::new(),
            rolled: Vec::new(),
            forgotten: Vec::new(),
            expire_cursor: 0,
            path: None,
        }
    }
}

impl Metrics {
    /// Writes what changed since the last flush, moves old blocks out of memory, rolls up and forgets old data. Blocks the
    /// thread while the disk works. To be called about twice a minute, and once at the end.
    pub fn flush(&self) -> Result<FlushReport, DiskError> {
        // A full disk is tried again with the next flush.
        self.inner.flush().inspect_err(|_| self.inner.disk.give_up())
    }
}

impl Inner {
    fn flush(&self) -> Result<FlushReport, DiskError> {
        let mut writer = self.writer.lock();
        let now_s = seconds(self.clock.now());
        let mut report = FlushReport::default();
        for tier in Tier::ALL {
            // Never backwards: what has left memory stays out.
            self.windows[tier as usize].fetch_max(tier.window_start(now_s), Ordering::AcqRel);
        }
        self.journal(&mut writer, &mut report);
        let swept = self.sweep(&mut writer, now_s);
        self.expire(&mut writer, now_s);
        self.commit_blocks(&mut writer, &swept)?;
        report.n_blocks = swept.len();
        // From here on data change their place: what is rolled up is in two of them until the commit, what is evicted in one
        // less. Readers of old data wait; those of the window do not.
        let _moving = self.moving.write();
        let rolled = self.roll(&mut writer, now_s, swept.len(), &mut report)?;
        if !writer.rolled.is_empty() {
            self.commit_blocks(&mut writer, &rolled)?;
        }
        report.n_evicted = self.evict();
        Ok(report)
    }

    /// Commits; if that fails, `blocks` are marked as not written.
    fn commit_blocks(
        &self,
        writer: &mut Writer,
        blocks: &BTreeMap<BlockKey, Vec<u8>>,
    ) -> Result<(), DiskError> {
        let result = self.commit(writer, blocks);
        if result.is_err() {
            let catalog = self.catalog.read();
            for &(tier, start_s, number) in blocks.keys() {
                if let (Some(series), Some(tier)) = (catalog.get(number), Tier::from_u8(tier)) {
                    let mut data = series.data.lock();
                    if let Ok(i) = data.find(tier, start_s) {
                        data.blocks[i].changed = true;
                    }
                    drop(data);
                    self.late.lock().push(number);
                }
            }
        }
        result
    }

    /// Collects the changed buckets of the changed series.
    fn journal(&self, writer: &mut Writer, report: &mut FlushReport) {
        writer.created.append(&mut self.created.lock());
        let dirty = std::mem::take(&mut *self.dirty.lock());
        report.n_series = dirty.len();
        let mut entry = Vec::new();
        for some in dirty.chunks(SERIES_AT_ONCE) {
            let catalog = self.catalog.read();
            for &number in some {
                let Some(series) = catalog.get(number) else { continue };
                let mut data = series.data.lock();
                data.dirty = false;
                for block in data.blocks.iter_mut().filter(|b| b.to_journal()) {
                    if let Some(changed) = block.take_journal() {
                        push_entry(&mut entry, number, block.tier, block.start_s, &changed);
                    }
                }
                if data.directory_is_stale() {
                    writer.directory.insert(number);
                }
                drop(data);
                if entry.len() >= ENTRY_BYTES {
                    report.journal_bytes += entry.len();
                    writer.waiting.push_back(std::mem::take(&mut entry));
                }
            }
        }
        if !entry.is_empty() {
            report.journal_bytes += entry.len();
            writer.waiting.push_back(entry);
        }
        while writer.waiting.len() > WAITING_ENTRIES_MAX.max(report.journal_bytes / ENTRY_BYTES + 1) {
            writer.waiting.pop_front();
        }
    }

    /// Encodes the changed blocks of the next slice of series and of those with late data.
    fn sweep(&self, writer: &mut Writer, now_s: u32) -> BTreeMap<BlockKey, Vec<u8>> {
        let catalog = self.catalog.read();
        let n_slots = catalog.slots.len();
        let elapsed_s = now_s.saturating_sub(writer.flushed_s).clamp(1, SWEEP_S) as usize;
        writer.flushed_s = now_s;
        let slice = (n_slots * elapsed_s).div_ceil(SWEEP_S as usize);
        let end = (writer.cursor + slice).min(n_slots);
        let mut blocks = BTreeMap::new();
        let mut visit = |series: &Arc<Series>| {
            let mut data = series.data.lock();
            for block in data.blocks.iter_mut().filter(|b| b.changed) {
                block.changed = false;
                blocks.insert((block.tier as u8, block.start_s, series.number), block.encoded());
            }
            let window_s = |tier: Tier| self.windows[tier as usize].load(Ordering::Acquire);
            if data.blocks.iter().any(|b| b.start_s < window_s(b.tier)) {
                self.late.lock().push(series.number);
            }
        };
        let late = std::mem::take(&mut *self.late.lock());
        late.iter().filter_map(|&n| catalog.get(n)).for_each(&mut visit);
        catalog.slots.get(writer.cursor..end).unwrap_or_default().iter().flatten().for_each(&mut visit);
        writer.cursor = end;
        if end == n_slots {
            writer.cursor = 0;
            writer.trim_below = writer.sweep_entry;
            // Entries written with this very flush are numbered from here on.
            writer.sweep_entry = writer.next_entry;
        }
        blocks
    }

    /// Drops the blocks behind the window that are on disk.
    fn evict(&self) -> usize {
        let mut n_evicted = 0;
        let late = std::mem::take(&mut *self.late.lock());
        let mut still_late = Vec::new();
        let mut n_late = 0;
        let mut seen = HashSet::with_capacity(late.len());
        for some in late.chunks(SERIES_AT_ONCE) {
            let catalog = self.catalog.read();
            for &number in some {
                let Some(series) = catalog.get(number).filter(|_| seen.insert(number)) else { continue };
                let mut data = series.data.lock();
                let n = data.blocks.len();
                let behind = |b: &crate::block::Block| {
                    b.start_s < self.windows[b.tier as usize].load(Ordering::Acquire)
                };
                data.blocks.retain(|b| b.changed || !behind(b));
                n_evicted += n - data.blocks.len();
                if data.blocks.is_empty() {
                    data.blocks = Vec::new();
                }
                let left = data.blocks.iter().filter(|b| behind(b)).count();
                if left > 0 {
                    n_late += left;
                    still_late.push(number);
                }
            }
        }
        self.late.lock().append(&mut still_late);
        self.n_late_blocks.store(n_late, Ordering::Relaxed);
        n_evicted
    }

    /// Merges rows that have outlived their tier into the next one, in memory; the commit writes those blocks and deletes
    /// the rows.
    fn roll(
        &self,
        writer: &mut Writer,
        now_s: u32,
        n_written: usize,
        report: &mut FlushReport,
    ) -> Result<BTreeMap<BlockKey, Vec<u8>>, DiskError> {
        let mut blocks = BTreeMap::new();
        let snapshot = self.disk.snapshot()?;
        let catalog = self.catalog.read();
        let mut touched: HashSet<(u32, u8, u32)> = HashSet::new();
        // Each row touches six coarser blocks at most, which wait in memory for the commit.
        let late = self.n_late_blocks.load(Ordering::Relaxed);
        let mut room = ROLL_ROWS_MAX.min(LATE_BLOCKS_MAX.saturating_sub(late) / 8);
        for tier in Tier::ALL {
            let before_s = now_s.saturating_sub(tier.retention_s() + tier.span_s());
            for (start_s, number) in snapshot.old_blocks(tier, before_s, room)? {
                let key = (tier as u8, start_s, number);
                let (Some(series), Some(coarser)) = (catalog.get(number), tier.coarser()) else {
                    writer.rolled.push(key);
                    continue;
                };
                if series.data.lock().find(tier, start_s).is_ok() {
                    // Late data are on their way into this row.
                    continue;
                }
                if let Some(block) = snapshot.block(tier, start_s, number)? {
                    block.for_each(|at_s, bucket| {
                        let into_s = coarser.block_start(at_s);
                        if self.roll_bucket(series, coarser, at_s, bucket) {
                            touched.insert((number, coarser as u8, into_s));
                        }
                    });
                }
                writer.rolled.push(key);
            }
            room = room.saturating_sub(writer.rolled.len());
        }
        report.n_rolled = writer.rolled.len();
        for (number, tier, start_s) in touched {
            let (Some(series), Some(tier)) = (catalog.get(number), Tier::from_u8(tier)) else { continue };
            let mut data = series.data.lock();
            if let Ok(i) = data.find(tier, start_s) {
                data.blocks[i].changed = false;
                blocks.insert((tier as u8, start_s, number), data.blocks[i].encoded());
            }
            writer.directory.insert(number);
            self.late.lock().push(number);
        }
        if self.is_over_budget(writer) {
            let n = SHED_ROWS + 2 * n_written;
            let oldest = snapshot.old_blocks(Tier::Minute, now_s.saturating_sub(6 * 3600), n)?;
            tracing::warn!(
                n = oldest.len(),
                "the metric store is at its size limit; forgetting its oldest fine data"
            );
            writer.rolled.extend(oldest.into_iter().map(|(start_s, n)| (Tier::Minute as u8, start_s, n)));
        }
        Ok(blocks)
    }

    fn roll_bucket(&self, series: &Series, tier: Tier, at_s: u32, bucket: &Bucket) -> bool {
        let mut data = series.data.lock();
        if let Err(error) = self.fetch(series.number, &mut data, tier, tier.block_start(at_s)) {
            tracing::warn!(%error, "metric data could not be rolled up and are lost");
            return false;
        }
        data.merge(tier, at_s, bucket);
        true
    }

    fn is_over_budget(&self, writer: &Writer) -> bool {
        writer.path.as_deref().is_some_and(|p| Disk::file_bytes(p) > self.options.disk_bytes_max)
    }

    /// Forgets metrics without data within the longest retention.
    fn expire(&self, writer: &mut Writer, now_s: u32) {
        let oldest_s = now_s.saturating_sub(Tier::Hour.retention_s());
        let mut expired = Vec::new();
        {
            let catalog = self.catalog.read();
            let end = (writer.expire_cursor + EXPIRE_SERIES_MAX).min(catalog.slots.len());
            let slice = catalog.slots.get(writer.expire_cursor..end).unwrap_or_default();
            for head in slice.iter().flatten().filter(|s| s.is_head) {
                let old = |s: &Series| {
                    let data = s.data.lock();
                    data.last_s != 0 && data.last_s < oldest_s && data.blocks.is_empty() && !data.dirty
                };
                if head.units().all(old) {
                    expired.push(Arc::clone(head));
                }
            }
            writer.expire_cursor = if end == catalog.slots.len() { 0 } else { end };
        }
        if expired.is_empty() {
            return;
        }
        let mut catalog = self.catalog.write();
        for head in expired {
            writer.forgotten.extend(catalog.remove(&head));
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn commit(&self, writer: &mut Writer, blocks: &BTreeMap<BlockKey, Vec<u8>>) -> Result<(), DiskError> {
        let idle = writer.created.is_empty()
            && writer.directory.is_empty()
            && blocks.is_empty()
            && writer.waiting.is_empty()
            && writer.rolled.is_empty()
            && writer.forgotten.is_empty();
        if idle {
            return Ok(());
        }
        let mut transaction = self.disk.database()?.begin_write().map_err(DiskError::disk)?;
        // After a crash the file must open at once, whatever its size; a commit or two a minute can afford the price.
        transaction.set_quick_repair(true);
        let saved = self.write_directory(&transaction, writer)?;
        let next_entry = write(&transaction, writer, blocks)?;
        transaction.commit().map_err(DiskError::disk)?;
        writer.next_entry = next_entry;
        writer.waiting.clear();
        writer.created.clear();
        writer.directory.clear();
        writer.rolled.clear();
        writer.forgotten.clear();
        writer.trim_below = 0;
        for (series, saved) in saved {
            series.data.lock().saved = saved;
        }
        Ok(())
    }

    /// Writes the directory's new and stale rows; gives what they now say.
    fn write_directory(
        &self,
        transaction: &WriteTransaction,
        writer: &Writer,
    ) -> Result<Vec<Saved>, DiskError> {
        let mut table = transaction.open_table(SERIES).map_err(DiskError::disk)?;
        for number in &writer.forgotten {
            table.remove(number).map_err(DiskError::disk)?;
        }
        let numbers: Vec<u32> = writer.created.iter().chain(&writer.directory).copied().collect();
        let mut saved = Vec::with_capacity(numbers.len());
        for some in numbers.chunks(SERIES_AT_ONCE) {
            // Spelled out first and written afterwards: the disk may take its time.
            let named: Vec<_> = {
                let catalog = self.catalog.read();
                let series = some.iter().filter_map(|&n| catalog.get(n));
                series.map(|s| (Arc::clone(s), catalog.metric(s))).collect()
            };
            for (series, metric) in named {
                let data = series.data.lock();
                let (first_s, last_s, tiers) = (data.first_s, data.last_s, data.tiers);
                drop(data);
                let row: Row = (metric, series.unit, first_s, last_s, tiers);
                let row = serde_json::to_vec(&row).map_err(DiskError::disk)?;
                table.insert(series.number, row.as_slice()).map_err(DiskError::disk)?;
                saved.push((series, (first_s, last_s, tiers)));
            }
        }
        Ok(saved)
    }
}

fn write(
    transaction: &WriteTransaction,
    writer: &Writer,
    blocks: &BTreeMap<BlockKey, Vec<u8>>,
) -> Result<u64, DiskError> {
    {
        let mut table = transaction.open_table(BLOCKS).map_err(DiskError::disk)?;
        for (key, bytes) in blocks {
            table.insert(key, bytes.as_slice()).map_err(DiskError::disk)?;
        }
        for key in &writer.rolled {
            table.remove(key).map_err(DiskError::disk)?;
        }
    }
    let mut table = transaction.open_table(JOURNAL).map_err(DiskError::disk)?;
    let mut next = writer.next_entry;
    for entry in &writer.waiting {
        table.insert(next, entry.as_slice()).map_err(DiskError::disk)?;
        next += 1;
    }
    table.retain_in(..writer.trim_below, |_, _| false).map_err(DiskError::disk)?;
    Ok(next)
}
