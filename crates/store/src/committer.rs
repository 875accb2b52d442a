//! The thread that makes transactions durable: everything queued goes to disk in one redb transaction.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition};
use tokio::sync::oneshot;

use crate::error::{OpenError, StoreError};
use crate::schema::table;
use crate::state::State;
use crate::subscription::{Shared, Subscription};
use crate::transaction::{Write, last_writes, undo};

/// Version of the file's layout (tables, envelopes), not of the records in it.
const LAYOUT_VERSION: u16 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("puffer-meta");
/// Commits remembered for [`CommitStats`].
const STATS_COMMITS: usize = 256;

/// Who listens, by collection.
type Subscribers = HashMap<&'static str, Vec<Weak<Shared>>>;

/// One transaction (or, without writes, a barrier) on its way to disk.
pub(crate) struct Pending {
    pub(crate) writes: Vec<Write>,
    pub(crate) ack: Option<oneshot::Sender<Result<(), StoreError>>>,
}

/// Latest commits: duration and number of transactions of each, newest last.
#[derive(Debug, Clone, Default)]
pub struct CommitStats {
    /// `(duration, transactions)` of the latest commits.
    pub commits: VecDeque<(Duration, usize)>,
    /// Commits since the store was opened.
    pub n_commits: u64,
    /// Transactions since the store was opened.
    pub n_transactions: u64,
}

pub(crate) struct Committer {
    queue: Arc<Queue>,
    subscribers: Arc<Mutex<Subscribers>>,
    stats: Arc<Mutex<CommitStats>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    pending: Vec<Pending>,
    committing: bool,
    closed: bool,
}

pub(crate) fn open_database(path: &Path) -> Result<Database, OpenError> {
    let disk = |e: &dyn std::fmt::Display| OpenError::Disk(format!("{}: {e}", path.display()));
    let database = Database::create(path).map_err(|e| match e {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        other => disk(&other),
    })?;
    let read = database.begin_read().map_err(|e| disk(&e))?;
    let found = match read.open_table(META) {
        Ok(meta) => meta.get("layout").map_err(|e| disk(&e))?.map(|v| v.value()),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
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

impl Committer {
    pub(crate) fn start(database: Database, state: Arc<RwLock<State>>) -> Result<Self, OpenError> {
        let queue = Arc::new(Queue::default());
        let subscribers: Arc<Mutex<Subscribers>> = Arc::default();
        let stats = Arc::default();
        let worker = Worker {
            database,
            state,
            queue: Arc::clone(&queue),
            subscribers: Arc::clone(&subscribers),
            stats: Arc::clone(&stats),
        };
        let thread = thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || worker.run())
            .map_err(|e| OpenError::Disk(e.to_string()))?;
        Ok(Committer { queue, subscribers, stats, thread: Some(thread) })
    }

    pub(crate) fn enqueue(&self, pending: Pending) {
        self.queue.waiting.lock().pending.push(pending);
        self.queue.more.notify_one();
    }

    /// A promise that everything queued so far is durable; `None` if nothing is on its way.
    pub(crate) fn barrier(&self) -> Option<oneshot::Receiver<Result<(), StoreError>>> {
        let mut waiting = self.queue.waiting.lock();
        if waiting.pending.is_empty() && !waiting.committing {
            return None;
        }
        let (ack, durable) = oneshot::channel();
        waiting.pending.push(Pending { writes: Vec::new(), ack: Some(ack) });
        self.queue.more.notify_one();
        Some(durable)
    }

    pub(crate) fn subscribe(&self, collection: &'static str) -> Subscription {
        let shared = Shared::all_dirty();
        self.subscribers.lock().entry(collection).or_default().push(Arc::downgrade(&shared));
        Subscription { shared }
    }

    pub(crate) fn stats(&self) -> CommitStats {
        self.stats.lock().clone()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.more.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    database: Database,
    state: Arc<RwLock<State>>,
    queue: Arc<Queue>,
    subscribers: Arc<Mutex<Subscribers>>,
    stats: Arc<Mutex<CommitStats>>,
}

impl Worker {
    fn run(self) {
        while let Some(batch) = self.next_batch() {
            // Only a duration is measured here, for the figures of `CommitStats`.
            #[allow(clippy::disallowed_methods)]
            let started = std::time::Instant::now();
            match self.write(&batch) {
                Ok(()) => {
                    self.count(started.elapsed(), batch.len());
                    self.notify(&batch);
                    for pending in batch {
                        acknowledge(pending, &Ok(()));
                    }
                    self.queue.waiting.lock().committing = false;
                }
                Err(reason) => {
                    tracing::error!(%reason, "the store could not commit; undoing what is not durable");
                    self.roll_back(batch, reason);
                }
            }
        }
    }

    fn next_batch(&self) -> Option<Vec<Pending>> {
        let mut waiting = self.queue.waiting.lock();
        while waiting.pending.is_empty() {
            if waiting.closed {
                return None;
            }
            self.queue.more.wait(&mut waiting);
        }
        waiting.committing = true;
        Some(std::mem::take(&mut waiting.pending))
    }

    fn write(&self, batch: &[Pending]) -> Result<(), String> {
        let last = last_writes(batch.iter().flat_map(|p| &p.writes));
        if last.is_empty() {
            return Ok(());
        }
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let transaction = self.database.begin_write().map_err(|e| text(&e))?;
        for (collection, writes) in last {
            let mut table = transaction.open_table(table(collection)).map_err(|e| text(&e))?;
            for (key, write) in writes {
                match &write.after {
                    Some(record) => {
                        let bytes = (write.encode)(record)?;
                        table.insert(&**key, bytes.as_slice()).map_err(|e| text(&e))?;
                    }
                    None => {
                        table.remove(&**key).map_err(|e| text(&e))?;
                    }
                }
            }
        }
        transaction.commit().map_err(|e| text(&e))
    }

    /// The disk refused `batch`. Everything queued meanwhile was built on it, so all of it is undone, newest first.
    fn roll_back(&self, mut batch: Vec<Pending>, reason: String) {
        // The state's lock first, as in `transact`: nobody can enqueue while we hold it.
        let mut state = self.state.write();
        {
            let mut waiting = self.queue.waiting.lock();
            batch.append(&mut waiting.pending);
            waiting.committing = false;
        }
        // Who has looked at a record since it was written must look again. Nobody can before the lock is released.
        self.notify(&batch);
        let mut undone = Vec::with_capacity(batch.len());
        for mut pending in batch.into_iter().rev() {
            undo(&mut state, std::mem::take(&mut pending.writes));
            undone.push(pending);
        }
        drop(state);
        for pending in undone.into_iter().rev() {
            acknowledge(pending, &Err(StoreError::Disk(reason.clone())));
        }
    }

    fn notify(&self, batch: &[Pending]) {
        let mut subscribers = self.subscribers.lock();
        let mut keys: HashMap<&'static str, Vec<&Arc<str>>> = HashMap::new();
        for write in batch.iter().flat_map(|p| &p.writes) {
            if subscribers.contains_key(write.collection) {
                keys.entry(write.collection).or_default().push(&write.key);
            }
        }
        for (collection, keys) in keys {
            if let Some(list) = subscribers.get_mut(collection) {
                list.retain(|weak| {
                    weak.upgrade().is_some_and(|s| {
                        s.add(keys.iter().copied());
                        true
                    })
                });
            }
        }
    }

    fn count(&self, took: Duration, n_transactions: usize) {
        let mut stats = self.stats.lock();
        stats.n_commits += 1;
        stats.n_transactions += n_transactions as u64;
        if stats.commits.len() == STATS_COMMITS {
            stats.commits.pop_front();
        }
        stats.commits.push_back((took, n_transactions));
    }
}

fn acknowledge(pending: Pending, result: &Result<(), StoreError>) {
    if let Some(ack) = pending.ack {
        // A caller that went away does not need the answer; the write stands.
        let _ = ack.send(result.clone());
    }
}
