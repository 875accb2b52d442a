//! What is served now: the applied configuration as live objects, shared by the control thread, which changes them,
//! and the workers, which read them at every request.

pub(crate) mod apply;
mod compile;
pub(crate) mod counters;
pub(crate) mod group;
pub(crate) mod listen;
pub(crate) mod route;

use std::sync::Arc;

use tokio::sync::watch;

use puffer_core::Clock;

/// What every thread of the process knows.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    /// Differs after every start.
    pub(crate) epoch: u64,
    pub(crate) n_workers: usize,
    change: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(clock: Arc<dyn Clock>, epoch: u64, n_workers: usize) -> Arc<Shared> {
        // Change numbers of different processes differ, so that a wait across a restart returns at once.
        Arc::new(Shared { clock, epoch, n_workers, change: watch::Sender::new(epoch) })
    }

    /// Something happened that the control plane waits for.
    pub(crate) fn changed(&self) {
        self.change.send_modify(|n| *n += 1);
    }

    pub(crate) fn change(&self) -> u64 {
        *self.change.borrow()
    }

    pub(crate) fn watch_change(&self) -> watch::Receiver<u64> {
        self.change.subscribe()
    }
}
