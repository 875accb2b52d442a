//! Choosing a target: which targets may take a request, and which of them does.
//!
//! [`Selector::build`] does the work that depends only on the set of targets; [`Selector::pick`] is then a few
//! instructions per request. Chance and load are arguments: `key` is a counter for round robin and least
//! outstanding requests, and a random number for weighted random.
//!
//! Source: "Routing algorithms" and "Slow start mode" of the Application Load Balancer guide.

use serde::{Deserialize, Serialize};

use super::health::TargetState;

/// How a target group spreads its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way; ties in turn.
    LeastOutstandingRequests,
    /// By chance, evenly.
    WeightedRandom,
}

/// Full share of a target, in the unit of [`Candidate::share`].
pub const SHARE_FULL: u32 = 1000;

/// A target as far as the choice looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its state.
    pub state: TargetState,
    /// Its part of a full share, 1–[`SHARE_FULL`]; less while it starts slowly.
    pub share: u32,
}

/// Positions of the candidates that may take requests.
///
/// Healthy and unchecked ones; if there are none, every one that is not draining or unused ("fail open": a wrong
/// health check then costs less than refusing everybody), unless `fail_open` is false, as under classic load balancers. Empty
/// means 503.
pub fn routable(candidates: &[Candidate], fail_open: bool) -> Vec<u32> {
    let of = |wanted: fn(TargetState) -> bool| -> Vec<u32> {
        let all = candidates.iter().enumerate();
        all.filter(|(_, c)| wanted(c.state)).filter_map(|(i, _)| u32::try_from(i).ok()).collect()
    };
    let good = of(|s| matches!(s, TargetState::Healthy | TargetState::Unavailable));
    if !good.is_empty() || !fail_open {
        return good;
    }
    of(|s| matches!(s, TargetState::Initial | TargetState::Unhealthy))
}

/// Share of a target `age_ms` after it became healthy, under a slow start of `slow_start_s` (0 is off): it grows
/// linearly, and is never 0, so that even a single new target is reached.
pub fn slow_start_share(age_ms: u64, slow_start_s: u32) -> u32 {
    let whole_ms = u64::from(slow_start_s) * 1000;
    if age_ms >= whole_ms {
        return SHARE_FULL;
    }
    u32::try_from(age_ms * u64::from(SHARE_FULL) / whole_ms).unwrap_or(SHARE_FULL).max(1)
}

/// A choice among a fixed set of targets.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    algorithm: Algorithm,
    members: Vec<u32>,
    /// Running sums of the members' shares; empty while all are full.
    bounds: Vec<u64>,
}

impl Selector {
    /// Prepares the choice among the routable ones of `candidates`.
    pub fn build(algorithm: Algorithm, candidates: &[Candidate], fail_open: bool) -> Selector {
        let members = routable(candidates, fail_open);
        let share = |&m: &u32| u64::from(candidates[m as usize].share.clamp(1, SHARE_FULL));
        let even = members.iter().all(|m| share(m) == u64::from(SHARE_FULL));
        let mut sum = 0;
        let bounds = match even {
            true => Vec::new(),
            false => members.iter().map(|m| (sum += share(m), sum).1).collect(),
        };
        Selector { algorithm, members, bounds }
    }

    /// Whether there is no one to choose.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The positions among which it chooses.
    pub fn members(&self) -> &[u32] {
        &self.members
    }

    /// Whether this choice wants a random key rather than a counter.
    pub fn wants_random_key(&self) -> bool {
        self.algorithm == Algorithm::WeightedRandom || !self.bounds.is_empty()
    }

    /// Position of the target that takes the next request; none if there is none.
    ///
    /// `outstanding` tells the requests under way of a position; only least outstanding requests asks.
    pub fn pick(&self, key: u64, outstanding: impl Fn(u32) -> u32) -> Option<u32> {
        let n = self.members.len();
        if n == 0 {
            return None;
        }
        let turn = usize::try_from(key % n as u64).unwrap_or(0);
        match self.algorithm {
            // AWS does not combine slow start with least outstanding requests, so shares play no part here.
            Algorithm::LeastOutstandingRequests => {
                let order = self.members[turn..].iter().chain(&self.members[..turn]);
                order.copied().min_by_key(|&m| outstanding(m))
            }
            Algorithm::RoundRobin | Algorithm::WeightedRandom => match self.bounds.last() {
                None => Some(self.members[turn]),
                Some(&whole) => {
                    let point = key % whole;
                    Some(self.members[self.bounds.partition_point(|&b| b <= point)])
                }
            },
        }
    }
}

/// Position of the entry that `key` (random) falls on, by weight; none if all weights are 0.
pub fn pick_weighted(weights: impl Iterator<Item = u16> + Clone, key: u64) -> Option<usize> {
    let whole: u64 = weights.clone().map(u64::from).sum();
    if whole == 0 {
        return None;
    }
    let mut point = key % whole;
    for (i, w) in weights.enumerate() {
        let w = u64::from(w);
        if point < w {
            return Some(i);
        }
        point -= w;
    }
    None
}

#[cfg(test)]
mod tests;
