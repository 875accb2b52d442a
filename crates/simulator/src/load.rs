//! The work that groups are asked to do, so that policies close the loop: an instance's CPU is the group's demand, shared by
//! those that serve.

use std::collections::BTreeMap;

/// Nanoseconds of CPU time in a second.
pub(crate) const NS_PER_S: f64 = 1e9;
/// Bytes that a machine sends in a second of CPU time.
pub(crate) const BYTES_PER_CPU_S: f64 = 1e6;
/// Busy share of a machine that serves nobody.
const IDLE: f64 = 0.02;

/// Demand by group, in instances kept fully busy.
#[derive(Default)]
pub(crate) struct Load {
    demand: BTreeMap<String, f64>,
}

impl Load {
    pub(crate) fn set(&mut self, group: &str, demand: f64) {
        self.demand.insert(group.to_owned(), demand);
    }

    /// Busy share of each machine where `units` of capacity serve: a machine does as much work as it has weight.
    pub(crate) fn share(&self, group: &str, units: u32) -> f64 {
        let demand = self.demand.get(group).copied().unwrap_or(0.0);
        (demand / f64::from(units.max(1))).clamp(IDLE, 1.0)
    }
}

/// CPU time of a second at this share of one CPU.
pub(crate) fn cpu_ns(share: f64) -> f64 {
    share * NS_PER_S
}
