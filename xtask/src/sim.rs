//! `cargo xtask sim`: the control plane in virtual time, thousands of seeds, with invariants checked at every step.

use std::path::PathBuf;
use std::process::Command;

use crate::process;

/// Seeds of a test run.
const SEEDS: &str = "2000";
/// Real seconds that they may take on a machine with two processors and little else to do: they use half of that.
const WITHIN_S: &str = "180";

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Passed on to puffer-sim: try --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Lives worlds as the arguments say.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    process::run(Command::new(binary()?).args(&args.args))
}

/// What a test run asks: that worlds keep the invariants, and that the invariants notice broken rules.
pub(crate) fn test() -> anyhow::Result<()> {
    let binary = binary()?;
    process::run(Command::new(&binary).args(["--seeds", SEEDS, "--within", WITHIN_S]))?;
    process::run(Command::new(&binary).arg("--mutations"))
}

/// Builds the simulator with rules that can be broken. Puffer's own crates are optimised, since thousands of worlds pay
/// that back; what they build on is as in every development build, and so is there already.
fn binary() -> anyhow::Result<PathBuf> {
    let target = crate::target_dir().join("sim");
    let build = ["build", "--quiet", "--package", "puffer-simulator", "--features", "mutations"];
    process::run(
        Command::new("cargo")
            .args(["--config", "profile.dev.opt-level=1"])
            .args(build)
            .current_dir(crate::root()),
    )?;
    let built = crate::target_dir().join("debug/puffer-sim");
    // Kept apart: an ordinary build would replace it by one that is slow and has no rules to break.
    std::fs::create_dir_all(&target)?;
    let kept = target.join("puffer-sim");
    std::fs::copy(built, &kept)?;
    Ok(kept)
}
