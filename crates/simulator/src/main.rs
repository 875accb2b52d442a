//! `puffer-sim`: lives worlds of seeds and says which invariants did not hold. Started by `cargo xtask sim`.

// What a hunt finds goes to standard output.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use puffer_core::Mutation;
use puffer_simulator::hunt::{Hunt, shrink};
use puffer_simulator::{Ingredient, Plan, mutants, run};

#[derive(Parser)]
#[command(name = "puffer-sim", about = "Live simulated worlds of Puffer's control plane")]
struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed; alone, the only one
    #[arg(long)]
    seed: Option<u64>,
    /// Only these users and faults, by name, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<Ingredient>>,
    /// Length of the storm, seconds of virtual time
    #[arg(long)]
    storm: Option<u64>,
    /// Print all that happens (one seed)
    #[arg(long)]
    trace: bool,
    /// Threads; as many as processors by default
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a violation
    #[arg(long)]
    all: bool,
    /// Do not shrink what fails
    #[arg(long)]
    no_shrink: bool,
    /// Fail unless all worlds are lived within so many seconds of real time
    #[arg(long)]
    within: Option<u64>,
    /// Break rules on purpose, one by one, and fail unless each is noticed
    #[arg(long)]
    mutations: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let only: Option<BTreeSet<Ingredient>> = args.only.clone().map(|o| o.into_iter().collect());
    if args.mutations {
        return mutations(&args);
    }
    match args.seed {
        Some(seed) if args.seeds == 1 || args.trace || args.storm.is_some() => one(seed, only, &args),
        Some(first) => many(first, only, &args),
        None => many(0, only, &args),
    }
}

fn one(seed: u64, only: Option<BTreeSet<Ingredient>>, args: &Args) -> anyhow::Result<()> {
    let mut plan = Plan::of(seed);
    if let Some(only) = only {
        plan = plan.only(only);
    }
    if let Some(storm) = args.storm {
        plan = plan.storming(Duration::from_secs(storm));
    }
    if args.trace {
        plan = plan.traced();
    }
    let outcome = run(plan);
    for line in &outcome.lines {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} transactions, {} calls, {} crashes, {} s of virtual time, hash {:016x}",
        outcome.n_transactions,
        outcome.n_calls,
        outcome.n_crashes,
        outcome.lasted.as_secs(),
        outcome.hash
    );
    match outcome.violation {
        Some(violation) => bail!("{violation}"),
        None => Ok(()),
    }
}

fn threads(args: &Args) -> usize {
    let own = || std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.unwrap_or_else(own)
}

fn mutations(args: &Args) -> anyhow::Result<()> {
    if !mutants::POSSIBLE {
        bail!("this build has no rules that can be broken; use cargo xtask sim --mutations");
    }
    let mut unnoticed = Vec::new();
    for mutation in Mutation::ALL {
        let mutant = mutants::hunt(*mutation, threads(args));
        match &mutant.noticed {
            Some((seed, said)) => {
                println!("{mutation:?}: noticed after {} worlds by seed {seed}: {said}", mutant.n_worlds);
            }
            None => {
                println!("{mutation:?}: NOT noticed in {} worlds", mutant.n_worlds);
                unnoticed.push(mutation);
            }
        }
    }
    if !unnoticed.is_empty() {
        bail!("{} of {} broken rules go unnoticed: {unnoticed:?}", unnoticed.len(), Mutation::ALL.len());
    }
    println!("{} broken rules, all noticed", Mutation::ALL.len());
    Ok(())
}

fn many(first: u64, only: Option<BTreeSet<Ingredient>>, args: &Args) -> anyhow::Result<()> {
    let hunt = Hunt {
        first,
        n_seeds: args.seeds,
        n_threads: threads(args),
        stops_at_first: !args.all,
        only,
        within: args.within.map(Duration::from_secs),
    };
    let began = tokio::time::Instant::now();
    let bag = hunt.go(&|| {});
    println!(
        "{} worlds, {} h of virtual time in {:.1} s; {} transactions, {} calls, {} crashes",
        bag.n_worlds,
        bag.virtual_s / 3600,
        began.elapsed().as_secs_f64(),
        bag.n_transactions,
        bag.n_calls,
        bag.n_crashes
    );
    let Some(worst) = bag.violated.first() else {
        if bag.n_worlds < args.seeds {
            bail!("only {} of {} worlds in time", bag.n_worlds, args.seeds);
        }
        return Ok(());
    };
    for outcome in &bag.violated {
        if let Some(violation) = &outcome.violation {
            println!("seed {}: {violation}", outcome.seed);
        }
    }
    println!("again:  cargo xtask sim --seed {} --seeds 1 --trace", worst.seed);
    if let (Some(violation), false) = (&worst.violation, args.no_shrink) {
        let small = shrink(hunt.plan(worst.seed), violation.invariant);
        let names: Vec<&str> = small.ingredients().iter().map(|i| i.name()).collect();
        println!(
            "less:   cargo xtask sim --seed {} --seeds 1 --trace --storm {} --only {}",
            worst.seed,
            small.storm().as_secs(),
            if names.is_empty() { "''".to_owned() } else { names.join(",") }
        );
    }
    bail!("{} of {} worlds violate an invariant", bag.violated.len(), bag.n_worlds)
}
