//! An instance's disk: made, and replaced by another one.
//!
//! `disk/` is what is written over the image's layers, `meta.json` has the number of the root volume that it is. While one disk takes
//! the place of another, `swap.json` has the new one's number: whoever finds it and the old number in `meta.json` puts the old disk back. So
//! a guest never boots from the layers of one image with the writes of another.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::state::{InstanceDir, Meta};
use crate::{ImageRef, LaunchSpec};

/// Present while disks are exchanged: the new one's number.
const SWAP: &str = "swap.json";

/// Makes an empty disk: what is written lies over the image's layers.
pub(super) fn make(at: &Path, image: &ImageRef, base_uid: u32) -> io::Result<()> {
    let top = image.layers.last().map(fs::metadata).transpose()?;
    let mode = top.map_or(0o755, |meta| meta.mode() & 0o7777);
    fs::DirBuilder::new().mode(0o711).create(at)?;
    for (name, mode) in [("upper", mode), ("work", 0o700)] {
        let path = at.join(name);
        fs::DirBuilder::new().mode(0o711).create(&path)?;
        chown(&path, Some(base_uid), Some(base_uid))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Puts a new empty disk over the spec's image in the place of the one that the instance has, from which nobody runs any more.
pub(super) fn renew(dir: &InstanceDir, spec: &LaunchSpec, meta: Meta) -> io::Result<()> {
    settle(dir)?;
    let (new, old, disk) = (dir.file("disk.new"), dir.file("disk.old"), dir.file("disk"));
    remove_tree(&new)?;
    make(&new, &spec.image, meta.base_uid)?;
    if let Some(run) = dir.run() {
        fs::write(new.join("before.json"), serde_json::to_vec(&run.init)?)?;
    }
    remove_tree(&old)?;
    dir.write(SWAP, &spec.root)?;
    fs::rename(&disk, &old)?;
    fs::rename(&new, &disk)?;
    dir.write("meta.json", &Meta { root: spec.root, ..meta })?;
    // An image of it lies over these layers from now on, whether it has been booted or not.
    dir.write("spec.json", spec)?;
    dir.remove_file(SWAP)?;
    remove_tree(&old)
}

/// After an exchange of disks that was cut short: the disk is the one that `meta.json` tells of.
pub(super) fn settle(dir: &InstanceDir) -> io::Result<()> {
    let Some(new) = dir.read::<u32>(SWAP) else { return Ok(()) };
    let (old, disk) = (dir.file("disk.old"), dir.file("disk"));
    if dir.meta().is_some_and(|meta| meta.root != new) && old.exists() {
        remove_tree(&disk)?;
        fs::rename(&old, &disk)?;
    }
    dir.remove_file(SWAP)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::META_VERSION;
    use super::*;

    #[test]
    fn an_exchange_of_disks_that_is_cut_short_has_happened_or_not() {
        // How many of its steps were made: the mark, both renames, the new `meta.json`.
        for n_steps in 0..=4 {
            let at = tempfile::tempdir().unwrap();
            let dir = InstanceDir { path: at.path().to_owned() };
            for (disk, text) in [("disk", "old"), ("disk.new", "new")] {
                fs::create_dir(dir.file(disk)).unwrap();
                fs::write(dir.file(disk).join("file"), text).unwrap();
            }
            let describe = |root| dir.write("meta.json", &Meta { version: META_VERSION, base_uid: 0, root });
            describe(0).unwrap();
            let steps: [&dyn Fn() -> io::Result<()>; 4] = [
                &|| dir.write(SWAP, &1),
                &|| fs::rename(dir.file("disk"), dir.file("disk.old")),
                &|| fs::rename(dir.file("disk.new"), dir.file("disk")),
                &|| describe(1),
            ];
            steps.iter().take(n_steps).for_each(|step| step().unwrap());
            for _ in 0..2 {
                settle(&dir).unwrap();
                let has = fs::read_to_string(dir.file("disk/file")).unwrap();
                assert_eq!(has, if n_steps == 4 { "new" } else { "old" }, "{n_steps}");
                assert!(!dir.file(SWAP).exists());
            }
        }
    }
}
