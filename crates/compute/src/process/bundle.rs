//! `puffer-image.json`: how an image says what runs.
//!
//! A *process image* carries this file at the top of a layer; images in the store have it beside the layer, where every driver looks.
//! A root file system without it is booted by the container driver, and understood by the process driver as
//! far as its enabled service units go (see `unit.rs`).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::DriverError;

/// Name of the manifest in a layer's top directory.
pub const BUNDLE_MANIFEST: &str = "puffer-image.json";
/// A manifest is a page of text; more is not one.
const MANIFEST_BYTES_MAX: u64 = 256 * 1024;
/// Port a bundle serves when it does not say: what the labs and most web images mean.
pub(super) const PORT_DEFAULT: u16 = 80;

/// What kind of directory an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum BundleKind {
    /// An application directory that runs with the host's interpreters and libraries.
    Process,
    /// A root file system; its programs are started with its own loader and libraries.
    #[default]
    Rootfs,
}

/// The manifest's content.
///
/// In `command` and `environment`, `${HOST}`, `${PORT}`, `${PUFFER_INSTANCE_ADDRESS}`, `${PUFFER_INSTANCE_ROOT}` and the rest of
/// the instance's environment are expanded as systemd does in `ExecStart=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// How to treat paths and programs.
    #[serde(default)]
    pub kind: BundleKind,
    /// Program and arguments; process 1 of a container. Empty for a root file system with an init.
    #[serde(default, alias = "init")]
    pub command: Vec<String>,
    /// Directory to start in, within the image; its top if absent.
    #[serde(default, alias = "working_dir")]
    pub working_directory: Option<String>,
    /// Environment of the command.
    #[serde(default, alias = "env")]
    pub environment: BTreeMap<String, String>,
    /// The port that the application serves on a machine of its own; exported as `PORT` after
    /// [`super::port_map`].
    #[serde(default)]
    pub port: Option<u16>,
    /// Paths within the image that no instance writes: they are shared by all instances instead of copied
    /// (`/usr` of a root file system, a virtual environment).
    #[serde(default)]
    pub shared: Vec<String>,
    /// The user who gets the key pair's public key, besides root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_user: Option<String>,
}

impl BundleManifest {
    /// Of a root file system that says nothing itself. `/usr` is where its programs are, and services keep their data elsewhere.
    pub fn rootfs() -> BundleManifest {
        BundleManifest {
            kind: BundleKind::Rootfs,
            command: Vec::new(),
            working_directory: None,
            environment: BTreeMap::new(),
            port: None,
            shared: vec!["usr".to_owned()],
            default_user: None,
        }
    }

    /// The manifest of the topmost layer that has one; a root file system's default when none has.
    pub(crate) fn find(image_id: &str, layers: &[PathBuf]) -> Result<BundleManifest, DriverError> {
        let bad = |reason: String| DriverError::BadImage { image_id: image_id.to_owned(), reason };
        let places = layers.iter().rev().flat_map(|layer| {
            let beside = layer.parent().map(|dir| dir.join(BUNDLE_MANIFEST));
            [Some(layer.join(BUNDLE_MANIFEST)), beside]
        });
        for path in places.flatten() {
            if let Some(text) = BundleManifest::read(&path).map_err(bad)? {
                return serde_json::from_slice(&text).map_err(|e| bad(format!("{BUNDLE_MANIFEST}: {e}")));
            }
        }
        Ok(BundleManifest::rootfs())
    }

    /// The bytes of a manifest; `None` if there is none. It may lie in a guest's own tree: a link is not followed, so that
    /// nothing of the host is read, and a large one is refused.
    pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
        use std::os::unix::fs::OpenOptionsExt;
        let odd = || format!("{BUNDLE_MANIFEST} is not a file of at most {MANIFEST_BYTES_MAX} bytes");
        let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
        let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(_) if path.is_symlink() => return Err(odd()),
            Err(error) => return Err(format!("cannot read {BUNDLE_MANIFEST}: {error}")),
        };
        let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
        let mut text = Vec::new();
        let read = file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut text);
        match read {
            Ok(n) if is_file && n as u64 <= MANIFEST_BYTES_MAX => Ok(Some(text)),
            Ok(_) => Err(odd()),
            Err(error) => Err(format!("cannot read {BUNDLE_MANIFEST}: {error}")),
        }
    }

    /// The shared paths in a form that can be compared: relative, without `.` and `..`.
    pub(super) fn shared_paths(&self) -> Vec<PathBuf> {
        self.shared.iter().filter_map(|text| relative(Path::new(text))).collect()
    }
}

/// `path` relative to the top of an image; `None` when it climbs out or is the top itself.
pub(super) fn relative(path: &Path) -> Option<PathBuf> {
    use std::path::Component as C;
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            C::RootDir | C::CurDir => {}
            C::Normal(name) => out.push(name),
            C::ParentDir | C::Prefix(_) => return None,
        }
    }
    (!out.as_os_str().is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_manifest_wins_and_unknown_fields_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for (layer, command) in [(&a, "low"), (&b, "high")] {
            std::fs::create_dir(layer).unwrap();
            std::fs::write(
                layer.join(BUNDLE_MANIFEST),
                format!(r#"{{"kind":"process","command":["{command}"]}}"#),
            )
            .unwrap();
        }
        let found = BundleManifest::find("ami-1", &[a.clone(), b.clone()]).unwrap();
        assert_eq!(found.command, ["high"]);
        std::fs::write(b.join(BUNDLE_MANIFEST), r#"{"kind":"process","commnad":[]}"#).unwrap();
        assert!(matches!(BundleManifest::find("ami-1", &[a, b]), Err(DriverError::BadImage { .. })));
    }

    #[test]
    fn a_manifest_in_a_guests_tree_shows_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(BUNDLE_MANIFEST);
        assert_eq!(BundleManifest::read(&path), Ok(None));
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "{}").unwrap();
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        assert!(BundleManifest::read(&path).is_err(), "a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::File::create(&path).unwrap().set_len(64 << 30).unwrap();
        assert!(BundleManifest::read(&path).is_err(), "a large one");
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(BundleManifest::read(&path).is_err(), "a pipe, which must not be waited for");
    }

    #[test]
    fn relative_paths_cannot_climb() {
        assert_eq!(relative(Path::new("/usr/./lib")), Some(PathBuf::from("usr/lib")));
        assert_eq!(relative(Path::new("../etc")), None);
        assert_eq!(relative(Path::new("/")), None);
    }
}
