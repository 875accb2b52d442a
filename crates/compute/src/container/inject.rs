//! The files that Puffer puts into an instance: names, keys, user data and the first-boot runner.
//!
//! All of it is written by the instance's own root inside its own root directory.

use std::ffi::CString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown, symlink};
use std::path::Path;

use super::plan::{Failure, Plan, Step};
use super::sys;

const FIRST_BOOT_PATH: &str = "/usr/lib/puffer/first-boot";
const STATE_DIR: &str = "/var/lib/puffer";
const UNIT_PATH: &str = "/etc/systemd/system/puffer-first-boot.service";
const UNIT_WANT: &str = "/etc/systemd/system/multi-user.target.wants/puffer-first-boot.service";

/// Writes everything that belongs into the instance before init runs.
pub(super) fn into_root(plan: &Plan) -> Result<(), Failure> {
    let spec = &plan.spec;
    put("/etc/hostname", format!("{}\n", spec.hostname).as_bytes(), 0o644)?;
    if !Path::new("/etc/hosts").exists() || plan.first_boot {
        put("/etc/hosts", hosts(&spec.hostname).as_bytes(), 0o644)?;
    }
    if let Some(network) = spec.network.as_ref().filter(|network| !network.dns.is_empty()) {
        let lines: String = network.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
        put("/etc/resolv.conf", lines.as_bytes(), 0o644)?;
    }
    if !plan.first_boot {
        return Ok(());
    }
    // Empty, not absent: systemd then makes an id without treating the image as never booted.
    put("/etc/machine-id", b"", 0o444)?;
    authorize("/root", 0, 0, &spec.ssh_public_keys).step(|| "write root's authorized_keys".into())?;
    if let Some(user) = plan.image.default_user.as_deref().filter(|user| *user != "root") {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if let Some((uid, gid, home)) = account(&passwd, user) {
            authorize(home, uid, gid, &spec.ssh_public_keys)
                .step(|| format!("write {user}'s authorized_keys"))?;
        }
    }
    put(&format!("{STATE_DIR}/instance-id"), format!("{}\n", spec.instance_id).as_bytes(), 0o644)?;
    put(&format!("{STATE_DIR}/user-data"), spec.user_data.as_deref().unwrap_or_default(), 0o600)?;
    first_boot_runner()
}

/// Without systemd nobody would start the runner: it becomes a child of init, confined like it.
pub(super) fn start_first_boot(environment: &[CString]) -> Result<(), Failure> {
    let wanted = fs::metadata(format!("{STATE_DIR}/user-data")).is_ok_and(|meta| meta.len() > 0);
    if !wanted || !Path::new(FIRST_BOOT_PATH).exists() || !Path::new("/bin/sh").exists() {
        return Ok(());
    }
    match sys::fork_process().step(|| "start the first-boot runner".into())? {
        Some(_) => Ok(()),
        None => {
            let arguments = [c"/bin/sh", c"/usr/lib/puffer/first-boot"];
            let _ = nix::unistd::setsid();
            let _ = nix::unistd::execve(c"/bin/sh", &arguments, environment);
            sys::exit_now(127)
        }
    }
}

fn first_boot_runner() -> Result<(), Failure> {
    if Path::new("/usr/bin/cloud-init").exists() {
        // The image has the real thing; it finds us by the metadata address.
        return put(
            "/etc/cloud/cloud.cfg.d/99-puffer.cfg",
            b"datasource_list: [Ec2, None]\ndatasource: {Ec2: {strict_id: false, apply_full_imds_network_config: false}}\nnetwork: {config: disabled}\n",
            0o644,
        );
    }
    let has_systemd = Path::new("/etc/systemd/system").is_dir();
    for (path, mode, content) in crate::image::FIRST_BOOT {
        if has_systemd || path != UNIT_PATH {
            put(path, content.as_bytes(), mode)?;
        }
    }
    if has_systemd {
        make_parents(UNIT_WANT).step(|| format!("make the directory of {UNIT_WANT}"))?;
        match symlink(UNIT_PATH, UNIT_WANT) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).step(|| format!("link {UNIT_WANT}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Replaces whatever is there (a link, too) by a file.
fn put(path: &str, content: &[u8], mode: u32) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        make_parents(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(content)
    };
    write().step(|| format!("write {path}"))
}

fn make_parents(path: &str) -> io::Result<()> {
    match Path::new(path).parent() {
        Some(parent) => DirBuilder::new().recursive(true).mode(0o755).create(parent),
        None => Ok(()),
    }
}

fn hosts(hostname: &str) -> String {
    let short = hostname.split('.').next().unwrap_or(hostname);
    let names = if short == hostname { short.to_string() } else { format!("{hostname} {short}") };
    format!("127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost ip6-localhost ip6-loopback\n")
}

/// Adds the keys that are not there yet; an image made from an instance keeps the keys of its origin, as on EC2.
fn authorize(home: &str, uid: u32, gid: u32, keys: &[String]) -> io::Result<()> {
    if keys.is_empty() || !Path::new(home).is_dir() {
        return Ok(());
    }
    let dir = Path::new(home).join(".ssh");
    if !dir.is_dir() {
        DirBuilder::new().mode(0o700).create(&dir)?;
        chown(&dir, Some(uid), Some(gid))?;
    }
    let path = dir.join("authorized_keys");
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    for key in keys.iter().map(|key| key.trim()) {
        if !text.lines().any(|line| line.trim() == key) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(key);
            text.push('\n');
        }
    }
    let _ = fs::remove_file(&path);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(text.as_bytes())?;
    chown(&path, Some(uid), Some(gid))
}

/// Uid, gid and home of a user in `/etc/passwd`.
fn account<'a>(passwd: &'a str, user: &str) -> Option<(u32, u32, &'a str)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, uid, gid, _, home, ..] if *name == user => {
                Some((uid.parse().ok()?, gid.parse().ok()?, *home))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nadminx:x:7:7::/x:/bin/sh\nadmin:x:1000:1001:A,,:/home/admin:/bin/bash\n";
        assert_eq!(account(passwd, "admin"), Some((1000, 1001, "/home/admin")));
        assert_eq!(account(passwd, "adm"), None);
        assert_eq!(account("admin:x:a:1::/h:/s", "admin"), None);
    }

    #[test]
    fn keys_are_added_once_and_old_ones_stay() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        authorize(home, uid, gid, &["ssh-ed25519 AAA a".into()]).unwrap();
        authorize(home, uid, gid, &["ssh-ed25519 AAA a\n".into(), "ssh-rsa BBB b".into()]).unwrap();
        let text = fs::read_to_string(Path::new(home).join(".ssh/authorized_keys")).unwrap();
        assert_eq!(text, "ssh-ed25519 AAA a\nssh-rsa BBB b\n");
    }

    #[test]
    fn hosts_name_the_instance() {
        assert!(
            hosts("ip-10-0-0-1.ec2.internal").contains("127.0.1.1 ip-10-0-0-1.ec2.internal ip-10-0-0-1\n")
        );
    }
}
