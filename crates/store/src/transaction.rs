use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::Record;

use crate::collection::AnyRecord;
use crate::state::State;

/// One write: what the record was before (for undo) and is now.
pub(crate) struct Write {
    pub(crate) collection: &'static str,
    pub(crate) key: Arc<str>,
    pub(crate) before: Option<AnyRecord>,
    pub(crate) after: Option<AnyRecord>,
    pub(crate) encode: fn(&AnyRecord) -> Result<Vec<u8>, String>,
}

/// A consistent view.
pub struct Reader<'a> {
    state: &'a State,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(state: &'a State) -> Self {
        Reader { state }
    }

    /// One record.
    pub fn get<T: Record>(&self, key: &str) -> Option<Arc<T>> {
        self.state.of::<T>().get(key).cloned()
    }

    /// All records, by key.
    pub fn list<T: Record>(&self) -> Vec<Arc<T>> {
        self.state.of::<T>().iter().cloned().collect()
    }

    /// Walks all records by key without collecting them.
    pub fn iter<T: Record>(&self) -> impl Iterator<Item = &'a Arc<T>> {
        self.state.of::<T>().iter()
    }

    /// Walks the records whose key is greater than `key`: paging.
    pub fn after<T: Record>(&self, key: &str) -> impl Iterator<Item = &'a Arc<T>> {
        self.state.of::<T>().after(key)
    }

    /// The records whose index `index` has `value`, by key.
    pub fn list_by<T: Record>(&self, index: &'static str, value: &str) -> Vec<Arc<T>> {
        self.state.of::<T>().by_index(index, value).cloned().collect()
    }

    /// How many records there are.
    pub fn count<T: Record>(&self) -> usize {
        self.state.of::<T>().len()
    }

    /// How many records the index has for `value`.
    pub fn count_by<T: Record>(&self, index: &'static str, value: &str) -> usize {
        self.state.of::<T>().by_index(index, value).count()
    }
}

/// A transaction under the writer's lock: reads see its own writes.
pub struct Transaction<'a> {
    state: &'a mut State,
    writes: Vec<Write>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(state: &'a mut State) -> Self {
        Transaction { state, writes: Vec::new() }
    }

    /// A view of the state with this transaction's writes.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self.state)
    }

    /// One record.
    pub fn get<T: Record>(&self, key: &str) -> Option<Arc<T>> {
        self.state.of::<T>().get(key).cloned()
    }

    /// All records, by key.
    pub fn list<T: Record>(&self) -> Vec<Arc<T>> {
        self.reader().list()
    }

    /// The records whose index `index` has `value`, by key.
    pub fn list_by<T: Record>(&self, index: &'static str, value: &str) -> Vec<Arc<T>> {
        self.reader().list_by(index, value)
    }

    /// How many records the index has for `value`.
    pub fn count_by<T: Record>(&self, index: &'static str, value: &str) -> usize {
        self.reader().count_by::<T>(index, value)
    }

    /// Writes a record, new or not.
    pub fn put<T: Record>(&mut self, record: T) -> Arc<T> {
        let key: Arc<str> = record.key().into();
        let record = Arc::new(record);
        self.write(key, Some(Arc::clone(&record)));
        record
    }

    /// Changes a record in place; `None` if there is none. The key must stay.
    pub fn update<T: Record + Clone>(&mut self, key: &str, change: impl FnOnce(&mut T)) -> Option<Arc<T>> {
        let mut record = T::clone(&*self.get::<T>(key)?);
        change(&mut record);
        debug_assert_eq!(record.key(), key, "update must not change the key");
        Some(self.put(record))
    }

    /// Removes a record; says whether it was there.
    pub fn delete<T: Record>(&mut self, key: &str) -> bool {
        if self.state.of::<T>().get(key).is_none() {
            return false;
        }
        self.write::<T>(key.into(), None);
        true
    }

    fn write<T: Record>(&mut self, key: Arc<str>, value: Option<Arc<T>>) {
        use crate::collection::AnyCollection;
        let collection = self.state.of_mut::<T>();
        let encode = collection.encoder();
        let before = collection.set(&key, value.clone());
        self.writes.push(Write {
            collection: T::COLLECTION,
            key,
            before: before.map(|r| r as AnyRecord),
            after: value.map(|r| r as AnyRecord),
            encode,
        });
    }

    pub(crate) fn undo(self) {
        undo(self.state, self.writes);
    }

    pub(crate) fn into_writes(self) -> Vec<Write> {
        self.writes
    }
}

/// Takes writes back, newest first.
pub(crate) fn undo(state: &mut State, writes: Vec<Write>) {
    for write in writes.into_iter().rev() {
        if let Some(collection) = state.collections.get_mut(write.collection) {
            collection.replace(&write.key, write.before);
        }
    }
}

/// The last write to each key of each collection, in order.
pub(crate) type LastWrites<'w> = BTreeMap<&'static str, BTreeMap<&'w Arc<str>, &'w Write>>;

/// The last write to each key: what a group commit has to put on disk.
pub(crate) fn last_writes<'w>(writes: impl Iterator<Item = &'w Write>) -> LastWrites<'w> {
    let mut last = LastWrites::new();
    for write in writes {
        last.entry(write.collection).or_default().insert(&write.key, write);
    }
    last
}

/// One write of a committed transaction, for who watches a store from outside.
pub struct Change<'w> {
    write: &'w Write,
}

impl<'w> Change<'w> {
    pub(crate) fn of(write: &'w Write) -> Self {
        Change { write }
    }

    /// The collection's name.
    pub fn collection(&self) -> &'static str {
        self.write.collection
    }

    /// The record's key.
    pub fn key(&self) -> &'w str {
        &self.write.key
    }

    /// The record before; `None` if it was not there or is of another type.
    pub fn before<T: Record>(&self) -> Option<Arc<T>> {
        self.write.before.clone().and_then(|r| r.downcast().ok())
    }

    /// The record after; `None` if it was removed or is of another type.
    pub fn after<T: Record>(&self) -> Option<Arc<T>> {
        self.write.after.clone().and_then(|r| r.downcast().ok())
    }

    /// The stored form of the record after; `None` if it was removed.
    pub fn encoded(&self) -> Option<Vec<u8>> {
        (self.write.encode)(self.write.after.as_ref()?).ok()
    }
}
