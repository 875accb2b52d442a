//! What every reconciler is and how it runs.
//!
//! An activation takes **no input**: it looks at what is, compares it with what shall be, and does what is missing.
//! It runs on a period *and* on a wake, is idempotent, and may be killed anywhere. So a lost wake costs time, never
//! correctness.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A job that moves the world towards the records. One activation runs at a time.
pub trait Reconciler: Send + Sync + 'static {
    /// What an activation did, for logs and `puffer status`.
    type Status: Debug + Send;

    /// `<noun>_<verb>`, as the module's name.
    fn name(&self) -> &'static str;

    /// The longest time between two activations.
    fn period(&self) -> Duration;

    /// Resolves when there may be something to do before the period ends.
    fn wake(&self) -> impl Future<Output = ()> + Send;

    /// Looks and acts once. Errors are handled inside (recorded, backed off); there is nobody to hand them to.
    fn activate(&self) -> impl Future<Output = Self::Status> + Send;
}

/// A reconciler that runs until it is stopped.
pub struct RunningReconciler {
    name: &'static str,
    task: JoinHandle<()>,
}

impl RunningReconciler {
    /// Waits for its end after the stop signal, at most `limit`; then it is cut off, which is safe by design.
    pub async fn stopped(mut self, limit: Duration) {
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            tracing::warn!(reconciler = self.name, "did not stop in time; cut off");
            self.task.abort();
        }
    }
}

/// Runs `reconciler` until `stop` becomes true.
pub fn spawn<R: Reconciler>(reconciler: R, mut stop: watch::Receiver<bool>) -> RunningReconciler {
    let name = reconciler.name();
    let task = tokio::spawn(async move {
        while !*stop.borrow() {
            let status = reconciler.activate().await;
            tracing::trace!(reconciler = name, ?status, "activated");
            // In order, here and in every reconciler: which of two that are ready is taken is not left to chance, so that a
            // simulation repeats.
            tokio::select! {
                biased;
                () = reconciler.wake() => {}
                () = tokio::time::sleep(reconciler.period()) => {}
                _ = stop.changed() => {}
            }
        }
    });
    RunningReconciler { name, task }
}
