use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A domain type that the store can keep.
///
/// What is stored is an envelope `{"v": VERSION, "d": <data>}`. A newer program reads older records by lifting
/// them with [`Record::upgrade`], one version at a time; an older program refuses newer records. So the domain
/// type may change freely while every stored form stays readable, without a mirror type for each.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name of the collection; also the table's name on disk. Never reuse one.
    const COLLECTION: &'static str;
    /// Version of the stored form.
    const VERSION: u16 = 1;
    /// Names of this collection's indexes, in the order of [`Record::index_values`].
    const INDEXES: &'static [&'static str] = &[];

    /// The record's key, unique in its collection.
    fn key(&self) -> String;

    /// Pushes `(index name, value)` pairs by which this record is to be found.
    fn index_values(&self, _push: &mut dyn FnMut(&'static str, &str)) {}

    /// Lifts stored data from version `from` to `from + 1`.
    fn upgrade(from: u16, data: Value) -> Result<Value, RecordError> {
        let _ = data;
        Err(RecordError { collection: Self::COLLECTION, reason: format!("no upgrade from version {from}") })
    }
}

/// A stored record that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("record of {collection}: {reason}")]
pub struct RecordError {
    /// Where it is stored.
    pub collection: &'static str,
    /// What is wrong with it.
    pub reason: String,
}
