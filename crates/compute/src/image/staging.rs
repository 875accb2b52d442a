//! An image being made.
//!
//! Its directory is locked by the maker, so that a sweep by another process (a server that starts while the
//! command line builds) tells work in progress from leftovers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use puffer_core::Timestamp;

use super::archive;
use super::files;
use super::{ImageError, ImageSource, MANIFEST_VERSION, Manifest, NewImage, Trying};
use crate::process::{BUNDLE_MANIFEST, BundleKind, BundleManifest};

/// Prefix of directories in the making.
pub(super) const MAKING: &str = ".making-";
/// The image's own layer.
pub(super) const ROOT: &str = "root";
/// What makes an image exist.
pub(super) const MANIFEST: &str = "manifest.json";

/// A place for an image that does not exist yet. Dropping it removes what was put there.
pub struct Staged {
    images: PathBuf,
    new: NewImage,
    dir: PathBuf,
    /// Held until the image exists or is given up.
    _lock: Flock<File>,
}

impl Staged {
    pub(super) fn begin(images: &Path, new: NewImage) -> Result<Staged, ImageError> {
        if !puffer_core::ec2::is_well_formed_id("ami", &new.id) {
            return Err(ImageError::Input(format!("{:?} is not an image id", new.id)));
        }
        if images.join(&new.id).exists() {
            return Err(ImageError::Exists(new.id));
        }
        let dir = images.join(format!("{MAKING}{}", new.id));
        fs::create_dir_all(&dir).trying(|| format!("make {}", dir.display()))?;
        let lock = lock(&dir)?.ok_or_else(|| ImageError::Exists(new.id.clone()))?;
        // An interrupted attempt with the same id: begin afresh.
        files::remove_tree(&dir.join(ROOT)).trying(|| format!("clear {}", dir.display()))?;
        fs::create_dir(dir.join(ROOT)).trying(|| format!("make {}", dir.display()))?;
        Ok(Staged { images: images.to_owned(), new, dir, _lock: lock })
    }

    /// The empty directory that becomes the image's own layer; the target of `Driver::create_image`.
    pub fn root(&self) -> PathBuf {
        self.dir.join(ROOT)
    }

    /// Says what the image is to be called, where that was not known at the beginning. Its id stays.
    pub fn describe(&mut self, name: &str, description: Option<&str>, created_at: Timestamp) {
        self.new.name = name.to_owned();
        self.new.description = description.map(str::to_owned);
        self.new.created_at = created_at;
    }

    /// A place for temporary files.
    pub(super) fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    /// Writes how to run the image beside its layer.
    pub(super) fn say_how_to_run(&self, how: &BundleManifest) -> Result<(), ImageError> {
        files::write_json(&self.dir.join(BUNDLE_MANIFEST), how)
    }

    /// Finishes an image whose only layer is [`Staged::root`].
    pub fn finish(self, source: ImageSource) -> Result<Manifest, ImageError> {
        let layers = vec![self.root()];
        self.adopt(layers, source)
    }

    /// Finishes an image of these layers, lowest first, all in this store or [`Staged::root`]: what
    /// `Driver::create_image` returns.
    pub fn adopt(self, layers: Vec<PathBuf>, source: ImageSource) -> Result<Manifest, ImageError> {
        let own = self.root();
        let place = Path::new(&self.new.id).join(ROOT);
        let mut relative = Vec::with_capacity(layers.len());
        let mut size_bytes = 0;
        for layer in &layers {
            let path = if *layer == own {
                place.clone()
            } else {
                let inside = layer.strip_prefix(&self.images).ok().filter(|p| !p.starts_with(".."));
                let inside = inside.ok_or_else(|| {
                    ImageError::Input(format!("layer {} is outside the image store", layer.display()))
                })?;
                inside.to_owned()
            };
            size_bytes += files::listing(layer)?.size_bytes;
            relative.push(path);
        }
        if relative.is_empty() {
            return Err(ImageError::Input("an image needs at least one layer".to_owned()));
        }
        files::remove_tree(&self.scratch()).trying(|| "remove temporary files".to_owned())?;
        if !self.dir.join(BUNDLE_MANIFEST).exists()
            && let Some(text) = BundleManifest::read(&own.join(BUNDLE_MANIFEST)).map_err(ImageError::Input)?
        {
            // Read by drivers beside the layer; kept in it too, so that copies of the tree carry it.
            fs::write(self.dir.join(BUNDLE_MANIFEST), text).trying(|| format!("write {BUNDLE_MANIFEST}"))?;
        }
        let kind = kind_of(&self.dir, &layers)?;
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            id: self.new.id.clone(),
            name: self.new.name.clone(),
            description: self.new.description.clone(),
            architecture: architecture().to_owned(),
            kind,
            created_at: self.new.created_at,
            size_bytes,
            source,
            aliases: self.new.aliases.clone(),
            layers: relative,
            listing_sha256: files::listing(&own)?.sha256,
        };
        files::write_json(&self.dir.join(MANIFEST), &manifest)?;
        let place = self.images.join(&self.new.id);
        fs::rename(&self.dir, &place).trying(|| format!("put the image at {}", place.display()))?;
        // The lock's file goes with the directory; nothing looks for it there.
        let _ = fs::remove_file(place.join(LOCK));
        files::sync_dir(&self.images);
        Ok(manifest)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = files::remove_tree(&self.dir);
    }
}

const LOCK: &str = "lock";

/// Locks a directory in the making; `None` when somebody else is at work there.
pub(super) fn lock(dir: &Path) -> Result<Option<Flock<File>>, ImageError> {
    let path = dir.join(LOCK);
    let file = File::create(&path).trying(|| format!("make {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(std::io::Error::from(error)).trying(|| format!("lock {}", path.display())),
    }
}

/// A bundle says so itself; anything else is a root file system.
fn kind_of(dir: &Path, layers: &[PathBuf]) -> Result<BundleKind, ImageError> {
    let mut candidates = vec![dir.join(BUNDLE_MANIFEST)];
    candidates.extend(layers.iter().rev().filter_map(|l| l.parent().map(|p| p.join(BUNDLE_MANIFEST))));
    for path in candidates {
        if let Some(bytes) = BundleManifest::read(&path).map_err(ImageError::Input)? {
            let how: BundleManifest = serde_json::from_slice(&bytes)
                .map_err(|error| ImageError::Input(format!("{BUNDLE_MANIFEST}: {error}")))?;
            return Ok(how.kind);
        }
    }
    Ok(BundleKind::Rootfs)
}

/// EC2's name of this machine's architecture.
pub(super) fn architecture() -> &'static str {
    archive::architecture_name(std::env::consts::ARCH)
}
