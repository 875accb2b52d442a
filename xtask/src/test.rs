//! `cargo xtask test`: everything that says whether Puffer works, from the rules of the house to real instances.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::{bench, codegen, coverage, demo, floors, process, requirements, sim, tidy};

/// Tells tests where a root file system with systemd is.
const SYSTEMD_ROOT: &str = "PUFFER_TEST_SYSTEMD_ROOT";

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only these parts
    #[arg(value_parser = ["rules", "cost", "rust", "sim", "wire", "system", "demo"])]
    parts: Vec<String>,
}

/// Runs the chosen parts in order; all are run even if one fails, so that one run shows every fault.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let chosen = |part: &str| args.parts.is_empty() || args.parts.iter().any(|p| p == part);
    prepare();
    let mut results: Vec<(&str, anyhow::Result<()>)> = Vec::new();
    if chosen("rules") {
        results.push(("rules", rules()));
    }
    if chosen("cost") {
        results.push(("cost", cost()));
    }
    if chosen("sim") {
        results.push(("sim", sim::test()));
    }
    let binary = match ["rust", "wire", "system", "demo"].iter().any(|p| chosen(p)) {
        true => Some(binary()),
        false => None,
    };
    if let Some(binary) = binary {
        match binary {
            Ok(binary) => {
                // Both boot it.
                let root =
                    ["rust", "system"].iter().any(|p| chosen(p)).then(|| systemd_root(&binary)).flatten();
                if chosen("rust") {
                    results.push(("rust", rust(root.as_deref())));
                }
                for part in ["wire", "system"] {
                    if chosen(part) {
                        results.push((part, pytest(&binary, part, root.as_deref())));
                    }
                }
                if chosen("demo") {
                    results.push(("demo", demo::run(&demo::Args::with_binary(binary))));
                }
            }
            Err(error) => results.push(("build", Err(error))),
        }
    }
    let n_failed = results.iter().filter(|(_, r)| r.is_err()).count();
    eprintln!();
    for (part, result) in &results {
        match result {
            Ok(()) => eprintln!("✓ {part}"),
            Err(error) => eprintln!("✗ {part}: {error:#}"),
        }
    }
    println!("{} passed, {n_failed} failed", results.len() - n_failed);
    if n_failed > 0 {
        bail!("{n_failed} of {} parts failed", results.len());
    }
    Ok(())
}

/// What the tests want of the machine. What is missing makes tests skip, loudly; it fails nothing here.
fn prepare() {
    for missing in [requirements::container(), requirements::test()].into_iter().filter_map(Result::err) {
        eprintln!("SKIPPING what needs it: {missing:#}");
    }
}

/// Whether deciding a group still costs what it may. Where instructions cannot be counted it is skipped, loudly.
fn cost() -> anyhow::Result<()> {
    match requirements::counting() {
        Ok(()) => bench::gate(),
        Err(missing) => {
            eprintln!("SKIPPING the cost of a decision (cargo xtask bench plan): {missing:#}");
            Ok(())
        }
    }
}

fn rules() -> anyhow::Result<()> {
    floors::run(&floors::Args {})?;
    tidy::run(&tidy::Args {})?;
    codegen::run(&codegen::Args { check: true })?;
    coverage::run(&coverage::Args { check: true })
}

/// The lab's image as a root file system for the tests that boot systemd; built once under `target/`. Where containers cannot be, or
/// Debian's packages cannot be had, those tests are skipped, loudly.
fn systemd_root(binary: &Path) -> Option<PathBuf> {
    if !process::is_root() {
        eprintln!("SKIPPING what boots systemd: it needs root");
        return None;
    }
    match demo::lab_root(binary) {
        Ok(root) => Some(root),
        Err(error) => {
            eprintln!("SKIPPING what boots systemd: the lab's image cannot be built: {error:#}");
            None
        }
    }
}

fn rust(systemd_root: Option<&Path>) -> anyhow::Result<()> {
    if process::output(Command::new("cargo").args(["nextest", "--version"])).is_err() {
        process::run(Command::new("cargo").args(["install", "--locked", "cargo-nextest"]))?;
    }
    process::run(
        Command::new("cargo")
            .args(["nextest", "run", "--workspace"])
            .envs(systemd_root.map(|root| (SYSTEMD_ROOT, root)))
            .current_dir(crate::root()),
    )
}

/// The binary under test, without optimisation: it is built anyway for the Rust tests.
fn binary() -> anyhow::Result<PathBuf> {
    process::run(Command::new("cargo").args(["build", "--package", "puffer"]).current_dir(crate::root()))?;
    Ok(crate::target_dir().join("debug/puffer"))
}

/// Workers for the wire tests: a processor each, and one more because much of their time is waiting.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) + 1
}

fn pytest(binary: &Path, part: &str, systemd_root: Option<&Path>) -> anyhow::Result<()> {
    let python = requirements::python()?;
    let mut pytest = Command::new(python.join("bin/pytest"));
    if part == "wire" {
        match requirements::ansible() {
            Ok(ansible) => {
                pytest.env("ANSIBLE_PLAYBOOK", ansible.playbook);
                pytest.env("ANSIBLE_COLLECTIONS_PATH", ansible.collections);
            }
            Err(error) => eprintln!("SKIPPING what needs Ansible: {error:#}"),
        }
        // Each worker has a server of its own. tests/conftest.py says which tests stay together, and in which order they come.
        pytest.args(["--dist", "loadgroup", "--no-loadscope-reorder", "--durations", "10"]);
        pytest.args(["--numprocesses", &workers().to_string()]);
    }
    process::run(
        pytest
            .args(["-q", "--no-header", "-p", "no:cacheprovider", "-rs"])
            .arg(format!("tests/{part}"))
            .env("PUFFER", binary)
            .env(
                "PATH",
                format!("{}:{}", python.join("bin").display(), std::env::var("PATH").unwrap_or_default()),
            )
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(systemd_root.map(|root| (SYSTEMD_ROOT, root)))
            .current_dir(crate::root()),
    )
}
