//! An instance's private tree, made from the image's layers, and a layer made from such a tree.
//!
//! An upper layer hides what a lower one has as the overlay file system's layers do: by a device 0/0, or by an attribute of a
//! directory. Files called `.wh.…` are files; OCI's layers, where they are not, become plain trees when they are imported.
//!
//! Plain copies (which file systems with reflinks share by themselves): hard links would let one instance write into the
//! image. Parts that the image declares shared become symbolic links into the layer.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Entries of one image; a full desktop system has about half a million.
const ENTRIES_MAX: u64 = 4_000_000;

/// How regular files get from one tree to the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    /// Each tree has its own.
    Copied,
    /// Both trees are immutable, so they may share.
    Linked,
}

/// Lays `layers` (lowest first) over each other into `root`, which must not exist. Returns which of the
/// `shared` paths were linked rather than copied.
pub(super) fn unite(layers: &[PathBuf], root: &Path, shared: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    fs::create_dir(root)?;
    // A path can be linked only if a single layer has it.
    let linked: Vec<(PathBuf, &PathBuf)> = shared
        .iter()
        .filter_map(|path| {
            let mut owners = layers.iter().filter(|layer| is_real_dir(&layer.join(path)));
            let owner = owners.next()?;
            owners.next().is_none().then(|| (path.clone(), owner))
        })
        .collect();
    let skip: Vec<PathBuf> = linked.iter().map(|(path, _)| path.clone()).collect();
    let mut n_entries = 0;
    for layer in layers {
        copy_over(layer, root, Path::new(""), &skip, Files::Copied, &mut n_entries)?;
    }
    for (path, layer) in &linked {
        let link = root.join(path);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent)?;
        }
        std::os::unix::fs::symlink(fs::canonicalize(layer.join(path))?, link)?;
    }
    Ok(skip)
}

/// Copies an instance's tree into `target` (an empty directory) as a layer that stands by itself: the parts linked to
/// the image come along.
pub(super) fn capture(root: &Path, linked: &[PathBuf], target: &Path) -> io::Result<()> {
    let mut n_entries = 0;
    copy_over(root, target, Path::new(""), linked, Files::Copied, &mut n_entries)?;
    for path in linked {
        let source = fs::canonicalize(root.join(path))?;
        let to = target.join(path);
        fs::create_dir_all(&to)?;
        copy_over(&source, &to, Path::new(""), &[], Files::Linked, &mut n_entries)?;
    }
    Ok(())
}

/// Copies the tree `source` into the existing directory `target`.
pub(crate) fn copy_tree(source: &Path, target: &Path) -> io::Result<()> {
    copy_over(source, target, Path::new(""), &[], Files::Copied, &mut 0)
}

fn is_real_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Copies the directory `source/at` over `target/at`. Entries of `target` are replaced, never written
/// through, so that a symbolic link in a lower layer cannot direct an upper one out of the tree.
fn copy_over(
    source: &Path,
    target: &Path,
    at: &Path,
    skip: &[PathBuf],
    files: Files,
    n_entries: &mut u64,
) -> io::Result<()> {
    let to_dir = target.join(at);
    if is_opaque(&source.join(at)) {
        for entry in fs::read_dir(&to_dir)? {
            remove_any(&entry?.path())?;
        }
    }
    for entry in fs::read_dir(source.join(at))? {
        let entry = entry?;
        *n_entries += 1;
        if *n_entries > ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
        }
        let name = entry.file_name();
        let inner = at.join(&name);
        if skip.contains(&inner) {
            continue;
        }
        let (from, to) = (source.join(&inner), target.join(&inner));
        let meta = fs::symlink_metadata(&from)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            if !is_real_dir(&to) {
                remove_any(&to)?;
                fs::create_dir(&to)?;
            }
            // Writable while it is filled; the real mode comes last.
            fs::set_permissions(&to, fs::Permissions::from_mode(0o700 | meta.mode() & 0o7777))?;
            copy_over(source, target, &inner, skip, files, n_entries)?;
            own(&to, &meta);
            fs::set_permissions(&to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        } else if kind.is_char_device() && meta.rdev() == 0 {
            remove_any(&to)?;
        } else if kind.is_symlink() {
            remove_any(&to)?;
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            own(&to, &meta);
        } else if kind.is_file() {
            remove_any(&to)?;
            if files == Files::Copied || fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)?;
                own(&to, &meta);
                fs::set_permissions(&to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
                if let Ok(Some(capability)) = xattr::get(&from, "security.capability") {
                    // Refused without privileges, where it would have no effect either.
                    let _ = xattr::set(&to, "security.capability", &capability);
                }
            }
        }
        // Devices, sockets and pipes have no meaning in a tree that nobody boots.
    }
    Ok(())
}

/// Keeps the owner where we may; without privileges everything belongs to the server's user.
fn own(path: &Path, meta: &fs::Metadata) {
    let _ = std::os::unix::fs::lchown(path, Some(meta.uid()), Some(meta.gid()));
}

fn is_opaque(dir: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| matches!(xattr::get(dir, name), Ok(Some(value)) if value == b"y"))
}

fn remove_any(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The real place of `path` (absolute or relative to the top) in the tree `root`, following symbolic links as
/// if `root` were `/`. `linked` are the shared parts, whose top is a link that belongs to us. `None` when it does not
/// exist.
pub(super) fn resolve(root: &Path, linked: &[PathBuf], path: &Path) -> Option<PathBuf> {
    /// As the kernel's own limit.
    const LINKS_MAX: usize = 40;
    let mut todo: Vec<std::ffi::OsString> = parts(path);
    let mut at = PathBuf::new();
    let mut n_links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let meta = fs::symlink_metadata(root.join(&next)).ok()?;
        if meta.is_symlink() && !linked.contains(&next) {
            n_links += 1;
            if n_links > LINKS_MAX {
                return None;
            }
            let to = fs::read_link(root.join(&next)).ok()?;
            if to.is_absolute() {
                at.clear();
            }
            todo.extend(parts(&to));
        } else {
            at = next;
        }
    }
    Some(root.join(at))
}

/// Components, last first, ready to pop.
fn parts(path: &Path) -> Vec<std::ffi::OsString> {
    use std::path::Component as C;
    path.components()
        .rev()
        .filter_map(|part| match part {
            C::Normal(name) => Some(name.to_owned()),
            C::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_layers_replace_hide_and_never_write_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let (low, high) = (dir.path().join("low"), dir.path().join("high"));
        fs::create_dir_all(low.join("keep")).unwrap();
        fs::write(low.join("keep/file"), "low").unwrap();
        fs::write(low.join("gone"), "low").unwrap();
        std::os::unix::fs::symlink(&outside, low.join("trap")).unwrap();
        fs::create_dir_all(high.join("trap")).unwrap();
        fs::write(high.join("trap/file"), "inside").unwrap();
        nix::sys::stat::mknod(
            &high.join("gone"),
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::empty(),
            0,
        )
        .unwrap();
        // A guest may call its files what it likes.
        for name in [".wh.", ".wh..", ".wh...", ".wh.keep", ".wh..wh..opq"] {
            fs::write(high.join(name), "").unwrap();
        }
        let root = dir.path().join("root");
        unite(&[low, high], &root, &[]).unwrap();
        assert_eq!(fs::read_to_string(root.join("keep/file")).unwrap(), "low");
        assert!(!root.join("gone").exists());
        assert!(root.join(".wh...").is_file() && root.join(".wh.keep").is_file());
        assert_eq!(fs::read_to_string(root.join("trap/file")).unwrap(), "inside");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn shared_parts_are_linked_and_come_along_in_a_capture() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("layer");
        fs::create_dir_all(layer.join("usr/bin")).unwrap();
        fs::write(layer.join("usr/bin/tool"), "tool").unwrap();
        fs::create_dir(layer.join("etc")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/tool", layer.join("etc/alias")).unwrap();
        let root = dir.path().join("root");
        let linked = unite(&[layer], &root, &[PathBuf::from("usr"), PathBuf::from("absent")]).unwrap();
        assert_eq!(linked, [PathBuf::from("usr")]);
        assert!(fs::symlink_metadata(root.join("usr")).unwrap().is_symlink());
        assert_eq!(resolve(&root, &linked, Path::new("/etc/alias")), Some(root.join("usr/bin/tool")));
        assert_eq!(resolve(&root, &linked, Path::new("/../../etc/passwd")), None);
        let copy = dir.path().join("copy");
        fs::create_dir(&copy).unwrap();
        capture(&root, &linked, &copy).unwrap();
        assert!(is_real_dir(&copy.join("usr")));
        assert_eq!(fs::read_to_string(copy.join("usr/bin/tool")).unwrap(), "tool");
    }
}
