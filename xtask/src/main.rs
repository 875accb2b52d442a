//! Chores of the repository: `cargo xtask <chore>`.

mod codegen;
mod model;
mod model_import;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Puffer repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Write models/*.json from the service models of the botocore Python package (rare; needs the network or --from)
    ModelImport(model_import::Args),
    /// Write the generated shapes from models/*.json
    Codegen(codegen::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::ModelImport(args) => model_import::run(&args),
        Chore::Codegen(args) => codegen::run(&args),
    }
}

/// The repository's root.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(std::path::Path::new("."))
}
