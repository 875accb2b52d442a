use std::collections::HashMap;

use puffer_core::Record;

use crate::collection::{AnyCollection, Collection};
use crate::disk::Disk;
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

    /// Names of the collections.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.collections.iter().map(|(name, _)| *name)
    }

    /// Whether a stored row of a collection can be read.
    pub fn check_row(&self, collection: &str, bytes: &[u8]) -> Result<(), OpenError> {
        match self.collections.iter().find(|(name, _)| *name == collection) {
            Some((_, make)) => make().load("key", bytes),
            None => Ok(()),
        }
    }

    pub(crate) fn load(&self, disk: &dyn Disk) -> Result<State, OpenError> {
        let mut collections = HashMap::new();
        for (name, make) in &self.collections {
            let mut collection = make();
            disk.load(name, &mut |key, bytes| collection.load(key, bytes))?;
            collections.insert(*name, collection);
        }
        Ok(State { collections })
    }
}
