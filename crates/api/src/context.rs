//! What every handler gets.

use std::sync::Arc;

use puffer_core::Clock;

/// The rooms and facts a handler works with, one per server.
pub struct Ctx {
    /// The one account.
    pub account: String,
    /// The one region.
    pub region: String,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}
