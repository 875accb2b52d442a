//! Chores of the repository: `cargo xtask <chore>`.

// What a chore finds out goes to standard output.
#![allow(clippy::print_stdout)]

mod bench;
mod ci;
mod codegen;
mod coverage;
mod demo;
mod floors;
mod model;
mod model_import;
mod process;
mod requirements;
mod sim;
mod test;
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Puffer repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run lab L0 on a private server: scale out, scale in, heal, clean up
    Demo(demo::Args),
    /// Run all tests: rules, Rust, wire, system, demo
    Test(test::Args),
    /// What a change must pass: format, lints, tests
    Ci(ci::Args),
    /// Measure the figures that the README promises
    Bench(bench::Args),
    /// Live simulated worlds of the control plane and check what must hold in them
    Sim(sim::Args),
    /// Check that each crate imports only lower floors
    Floors(floors::Args),
    /// Check the rules of style that matter
    Tidy(tidy::Args),
    /// Write models/*.json from the service models of the botocore Python package (rare; needs the network or --from)
    ModelImport(model_import::Args),
    /// Write the generated shapes from models/*.json
    Codegen(codegen::Args),
    /// Write docs/compatibility.md from the table of handlers
    Coverage(coverage::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::Demo(args) => demo::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Ci(args) => ci::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Sim(args) => sim::run(&args),
        Chore::Floors(args) => floors::run(&args),
        Chore::Tidy(args) => tidy::run(&args),
        Chore::ModelImport(args) => model_import::run(&args),
        Chore::Codegen(args) => codegen::run(&args),
        Chore::Coverage(args) => coverage::run(&args),
    }
}

/// The repository's root.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(std::path::Path::new("."))
}

/// Where cargo puts what it builds.
fn target_dir() -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), std::path::PathBuf::from)
}
