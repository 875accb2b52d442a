//! Many worlds: seeds are lived by as many threads as there are processors, each world on one thread. A seed that fails is
//! shrunk: ingredients that its violation does not need are left out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::plan::{Ingredient, Plan};
use crate::run::{Outcome, run};

/// What is hunted for.
#[derive(Debug, Clone)]
pub struct Hunt {
    /// First seed.
    pub first: u64,
    /// How many.
    pub n_seeds: u64,
    /// Threads.
    pub n_threads: usize,
    /// Stops at the first violation.
    pub stops_at_first: bool,
    /// Only these ingredients, if given.
    pub only: Option<BTreeSet<Ingredient>>,
    /// No world is begun after this time, real time.
    pub within: Option<Duration>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Bag {
    /// Worlds lived.
    pub n_worlds: u64,
    /// Transactions committed in them.
    pub n_transactions: u64,
    /// Requests in them.
    pub n_calls: u64,
    /// Servers killed in them.
    pub n_crashes: u64,
    /// Virtual seconds lived.
    pub virtual_s: u64,
    /// Worlds in which an invariant did not hold, by seed.
    pub violated: Vec<Outcome>,
}

impl Hunt {
    /// The world of a seed.
    pub fn plan(&self, seed: u64) -> Plan {
        match &self.only {
            Some(only) => Plan::of(seed).only(only.iter().copied()),
            None => Plan::of(seed),
        }
    }

    /// Lives all worlds. `prepare` is called on each thread before each world.
    pub fn go(&self, prepare: &(dyn Fn() + Sync)) -> Bag {
        let next = AtomicU64::new(self.first);
        let began = Instant::now();
        let in_time = || self.within.is_none_or(|within| began.elapsed() < within);
        let stop = AtomicBool::new(false);
        let bag = Mutex::new(Bag::default());
        thread::scope(|scope| {
            for _ in 0..self.n_threads.max(1) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) && in_time() {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.first + self.n_seeds {
                            break;
                        }
                        prepare();
                        let outcome = run(self.plan(seed));
                        let mut bag = bag.lock();
                        bag.n_worlds += 1;
                        bag.n_transactions += outcome.n_transactions;
                        bag.n_calls += outcome.n_calls;
                        bag.n_crashes += outcome.n_crashes;
                        bag.virtual_s += outcome.lasted.as_secs();
                        if outcome.violation.is_some() {
                            stop.fetch_or(self.stops_at_first, Ordering::Relaxed);
                            bag.violated.push(outcome);
                        }
                    }
                });
            }
        });
        let mut bag = bag.into_inner();
        bag.violated.sort_by_key(|o| o.seed);
        bag
    }
}

/// Leaves out ingredients, and half of the storm, as long as the same invariant stays violated.
pub fn shrink(plan: Plan, invariant: &str) -> Plan {
    let fails = |plan: &Plan| run(plan.clone()).violation.is_some_and(|v| v.invariant == invariant);
    let mut smallest = plan;
    for ingredient in smallest.ingredients().clone() {
        let without: Vec<Ingredient> =
            smallest.ingredients().iter().copied().filter(|i| *i != ingredient).collect();
        let candidate = smallest.clone().only(without);
        if fails(&candidate) {
            smallest = candidate;
        }
    }
    loop {
        let candidate = smallest.clone().storming(smallest.storm() / 2);
        if candidate.storm().as_secs() < 5 || !fails(&candidate) {
            return smallest;
        }
        smallest = candidate;
    }
}
