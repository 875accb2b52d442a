//! Waking a reconciler soon after something changed, but not for each of a hundred changes.

use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_store::Subscription;
use tokio::time::Instant;

/// Shortest time between the ends of two activations; changes meanwhile are handled together.
const SPACING_MIN: Duration = Duration::from_millis(30);
/// At most one part in so many of the time goes into a reconciler that changes keep waking.
const IDLE_SHARE: u32 = 4;

/// Paces a reconciler's activations by how long they take.
#[derive(Default)]
pub(crate) struct Pace {
    not_before: Mutex<Option<Instant>>,
}

impl Pace {
    /// An activation begins.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn begin(&self) -> Instant {
        Instant::now()
    }

    /// It ended.
    pub(crate) fn end(&self, began: Instant) {
        let spacing = (began.elapsed() * IDLE_SHARE).max(SPACING_MIN);
        *self.not_before.lock() = Some(Instant::now() + spacing);
    }

    /// Waits for `something`, and then until the next activation may begin.
    pub(crate) async fn after(&self, something: impl Future<Output = ()>) {
        something.await;
        let not_before = *self.not_before.lock();
        if let Some(at) = not_before {
            tokio::time::sleep_until(at).await;
        }
    }
}

/// Waits until any of the collections changed, and forgets what exactly: the reconciler looks at everything.
pub(crate) async fn any_of(subscriptions: &[Subscription]) {
    let mut waits: Vec<_> = subscriptions.iter().map(|s| Box::pin(s.next())).collect();
    std::future::poll_fn(|cx| {
        let mut ready = false;
        for wait in &mut waits {
            // One that is ready has given its changes away, and is not polled again.
            ready |= wait.as_mut().poll(cx).is_ready();
            if ready {
                return std::task::Poll::Ready(());
            }
        }
        std::task::Poll::Pending
    })
    .await;
}
