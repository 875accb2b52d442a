//! OCI image layouts (image-spec 1.1, `image-layout.md` and `layer.md`) as images.
//!
//! Layers are laid over each other into one directory, whiteouts applied: every driver can use that, and no device nodes are
//! needed for it. Each blob's digest is checked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use sha2::{Digest, Sha256};

use super::archive::{self, Budget, Whiteouts};
use super::{ImageError, OnProgress, Progress, Trying};
use crate::process::BundleManifest;

/// Bytes of an index, manifest or configuration; the registries' limit.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Bytes of all blobs of an archive.
const BLOBS_BYTES_MAX: u64 = 32 << 30;
/// Indexes within indexes.
const NESTING_MAX: usize = 4;

/// Unpacks the archive's image for this machine into `root`. Returns its manifest's digest and how it wants to be run.
pub(super) fn unpack(
    file: &Path,
    scratch: &Path,
    root: &Path,
    on_progress: OnProgress<'_>,
) -> Result<(String, BundleManifest), ImageError> {
    fs::create_dir_all(scratch).trying(|| format!("make {}", scratch.display()))?;
    extract_layout(file, scratch)?;
    let index = ImageIndex::from_file(scratch.join("index.json")).map_err(bad)?;
    let (digest, manifest) = pick(scratch, &index, 0)?;
    let config = blob(scratch, manifest.config())?;
    let config = ImageConfiguration::from_file(config).map_err(bad)?;
    let mut budget = Budget::default();
    let n_layers = manifest.layers().len();
    for (i, layer) in manifest.layers().iter().enumerate() {
        let fraction = i as f32 / n_layers.max(1) as f32;
        on_progress(Progress { step: format!("layer {} of {n_layers}", i + 1), fraction: Some(fraction) });
        let path = blob(scratch, layer)?;
        archive::unpack(archive::open(&path)?, root, Whiteouts::Apply, &mut budget, &mut |_| {})?;
    }
    Ok((digest, how_to_run(&config)))
}

fn bad(error: impl std::fmt::Display) -> ImageError {
    ImageError::Input(format!("not a usable OCI archive: {error}"))
}

/// Takes out of the archive what an image layout has, under names we choose.
fn extract_layout(file: &Path, scratch: &Path) -> Result<(), ImageError> {
    let blobs = scratch.join("blobs");
    fs::create_dir_all(&blobs).trying(|| format!("make {}", blobs.display()))?;
    let mut archive = tar::Archive::new(archive::open(file)?);
    let mut n_bytes = 0u64;
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        let name = entry.path().map_err(bad)?.to_string_lossy().trim_start_matches("./").to_owned();
        let to = match name.strip_prefix("blobs/sha256/") {
            Some(hex) if is_sha256(hex) => blobs.join(hex),
            _ if name == "index.json" => scratch.join("index.json"),
            _ => continue,
        };
        n_bytes = n_bytes.saturating_add(entry.size());
        if n_bytes > BLOBS_BYTES_MAX || !entry.header().entry_type().is_file() {
            return Err(bad("it is too large or not made of plain files"));
        }
        let mut out = File::create(&to).trying(|| format!("make {}", to.display()))?;
        io::copy(&mut entry, &mut out).trying(|| format!("unpack {name}"))?;
    }
    Ok(())
}

fn is_sha256(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The file of a blob, its digest checked.
fn blob(scratch: &Path, descriptor: &Descriptor) -> Result<PathBuf, ImageError> {
    let digest = descriptor.digest().to_string();
    let hex = digest.strip_prefix("sha256:").filter(|hex| is_sha256(hex));
    let hex = hex.ok_or_else(|| bad(format!("digest {digest} is not supported")))?;
    let path = scratch.join("blobs").join(hex);
    let mut file = File::open(&path).map_err(|_| bad(format!("blob {digest} is missing")))?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).trying(|| format!("read {}", path.display()))?;
        if n == 0 {
            break;
        }
        sha.update(&buffer[..n]);
    }
    let found: String = sha.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if found != hex {
        return Err(bad(format!("blob {digest} is damaged")));
    }
    Ok(path)
}

/// The manifest for this machine's architecture; the first one if none says what it is for.
fn pick(scratch: &Path, index: &ImageIndex, depth: usize) -> Result<(String, ImageManifest), ImageError> {
    let here = archive::architecture_name(std::env::consts::ARCH);
    let fits = |d: &&Descriptor| match d.platform() {
        Some(platform) => {
            platform.os().to_string() == "linux"
                && archive::architecture_name(&platform.architecture().to_string()) == here
        }
        None => true,
    };
    let descriptor = index.manifests().iter().find(fits);
    let descriptor = descriptor.ok_or_else(|| bad(format!("it has no image for linux on {here}")))?;
    if descriptor.size() > DOCUMENT_BYTES_MAX || depth >= NESTING_MAX {
        return Err(bad("its index is too large or too deep"));
    }
    let path = blob(scratch, descriptor)?;
    if *descriptor.media_type() == MediaType::ImageIndex {
        return pick(scratch, &ImageIndex::from_file(path).map_err(bad)?, depth + 1);
    }
    Ok((descriptor.digest().to_string(), ImageManifest::from_file(path).map_err(bad)?))
}

/// Entry point, command, environment and port of the image's configuration. Images with a system's init as their
/// command run it like any other.
fn how_to_run(config: &ImageConfiguration) -> BundleManifest {
    let mut how = BundleManifest::rootfs();
    let Some(config) = config.config() else { return how };
    how.command.extend(config.entrypoint().iter().flatten().cloned());
    how.command.extend(config.cmd().iter().flatten().cloned());
    how.working_directory = config.working_dir().clone().filter(|dir| !dir.is_empty());
    how.environment = config
        .env()
        .iter()
        .flatten()
        .filter_map(|entry| entry.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    how.port = config
        .exposed_ports()
        .iter()
        .flatten()
        .find_map(|port| port.split('/').next().and_then(|port| port.parse().ok()));
    how
}
