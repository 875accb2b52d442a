//! What every handler gets.

use std::sync::Arc;

use parking_lot::Mutex;
use puffer_core::Clock;
use puffer_metrics::Metrics;
use puffer_store::Store;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The rooms and facts a handler works with, one per server.
pub struct Ctx {
    /// The one account.
    pub account: String,
    /// The one region.
    pub region: String,
    /// Host and port at which the server is asked: part of queues' URLs.
    pub endpoint: String,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The resources.
    pub store: Store,
    /// The metrics.
    pub metrics: Metrics,
    /// Where ids and random choices come from. Locked for the length of a choice, never across an await.
    pub rng: Mutex<Box<dyn Rng + Send>>,
    /// Where console output comes from.
    pub console: Arc<dyn crate::ConsoleSource>,
}

impl Ctx {
    /// A generator of its own for one request, so that the shared one is not locked during a transaction.
    pub fn fork_rng(&self) -> StdRng {
        StdRng::from_rng(&mut **self.rng.lock())
    }
}
