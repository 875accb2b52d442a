//! Each parser for a moment, with any toolchain. `PUFFER_TEST_SEED` repeats a run, `PUFFER_FUZZ_MS` makes it longer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use puffer_fuzz::{Mutator, TARGETS, Target, target};
use rand::RngExt;

/// For each target: long enough for thousands of inputs, short enough for every run.
const MOMENT: Duration = Duration::from_millis(800);
/// One input that takes longer is a hang. Machines that test are busy.
const HANG: Duration = Duration::from_secs(10);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Feeds a target until its time is over.
#[allow(clippy::disallowed_methods)]
fn smoke(target: &Target) {
    let seed = number("PUFFER_TEST_SEED").unwrap_or_else(|| rand::rng().random());
    let moment = number("PUFFER_FUZZ_MS").map_or(MOMENT, Duration::from_millis);
    let mut mutator = Mutator::new(target, seed);
    let began = Instant::now();
    let mut n_inputs = 0;
    let seeds = target.seeds.iter().map(|s| s.to_vec());
    let mutated = std::iter::from_fn(|| (began.elapsed() < moment).then(|| mutator.next_input()));
    for input in seeds.chain(mutated) {
        let one = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let took = one.elapsed();
        n_inputs += 1;
        assert!(
            ended.is_ok() && took < HANG,
            "{} fails after {took:?}, PUFFER_TEST_SEED={seed}, on b\"{}\"",
            target.name,
            input.escape_ascii()
        );
    }
    eprintln!("{}: {n_inputs} inputs, PUFFER_TEST_SEED={seed}", target.name);
}

macro_rules! smoke_tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                smoke(target(stringify!($name)).unwrap());
            }
        )*

        #[test]
        fn every_target_is_here_and_in_the_fuzz_directory() {
            let mut here = [$(stringify!($name)),*];
            let mut known: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
            here.sort_unstable();
            known.sort_unstable();
            assert_eq!(here.as_slice(), known);
            let manifest = include_str!("../../../fuzz/Cargo.toml");
            for name in here {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
            }
        }
    };
}

smoke_tests! {
    query ec2_query json cbor xml answers authorization route gzip
    request_head response_head chunks dns
    metadata_path archive
    envelope recurrence small_texts
}
