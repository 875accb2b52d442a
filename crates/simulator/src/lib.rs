//! Floor 4: the control plane in virtual time.
//!
//! A *world* runs the real API handlers, transactions, reconcilers and deciders on pretended machines, a pretended data plane and
//! a disk of memory, in one thread whose clock jumps to the next timer. Users call the API at random, faults happen at
//! random, the server is killed between any two steps and started again from its disk; all chance comes from one seed, so the
//! same seed gives the same world, transaction by transaction. [`invariants`] are checked at every committed transaction and
//! every second. After the storm the faults stop, and the world must come to rest with every group as it is wanted.
//!
//! A world has these parts: `plan` (what the seed makes of it), `run` (its life), `server` (the control plane, wired as the
//! binary does it), `machines`, `plane` and `load` (what the control plane acts on), `actors` (users), `faults`, `view` (what
//! the disk holds), `invariants`, `trace`.
//!
//! Whoever adds a feature adds an actor that uses it (`actors/`), and says in the invariants how far it may exceed them.

mod actors;
mod client;
mod dice;
mod faults;
pub mod hunt;
mod invariants;
mod life;
mod load;
mod machines;
mod mix;
pub mod mutants;
mod operator;

mod panics;
mod placement;
mod plan;
mod plane;
pub mod replay;
mod run;
mod server;
mod setup;
#[cfg(test)]
mod tests;
mod timeline;
mod trace;
mod view;
mod world;

pub use invariants::Violation;
pub use plan::{Ingredient, Plan};
pub use run::{Outcome, run};
