//! Waiting for a second of the clock, for reconcilers that work in step with the periods of metrics.

use std::time::Duration;

use puffer_core::Clock;

/// Waits until the clock is `offset_ms` past a whole second.
pub(crate) async fn next_second(clock: &dyn Clock, offset_ms: i64) {
    let past_ms = (clock.now().as_millis() - offset_ms).rem_euclid(1000);
    tokio::time::sleep(Duration::from_millis(u64::try_from(1000 - past_ms).unwrap_or(1000))).await;
}
