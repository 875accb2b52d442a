//! What goes wrong, a file per kind. A fault is an actor on the world itself; it undoes what it did when the storm is over.

mod clock;
mod crash;
mod deaths;
mod disk;
mod driver;
mod health;
mod load;
mod market;
mod plane;
mod sleeps;
mod zones;

use std::collections::BTreeSet;

use rand_pcg::Pcg64;

use crate::actors::Slot;
use crate::plan::{Ingredient, Plan};

/// How the machine room and the network misbehave at the moment.
pub(crate) struct Faults {
    /// Decides each single fault.
    pub(crate) dice: Pcg64,
    /// Shares of launches that fail, by class.
    pub(crate) capacity: f64,
    pub(crate) transient: f64,
    pub(crate) permanent: f64,
    pub(crate) bad_image: f64,
    pub(crate) unsupported: f64,
    /// Share of calls whose answer never comes, though they may have worked.
    pub(crate) lost: f64,
    /// Share of launches that take minutes.
    pub(crate) slow: f64,
    /// Share of terminations, stops and lists that fail in passing.
    pub(crate) calls: f64,
    /// Share of places in the network that cannot be made.
    pub(crate) network: f64,
    /// Zones that take no launch.
    pub(crate) zones_down: BTreeSet<String>,
    /// Share of commits that the disk refuses.
    pub(crate) disk_refuses: f64,
    /// When it last did, true time.
    pub(crate) refused_ms: i64,
    /// Milliseconds that a commit takes at most.
    pub(crate) commit_ms: u64,
}

/// Milliseconds that a commit takes at most on a healthy disk.
const COMMIT_MS: u64 = 5;

impl Faults {
    pub(crate) fn none(dice: Pcg64) -> Faults {
        Faults {
            dice,
            capacity: 0.0,
            transient: 0.0,
            permanent: 0.0,
            bad_image: 0.0,
            unsupported: 0.0,
            lost: 0.0,
            slow: 0.0,
            calls: 0.0,
            network: 0.0,
            zones_down: BTreeSet::new(),
            disk_refuses: 0.0,
            refused_ms: 0,
            commit_ms: COMMIT_MS,
        }
    }

    /// The storm is over.
    pub(crate) fn clear(&mut self) {
        *self = Faults { refused_ms: self.refused_ms, ..Faults::none(self.dice.clone()) };
    }
}

/// The faults of a plan.
pub(crate) fn of(plan: &Plan) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut add = |ingredient: Ingredient, slot: Slot| {
        if plan.has(ingredient) {
            slots.push(slot);
        }
    };
    add(Ingredient::Crashes, Slot::new(plan, crash::Crash));
    add(Ingredient::DriverErrors, Slot::new(plan, driver::DriverErrors));
    add(Ingredient::Deaths, Slot::new(plan, deaths::Deaths));
    add(Ingredient::Zones, Slot::new(plan, zones::Zones));
    add(Ingredient::Health, Slot::new(plan, health::Flapping));
    add(Ingredient::ClockSteps, Slot::new(plan, clock::ClockSteps));
    add(Ingredient::DataPlane, Slot::new(plan, plane::PlaneDeaths));
    add(Ingredient::Disk, Slot::new(plan, disk::DiskTrouble));
    add(Ingredient::Load, Slot::new(plan, load::Demand));
    add(Ingredient::Market, Slot::new(plan, market::Market));
    add(Ingredient::Sleeps, Slot::new(plan, sleeps::Sleeps));
    slots
}
