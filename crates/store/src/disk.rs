//! Where committed records lie: one redb file, or memory for simulations.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError};

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
///
/// After an error of its disk a database answers nothing but errors until it is closed and opened again. So it is closed then, and opened for
/// the next write: a full disk refuses writes only as long as it is full. A commit that failed may have reached the disk all the same; the
/// next write puts back what such a commit changed, since memory forgot it.
pub(crate) struct RedbDisk {
    open: OpenDatabase,
    file: Mutex<RedbFile>,
}

/// Opens the database, at the start and after an error.
type OpenDatabase = Box<dyn Fn() -> Result<Database, OpenError> + Send + Sync>;

struct RedbFile {
    /// Absent after an error.
    database: Option<Database>,
    /// Rows as they were before a commit that failed.
    doubtful: Rows,
}

/// (collection, key) → envelope, if there is one.
type Rows = HashMap<(String, String), Option<Vec<u8>>>;

impl RedbDisk {
    pub(crate) fn open(path: &Path) -> Result<RedbDisk, OpenError> {
        let path = path.to_owned();
        RedbDisk::open_by(Box::new(move || {
            let database = Database::create(&path).map_err(|e| match e {
                DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.clone()),
                other => OpenError::Disk(format!("{}: {other}", path.display())),
            })?;
            with_layout(database).map_err(|e| match e {
                OpenError::Disk(reason) => OpenError::Disk(format!("{}: {reason}", path.display())),
                other => other,
            })
        }))
    }

    pub(crate) fn open_by(open: OpenDatabase) -> Result<RedbDisk, OpenError> {
        let file = RedbFile { database: Some(open()?), doubtful: Rows::new() };
        Ok(RedbDisk { open, file: Mutex::new(file) })
    }
}

/// Checks the version of the file's layout; a new file gets it written.
pub(crate) fn with_layout(database: Database) -> Result<Database, OpenError> {
    let disk = |e: &dyn std::fmt::Display| OpenError::Disk(e.to_string());
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
        Some(_) => Ok(database),
        None => {
            let write = database.begin_write().map_err(|e| disk(&e))?;
            {
                let mut meta = write.open_table(META).map_err(|e| disk(&e))?;
                meta.insert("layout", u64::from(LAYOUT_VERSION)).map_err(|e| disk(&e))?;
            }
            write.commit().map_err(|e| disk(&e))?;
            Ok(database)
        }
    }
}

impl Disk for RedbDisk {
    fn load(&self, collection: &str, take: &mut Take<'_>) -> Result<(), OpenError> {
        let disk = |e: &dyn std::fmt::Display| OpenError::Disk(e.to_string());
        let file = self.file.lock();
        let Some(database) = &file.database else { return Err(OpenError::Disk("it was closed".into())) };
        let read = database.begin_read().map_err(|e| disk(&e))?;
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
        let mut file = self.file.lock();
        let RedbFile { database, doubtful } = &mut *file;
        let open = match database.take() {
            Some(open) => open,
            None => (self.open)().map_err(|e| e.to_string())?,
        };
        let written = write(database.insert(open), doubtful, writes);
        if written.is_err() {
            *database = None;
        }
        written
    }
}

fn write(database: &Database, doubtful: &mut Rows, writes: &LastWrites<'_>) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let transaction = database.begin_write().map_err(|e| text(&e))?;
    let mut different = Rows::new();
    for ((collection, key), before) in doubtful.iter() {
        let mut table = transaction.open_table(table(collection)).map_err(|e| text(&e))?;
        if table.get(key.as_str()).map_err(|e| text(&e))?.map(|row| row.value().to_vec()) != *before {
            put(&mut table, key, before.as_deref())?;
            different.insert((collection.clone(), key.clone()), before.clone());
        }
    }
    *doubtful = different;
    let mut before = Rows::new();
    for (collection, writes) in writes {
        let mut table = transaction.open_table(table(collection)).map_err(|e| text(&e))?;
        for (key, write) in writes {
            let bytes = write.after.as_ref().map(|record| (write.encode)(record)).transpose()?;
            let old = put(&mut table, key, bytes.as_deref())?;
            before.insert(((*collection).to_owned(), key.to_string()), old);
        }
    }
    let committed = transaction.commit().map_err(|e| text(&e));
    match &committed {
        Ok(()) => doubtful.clear(),
        Err(_) => doubtful.extend(before),
    }
    committed
}

/// Writes or removes a row; gives what was there.
fn put(
    table: &mut Table<'_, &'static str, &'static [u8]>,
    key: &str,
    row: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, String> {
    let old = match row {
        Some(row) => table.insert(key, row),
        None => table.remove(key),
    };
    Ok(old.map_err(|e| e.to_string())?.map(|row| row.value().to_vec()))
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
