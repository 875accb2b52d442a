//! `cargo xtask coverage`: writes docs/compatibility.md from the table of handlers.

use std::process::Command;

use anyhow::{Context, bail};

use crate::process;

/// What is written, from the repository's root.
const PAGE: &str = "docs/compatibility.md";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if the page differs from what the code says
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = process::output(
        Command::new("cargo")
            .args(["run", "--quiet", "--package", "puffer-api", "--example", "coverage"])
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
