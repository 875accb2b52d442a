//! `cargo xtask sim`: the control plane in virtual time, thousands of seeds, with invariants checked at every step.

use std::process::Command;

use crate::process;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Passed on to puffer-sim: try --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Args {
    /// As if typed.
    pub(crate) fn of(args: &[&str]) -> Args {
        Args { args: args.iter().map(|a| (*a).to_owned()).collect() }
    }
}

/// Builds the simulator, with rules that can be broken, in a profile of its own, and runs it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let build =
        ["build", "--quiet", "--profile", "sim", "--package", "puffer-simulator", "--features", "mutations"];
    process::run(Command::new("cargo").args(build).current_dir(crate::root()))?;
    process::run(Command::new(crate::target_dir().join("sim/puffer-sim")).args(&args.args))
}
