//! Time as it really passes in a world, and the wall clock that the server sees, which somebody may set.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::Timestamp;
use tokio::time::Instant;

/// When every world begins: 2026-01-05T00:00:00Z.
const BEGINNING_MS: i64 = 1_767_571_200_000;

/// True time and the wall clock's error.
pub(crate) struct Timeline {
    /// True time when the present runtime began, and its own clock then.
    began: Mutex<(i64, Option<Instant>)>,
    /// What the wall clock shows beyond true time.
    error_ms: AtomicI64,
    /// True time of the last change of the error.
    stepped_ms: AtomicI64,
}

impl Timeline {
    pub(crate) fn new() -> Timeline {
        Timeline {
            began: Mutex::new((BEGINNING_MS, None)),
            error_ms: AtomicI64::new(0),
            stepped_ms: AtomicI64::new(i64::MIN / 2),
        }
    }

    /// A runtime begins. To be called within it.
    pub(crate) fn begin(&self) {
        self.began.lock().1 = Some(Instant::now());
    }

    /// It ends; the next goes on from here.
    pub(crate) fn end(&self) {
        let now = self.now_ms();
        *self.began.lock() = (now, None);
    }

    /// True time, milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        let (base, began) = *self.began.lock();
        let passed = began.map_or(Duration::ZERO, |b| Instant::now().saturating_duration_since(b));
        base + i64::try_from(passed.as_millis()).unwrap_or(0)
    }

    /// Since the world's beginning.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now_ms() - BEGINNING_MS).unwrap_or(0))
    }

    /// What the server's clock shows.
    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms() + self.error_ms.load(Ordering::Relaxed))
    }

    /// Somebody sets the clock.
    pub(crate) fn step_wall(&self, by_ms: i64) {
        self.error_ms.fetch_add(by_ms, Ordering::Relaxed);
        self.stepped_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Since the clock was last set.
    pub(crate) fn steady_for(&self) -> Duration {
        Duration::from_millis(
            u64::try_from(self.now_ms() - self.stepped_ms.load(Ordering::Relaxed)).unwrap_or(0),
        )
    }
}
