//! `cargo xtask ci`: what a change must pass: format, lints, then everything of `cargo xtask test`.

use std::process::Command;

use crate::{process, test};

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<()> {
    let cargo =
        |arguments: &[&str]| process::run(Command::new("cargo").args(arguments).current_dir(crate::root()));
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    test::run(&test::Args::default())
}
