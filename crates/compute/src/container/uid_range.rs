//! Which host uids an instance's users are.
//!
//! Every instance gets 65,536 uids of its own from a part of the uid space that distributions, systemd-nspawn and
//! `/etc/subuid` leave alone. The register is machine-wide (several servers may run): a symbolic link per range that
//! names the instance's directory. Links are made atomically, and one whose directory is gone is free again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// Uids (and gids) per instance: what POSIX software expects to exist.
pub(super) const UIDS_PER_INSTANCE: u32 = 65_536;
/// Above systemd-nspawn's ranges, below 2^31, where signed arithmetic would begin to bite.
const FIRST: u32 = 0x7000_0000;
/// Ranges on one machine.
const RANGES: u32 = 4_094;

/// Allots a range to the instance in `instance` (an existing directory); returns its first uid. `seed` is where the search begins, so
/// that servers whose registers are apart rarely meet.
pub(super) fn allot(register: &Path, instance: &Path, seed: u32) -> io::Result<u32> {
    let _turn = enter(register)?;
    for step in 0..RANGES {
        let slot = (seed.wrapping_add(step)) % RANGES;
        let link = register.join(slot.to_string());
        match symlink(instance, &link) {
            Ok(()) => return Ok(FIRST + slot * UIDS_PER_INSTANCE),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if is_stale(&link) && fs::remove_file(&link).is_ok() && symlink(instance, &link).is_ok() {
                    return Ok(FIRST + slot * UIDS_PER_INSTANCE);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::QuotaExceeded, format!("all {RANGES} uid ranges are in use")))
}

/// Enters a range that was allotted before (the register is lost at a reboot of the machine). Refused if another instance has
/// it: two with the same uids would be one to the kernel.
pub(super) fn renew(register: &Path, instance: &Path, base_uid: u32) -> io::Result<()> {
    let _turn = enter(register)?;
    let link = link_of(register, base_uid);
    match symlink(instance, &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let owner = fs::read_link(&link)?;
    if owner == instance {
        return Ok(());
    }
    if !owner.exists() {
        fs::remove_file(&link)?;
        return symlink(instance, &link);
    }
    let message = format!("the uids from {base_uid} now belong to {}", owner.display());
    Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
}

/// Gives a range back, if it is this instance's.
pub(super) fn release(register: &Path, instance: &Path, base_uid: u32) {
    let link = link_of(register, base_uid);
    if fs::read_link(&link).is_ok_and(|owner| owner == instance) {
        let _ = fs::remove_file(link);
    }
}

/// One server at a time: finding a stale link and replacing it must not happen twice at once.
fn enter(register: &Path) -> io::Result<Flock<File>> {
    fs::create_dir_all(register)?;
    Flock::lock(File::open(register)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

fn link_of(register: &Path, base_uid: u32) -> PathBuf {
    register.join((base_uid.saturating_sub(FIRST) / UIDS_PER_INSTANCE).to_string())
}

fn is_stale(link: &Path) -> bool {
    fs::read_link(link).is_ok_and(|owner| !owner.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_distinct_come_back_and_survive_a_lost_register() {
        let dir = tempfile::tempdir().unwrap();
        let register = dir.path().join("register");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        let a = allot(&register, &one, 7).unwrap();
        let b = allot(&register, &two, 7).unwrap();
        assert_eq!((a, b), (FIRST + 7 * 65_536, FIRST + 8 * 65_536));
        // Not ours to give back.
        release(&register, &two, a);
        assert!(register.join("7").is_symlink());
        release(&register, &one, a);
        assert_eq!(allot(&register, &two, 7).unwrap(), a);
        // The owner vanished without giving back.
        fs::remove_dir(&two).unwrap();
        assert_eq!(allot(&register, &one, 7).unwrap(), a);
        fs::remove_dir_all(&register).unwrap();
        renew(&register, &one, b).unwrap();
        assert_ne!(allot(&register, &one, 8).unwrap(), b);
        // Nobody takes the range of another that is there.
        fs::create_dir(&two).unwrap();
        assert_eq!(renew(&register, &two, b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        renew(&register, &one, b).unwrap();
        fs::remove_dir(&one).unwrap();
        renew(&register, &two, b).unwrap();
    }
}
