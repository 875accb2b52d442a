//! Whether the invariants notice broken rules: each rule of [`Mutation`] is broken in turn, and worlds are lived until one
//! of them says so.

use puffer_core::Mutation;

use crate::hunt::Hunt;

/// Seeds within which each broken rule must be noticed.
pub const SEEDS_MAX: u64 = 400;

/// What became of a broken rule.
#[derive(Debug)]
pub struct Mutant {
    /// The rule.
    pub mutation: Mutation,
    /// Worlds lived until it was noticed.
    pub n_worlds: u64,
    /// The first seed that noticed it, and what it said; `None` if none did.
    pub noticed: Option<(u64, String)>,
}

/// Breaks a rule and hunts for it.
pub fn hunt(mutation: Mutation, n_threads: usize) -> Mutant {
    let hunt =
        Hunt { first: 0, n_seeds: SEEDS_MAX, n_threads, stops_at_first: true, only: None, within: None };
    let bag = hunt.go(&|| choose(Some(mutation)));
    choose(None);
    let noticed = bag.violated.first().and_then(|o| Some((o.seed, o.violation.as_ref()?.to_string())));
    Mutant { mutation, n_worlds: bag.n_worlds, noticed }
}

/// Whether this build can break rules.
pub const POSSIBLE: bool = puffer_core::mutation::POSSIBLE;

#[cfg(feature = "mutations")]
fn choose(mutation: Option<Mutation>) {
    Mutation::choose(mutation);
}

#[cfg(not(feature = "mutations"))]
fn choose(_: Option<Mutation>) {}
