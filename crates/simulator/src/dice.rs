//! Chance: every part of a world has its own dice, all thrown from the one seed.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// The dice of one part. Parts do not share dice, so that leaving one out changes nothing for the others.
pub(crate) fn dice(seed: u64, part: &str) -> Pcg64 {
    let mut hasher = DefaultHasher::new();
    (seed, part).hash(&mut hasher);
    Pcg64::seed_from_u64(hasher.finish())
}

/// Something with this probability.
pub(crate) fn chance(dice: &mut Pcg64, probability: f64) -> bool {
    dice.random::<f64>() < probability
}

/// One of several.
pub(crate) fn one_of<'a, T>(dice: &mut Pcg64, of: &'a [T]) -> Option<&'a T> {
    (!of.is_empty()).then(|| &of[dice.random_range(0..of.len())])
}
