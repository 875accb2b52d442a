//! `cargo xtask floors`: a crate imports only crates of lower floors.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, bail};

/// Floors of the house, lowest first (ARCHITECTURE.md explains them).
const FLOORS: &[(&str, u8)] = &[
    ("puffer-core", 0),
    ("puffer-wire", 0),
    ("puffer-shapes", 1),
    ("puffer-store", 1),
    ("puffer-metrics", 1),
    ("puffer-compute", 1),
    ("puffer-network", 1),
    ("puffer-balancer", 1),
    ("puffer-inventory", 2),
    ("puffer-control", 3),
    ("puffer-api", 3),
    ("puffer-simulator", 4),
    ("puffer-fuzz", 4),
    ("puffer", 5),
];

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<()> {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut faults = Vec::new();
    let mut n_crates = 0;
    for entry in fs::read_dir(crate::root().join("crates"))? {
        let path = entry?.path().join("Cargo.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let manifest: toml::Table =
            text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        let name = manifest["package"]["name"].as_str().unwrap_or_default().to_owned();
        n_crates += 1;
        let Some(floor) = floors.get(name.as_str()) else {
            faults.push(format!("{name} has no floor: add it to xtask/src/floors.rs and ARCHITECTURE.md"));
            continue;
        };
        let imported =
            manifest.get("dependencies").and_then(|d| d.as_table()).into_iter().flat_map(|d| d.keys());
        for import in imported {
            if let Some(other) = floors.get(import.as_str())
                && other >= floor
            {
                faults.push(format!("{name} (floor {floor}) imports {import} (floor {other})"));
            }
        }
    }
    if !faults.is_empty() {
        bail!("the floors do not hold:\n  {}", faults.join("\n  "));
    }
    eprintln!("floors: {n_crates} crates, each imports only lower floors");
    Ok(())
}
