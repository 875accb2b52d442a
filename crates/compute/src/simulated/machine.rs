use puffer_core::Timestamp;
use tokio::time::Instant;

use crate::{DriverState, LaunchSpec, Usage};

/// One pretended instance.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) state: DriverState,
    /// When the present boot ends.
    pub(super) ready_at: Instant,
    /// Names the present boot, so that a call that waited for an older one does not finish this one.
    pub(super) boot: u64,
    pub(super) n_boots: u32,
    pub(super) booted_at: Option<Timestamp>,
    /// As [`crate::DriverInstance::trouble`].
    pub(super) trouble: Option<String>,
    /// As [`crate::DriverInstance::suspended`].
    pub(super) suspended: bool,
    /// As [`crate::DriverInstance::root`].
    pub(super) root: u32,
    cpu_millis: u32,
    memory_bytes: u64,
    cpu_ns: f64,
    metered_at: Instant,
}

impl Machine {
    pub(super) fn new(cpu_millis: u32, memory_bytes: u64, now: Instant) -> Machine {
        Machine {
            state: DriverState::Stopped,
            ready_at: now,
            boot: 0,
            n_boots: 0,
            booted_at: None,
            trouble: None,
            suspended: false,
            root: 0,
            cpu_millis,
            memory_bytes,
            cpu_ns: 0.0,
            metered_at: now,
        }
    }

    pub(super) fn of(spec: &LaunchSpec, now: Instant) -> Machine {
        Machine { root: spec.root, ..Machine::new(spec.cpu_millis, spec.memory_bytes, now) }
    }

    /// Starts to boot.
    pub(super) fn start(&mut self, ready_at: Instant) -> u64 {
        self.state = DriverState::Starting;
        self.trouble = None;
        self.suspended = false;
        self.ready_at = ready_at;
        self.boot += 1;
        self.boot
    }

    /// Its init runs now.
    pub(super) fn run(&mut self, now: Instant, at: Timestamp) {
        self.state = DriverState::Running;
        self.n_boots += 1;
        self.booted_at = Some(at);
        self.cpu_ns = 0.0;
        self.metered_at = now;
    }

    /// Counters up to `now`, if it runs. The load is taken as constant since the last reading.
    pub(super) fn usage(&mut self, now: Instant, load: f64) -> Option<Usage> {
        /// Share of its memory that a pretended guest uses.
        const MEMORY_SHARE: f64 = 0.25;
        if self.state != DriverState::Running || self.suspended {
            self.metered_at = now;
            return None;
        }
        let elapsed_ns = now.saturating_duration_since(self.metered_at).as_nanos() as f64;
        self.cpu_ns += elapsed_ns * load.clamp(0.0, 1.0) * f64::from(self.cpu_millis) / 1000.0;
        self.metered_at = now;
        Some(Usage {
            cpu_ns: self.cpu_ns as u64,
            memory_bytes: (self.memory_bytes as f64 * MEMORY_SHARE) as u64,
            ..Usage::default()
        })
    }
}
