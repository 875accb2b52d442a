//! `cargo xtask codegen`: `models/*.json` → `crates/shapes/src/<service>/generated*.rs`. Needs no network.
//!
//! Per service: `generated.rs` has the structs and the operations' marker types, `generated_schema.rs` the statics that the
//! codecs walk. Names and constraints live in the schemas only, so that there is one small `impl` per struct, whatever the
//! number of protocols.

mod names;
mod schemas;
mod types;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::model::{Model, selection};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if the committed files differ from what would be generated
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut stale = Vec::new();
    for service in selection()?.service.keys() {
        let path = crate::root().join(format!("models/{service}.json"));
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let model: Model = serde_json::from_slice(&text)?;
        let service_model = names::ServiceModel::new(service, &model)?;
        let folder = crate::root().join(format!("crates/shapes/src/{service}"));
        std::fs::create_dir_all(&folder)?;
        for (file, body) in [
            ("generated.rs", types::generate(&service_model)?),
            ("generated_schema.rs", schemas::generate(&service_model)?),
        ] {
            put(&folder.join(file), &body, args.check, &mut stale)?;
        }
    }
    if !stale.is_empty() {
        bail!("generated files are stale, run `cargo xtask codegen`: {}", stale.join(", "));
    }
    Ok(())
}

fn put(path: &Path, body: &str, check: bool, stale: &mut Vec<String>) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == body) {
        return Ok(());
    }
    if check {
        stale.push(path.display().to_string());
        return Ok(());
    }
    std::fs::write(path, body).with_context(|| format!("writing {}", path.display()))
}
