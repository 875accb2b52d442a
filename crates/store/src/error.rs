use std::path::PathBuf;

use puffer_core::{ErrorClass, RecordError};

/// Why a transaction is not durable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk refused (full, read-only, failing). Nothing of the transaction remains.
    #[error("the store could not write to its disk: {0}")]
    Disk(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Class for retry decisions.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Transient
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error("{0} is in use by another puffer server; stop that one or choose another --data-dir")]
    InUse(PathBuf),
    /// Written by a newer program.
    #[error(
        "the store was written by a newer Puffer ({what} has version {found}, this program knows {known}); use that version"
    )]
    Newer {
        /// Store or collection.
        what: String,
        /// Version found.
        found: u16,
        /// Newest version known here.
        known: u16,
    },
    /// A record cannot be read.
    #[error("the store holds a damaged record at {collection}/{key}: {reason}")]
    Damaged {
        /// Collection.
        collection: String,
        /// Key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be read or created.
    #[error("the store cannot be opened: {0}")]
    Disk(String),
}

impl From<RecordError> for OpenError {
    fn from(e: RecordError) -> Self {
        OpenError::Damaged { collection: e.collection.into(), key: String::new(), reason: e.reason }
    }
}
