//! `cargo xtask coverage`: writes docs/compatibility.md from the table of handlers and the tests' source.

use std::process::Command;

use anyhow::{Context, bail};

use crate::process;

/// What is written, from the repository's root.
const PAGE: &str = "docs/compatibility.md";
/// Says which operations the tests call, from the repository's root.
const EXERCISED: &str = "tests/exercised.py";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if the page differs from what the code says, or if no test calls an operation that is served
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let calls = process::output(Command::new("python3").args(["-B", EXERCISED]).current_dir(crate::root()))?;
    let exercised = crate::target_dir().join("exercised.json");
    std::fs::write(&exercised, calls).with_context(|| format!("writing {}", exercised.display()))?;
    let text = process::output(
        Command::new("cargo")
            .args(["run", "--quiet", "--package", "puffer-api", "--example", "coverage", "--"])
            .arg(&exercised)
            .args(args.check.then_some("--strict"))
            .current_dir(crate::root()),
    )?;
    let path = crate::root().join(PAGE);
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if args.check {
        bail!("{PAGE} is stale, run `cargo xtask coverage`");
    }
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
