//! The image store: unpacked, read-only images under `<data>/images/`.
//!
//! ```text
//! images/ami-…/manifest.json       what the image is; its presence is what makes the image exist
//! images/ami-…/root/               the image's own layer
//! images/ami-…/puffer-image.json   how to run it, if it says so (see `process::BundleManifest`)
//! images/.making-ami-…/            an image that is being made; locked by its maker
//! ```
//!
//! An image appears by one rename, so a reader never sees half of it and a crash leaves nothing but a directory that the
//! next [`ImageStore::sweep`] removes. That is also how the command line and a running server share the store:
//! `puffer image build` writes here, and the server adopts images it does not know yet when it looks (at its start, and
//! periodically). Paths of layers never change while anything uses them: [`ImageStore::remove`] only
//! takes the manifest away, and [`ImageStore::collect`] deletes layers that neither an image nor an instance needs.
//!
//! All calls block on the file system; async callers put them on a blocking thread.

mod archive;
mod debian;
mod files;
mod oci;
mod staging;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use puffer_core::{ErrorClass, Timestamp};
use serde::{Deserialize, Serialize};

pub use debian::{DebianBuild, find_tool};
pub use files::FIRST_BOOT;
pub use staging::Staged;
pub use store::ImageStore;

/// What a caller says of an image to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// `ami-…`, fresh.
    pub id: String,
    /// Name for people and for look-up.
    pub name: String,
    /// Text for people.
    pub description: Option<String>,
    /// Parameter names that shall point at it (`/puffer/images/…`).
    pub aliases: Vec<String>,
    /// When it is made.
    pub created_at: Timestamp,
}

/// What an image is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// Built from Debian packages.
    Debian {
        /// `bookworm`, ….
        suite: String,
        /// Packages beside the minimal system.
        packages: Vec<String>,
    },
    /// A tarball of a root file system or a bundle.
    Tarball {
        /// As given.
        file: String,
    },
    /// An OCI archive.
    Oci {
        /// As given.
        file: String,
        /// Digest of the OCI manifest.
        digest: String,
    },
    /// A directory.
    Directory {
        /// As given.
        path: String,
    },
    /// An instance (`CreateImage`).
    Instance {
        /// `i-…`.
        instance_id: String,
    },
}

/// `manifest.json`: what is known of a finished image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's form.
    pub version: u32,
    /// `ami-…`.
    pub id: String,
    /// Name.
    pub name: String,
    /// Text for people.
    #[serde(default)]
    pub description: Option<String>,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Whether it is a root file system or a bundle for the process driver.
    pub kind: crate::process::BundleKind,
    /// When it was made.
    pub created_at: Timestamp,
    /// Bytes of all its files, shared layers included.
    pub size_bytes: u64,
    /// Where it came from.
    pub source: ImageSource,
    /// Parameter names that shall point at it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Layers, lowest first, relative to the store.
    pub layers: Vec<PathBuf>,
    /// SHA-256 over the listing (path, kind, mode, size, link target) of its own layer, hexadecimal.
    pub listing_sha256: String,
}

/// Version of [`Manifest`]'s form written now.
pub(crate) const MANIFEST_VERSION: u32 = 1;

/// A step of a long operation, for progress displays.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub step: String,
    /// How much of the whole is done, 0–1, where that is known.
    pub fraction: Option<f32>,
}

/// Receives progress.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// What went wrong in the image store.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No image has this id.
    #[error("image {0} does not exist")]
    NotFound(String),
    /// The id is taken or being made.
    #[error("image {0} exists already")]
    Exists(String),
    /// The image is there but cannot be used.
    #[error("image {id} is damaged: {reason}")]
    Damaged {
        /// `ami-…`.
        id: String,
        /// What is missing or different.
        reason: String,
    },
    /// The archive, directory or option given is not usable.
    #[error("{0}")]
    Input(String),
    /// A program is missing.
    #[error("{tool} is needed and not installed; install it with: {install}")]
    MissingTool {
        /// The program.
        tool: &'static str,
        /// The exact command.
        install: &'static str,
    },
    /// A program failed.
    #[error("{tool} failed: {reason}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// Its last words.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {what}: {reason}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        reason: String,
        /// Whether the disk is full.
        full: bool,
    },
}

impl ImageError {
    /// Class for retry decisions.
    pub fn class(&self) -> ErrorClass {
        match self {
            ImageError::NotFound(_) | ImageError::Exists(_) | ImageError::Input(_) => ErrorClass::Caller,
            ImageError::Damaged { .. } | ImageError::MissingTool { .. } => ErrorClass::Permanent,
            ImageError::Io { full: true, .. } => ErrorClass::Capacity,
            ImageError::Tool { .. } | ImageError::Io { .. } => ErrorClass::Transient,
        }
    }
}

/// Names what was tried when an I/O error comes.
pub(crate) trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, ImageError>;
}

impl<T> Trying<T> for std::io::Result<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, ImageError> {
        self.map_err(|error| ImageError::Io {
            what: what(),
            full: matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded),
            reason: error.to_string(),
        })
    }
}

/// Unpacks as imports do: for fuzzing.
pub(crate) fn unpack(archive: &[u8], target: &std::path::Path, layered: bool) -> Result<(), ImageError> {
    let whiteouts = if layered { archive::Whiteouts::Apply } else { archive::Whiteouts::Ordinary };
    archive::unpack(archive, target, whiteouts, &mut archive::Budget::default(), &mut |_| {})
}
