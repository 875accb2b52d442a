use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Beyond this many changed keys a subscriber is told to look at everything: bounds its memory.
pub const DIRTY_KEYS_MAX: usize = 100_000;

/// What may have changed since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dirty {
    /// Look at the whole collection.
    All,
    /// These keys were written or deleted; each at least once.
    Keys(Vec<Arc<str>>),
}

/// Collects changed keys of one collection until somebody asks.
pub struct Subscription {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    dirty: Mutex<(bool, BTreeSet<Arc<str>>)>,
    wake: Notify,
}

impl Shared {
    pub(crate) fn all_dirty() -> Arc<Shared> {
        let shared = Shared::default();
        shared.dirty.lock().0 = true;
        Arc::new(shared)
    }

    pub(crate) fn add<'a>(&self, keys: impl Iterator<Item = &'a Arc<str>>) {
        {
            let mut dirty = self.dirty.lock();
            if dirty.0 {
                // Already told to look at everything.
            } else {
                dirty.1.extend(keys.cloned());
                if dirty.1.len() > DIRTY_KEYS_MAX {
                    *dirty = (true, BTreeSet::new());
                }
            }
        }
        self.wake.notify_one();
    }
}

impl Subscription {
    /// Waits until something changed and takes it.
    pub async fn next(&self) -> Dirty {
        loop {
            let woken = self.shared.wake.notified();
            if let Some(dirty) = self.take() {
                return dirty;
            }
            woken.await;
        }
    }

    /// Takes what changed, if anything did.
    pub fn take(&self) -> Option<Dirty> {
        let mut dirty = self.shared.dirty.lock();
        if dirty.0 {
            *dirty = (false, BTreeSet::new());
            return Some(Dirty::All);
        }
        if dirty.1.is_empty() {
            return None;
        }
        Some(Dirty::Keys(std::mem::take(&mut dirty.1).into_iter().collect()))
    }

    /// Puts keys back that could not be handled now.
    pub fn again<'a>(&self, keys: impl Iterator<Item = &'a Arc<str>>) {
        self.shared.add(keys);
    }
}
