use std::collections::HashMap;

use puffer_core::Record;

use crate::collection::{AnyCollection, Collection};

/// All collections, by name.
pub(crate) struct State {
    pub(crate) collections: HashMap<&'static str, Box<dyn AnyCollection>>,
}

impl State {
    /// The collection of `T`. Asking for a type that the schema does not have is a defect of the program,
    /// found by the first test that touches it.
    pub(crate) fn of<T: Record>(&self) -> &Collection<T> {
        self.collections
            .get(T::COLLECTION)
            .and_then(|c| c.as_any().downcast_ref())
            .unwrap_or_else(|| panic!("collection {} is not in the schema", T::COLLECTION))
    }

    pub(crate) fn of_mut<T: Record>(&mut self) -> &mut Collection<T> {
        self.collections
            .get_mut(T::COLLECTION)
            .and_then(|c| c.as_any_mut().downcast_mut())
            .unwrap_or_else(|| panic!("collection {} is not in the schema", T::COLLECTION))
    }
}
