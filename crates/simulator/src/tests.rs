use crate::{Ingredient, Plan, run};

/// Worlds that stir everything, lived twice each on threads with other hash keys.
#[test]
fn a_seed_gives_the_same_world_each_time() {
    for seed in 1..4 {
        let live = move || run(Plan::of(seed).only(Ingredient::ALL.iter().copied()));
        let [a, b] = [std::thread::spawn(live), std::thread::spawn(live)].map(|t| t.join().unwrap());
        assert_eq!((a.hash, a.n_events), (b.hash, b.n_events), "seed {seed}");
        assert!(a.n_events > 100, "seed {seed}: {a:?}");
    }
}

#[test]
fn other_seeds_give_other_worlds() {
    assert_ne!(run(Plan::of(1)).hash, run(Plan::of(2)).hash);
}

#[test]
fn worlds_keep_the_invariants() {
    for seed in 100..110 {
        let outcome = run(Plan::of(seed));
        assert!(outcome.violation.is_none(), "seed {seed}: {}", outcome.violation.unwrap());
    }
}
