//! The server's life: it may be killed between any two steps. A step is whatever the world can see of it: a commit, a
//! driver call that begins or ends, a request, an answer.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

/// Whether the server lives, and how many steps it has left.
#[derive(Default)]
pub(crate) struct Life {
    dead: AtomicBool,
    /// Steps left if somebody lit the fuse; 0: nobody did.
    fuse: AtomicI64,
    death: Notify,
}

impl Life {
    /// A new server.
    pub(crate) fn revive(&self) {
        self.fuse.store(0, Ordering::Relaxed);
        self.dead.store(false, Ordering::Relaxed);
    }

    /// It shall die at the `n`th step from now (at least the first).
    pub(crate) fn light(&self, n: i64) {
        self.fuse.store(n.max(1), Ordering::Relaxed);
    }

    pub(crate) fn extinguish(&self) {
        self.fuse.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// A step of the server. Never returns if it dies here or is dead already.
    pub(crate) async fn step(&self) {
        let left = self.fuse.load(Ordering::Relaxed);
        if left > 0 {
            self.fuse.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                self.dead.store(true, Ordering::Relaxed);
                self.death.notify_one();
            }
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for its death.
    pub(crate) async fn death(&self) {
        self.death.notified().await;
    }
}
