//! Unpacking tarballs that somebody else made.
//!
//! Nothing is written outside the target: every entry's parent directories are walked component by component and must be
//! real directories (or are made), so neither `..` nor a symbolic link packed earlier leads out. Devices, pipes and sockets
//! are skipped: instances get their own `/dev`. Sizes and counts are bounded, because a small file can unpack to a
//! very large one.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use super::files::ENTRIES_MAX;
use super::{ImageError, OnProgress, Progress, Trying};

/// Bytes that one archive may unpack to. Images of real systems have a few gigabytes.
const UNPACKED_BYTES_MAX: u64 = 64 << 30;
/// Entries between two progress reports.
const PROGRESS_EACH: u64 = 500;
/// Attribute that carries file capabilities (`ping`, `newuidmap`).
const CAPABILITY: &str = "security.capability";

/// EC2's name of an architecture.
pub(super) fn architecture_name(arch: &str) -> &str {
    match arch {
        "aarch64" => "arm64",
        "amd64" => "x86_64",
        other => other,
    }
}

/// How entries named `.wh.…` are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whiteouts {
    /// As ordinary names.
    Ordinary,
    /// As OCI layers mean them: remove what a lower layer had.
    Apply,
}

/// Counts over all layers of an image.
#[derive(Default)]
pub(super) struct Budget {
    bytes: u64,
    entries: u64,
}

/// A reader that decompresses by the first bytes: gzip, zstd, or none.
pub(super) fn open(file: &Path) -> Result<Box<dyn Read>, ImageError> {
    let what = || format!("open {}", file.display());
    decompress(File::open(file).trying(what)?).trying(what)?.ok_or_else(|| {
        ImageError::Input(format!(
            "{}: only tar, tar.gz and tar.zst can be imported; unpack it and compress it again",
            file.display()
        ))
    })
}

fn decompress(mut file: File) -> io::Result<Option<Box<dyn Read>>> {
    use io::Seek;
    let mut head = [0; 6];
    let n = read_up_to(&mut file, &mut head)?;
    file.rewind()?;
    let reader = BufReader::with_capacity(1 << 18, file);
    Ok(match &head[..n] {
        [0x1f, 0x8b, ..] => Some(Box::new(flate2::bufread::MultiGzDecoder::new(reader))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Box::new(zstd::Decoder::with_buffer(reader)?)),
        [0xfd, b'7', b'z', b'X', b'Z', ..] | [b'B', b'Z', b'h', ..] => None,
        _ => Some(Box::new(reader)),
    })
}

fn read_up_to(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match reader.read(&mut buffer[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

/// Whether the archive is an OCI image layout: one of its first entries says so.
pub(super) fn is_oci(file: &Path) -> Result<bool, ImageError> {
    /// The marker may come after the blobs' directories, but a root file system's archive need not be read to its end.
    const ENTRIES_LOOKED_AT: usize = 64;
    let mut archive = tar::Archive::new(open(file)?);
    let entries = archive.entries().trying(|| format!("read {}", file.display()))?;
    for entry in entries.take(ENTRIES_LOOKED_AT) {
        let entry = entry.trying(|| format!("read {}", file.display()))?;
        let path = entry.path_bytes();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        if path == b"oci-layout" || path == b"index.json" || path.starts_with(b"blobs/sha256/") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Unpacks a whole file as an image's layer.
pub(super) fn unpack_file(file: &Path, target: &Path, on_progress: OnProgress<'_>) -> Result<(), ImageError> {
    unpack(open(file)?, target, Whiteouts::Ordinary, &mut Budget::default(), on_progress)?;
    let empty = fs::read_dir(target).trying(|| format!("read {}", target.display()))?.next().is_none();
    if empty {
        return Err(ImageError::Input(format!("{} is not a tar archive or is empty", file.display())));
    }
    Ok(())
}

/// Unpacks a tar stream over `target`.
pub(super) fn unpack(
    reader: impl Read,
    target: &Path,
    whiteouts: Whiteouts,
    budget: &mut Budget,
    on_progress: OnProgress<'_>,
) -> Result<(), ImageError> {
    let mut archive = tar::Archive::new(reader);
    let mut directories: Vec<Directory> = Vec::new();
    let bad = |error: io::Error| ImageError::Input(format!("the archive cannot be read: {error}"));
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        budget.entries += 1;
        budget.bytes = budget.bytes.saturating_add(entry.size());
        if budget.entries > ENTRIES_MAX || budget.bytes > UNPACKED_BYTES_MAX {
            return Err(ImageError::Input(format!(
                "the archive is larger than {ENTRIES_MAX} entries or {} GiB",
                UNPACKED_BYTES_MAX >> 30
            )));
        }
        if budget.entries.is_multiple_of(PROGRESS_EACH) {
            on_progress(Progress { step: format!("unpacking: {} files", budget.entries), fraction: None });
        }
        let name = entry.path().map_err(bad)?.into_owned();
        let Some(path) = plain(&name) else {
            // The top itself is there; a name with `..` is refused as a whole.
            if name.components().any(|c| c == Component::ParentDir) {
                return Err(ImageError::Input(format!("the archive has an unsafe name: {}", name.display())));
            }
            continue;
        };
        place(&mut entry, target, &path, whiteouts, &mut directories)
            .trying(|| format!("unpack {}", path.display()))?;
    }
    // Last, and deepest first: a read-only directory could not have been filled.
    for directory in directories.iter().rev() {
        directory.dress(target).trying(|| format!("set the mode of {}", directory.path.display()))?;
    }
    Ok(())
}

/// A directory whose owner and mode are set when it is complete.
struct Directory {
    path: PathBuf,
    mode: u32,
    owner: (u32, u32),
}

impl Directory {
    fn dress(&self, target: &Path) -> io::Result<()> {
        let path = target.join(&self.path);
        // A later entry or whiteout may have replaced it, or have put a link that leads out in place of a directory above it.
        let is_there = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
        if !is_there || !stays_inside(target, &path) {
            return Ok(());
        }
        own(&path, self.owner)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(self.mode))
    }
}

fn place(
    entry: &mut tar::Entry<'_, impl Read>,
    target: &Path,
    path: &Path,
    whiteouts: Whiteouts,
    directories: &mut Vec<Directory>,
) -> io::Result<()> {
    let to = target.join(path);
    make_parents(target, path)?;
    if whiteouts == Whiteouts::Apply
        && let Some(hidden) = path.file_name().and_then(|n| n.as_bytes().strip_prefix(b".wh."))
    {
        return match (to.parent(), hidden) {
            (Some(dir), b".wh..opq") => clear(dir),
            // Such a name would remove its own directory or the one above, which may lie outside the image.
            (_, b"" | b"." | b"..") => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "a whiteout names no entry"))
            }
            (Some(dir), hidden) => remove_any(&dir.join(std::ffi::OsStr::from_bytes(hidden))),
            (None, _) => Ok(()),
        };
    }
    let header = entry.header();
    let kind = header.entry_type();
    let mode = header.mode().unwrap_or(0o644) & 0o7777;
    let id = |n: io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let owner = (id(header.uid()), id(header.gid()));
    match kind {
        EntryType::Directory => {
            if !fs::symlink_metadata(&to).is_ok_and(|meta| meta.is_dir()) {
                remove_any(&to)?;
                fs::create_dir(&to)?;
            }
            directories.push(Directory { path: path.to_owned(), mode, owner });
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            remove_any(&to)?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
            io::copy(entry, &mut file)?;
            own(&to, owner)?;
            // After the owner: changing it clears the set-user-id bit.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            keep_capability(entry, &to);
        }
        EntryType::Symlink => {
            let link = entry.link_name()?.ok_or_else(|| io::Error::other("a link without a target"))?;
            remove_any(&to)?;
            std::os::unix::fs::symlink(&*link, &to)?;
            own(&to, owner)?;
        }
        EntryType::Link => {
            let link = entry.link_name()?.ok_or_else(|| io::Error::other("a link without a target"))?;
            let from = plain(&link).ok_or_else(|| io::Error::other("a hard link out of the archive"))?;
            real_parents(target, &from)?;
            remove_any(&to)?;
            fs::hard_link(target.join(from), &to)?;
        }
        // Devices, pipes; extended headers are consumed by the reader.
        _ => {}
    }
    Ok(())
}

/// File capabilities are part of what makes some programs work; other attributes are the packer's own.
fn keep_capability(entry: &mut tar::Entry<'_, impl Read>, to: &Path) {
    let Ok(Some(extensions)) = entry.pax_extensions() else { return };
    for extension in extensions.flatten() {
        if extension.key().ok().and_then(|k| k.strip_prefix("SCHILY.xattr.")) == Some(CAPABILITY) {
            // Refused without privileges, where the program would not run with them either.
            let _ = xattr::set(to, CAPABILITY, extension.value_bytes());
        }
    }
}

/// The path relative to the top; `None` for the top itself and for anything that climbs.
fn plain(name: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => out.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!out.as_os_str().is_empty()).then_some(out)
}

/// Makes the directories above `path`; whatever else has such a name is replaced, links are not followed.
fn make_parents(target: &Path, path: &Path) -> io::Result<()> {
    let mut at = target.to_owned();
    for part in path.parent().into_iter().flat_map(Path::components) {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            // Merged-/usr archives name `bin/x` below the link `bin -> usr/bin`.
            Ok(meta) if meta.is_symlink() && stays_inside(target, &at) => {}
            Ok(_) => {
                fs::remove_file(&at)?;
                fs::create_dir(&at)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&at)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All directories above `path` are real or lead to a place inside.
fn real_parents(target: &Path, path: &Path) -> io::Result<()> {
    let parent = target.join(path.parent().unwrap_or(Path::new("")));
    match stays_inside(target, &parent) {
        true => Ok(()),
        false => Err(io::Error::other("a hard link out of the archive")),
    }
}

fn stays_inside(target: &Path, path: &Path) -> bool {
    match (fs::canonicalize(target), fs::canonicalize(path)) {
        (Ok(target), Ok(path)) => path.starts_with(target) && path.is_dir(),
        _ => false,
    }
}

fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        remove_any(&entry?.path())?;
    }
    Ok(())
}

fn remove_any(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Without privileges everything belongs to us; the process driver needs no more.
fn own(path: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    match lchown(path, Some(uid), Some(gid)) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}
