//! What the driver tells the helper, and what the helper answers: one JSON document each way, over a pipe.

use std::path::{Path, PathBuf};

use super::cgroup::Cgroups;
use crate::process::{BundleKind, BundleManifest};
use crate::{DriverError, ImageRef, LaunchSpec};

/// How to run the image; one that is meant for plain processes cannot be booted.
pub(super) fn how_to_run(image: &ImageRef) -> Result<BundleManifest, DriverError> {
    let how = BundleManifest::find(&image.image_id, &image.layers)?;
    match how.kind {
        BundleKind::Rootfs => Ok(how),
        BundleKind::Process => Err(DriverError::BadImage {
            image_id: image.image_id.clone(),
            reason: "it is a bundle for the process driver, not a root file system".into(),
        }),
    }
}

/// Everything a shim needs. Complete by itself, so that the shim can restart a guest while no control plane runs.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Plan {
    pub(super) spec: LaunchSpec,
    pub(super) image: BundleManifest,
    /// The instance's directory.
    pub(super) dir: PathBuf,
    pub(super) base_uid: u32,
    pub(super) cgroup_server: String,
    /// Whether this is the instance's first start (keys, machine id and user data are put in).
    pub(super) first_boot: bool,
    /// Counts the instance's starts; a shim whose number is not the latest was overtaken and ends.
    pub(super) start: u64,
}

impl Plan {
    /// The groups as seen from the host's namespaces, where the shim lives.
    pub(super) fn cgroups(&self) -> Option<Cgroups> {
        let layout = super::cgroup_layout::Layout::detect()?;
        Some(Cgroups { layout, server: self.cgroup_server.clone() })
    }
}

/// The helper's one line of answer.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum Answer {
    Running,
    Failed(Failure),
}

/// Why a start failed, with the step that did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Failure {
    pub(super) class: FailureClass,
    pub(super) message: String,
}

/// The classes of [`DriverError`] that a start can end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum FailureClass {
    Image,
    Capacity,
    Transient,
    Permanent,
}

impl Failure {
    pub(super) fn image(message: impl Into<String>) -> Self {
        Failure { class: FailureClass::Image, message: message.into() }
    }

    pub(super) fn permanent(message: impl Into<String>) -> Self {
        Failure { class: FailureClass::Permanent, message: message.into() }
    }

    pub(super) fn transient(message: impl Into<String>) -> Self {
        Failure { class: FailureClass::Transient, message: message.into() }
    }

    /// As the driver's error.
    pub(super) fn into_error(self, image_id: &str) -> DriverError {
        match self.class {
            FailureClass::Image => {
                DriverError::BadImage { image_id: image_id.to_string(), reason: self.message }
            }
            FailureClass::Capacity => DriverError::InsufficientCapacity(self.message),
            FailureClass::Transient => DriverError::Transient(self.message),
            FailureClass::Permanent => DriverError::Permanent(self.message),
        }
    }
}

/// Names the step that failed and classes the failure by its errno.
pub(super) trait Step<T> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: std::io::Error = error.into();
            let class = match error.raw_os_error() {
                Some(
                    libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EUSERS,
                ) => FailureClass::Capacity,
                Some(libc::EAGAIN | libc::EINTR | libc::EBUSY | libc::ETIMEDOUT) => FailureClass::Transient,
                _ if error.kind() == std::io::ErrorKind::TimedOut => FailureClass::Transient,
                _ => FailureClass::Permanent,
            };
            Failure { class, message: format!("{}: {error}", what()) }
        })
    }
}

/// Checks the image as far as that is possible without running it.
pub(super) fn check_image(image: &ImageRef) -> Result<(), DriverError> {
    let bad = |reason: String| DriverError::BadImage { image_id: image.image_id.clone(), reason };
    if image.layers.is_empty() || image.layers.len() > LAYERS_MAX {
        return Err(bad(format!("it has {} layers (1 to {LAYERS_MAX} are possible)", image.layers.len())));
    }
    match image.layers.iter().find(|layer| !layer.is_dir()) {
        Some(layer) => Err(bad(format!("layer {} is not a directory", layer.display()))),
        None => Ok(()),
    }
}

/// Layers an overlay takes on every supported kernel within one page of options.
const LAYERS_MAX: usize = 100;

/// Where the driver's own program keeps the helper's command word.
pub(super) fn helper_command(exe: &Path, words: &[String]) -> std::process::Command {
    let mut command = std::process::Command::new(exe);
    command.args(words);
    command
}
