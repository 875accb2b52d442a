//! Inputs that are nearly right: a good one with a few changes, since parsers break at the second step, not at the first.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::Target;

/// Longest input: beyond it, parsers only do more of the same.
const BYTES_MAX: usize = 4096;
/// Most changes to one input.
const CHANGES_MAX: usize = 8;
/// One in so many inputs is made of words and chance alone.
const FRESH_ONE_IN: u32 = 8;

/// Makes inputs for a target; the same seed makes the same ones.
pub struct Mutator<'t> {
    target: &'t Target,
    rng: Pcg64,
}

impl<'t> Mutator<'t> {
    /// Inputs for `target` from `seed`.
    pub fn new(target: &'t Target, seed: u64) -> Mutator<'t> {
        Mutator { target, rng: Pcg64::seed_from_u64(seed) }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = match self.rng.random_ratio(1, FRESH_ONE_IN) || self.target.seeds.is_empty() {
            true => Vec::new(),
            false => self.pick_seed().to_vec(),
        };
        let n = if input.is_empty() { 4 * CHANGES_MAX } else { CHANGES_MAX };
        for _ in 0..self.rng.random_range(1..=n) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn pick_seed(&mut self) -> &'static [u8] {
        let n = self.target.seeds.len();
        self.target.seeds.get(self.rng.random_range(0..n.max(1))).copied().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.rng.random_range(0..=input.len());
        let end = (at + self.rng.random_range(0..=16)).min(input.len());
        match self.rng.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << self.rng.random_range(0..8),
            1 if at < input.len() => input[at] = self.rng.random(),
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input.get(at..end).unwrap_or_default().repeat(self.rng.random_range(1..20));
                input.splice(at..at, copy);
            }
            4 => {
                let other = self.pick_seed();
                let from = self.rng.random_range(0..=other.len());
                input.splice(at..at, other.get(from..).unwrap_or_default().iter().copied());
            }
            5 => input.truncate(at),
            6 => drop(input.splice(at..at, [self.rng.random()])),
            _ if self.target.words.is_empty() => input.push(self.rng.random()),
            _ => {
                let word = self.target.words.get(self.rng.random_range(0..self.target.words.len()));
                input.splice(at..at, word.copied().unwrap_or_default().bytes());
            }
        }
    }
}
