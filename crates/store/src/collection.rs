//! One typed collection in memory, with its indexes, behind a face that does not know the type.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use puffer_core::Record;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::error::OpenError;

/// A stored value whose type the committer and the undo log need not know.
pub(crate) type AnyRecord = Arc<dyn Any + Send + Sync>;

/// What the type-erased rooms need from a collection.
pub(crate) trait AnyCollection: Any + Send + Sync {
    fn replace(&mut self, key: &Arc<str>, value: Option<AnyRecord>);
    fn load(&mut self, key: &str, bytes: &[u8]) -> Result<(), OpenError>;
    fn encoder(&self) -> fn(&AnyRecord) -> Result<Vec<u8>, String>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Records of one type by key. Index entries are `(index number, value, key)`.
pub(crate) struct Collection<T> {
    records: BTreeMap<Arc<str>, Arc<T>>,
    indexes: BTreeSet<(usize, Box<str>, Arc<str>)>,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    v: u16,
    d: &'a T,
}

#[derive(serde::Deserialize)]
struct StoredEnvelope<'a> {
    v: u16,
    #[serde(borrow)]
    d: &'a RawValue,
}

impl<T: Record> Collection<T> {
    pub(crate) fn new() -> Self {
        Collection { records: BTreeMap::new(), indexes: BTreeSet::new() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<T>> {
        self.records.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.records.values()
    }

    pub(crate) fn after<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        self.records.range::<str, _>((Bound::Excluded(key), Bound::Unbounded)).map(|(_, v)| v)
    }

    pub(crate) fn by_index<'a>(
        &'a self,
        index: &'static str,
        value: &'a str,
    ) -> impl Iterator<Item = &'a Arc<T>> {
        let number = T::INDEXES.iter().position(|i| *i == index);
        debug_assert!(number.is_some(), "{} has no index {index}", T::COLLECTION);
        let number = number.unwrap_or(usize::MAX);
        let start = (number, Box::from(value), Arc::from(""));
        self.indexes
            .range(start..)
            .take_while(move |(n, v, _)| *n == number && **v == *value)
            .filter_map(|(_, _, key)| self.records.get(key))
    }

    pub(crate) fn set(&mut self, key: &Arc<str>, value: Option<Arc<T>>) -> Option<Arc<T>> {
        let old = match &value {
            Some(v) => self.records.insert(Arc::clone(key), Arc::clone(v)),
            None => self.records.remove(key),
        };
        if !T::INDEXES.is_empty() {
            if let Some(old) = &old {
                for entry in index_entries(&**old, key) {
                    self.indexes.remove(&entry);
                }
            }
            if let Some(new) = &value {
                self.indexes.extend(index_entries(&**new, key));
            }
        }
        old
    }
}

fn index_entries<T: Record>(record: &T, key: &Arc<str>) -> Vec<(usize, Box<str>, Arc<str>)> {
    let mut entries = Vec::with_capacity(T::INDEXES.len());
    record.index_values(&mut |name, value| {
        if let Some(number) = T::INDEXES.iter().position(|i| *i == name) {
            entries.push((number, Box::from(value), Arc::clone(key)));
        }
    });
    entries
}

fn encode<T: Record>(record: &AnyRecord) -> Result<Vec<u8>, String> {
    let record = record.downcast_ref::<T>().ok_or("record of another type")?;
    serde_json::to_vec(&Envelope { v: T::VERSION, d: record }).map_err(|e| e.to_string())
}

impl<T: Record> AnyCollection for Collection<T> {
    fn replace(&mut self, key: &Arc<str>, value: Option<AnyRecord>) {
        self.set(key, value.and_then(|v| v.downcast::<T>().ok()));
    }

    fn load(&mut self, key: &str, bytes: &[u8]) -> Result<(), OpenError> {
        let damaged =
            |reason: String| OpenError::Damaged { collection: T::COLLECTION.into(), key: key.into(), reason };
        let envelope: StoredEnvelope<'_> =
            serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if envelope.v > T::VERSION {
            return Err(OpenError::Newer {
                what: T::COLLECTION.into(),
                found: envelope.v,
                known: T::VERSION,
            });
        }
        let record: T = if envelope.v == T::VERSION {
            serde_json::from_str(envelope.d.get()).map_err(|e| damaged(e.to_string()))?
        } else {
            let mut data: Value =
                serde_json::from_str(envelope.d.get()).map_err(|e| damaged(e.to_string()))?;
            for from in envelope.v..T::VERSION {
                data = T::upgrade(from, data).map_err(|e| damaged(e.reason))?;
            }
            serde_json::from_value(data).map_err(|e| damaged(e.to_string()))?
        };
        self.set(&Arc::from(key), Some(Arc::new(record)));
        Ok(())
    }

    fn encoder(&self) -> fn(&AnyRecord) -> Result<Vec<u8>, String> {
        encode::<T>
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
