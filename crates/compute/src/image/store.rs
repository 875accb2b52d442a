//! Looking images up, checking, making and removing them.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::staging::{MAKING, MANIFEST, Staged, lock};
use super::{DebianBuild, ImageError, ImageSource, MANIFEST_VERSION, Manifest, NewImage, OnProgress, Trying};
use super::{archive, debian, files, oci};
use crate::ImageRef;

/// The images of one data directory. Cheap to open; holds no state, so several processes may.
#[derive(Debug, Clone)]
pub struct ImageStore {
    dir: PathBuf,
}

impl ImageStore {
    /// Opens (and makes) `<data>/images`.
    pub fn open(dir: &Path) -> Result<ImageStore, ImageError> {
        fs::create_dir_all(dir).trying(|| format!("make {}", dir.display()))?;
        let dir = fs::canonicalize(dir).trying(|| format!("find {}", dir.display()))?;
        Ok(ImageStore { dir })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All usable images, oldest first, and the ids of damaged ones with what is wrong.
    pub fn list(&self) -> Result<(Vec<Manifest>, Vec<ImageError>), ImageError> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for id in self.ids()? {
            match self.get(&id) {
                Ok(manifest) => good.push(manifest),
                // Removed meanwhile.
                Err(ImageError::NotFound(_)) => {}
                Err(error) => bad.push(error),
            }
        }
        good.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok((good, bad))
    }

    /// The image, if it exists and its layers are there.
    pub fn get(&self, id: &str) -> Result<Manifest, ImageError> {
        if !puffer_core::ec2::is_well_formed_id("ami", id) {
            return Err(ImageError::NotFound(id.to_owned()));
        }
        let bytes = match fs::read(self.dir.join(id).join(MANIFEST)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ImageError::NotFound(id.to_owned()));
            }
            Err(error) => return Err(error).trying(|| format!("read the manifest of {id}")),
        };
        let damaged = |reason: String| ImageError::Damaged { id: id.to_owned(), reason };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| damaged(format!("its manifest: {error}")))?;
        if manifest.id != id {
            return Err(damaged(format!("its manifest is of {}", manifest.id)));
        }
        if manifest.version > MANIFEST_VERSION {
            return Err(damaged("it was made by a newer Puffer".to_owned()));
        }
        if let Some(layer) = manifest.layers.iter().find(|layer| !self.dir.join(layer).is_dir()) {
            return Err(damaged(format!("layer {} is missing", layer.display())));
        }
        Ok(manifest)
    }

    /// The image as drivers take it.
    pub fn image_ref(&self, id: &str) -> Result<ImageRef, ImageError> {
        let manifest = self.get(id)?;
        let layers = manifest.layers.iter().map(|layer| self.dir.join(layer)).collect();
        Ok(ImageRef { image_id: manifest.id, layers })
    }

    /// Compares the image's layers with the listings of the times they were made. Layers of images that were removed have none any more.
    pub fn verify(&self, id: &str) -> Result<Manifest, ImageError> {
        let manifest = self.get(id)?;
        for layer in &manifest.layers {
            let owner = layer.parent().and_then(Path::to_str).unwrap_or_default();
            let wanted = match owner == id {
                true => manifest.listing_sha256.clone(),
                false => match self.get(owner) {
                    Ok(below) => below.listing_sha256,
                    Err(_) => continue,
                },
            };
            if files::listing(&self.dir.join(layer))?.sha256 != wanted {
                let reason =
                    format!("files of {} were added, removed or changed since it was made", layer.display());
                return Err(ImageError::Damaged { id: id.to_owned(), reason });
            }
        }
        Ok(manifest)
    }

    /// A place to make an image by other means, such as `Driver::create_image`.
    pub fn stage(&self, new: NewImage) -> Result<Staged, ImageError> {
        Staged::begin(&self.dir, new)
    }

    /// Imports a tarball (plain, gzip or zstd) of a root file system or of a bundle.
    pub fn import_tarball(
        &self,
        new: NewImage,
        file: &Path,
        on_progress: OnProgress<'_>,
    ) -> Result<Manifest, ImageError> {
        let staged = self.stage(new)?;
        archive::unpack_file(file, &staged.root(), on_progress)?;
        staged.finish(ImageSource::Tarball { file: file.display().to_string() })
    }

    /// Imports an OCI image layout in a tarball, as `skopeo copy … oci-archive:` and `podman save --format oci-archive` write it.
    pub fn import_oci(
        &self,
        new: NewImage,
        file: &Path,
        on_progress: OnProgress<'_>,
    ) -> Result<Manifest, ImageError> {
        let staged = self.stage(new)?;
        let (digest, how) = oci::unpack(file, &staged.scratch(), &staged.root(), on_progress)?;
        staged.say_how_to_run(&how)?;
        staged.finish(ImageSource::Oci { file: file.display().to_string(), digest })
    }

    /// Imports whichever of the two `file` is.
    pub fn import(
        &self,
        new: NewImage,
        file: &Path,
        on_progress: OnProgress<'_>,
    ) -> Result<Manifest, ImageError> {
        if file.is_dir() {
            return self.import_directory(new, file);
        }
        if archive::is_oci(file)? {
            self.import_oci(new, file, on_progress)
        } else {
            self.import_tarball(new, file, on_progress)
        }
    }

    /// Imports a copy of a directory: a root file system or a bundle with its `puffer-image.json`.
    pub fn import_directory(&self, new: NewImage, dir: &Path) -> Result<Manifest, ImageError> {
        let staged = self.stage(new)?;
        crate::process::copy_tree(dir, &staged.root()).trying(|| format!("copy {}", dir.display()))?;
        staged.finish(ImageSource::Directory { path: dir.display().to_string() })
    }

    /// Builds an image from Debian packages.
    pub fn build_debian(
        &self,
        new: NewImage,
        build: &DebianBuild,
        on_progress: OnProgress<'_>,
    ) -> Result<Manifest, ImageError> {
        let staged = self.stage(new)?;
        let scratch = staged.scratch();
        fs::create_dir_all(&scratch).trying(|| format!("make {}", scratch.display()))?;
        let tarball = scratch.join("rootfs.tar");
        let suite = debian::build(build, &tarball, on_progress)?;
        archive::unpack_file(&tarball, &staged.root(), on_progress)?;
        staged.finish(ImageSource::Debian { suite, packages: build.packages.clone() })
    }

    /// Makes the image vanish. Its layers stay until [`ImageStore::collect`] finds them unused. Removing an absent image is
    /// no error.
    pub fn remove(&self, id: &str) -> Result<(), ImageError> {
        if !puffer_core::ec2::is_well_formed_id("ami", id) {
            return Ok(());
        }
        match fs::remove_file(self.dir.join(id).join(MANIFEST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).trying(|| format!("remove image {id}"))
            }
            _ => Ok(()),
        }
    }

    /// Deletes the files of removed images that no image and none of `layers_in_use` (of instances) needs.
    pub fn collect(&self, layers_in_use: &HashSet<PathBuf>) -> Result<(), ImageError> {
        let (images, damaged) = self.list()?;
        // A manifest that cannot be read may name any layer.
        if let Some(error) = damaged.into_iter().next() {
            return Err(error);
        }
        let mut needed: HashSet<PathBuf> =
            images.iter().flat_map(|image| image.layers.iter().map(|layer| self.dir.join(layer))).collect();
        needed.extend(layers_in_use.iter().cloned());
        for dir in self.directories()? {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let removed = puffer_core::ec2::is_well_formed_id("ami", &name) && !dir.join(MANIFEST).exists();
            if removed && !needed.iter().any(|layer| layer.starts_with(&dir)) {
                files::remove_tree(&dir).trying(|| format!("delete {}", dir.display()))?;
            }
        }
        Ok(())
    }

    /// Removes what interrupted makers left. Work in progress is left alone.
    pub fn sweep(&self) -> Result<(), ImageError> {
        for dir in self.directories()? {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(MAKING) && lock(&dir)?.is_some() {
                files::remove_tree(&dir).trying(|| format!("delete {}", dir.display()))?;
            }
        }
        Ok(())
    }

    fn ids(&self) -> Result<Vec<String>, ImageError> {
        let dirs = self.directories()?;
        Ok(dirs
            .into_iter()
            .filter(|dir| dir.join(MANIFEST).exists())
            .filter_map(|dir| dir.file_name().and_then(|n| n.to_str()).map(str::to_owned))
            .filter(|name| !name.starts_with('.'))
            .collect())
    }

    fn directories(&self) -> Result<Vec<PathBuf>, ImageError> {
        let what = || format!("read {}", self.dir.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).trying(what)? {
            let entry = entry.trying(what)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}
