//! Where committed records lie: one redb file, or memory for simulations.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::error::OpenError;
use crate::transaction::LastWrites;

/// Version of the file's layout (tables, envelopes), not of the records in it.
const LAYOUT_VERSION: u16 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("puffer-meta");

/// Takes a stored record: its key and its envelope.
pub(crate) type Take<'t> = dyn FnMut(&str, &[u8]) -> Result<(), OpenError> + 't;

/// What keeps records when the process ends.
pub(crate) trait Disk: Send + Sync {
    /// Hands out every record of a collection.
    fn load(&self, collection: &str, take: &mut Take<'_>) -> Result<(), OpenError>;

    /// Writes all of them or none; returns when they are safe.
    fn write(&self, writes: &LastWrites<'_>) -> Result<(), String>;
}

/// One redb file.
pub(crate) struct RedbDisk {
    database: Database,
}

impl RedbDisk {
    pub(crate) fn open(path: &Path) -> Result<RedbDisk, OpenError> {
        let disk = |e: &dyn std::fmt::Display| OpenError::Disk(format!("{}: {e}", path.display()));
        let database = Database::create(path).map_err(|e| match e {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
            other => disk(&other),
        })?;
        let read = database.begin_read().map_err(|e| disk(&e))?;
        let found = match read.open_table(META) {
            Ok(meta) => meta.get("layout").map_err(|e| disk(&e))?.map(|v| v.value()),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(e) => return Err(disk(&e)),
        };
        drop(read);
        match found {
            Some(v) if v > u64::from(LAYOUT_VERSION) => Err(OpenError::Newer {
                what: "the file's layout".into(),
                found: u16::try_from(v).unwrap_or(u16::MAX),
                known: LAYOUT_VERSION,
            }),
            Some(_) => Ok(RedbDisk { database }),
            None => {
                let write = database.begin_write().map_err(|e| disk(&e))?;
                {
                    let mut meta = write.open_table(META).map_err(|e| disk(&e))?;
                    meta.insert("layout", u64::from(LAYOUT_VERSION)).map_err(|e| disk(&e))?;
                }
                write.commit().map_err(|e| disk(&e))?;
                Ok(RedbDisk { database })
            }
        }
    }
}

impl Disk for RedbDisk {
    fn load(&self, collection: &str, take: &mut Take<'_>) -> Result<(), OpenError> {
        let disk = |e: &dyn std::fmt::Display| OpenError::Disk(e.to_string());
        let read = self.database.begin_read().map_err(|e| disk(&e))?;
        match read.open_table(table(collection)) {
            Ok(table) => {
                for entry in table.iter().map_err(|e| disk(&e))? {
                    let (key, value) = entry.map_err(|e| disk(&e))?;
                    take(key.value(), value.value())?;
                }
                Ok(())
            }
            Err(TableError::TableDoesNotExist(_)) => Ok(()),
            Err(e) => Err(disk(&e)),
        }
    }

    fn write(&self, writes: &LastWrites<'_>) -> Result<(), String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let transaction = self.database.begin_write().map_err(|e| text(&e))?;
        for (collection, writes) in writes {
            let mut table = transaction.open_table(table(collection)).map_err(|e| text(&e))?;
            for (key, write) in writes {
                match &write.after {
                    Some(record) => {
                        let bytes = (write.encode)(record)?;
                        table.insert(&***key, bytes.as_slice()).map_err(|e| text(&e))?;
                    }
                    None => {
                        table.remove(&***key).map_err(|e| text(&e))?;
                    }
                }
            }
        }
        transaction.commit().map_err(|e| text(&e))
    }
}

/// Table of a collection: key → envelope as JSON.
fn table(name: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(name)
}

/// Memory that stands for a disk: it outlives the stores opened on it, as a file outlives processes. For simulations, whose
/// crashes must leave the same behind each time.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    rows: Arc<Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// The envelope of a record that is safe.
    pub fn row(&self, collection: &str, key: &str) -> Option<Vec<u8>> {
        self.rows.lock().get(collection)?.get(key).cloned()
    }
}

impl Disk for MemoryDisk {
    fn load(&self, collection: &str, take: &mut Take<'_>) -> Result<(), OpenError> {
        let rows = self.rows.lock();
        rows.get(collection).into_iter().flatten().try_for_each(|(key, bytes)| take(key, bytes))
    }

    fn write(&self, writes: &LastWrites<'_>) -> Result<(), String> {
        // Encoded first: nothing of a batch is kept if one of its records cannot be written.
        let mut encoded = Vec::new();
        for (collection, writes) in writes {
            for (key, write) in writes {
                let bytes = write.after.as_ref().map(|record| (write.encode)(record)).transpose()?;
                encoded.push((*collection, key.as_ref(), bytes));
            }
        }
        let mut rows = self.rows.lock();
        for (collection, key, bytes) in encoded {
            let rows = match rows.get_mut(collection) {
                Some(rows) => rows,
                None => rows.entry(collection.to_owned()).or_default(),
            };
            match bytes {
                Some(bytes) => rows.insert(key.to_string(), bytes),
                None => rows.remove::<str>(key),
            };
        }
        Ok(())
    }
}
