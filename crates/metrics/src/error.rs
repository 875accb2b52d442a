use std::path::PathBuf;

use puffer_core::ErrorClass;

/// Why data were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// A value that is no finite number, a count below zero, or nothing at all.
    #[error("the sample holds no usable value")]
    BadSample,
    /// Older than two weeks or more than two hours ahead.
    #[error("the timestamp is more than two weeks old or more than two hours ahead")]
    BadTime,
    /// The store holds as many series as it may.
    #[error("the metric store is full: it keeps at most {0} series")]
    TooManySeries(usize),
    /// Too much late data since the last flush.
    #[error("too much old data at once; send it more slowly")]
    TooMuchLateData,
    /// Old data are on a disk that cannot be read.
    #[error("the metric store could not read its disk: {0}")]
    Disk(String),
}

impl PutError {
    /// Class for retry decisions.
    pub fn class(&self) -> ErrorClass {
        match self {
            PutError::BadSample | PutError::BadTime => ErrorClass::Caller,
            PutError::TooManySeries(_) => ErrorClass::Capacity,
            PutError::TooMuchLateData => ErrorClass::Throttled,
            PutError::Disk(_) => ErrorClass::Transient,
        }
    }
}

/// Why the metric store cannot be opened or flushed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process holds it.
    #[error("{0} is in use by another puffer server")]
    InUse(PathBuf),
    /// Written by a newer program.
    #[error("the metric store was written by a newer Puffer (layout {found}, this program knows {known})")]
    Newer {
        /// Layout found.
        found: u64,
        /// Newest layout known here.
        known: u64,
    },
    /// The file cannot be read or written.
    #[error("the metric store's file failed: {0}")]
    Disk(String),
}

impl DiskError {
    pub(crate) fn disk(error: impl std::fmt::Display) -> DiskError {
        DiskError::Disk(error.to_string())
    }
}
