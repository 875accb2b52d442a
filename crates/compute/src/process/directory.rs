//! An instance's directory: `<data>/instances/<id>/`.
//!
//! It appears complete, by a rename, so whatever has its final name can be started:
//! `instance.json` (what it was made from), `root/` (its disk), `console.log`, `user-data` (a script, if any),
//! `processes.json` once it has run, and `suspended` while it is held still. A disk that replaces another is made in `root.new/`; the one
//! that it replaces is `root.old/` until it is removed, and `root-swap.json` is there while the two change places.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bundle::BundleManifest;
use super::layers;
use super::tree::MainProcess;
use crate::{DriverError, LaunchSpec};

/// Prefix of directories that are still being made.
const UNFINISHED: &str = ".making-";
/// Prefix of directories that are being removed.
const DOOMED: &str = ".removing-";

/// A root that is being made for an instance that has one.
const ROOT_NEW: &str = "root.new";
/// A root that was replaced and is being removed.
const ROOT_OLD: &str = "root.old";
/// Present while roots are exchanged: the new one's number.
const ROOT_SWAP: &str = "root-swap.json";

/// What must be known of an instance after a restart of the control plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) instance_id: String,
    pub(super) image_id: String,
    pub(super) manifest: BundleManifest,
    /// Parts of `root/` that are links into the image.
    pub(super) linked: Vec<PathBuf>,
    /// Number of the root volume.
    #[serde(default)]
    pub(super) root: u32,
}

/// The processes of a running instance.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Processes {
    /// Pids and start times mean something only within one boot of the host.
    pub(super) boot_id: String,
    pub(super) mains: Vec<MainProcess>,
    /// Number of the root volume that they ran from.
    #[serde(default)]
    pub(super) root: u32,
}

/// Paths of one instance.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// The directory of `instance_id` below `instances`. Ids become file names, so only plain ones are taken.
    pub(super) fn of(instances: &Path, instance_id: &str) -> Result<Directory, DriverError> {
        /// `i-` and 17 digits, with room for other drivers' tests.
        const ID_BYTES_MAX: usize = 64;
        let plain = !instance_id.is_empty()
            && instance_id.len() <= ID_BYTES_MAX
            && instance_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if plain {
            Ok(Directory(instances.join(instance_id)))
        } else {
            Err(DriverError::Permanent(format!("{instance_id:?} is not an instance id")))
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    pub(super) fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }

    pub(super) fn user_data(&self) -> PathBuf {
        self.0.join("user-data")
    }

    pub(super) fn exists(&self) -> bool {
        self.0.join("instance.json").is_file()
    }

    /// Makes the instance's disk. Whatever an interrupted attempt left is removed first.
    pub(super) fn create(&self, spec: &LaunchSpec) -> Result<Instance, DriverError> {
        let manifest = usable(spec)?;
        let unfinished = self.sibling(UNFINISHED);
        remove_tree(&unfinished).map_err(io_error)?;
        fs::create_dir_all(&unfinished).map_err(io_error)?;
        let made = self.fill(spec, manifest, &unfinished).and_then(|instance| {
            fs::rename(&unfinished, &self.0)?;
            Ok(instance)
        });
        made.map_err(|error| {
            let _ = remove_tree(&unfinished);
            io_error(error)
        })
    }

    fn fill(&self, spec: &LaunchSpec, manifest: BundleManifest, at: &Path) -> io::Result<Instance> {
        let linked = layers::unite(&spec.image.layers, &at.join("root"), &manifest.shared_paths())?;
        let instance = Instance {
            instance_id: spec.instance_id.clone(),
            image_id: spec.image.image_id.clone(),
            manifest,
            linked,
            root: spec.root,
        };
        write_user_data(spec, &at.join("user-data"))?;
        write_json(&at.join("instance.json"), &instance)?;
        Ok(instance)
    }

    /// Makes a root from the spec's image beside the instance's own, which is left alone.
    pub(super) fn prepare_root(&self, spec: &LaunchSpec) -> Result<Instance, DriverError> {
        let manifest = usable(spec)?;
        let fresh = self.0.join(ROOT_NEW);
        let make = || {
            remove_tree(&fresh)?;
            layers::unite(&spec.image.layers, &fresh, &manifest.shared_paths())
        };
        let linked = make().map_err(|error| {
            let _ = remove_tree(&fresh);
            io_error(error)
        })?;
        Ok(Instance {
            instance_id: spec.instance_id.clone(),
            image_id: spec.image.image_id.clone(),
            manifest,
            linked,
            root: spec.root,
        })
    }

    /// Puts the prepared root in the place of the instance's own, from which nobody runs any more. Until `instance.json` is written the
    /// instance is the old one: what was cut short before that, [`Directory::settle_root`] takes back.
    pub(super) fn take_prepared_root(&self, spec: &LaunchSpec, instance: &Instance) -> io::Result<()> {
        let (old, root) = (self.0.join(ROOT_OLD), self.root());
        remove_tree(&old)?;
        write_json(&self.0.join(ROOT_SWAP), &instance.root)?;
        fs::rename(&root, &old)?;
        fs::rename(self.0.join(ROOT_NEW), &root)?;
        write_user_data(spec, &self.user_data())?;
        write_json(&self.0.join("instance.json"), instance)?;
        remove_file(&self.0.join(ROOT_SWAP))?;
        remove_tree(&old)
    }

    /// After an exchange of roots that was cut short: the root is the one that `instance.json` tells of.
    pub(super) fn settle_root(&self) -> io::Result<()> {
        let (swap, old) = (self.0.join(ROOT_SWAP), self.0.join(ROOT_OLD));
        let Some(new) = read_json::<u32>(&swap) else { return Ok(()) };
        if self.instance().is_some_and(|instance| instance.root != new) && old.exists() {
            remove_tree(&self.root())?;
            fs::rename(&old, self.root())?;
        }
        remove_file(&swap)
    }

    pub(super) fn instance(&self) -> Option<Instance> {
        read_json(&self.0.join("instance.json"))
    }

    /// The recorded main processes, if they are of this boot.
    pub(super) fn processes(&self) -> Option<Vec<MainProcess>> {
        let processes: Processes = read_json(&self.0.join("processes.json"))?;
        (processes.boot_id == boot_id()).then_some(processes.mains)
    }

    /// Whether its services were started (and recorded) at least once, in whatever boot.
    pub(super) fn has_run(&self) -> bool {
        self.0.join("processes.json").is_file()
    }

    /// Whether its services never ran from the root that it has.
    pub(super) fn is_fresh(&self, instance: &Instance) -> bool {
        let ran: Option<Processes> = read_json(&self.0.join("processes.json"));
        ran.is_none_or(|processes| processes.root != instance.root)
    }

    /// Records the main processes that run from this root.
    pub(super) fn record(&self, mains: &[MainProcess], root: u32) -> io::Result<()> {
        let processes = Processes { boot_id: boot_id(), mains: mains.to_vec(), root };
        write_json(&self.0.join("processes.json"), &processes)
    }

    /// Records that none of its processes is left.
    pub(super) fn record_end(&self) -> io::Result<()> {
        let path = self.0.join("processes.json");
        let ran: Option<Processes> = read_json(&path);
        self.record(&[], ran.map_or(0, |processes| processes.root))
    }

    /// Whether it is held still.
    pub(super) fn is_suspended(&self) -> bool {
        self.0.join("suspended").exists()
    }

    /// Notes that it is held still, or no more.
    pub(super) fn mark_suspended(&self, suspended: bool) -> io::Result<()> {
        let mark = self.0.join("suspended");
        if suspended {
            return fs::write(mark, b"");
        }
        remove_file(&mark)
    }

    /// Removes everything. The rename first makes the instance vanish at once for [`Directory::exists`], however long the
    /// removal takes.
    pub(super) fn remove(&self) -> io::Result<()> {
        let doomed = self.sibling(DOOMED);
        remove_tree(&doomed)?;
        match fs::rename(&self.0, &doomed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        remove_tree(&self.sibling(UNFINISHED))?;
        remove_tree(&doomed)
    }

    fn sibling(&self, prefix: &str) -> PathBuf {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        self.0.with_file_name(format!("{prefix}{name}"))
    }
}

/// How the spec's image is run, if it can be used.
fn usable(spec: &LaunchSpec) -> Result<BundleManifest, DriverError> {
    let manifest = BundleManifest::find(&spec.image.image_id, &spec.image.layers)?;
    if spec.image.layers.is_empty() {
        return Err(bad_image(spec, "it has no layers".to_owned()));
    }
    if let Some(layer) = spec.image.layers.iter().find(|layer| !layer.is_dir()) {
        return Err(bad_image(spec, format!("{} is missing", layer.display())));
    }
    Ok(manifest)
}

/// Writes the script that a first boot runs, if there is one.
fn write_user_data(spec: &LaunchSpec, path: &Path) -> io::Result<()> {
    remove_file(path)?;
    let Some(script) = spec.user_data.as_deref().filter(|data| data.starts_with(b"#!")) else {
        return Ok(());
    };
    fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(path)?.write_all(script)
}

/// Ids of all instances of this driver below `instances`.
pub(super) fn instance_ids(instances: &Path) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(instances)? {
        let name = entry?.file_name();
        let Some(id) = name.to_str() else { continue };
        if !id.starts_with('.') && Directory::of(instances, id).is_ok_and(|d| d.exists()) {
            ids.push(id.to_owned());
        }
    }
    ids.sort();
    Ok(ids)
}

/// Removes what interrupted calls left behind.
pub(super) fn sweep(instances: &Path) -> io::Result<()> {
    for entry in fs::read_dir(instances)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|n| n.starts_with(UNFINISHED) || n.starts_with(DOOMED)) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|t| t.trim().to_owned()).unwrap_or_default()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Replaces the file in one step, so that a reader (or a crash) never sees half of it.
fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    fs::write(&fresh, serde_json::to_vec_pretty(value)?)?;
    fs::rename(fresh, path)
}

pub(super) fn bad_image(spec: &LaunchSpec, reason: String) -> DriverError {
    DriverError::BadImage { image_id: spec.image.image_id.clone(), reason }
}

/// A full disk or table is a lack of capacity; the rest may pass.
pub(super) fn io_error(error: io::Error) -> DriverError {
    use io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::OutOfMemory => {
            DriverError::InsufficientCapacity(error.to_string())
        }
        K::PermissionDenied | K::ReadOnlyFilesystem => DriverError::Permanent(error.to_string()),
        _ => DriverError::Transient(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_of_roots_that_is_cut_short_has_happened_or_not() {
        // How many of its steps were made: the mark, both renames, the new `instance.json`.
        for n_steps in 0..=4 {
            let dir = tempfile::tempdir().unwrap();
            let directory = Directory(dir.path().join("i-1"));
            let (old, new) = (directory.0.join(ROOT_OLD), directory.0.join(ROOT_NEW));
            for (root, text) in [(directory.root(), "old"), (new.clone(), "new")] {
                fs::create_dir_all(&root).unwrap();
                fs::write(root.join("file"), text).unwrap();
            }
            let mut instance = Instance {
                instance_id: "i-1".into(),
                image_id: "ami-1".into(),
                manifest: serde_json::from_value(
                    serde_json::json!({"kind": "process", "command": ["/bin/true"]}),
                )
                .unwrap(),
                linked: vec![],
                root: 0,
            };
            let describe = |instance: &Instance| write_json(&directory.0.join("instance.json"), instance);
            describe(&instance).unwrap();
            let steps: [&dyn Fn() -> io::Result<()>; 3] = [
                &|| write_json(&directory.0.join(ROOT_SWAP), &1),
                &|| fs::rename(directory.root(), &old),
                &|| fs::rename(&new, directory.root()),
            ];
            steps.iter().take(n_steps).for_each(|step| step().unwrap());
            if n_steps == 4 {
                instance.root = 1;
                describe(&instance).unwrap();
            }
            for _ in 0..2 {
                directory.settle_root().unwrap();
                let has = fs::read_to_string(directory.root().join("file")).unwrap();
                assert_eq!(has, if n_steps == 4 { "new" } else { "old" }, "{n_steps}");
                assert!(!directory.0.join(ROOT_SWAP).exists());
            }
        }
    }
}
