//! Makes transactions durable: everything queued goes to disk in one commit, by a thread of its own or, in simulations, when
//! told ([`ManualCommits`]).
//!
//! Who waits for an answer before it asks again comes back just after a commit. Were the first of them taken at once, the others
//! would wait for the whole commit that carries it alone, and then for their own. So after a commit of several
//! transactions the thread waits a little for as many; one that came alone is never kept waiting.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, oneshot};

use crate::disk::Disk;
use crate::error::{OpenError, StoreError};
use crate::state::State;
use crate::subscription::{Shared, Subscription};
use crate::transaction::{Change, Write, last_writes, undo};

/// Commits remembered for [`CommitStats`].
const STATS_COMMITS: usize = 256;
/// A commit waits for more transactions at most this part of the time that the last commit took, and at most so long.
const GATHER_PART: u32 = 4;
const GATHER_MAX: Duration = Duration::from_millis(2);

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
    /// The same news for who commits by hand.
    asked: Notify,
}

impl Queue {
    fn wake(&self) {
        self.more.notify_one();
        self.asked.notify_one();
    }

    /// Wakes the thread only if it does not wait for more: each of a crowd waking it would cost more than it brings.
    fn push(&self, waiting: &mut Waiting, pending: Pending) {
        waiting.pending.push(pending);
        if waiting.pending.len() >= waiting.wanted {
            self.wake();
        }
    }
}

#[derive(Default)]
struct Waiting {
    pending: Vec<Pending>,
    /// The committer's thread sleeps until there are so many; 0 and 1 are the same.
    wanted: usize,
    committing: bool,
    closed: bool,
}

impl Committer {
    /// Commits in a thread of its own.
    pub(crate) fn start(disk: impl Disk + 'static, state: Arc<RwLock<State>>) -> Result<Self, OpenError> {
        let (mut committer, worker) = Committer::with(disk, state);
        let thread = thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || worker.run())
            .map_err(|e| OpenError::Disk(e.to_string()))?;
        committer.thread = Some(thread);
        Ok(committer)
    }

    /// Commits when told.
    pub(crate) fn manual(disk: impl Disk + 'static, state: Arc<RwLock<State>>) -> (Self, ManualCommits) {
        let (committer, worker) = Committer::with(disk, state);
        (committer, ManualCommits { worker })
    }

    fn with(disk: impl Disk + 'static, state: Arc<RwLock<State>>) -> (Self, Worker) {
        let queue = Arc::new(Queue::default());
        let subscribers: Arc<Mutex<Subscribers>> = Arc::default();
        let stats = Arc::default();
        let worker = Worker {
            disk: Box::new(disk),
            state,
            queue: Arc::clone(&queue),
            subscribers: Arc::clone(&subscribers),
            stats: Arc::clone(&stats),
        };
        (Committer { queue, subscribers, stats, thread: None }, worker)
    }

    pub(crate) fn enqueue(&self, pending: Pending) {
        self.queue.push(&mut self.queue.waiting.lock(), pending);
    }

    /// A promise that everything queued so far is durable; `None` if nothing is on its way.
    pub(crate) fn barrier(&self) -> Option<oneshot::Receiver<Result<(), StoreError>>> {
        let mut waiting = self.queue.waiting.lock();
        if waiting.pending.is_empty() && !waiting.committing {
            return None;
        }
        let (ack, durable) = oneshot::channel();
        self.queue.push(&mut waiting, Pending { writes: Vec::new(), ack: Some(ack) });
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
        self.queue.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The commits of a store on a [`crate::MemoryDisk`], made by hand: so a simulation decides when they happen and what a crash
/// leaves of them.
pub struct ManualCommits {
    worker: Worker,
}

impl ManualCommits {
    /// Waits until something asks to be made durable.
    pub async fn wanted(&self) {
        loop {
            let asked = self.worker.queue.asked.notified();
            if !self.worker.queue.waiting.lock().pending.is_empty() {
                return;
            }
            asked.await;
        }
    }

    /// Writes what is queued and answers those who wait. `seen` gets each transaction's changes in order, before anybody
    /// hears of them.
    pub fn commit(&self, seen: &mut dyn FnMut(&[Change<'_>])) {
        let Some(batch) = self.worker.take_batch() else { return };
        self.worker.commit(batch, seen);
    }

    /// Writes what is queued and answers nobody: what a process leaves that dies between the two. The store is of no use
    /// afterwards.
    pub fn write_and_die(&self, seen: &mut dyn FnMut(&[Change<'_>])) {
        let Some(batch) = self.worker.take_batch() else { return };
        if self.worker.write(&batch).is_ok() {
            show(&batch, seen);
        }
    }

    /// The disk refuses what is queued.
    pub fn refuse(&self, reason: &str) {
        if let Some(batch) = self.worker.take_batch() {
            self.worker.roll_back(batch, reason.to_owned());
        }
    }
}

/// Shows the transactions of a batch, one by one; barriers are none.
fn show(batch: &[Pending], seen: &mut dyn FnMut(&[Change<'_>])) {
    for pending in batch.iter().filter(|p| !p.writes.is_empty()) {
        let changes: Vec<Change<'_>> = pending.writes.iter().map(Change::of).collect();
        seen(&changes);
    }
}

struct Worker {
    disk: Box<dyn Disk>,
    state: Arc<RwLock<State>>,
    queue: Arc<Queue>,
    subscribers: Arc<Mutex<Subscribers>>,
    stats: Arc<Mutex<CommitStats>>,
}

impl Worker {
    fn run(self) {
        while let Some(batch) = self.next_batch() {
            self.commit(batch, &mut |_| {});
        }
    }

    fn commit(&self, batch: Vec<Pending>, seen: &mut dyn FnMut(&[Change<'_>])) {
        // Only a duration is measured here, for the figures of `CommitStats`.
        #[allow(clippy::disallowed_methods)]
        let started = std::time::Instant::now();
        match self.write(&batch) {
            Ok(()) => {
                self.count(started.elapsed(), batch.len());
                show(&batch, seen);
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

    fn next_batch(&self) -> Option<Vec<Pending>> {
        let mut waiting = self.queue.waiting.lock();
        while waiting.pending.is_empty() {
            if waiting.closed {
                return None;
            }
            self.queue.more.wait(&mut waiting);
        }
        let (took, n) = self.stats.lock().commits.back().copied().unwrap_or_default();
        if n > 1 && waiting.pending.len() < n && !waiting.closed {
            waiting.wanted = n;
            // Enough, time over or closed: what is there is taken.
            self.queue.more.wait_for(&mut waiting, (took / GATHER_PART).min(GATHER_MAX));
            waiting.wanted = 0;
        }
        waiting.committing = true;
        Some(std::mem::take(&mut waiting.pending))
    }

    /// What is queued, if anything is; does not wait.
    fn take_batch(&self) -> Option<Vec<Pending>> {
        let mut waiting = self.queue.waiting.lock();
        let batch = std::mem::take(&mut waiting.pending);
        waiting.committing = !batch.is_empty();
        (!batch.is_empty()).then_some(batch)
    }

    fn write(&self, batch: &[Pending]) -> Result<(), String> {
        let last = last_writes(batch.iter().flat_map(|p| &p.writes));
        if last.is_empty() { Ok(()) } else { self.disk.write(&last) }
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
        let mut keys: BTreeMap<&'static str, Vec<&Arc<str>>> = BTreeMap::new();
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
