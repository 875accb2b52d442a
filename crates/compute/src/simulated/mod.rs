//! Instances that are only pretended: for tests, benches and trying templates at sizes no machine could carry.
//!
//! A simulated instance is a few words in memory: a state, a boot that takes as long as told, and a CPU load given by a function. So
//! twenty thousand of them cost a few megabytes and, while nobody asks, no CPU: boots are timers and usage is worked out when it is
//! read. Faults are injected: a share of launches fails for want of capacity, in passing or for good; the
//! machine may be full; a guest may power off, die, be out of reach or vanish.
//!
//! The one thing it cannot do is outlive its process. After a restart of the server the machine would be
//! empty and every instance would look lost, so the server hands the instances on record to [`SimulatedDriver::restore`].

mod driver;
mod machine;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use driver::SimulatedDriver;

/// CPU load of an instance: its id → busy share of its CPUs, 0 to 1.
pub type Load = Arc<dyn Fn(&str) -> f64 + Send + Sync>;

/// How the simulated machine behaves. All of it may change while it runs.
#[derive(Clone)]
pub struct SimulatedSettings {
    /// From the call to a running init, for launch and start.
    pub boot: Duration,
    /// From the call to a powered-off guest.
    pub shutdown: Duration,
    /// Share of launches and starts that fail for want of capacity, 0 to 1.
    pub capacity_failures: f64,
    /// Share of launches and starts that fail in passing, 0 to 1.
    pub transient_failures: f64,
    /// Share of launches and starts that fail for good, 0 to 1.
    pub permanent_failures: f64,
    /// Instances that the machine can hold; a launch beyond fails for want of capacity.
    pub n_instances_max: usize,
    /// Images that cannot be used.
    pub bad_images: BTreeSet<String>,
    /// CPU load.
    pub load: Load,
    /// Seed of the dice.
    pub seed: u64,
}

impl Default for SimulatedSettings {
    fn default() -> Self {
        SimulatedSettings {
            boot: Duration::ZERO,
            shutdown: Duration::ZERO,
            capacity_failures: 0.0,
            transient_failures: 0.0,
            permanent_failures: 0.0,
            n_instances_max: usize::MAX,
            bad_images: BTreeSet::new(),
            load: Arc::new(|_| IDLE_LOAD),
            seed: 0,
        }
    }
}

/// Busy share of a guest that does nothing much.
const IDLE_LOAD: f64 = 0.01;
