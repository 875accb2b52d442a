use std::collections::HashMap;

use puffer_core::Record;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::collection::{AnyCollection, Collection};
use crate::error::OpenError;
use crate::state::State;

/// Makes an empty collection of one type.
type MakeCollection = fn() -> Box<dyn AnyCollection>;

/// The collections that a store holds.
#[derive(Default)]
pub struct Schema {
    collections: Vec<(&'static str, MakeCollection)>,
}

impl Schema {
    /// No collections yet.
    pub fn new() -> Self {
        Schema::default()
    }

    /// Adds the collection of `T`.
    #[must_use]
    pub fn with<T: Record>(mut self) -> Self {
        debug_assert!(self.collections.iter().all(|(n, _)| *n != T::COLLECTION), "{} twice", T::COLLECTION);
        self.collections.push((T::COLLECTION, || Box::new(Collection::<T>::new())));
        self
    }

    pub(crate) fn load(&self, database: &Database) -> Result<State, OpenError> {
        let disk = |e: &dyn std::fmt::Display| OpenError::Disk(e.to_string());
        let read = database.begin_read().map_err(|e| disk(&e))?;
        let mut collections = HashMap::new();
        for (name, make) in &self.collections {
            let mut collection = make();
            match read.open_table(table(name)) {
                Ok(table) => {
                    for entry in table.iter().map_err(|e| disk(&e))? {
                        let (key, value) = entry.map_err(|e| disk(&e))?;
                        collection.load(key.value(), value.value())?;
                    }
                }
                Err(TableError::TableDoesNotExist(_)) => {}
                Err(e) => return Err(disk(&e)),
            }
            collections.insert(*name, collection);
        }
        Ok(State { collections })
    }
}

/// Table of a collection: key → envelope as JSON.
pub(crate) fn table(name: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(name)
}
