use proptest::prelude::*;

use super::*;
use TargetState::*;

fn full(states: &[TargetState]) -> Vec<Candidate> {
    states.iter().map(|&state| Candidate { state, share: SHARE_FULL }).collect()
}

#[test]
fn who_may_take_requests() {
    let table: &[(&[TargetState], &[u32])] = &[
        (&[], &[]),
        (&[Healthy, Unhealthy, Initial, Draining, Unused, Unavailable], &[0, 5]),
        (&[Unhealthy, Initial, Draining], &[0, 1]),
        (&[Draining, Unused], &[]),
        (&[Draining, Healthy], &[1]),
    ];
    for (states, want) in table {
        assert_eq!(routable(&full(states), true), *want, "{states:?}");
    }
}

#[test]
fn round_robin_takes_turns() {
    let selector = Selector::build(Algorithm::RoundRobin, &full(&[Healthy, Unhealthy, Healthy]), true);
    let got: Vec<_> = (0..4).map(|k| selector.pick(k, |_| 0).unwrap()).collect();
    assert_eq!(got, [0, 2, 0, 2]);
}

#[test]
fn least_outstanding_picks_the_idlest_and_breaks_ties_in_turn() {
    let selector = Selector::build(Algorithm::LeastOutstandingRequests, &full(&[Healthy; 3]), true);
    let load = [4, 1, 2];
    assert_eq!(selector.pick(0, |m| load[m as usize]), Some(1));
    let ties: Vec<_> = (0..3).map(|k| selector.pick(k, |_| 7).unwrap()).collect();
    assert_eq!(ties, [0, 1, 2]);
}

#[test]
fn weights() {
    let count = |weights: &[u16]| {
        let mut n = vec![0; weights.len()];
        for key in 0..100 {
            n[pick_weighted(weights.iter().copied(), key).unwrap()] += 1;
        }
        n
    };
    assert_eq!(count(&[1]), [100]);
    assert_eq!(count(&[0, 1, 3]), [0, 25, 75]);
    assert_eq!(pick_weighted([0u16, 0].into_iter(), 5), None);
    assert_eq!(pick_weighted(std::iter::empty(), 5), None);
}

#[test]
fn slow_start_grows_linearly() {
    let table =
        [(0, 0, SHARE_FULL), (0, 30, 1), (15_000, 30, 500), (29_999, 30, 999), (30_000, 30, SHARE_FULL)];
    for (age, slow, want) in table {
        assert_eq!(slow_start_share(age, slow), want, "{age} of {slow}");
    }
    let candidates = [Candidate { state: Healthy, share: 250 }, Candidate { state: Healthy, share: 1000 }];
    let selector = Selector::build(Algorithm::RoundRobin, &candidates, true);
    assert!(selector.wants_random_key());
    let first = (0..1250).filter(|&k| selector.pick(k, |_| 0) == Some(0)).count();
    assert_eq!(first, 250);
}

fn state() -> impl Strategy<Value = TargetState> {
    prop_oneof![
        Just(Initial),
        Just(Healthy),
        Just(Unhealthy),
        Just(Unused),
        Just(Draining),
        Just(Unavailable)
    ]
}

proptest! {
    /// A pick is always routable, never draining or unused, and absent only when nobody is.
    #[test]
    fn picks_are_routable(
        set in prop::collection::vec((state(), 1u32..=SHARE_FULL), 0..20),
        key: u64,
        algorithm in prop_oneof![Just(Algorithm::RoundRobin), Just(Algorithm::LeastOutstandingRequests), Just(Algorithm::WeightedRandom)],
    ) {
        let candidates: Vec<_> = set.into_iter().map(|(state, share)| Candidate { state, share }).collect();
        let selector = Selector::build(algorithm, &candidates, true);
        match selector.pick(key, |m| m) {
            Some(m) => {
                prop_assert!(routable(&candidates, true).contains(&m));
                prop_assert!(!matches!(candidates[m as usize].state, Draining | Unused));
            }
            None => prop_assert!(candidates.iter().all(|c| matches!(c.state, Draining | Unused))),
        }
    }

    /// Over whole rounds, round robin is perfectly even.
    #[test]
    fn round_robin_is_even(n in 1usize..12, rounds in 1u64..10, start in 0u64..1000) {
        let selector = Selector::build(Algorithm::RoundRobin, &full(&vec![Healthy; n]), true);
        let mut counts = vec![0u64; n];
        for k in 0..rounds * n as u64 {
            counts[selector.pick(start + k, |_| 0).unwrap() as usize] += 1;
        }
        prop_assert!(counts.iter().all(|&c| c == rounds));
    }
}
