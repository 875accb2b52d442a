//! The file: a directory of series, blocks as rows, and a journal of what is not in rows yet.

use std::path::{Path, PathBuf};

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use puffer_core::alarm::{MetricId, Unit};
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use crate::block::Block;
use crate::catalog::Catalog;
use crate::error::DiskError;
use crate::flush::Writer;
use crate::series::Data;
use crate::tier::Tier;

/// Version of the file's layout.
const LAYOUT_VERSION: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("metrics-meta");
/// Series number → JSON of [`Row`].
pub(crate) const SERIES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("metrics-series");
/// (tier, start, series) → block.
pub(crate) const BLOCKS: TableDefinition<'_, (u8, u32, u32), &[u8]> = TableDefinition::new("metrics-blocks");
/// Number → entries of [`push_entry`].
pub(crate) const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("metrics-journal");

/// A series in the directory: metric, unit, first and last time, tiers.
pub(crate) type Row = (MetricId, Unit, u32, u32, u8);

/// The file. After an error of its disk a database answers nothing but errors until it is closed and opened again, so whoever meets one
/// gives it up ([`Disk::give_up`]), and the next user opens it anew.
pub(crate) struct Disk {
    database: RwLock<Option<Database>>,
    /// Absent for a file of memory, which never fails.
    file: Option<(PathBuf, usize)>,
}

/// A consistent view of the file.
pub(crate) struct Snapshot {
    read: ReadTransaction,
}

impl Disk {
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Disk, DiskError> {
        let database = Some(open_file(path, cache_bytes)?);
        Ok(Disk { database: RwLock::new(database), file: Some((path.to_owned(), cache_bytes)) })
    }

    /// A file of memory, gone with the process.
    pub(crate) fn in_memory(cache_bytes: usize) -> Result<Disk, DiskError> {
        let backend = redb::backends::InMemoryBackend::new();
        let made = Database::builder().set_cache_size(cache_bytes).create_with_backend(backend);
        let database = prepare(made.map_err(|e| DiskError::Disk(e.to_string()))?)?;
        Ok(Disk { database: RwLock::new(Some(database)), file: None })
    }

    /// The database, opened again if it was given up.
    pub(crate) fn database(&self) -> Result<MappedRwLockReadGuard<'_, Database>, DiskError> {
        loop {
            if let Ok(open) = RwLockReadGuard::try_map(self.database.read(), Option::as_ref) {
                return Ok(open);
            }
            let mut slot = self.database.write();
            if let (None, Some((path, cache_bytes))) = (&*slot, &self.file) {
                *slot = Some(open_file(path, *cache_bytes)?);
            }
        }
    }

    /// Closes the database after an error.
    pub(crate) fn give_up(&self) {
        if self.file.is_some() {
            *self.database.write() = None;
        }
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, DiskError> {
        Ok(Snapshot { read: self.database()?.begin_read().map_err(DiskError::disk)? })
    }

    /// Reads the directory, the blocks of the window and the journal.
    pub(crate) fn load(&self, now_s: u32) -> Result<(Catalog, Writer), DiskError> {
        let snapshot = self.snapshot()?;
        let mut catalog = Catalog::default();
        let table = snapshot.read.open_table(SERIES).map_err(DiskError::disk)?;
        for entry in table.iter().map_err(DiskError::disk)? {
            let (number, row) = entry.map_err(DiskError::disk)?;
            let (metric, unit, first_s, last_s, tiers): Row = match serde_json::from_slice(row.value()) {
                Ok(row) => row,
                Err(error) => {
                    tracing::warn!(series = number.value(), %error, "a metric's directory entry is damaged; left out");
                    continue;
                }
            };
            let series = catalog.add(&metric, unit, Some(number.value()));
            let saved = (first_s, last_s, tiers);
            *series.data.lock() = Data { first_s, last_s, tiers, saved, ..Data::default() };
        }
        snapshot.load_window(&catalog, now_s)?;
        let next_entry = snapshot.replay(&catalog)?;
        Ok((catalog, Writer::new(next_entry, now_s)))
    }

    /// Size of the file, bytes.
    pub(crate) fn file_bytes(path: &Path) -> u64 {
        std::fs::metadata(path).map(|m| m.len()).unwrap_or(0)
    }
}

fn open_file(path: &Path, cache_bytes: usize) -> Result<Database, DiskError> {
    let database = Database::builder().set_cache_size(cache_bytes).create(path).map_err(|e| match e {
        DatabaseError::DatabaseAlreadyOpen => DiskError::InUse(path.to_owned()),
        other => DiskError::Disk(format!("{}: {other}", path.display())),
    })?;
    prepare(database)
}

/// Checks the version of the file's layout and makes the tables that are missing.
fn prepare(database: Database) -> Result<Database, DiskError> {
    let write = database.begin_write().map_err(DiskError::disk)?;
    {
        let mut meta = write.open_table(META).map_err(DiskError::disk)?;
        let found = meta.get("layout").map_err(DiskError::disk)?.map(|v| v.value());
        match found {
            Some(found) if found > LAYOUT_VERSION => {
                return Err(DiskError::Newer { found, known: LAYOUT_VERSION });
            }
            Some(_) => {}
            None => {
                meta.insert("layout", LAYOUT_VERSION).map_err(DiskError::disk)?;
            }
        }
        write.open_table(SERIES).map_err(DiskError::disk)?;
        write.open_table(BLOCKS).map_err(DiskError::disk)?;
        write.open_table(JOURNAL).map_err(DiskError::disk)?;
    }
    write.commit().map_err(DiskError::disk)?;
    Ok(database)
}

impl Snapshot {
    /// One block.
    pub(crate) fn block(&self, tier: Tier, start_s: u32, series: u32) -> Result<Option<Block>, DiskError> {
        let table = self.read.open_table(BLOCKS).map_err(DiskError::disk)?;
        let row = table.get((tier as u8, start_s, series)).map_err(DiskError::disk)?;
        Ok(row.and_then(|row| decode(tier, start_s, series, row.value())))
    }

    /// At most `limit` keys of blocks of `tier` that start before `before_s`, oldest first.
    pub(crate) fn old_blocks(
        &self,
        tier: Tier,
        before_s: u32,
        limit: usize,
    ) -> Result<Vec<(u32, u32)>, DiskError> {
        let table = self.read.open_table(BLOCKS).map_err(DiskError::disk)?;
        let range = (tier as u8, 0, 0)..(tier as u8, before_s, 0);
        let mut keys = Vec::new();
        for entry in table.range(range).map_err(DiskError::disk)?.take(limit) {
            let (_, start_s, series) = entry.map_err(DiskError::disk)?.0.value();
            keys.push((start_s, series));
        }
        Ok(keys)
    }

    fn load_window(&self, catalog: &Catalog, now_s: u32) -> Result<(), DiskError> {
        let table = self.read.open_table(BLOCKS).map_err(DiskError::disk)?;
        for tier in Tier::ALL {
            let range = (tier as u8, tier.window_start(now_s), 0)..=(tier as u8, u32::MAX, u32::MAX);
            for entry in table.range(range).map_err(DiskError::disk)? {
                let (key, row) = entry.map_err(DiskError::disk)?;
                let (_, start_s, number) = key.value();
                let Some(series) = catalog.get(number) else { continue };
                if let Some(block) = decode(tier, start_s, number, row.value()) {
                    let mut data = series.data.lock();
                    if let Err(at) = data.find(tier, start_s) {
                        data.insert(at, block);
                    }
                }
            }
        }
        Ok(())
    }

    /// Applies the journal; gives the number of the next entry.
    fn replay(&self, catalog: &Catalog) -> Result<u64, DiskError> {
        let table = self.read.open_table(JOURNAL).map_err(DiskError::disk)?;
        let mut next = 0;
        for entry in table.iter().map_err(DiskError::disk)? {
            let (number, bytes) = entry.map_err(DiskError::disk)?;
            next = number.value() + 1;
            let mut rest = bytes.value();
            while let Some((series, tier, start_s, changed)) = take_entry(&mut rest) {
                let Some(series) = catalog.get(series) else { continue };
                let mut data = series.data.lock();
                let i = match data.find(tier, start_s) {
                    Ok(i) => i,
                    Err(i) => {
                        let stored = self.block(tier, start_s, series.number)?;
                        data.insert(i, stored.unwrap_or_else(|| Block::new(tier, start_s)));
                        i
                    }
                };
                let Data { blocks, .. } = &mut *data;
                let mut seen = (u32::MAX, 0);
                let visited = Block::visit(tier, start_s, changed, |at_s, bucket| {
                    blocks[i].replace(at_s, bucket);
                    seen = (seen.0.min(at_s), seen.1.max(at_s));
                });
                if visited.is_none() {
                    tracing::warn!(
                        series = series.number,
                        start_s,
                        "a journal entry of metric data is damaged"
                    );
                }
                if seen.1 > 0 {
                    data.seen(tier, seen.0);
                    data.seen(tier, seen.1);
                }
            }
        }
        Ok(next)
    }
}

fn decode(tier: Tier, start_s: u32, series: u32, bytes: &[u8]) -> Option<Block> {
    let block = Block::decode(tier, start_s, bytes);
    if block.is_none() {
        tracing::warn!(?tier, start_s, series, "a block of metric data is damaged; left out");
    }
    block
}

/// Appends one block's changed buckets to a journal entry.
pub(crate) fn push_entry(entry: &mut Vec<u8>, series: u32, tier: Tier, start_s: u32, changed: &[u8]) {
    entry.extend_from_slice(&series.to_le_bytes());
    entry.push(tier as u8);
    entry.extend_from_slice(&start_s.to_le_bytes());
    entry.extend_from_slice(&(changed.len() as u32).to_le_bytes());
    entry.extend_from_slice(changed);
}

fn take_entry<'a>(rest: &mut &'a [u8]) -> Option<(u32, Tier, u32, &'a [u8])> {
    let (series, after) = rest.split_first_chunk::<4>()?;
    let (&tier, after) = after.split_first()?;
    let (start_s, after) = after.split_first_chunk::<4>()?;
    let (length, after) = after.split_first_chunk::<4>()?;
    let (changed, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some((u32::from_le_bytes(*series), Tier::from_u8(tier)?, u32::from_le_bytes(*start_s), changed))
}
