//! Floor 1: durable resources.
//!
//! All records live in memory as typed collections and on disk in one redb file. A transaction is a closure that
//! runs under the writer's lock, so it sees the latest state and its preconditions are plain `if`s; when it
//! returns `Ok`, its writes are visible at once and join the queue of the committer thread, which writes everything
//! queued in one disk transaction (*group commit*). [`Store::transact`] resolves only when that is on disk:
//! acknowledged means durable. If the disk refuses, every transaction not yet durable is undone in memory
//! and fails, so memory never stays ahead of the disk.
//!
//! Invariants:
//! * Transactions become durable in the order in which they became visible.
//! * What a closure that returned `Err` wrote is gone before the lock is released.
//! * Subscribers hear of a change only after it is durable ("record before act"), and before whoever made it; and of one that
//!   the disk refused, since it is undone.

mod collection;
mod committer;
mod disk;
mod error;
mod schema;
mod state;
mod subscription;
#[cfg(test)]
mod tests;
mod transaction;

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use puffer_core::{Mutation, Record};
use tokio::sync::oneshot;

pub use committer::{CommitStats, ManualCommits};
pub use disk::MemoryDisk;
pub use error::{OpenError, StoreError};
pub use schema::Schema;
pub use subscription::{DIRTY_KEYS_MAX, Dirty, Subscription};
pub use transaction::{Change, Reader, Transaction};

use committer::{Committer, Pending};
use state::State;

/// The store. Clone it freely; all clones are one store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<RwLock<State>>,
    committer: Committer,
}

impl Store {
    /// Opens (or creates) the store at `path` with the collections of `schema` and reads all records.
    ///
    /// Fails if another process has it open, if it was written by a newer Puffer, or if a record is damaged.
    pub fn open(path: &Path, schema: &Schema) -> Result<Store, OpenError> {
        Store::start(disk::RedbDisk::open(path)?, schema)
    }

    fn start(disk: impl disk::Disk + 'static, schema: &Schema) -> Result<Store, OpenError> {
        let state = Arc::new(RwLock::new(schema.load(&disk)?));
        let committer = Committer::start(disk, Arc::clone(&state))?;
        Ok(Store { inner: Arc::new(Inner { state, committer }) })
    }

    /// Opens a store on a disk of memory, with commits made by hand: for simulations.
    pub fn on(disk: &MemoryDisk, schema: &Schema) -> Result<(Store, ManualCommits), OpenError> {
        let state = Arc::new(RwLock::new(schema.load(disk)?));
        let (committer, commits) = Committer::manual(disk.clone(), Arc::clone(&state));
        Ok((Store { inner: Arc::new(Inner { state, committer }) }, commits))
    }

    /// Runs `body` as one transaction and waits until its writes are durable.
    ///
    /// `body` must be quick and must not block: it holds the writer's lock. An `Err` from it undoes its writes.
    pub async fn transact<R, E>(
        &self,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E>
    where
        E: From<StoreError>,
    {
        let (result, durable) = {
            let mut state = self.inner.state.write();
            let mut transaction = Transaction::new(&mut state);
            let result = match body(&mut transaction) {
                Ok(result) => result,
                Err(error) => {
                    transaction.undo();
                    return Err(error);
                }
            };
            let writes = transaction.into_writes();
            if writes.is_empty() {
                return Ok(result);
            }
            let (ack, durable) = oneshot::channel();
            // Queued under the lock, so that the order on disk is the order of visibility.
            self.inner.committer.enqueue(Pending { writes, ack: Some(ack) });
            (result, durable)
        };
        if Mutation::AcknowledgeEarly.is_on() {
            return Ok(result);
        }
        match durable.await {
            Ok(Ok(())) => Ok(result),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StoreError::Closed.into()),
        }
    }

    /// Waits until everything visible at the time of the call is durable. To be called between reading a record and acting
    /// on the world for it.
    pub async fn settled(&self) -> Result<(), StoreError> {
        let durable = {
            let _state = self.inner.state.read();
            let Some(durable) = self.inner.committer.barrier() else { return Ok(()) };
            durable
        };
        durable.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Reads several things as of one moment.
    pub fn read<R>(&self, body: impl FnOnce(&Reader<'_>) -> R) -> R {
        body(&Reader::new(&self.inner.state.read()))
    }

    /// One record.
    pub fn get<T: Record>(&self, key: &str) -> Option<Arc<T>> {
        self.read(|r| r.get(key))
    }

    /// All records of a collection, by key.
    pub fn list<T: Record>(&self) -> Vec<Arc<T>> {
        self.read(|r| r.list())
    }

    /// The records whose index `index` has `value`, by key.
    pub fn list_by<T: Record>(&self, index: &'static str, value: &str) -> Vec<Arc<T>> {
        self.read(|r| r.list_by(index, value))
    }

    /// From now on collects the keys of `T` that change. Starts with [`Dirty::All`].
    pub fn subscribe<T: Record>(&self) -> Subscription {
        self.inner.committer.subscribe(T::COLLECTION)
    }

    /// How long the latest disk commits took (newest last) and how many transactions each held: for `puffer status`
    /// and benches.
    pub fn commit_stats(&self) -> CommitStats {
        self.inner.committer.stats()
    }
}
