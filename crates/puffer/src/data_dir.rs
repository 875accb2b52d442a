//! The data directory: where a server keeps everything it must not lose.
//!
//! | path | what |
//! |---|---|
//! | `store.redb` | all resources |
//! | `metrics.redb` | metrics |
//! | `credentials.json` | the access key pair, mode 0600 |
//! | `server.json` | where the running server listens |
//! | `compute` | what its instances are: containers, processes or simulated |
//! | `server.lock` | held while a server runs |
//! | `puffer.sock` | what `puffer status` and `puffer explain` ask, mode 0600 |
//! | `images/`, `instances/` | images and instances' disks |
//! | `balancer.sock`, `balancer.log` | the data plane |

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// How often, and how far apart, the lock of a server that died is tried: its last children need milliseconds, on a busy machine more.
const LINGER_LOOKS: u32 = 250;
const LINGER_LOOK: Duration = Duration::from_millis(20);

/// A data directory that exists.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    path: PathBuf,
}

/// The access key pair of the account's root, made at the first start.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

/// Where a running server listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerInfo {
    pub(crate) pid: u32,
    pub(crate) endpoint: SocketAddr,
    pub(crate) dns: Option<SocketAddr>,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) compute: String,
    pub(crate) authentication: bool,
}

impl DataDir {
    /// Opens `path`, which must be there.
    pub(crate) fn open(path: &Path) -> anyhow::Result<DataDir> {
        let path = path.canonicalize().with_context(|| {
            format!("there is no data directory {}: puffer serve --data-dir makes one", path.display())
        })?;
        Ok(DataDir { path })
    }

    /// Opens `path`, creating it (mode 0700) if it is absent.
    pub(crate) fn create(path: &Path) -> anyhow::Result<DataDir> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot create the data directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        Ok(DataDir { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store.redb")
    }

    pub(crate) fn metrics(&self) -> PathBuf {
        self.path.join("metrics.redb")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.path.join("images")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path.join("puffer.sock")
    }

    pub(crate) fn balancer_socket(&self) -> PathBuf {
        self.path.join("balancer.sock")
    }

    /// Takes the directory for one server; a second one is told who has it.
    ///
    /// A server that was killed while it started a program leaves a child that has the lock's descriptor until it becomes that program. So
    /// the lock of a dead server is waited for.
    pub(crate) fn lock(&self) -> anyhow::Result<Flock<File>> {
        let path = self.path.join("server.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        for left in (0..LINGER_LOOKS).rev() {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    lock.rewind()?;
                    lock.set_len(0)?;
                    write!(lock, "{}", std::process::id())?;
                    return Ok(lock);
                }
                Err((held, nix::errno::Errno::EWOULDBLOCK)) => file = held,
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            let pid = self.lock_holder();
            if left == 0 || runs(&pid) {
                bail!(
                    "another puffer server (pid {pid}) uses {}; stop it or choose another --data-dir",
                    self.path.display()
                );
            }
            std::thread::park_timeout(LINGER_LOOK);
        }
        bail!("cannot lock {}", path.display())
    }

    /// The process id of the server that has the lock, or had it last.
    pub(crate) fn lock_holder(&self) -> String {
        fs::read_to_string(self.path.join("server.lock")).unwrap_or_default().trim().to_owned()
    }

    /// The key pair; made at the first call.
    pub(crate) fn credentials(&self) -> anyhow::Result<Credentials> {
        let path = self.path.join("credentials.json");
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let made = Credentials::random();
                self.write_atomically("credentials.json", &serde_json::to_vec_pretty(&made)?)?;
                Ok(made)
            }
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The key pair, if a server has made it.
    pub(crate) fn existing_credentials(&self) -> anyhow::Result<Credentials> {
        if !self.path.join("credentials.json").exists() {
            bail!(
                "{} has no credentials yet: start a server there first (puffer serve)",
                self.path.display()
            );
        }
        self.credentials()
    }

    pub(crate) fn write_server_info(&self, info: &ServerInfo) -> anyhow::Result<()> {
        self.write_atomically("server.json", &serde_json::to_vec_pretty(info)?)
    }

    pub(crate) fn server_info(&self) -> anyhow::Result<ServerInfo> {
        let path = self.path.join("server.json");
        let bytes = fs::read(&path).with_context(|| {
            format!(
                "no server has run in {} yet: start one with puffer serve --data-dir",
                self.path.display()
            )
        })?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
    }

    /// What its instances are (`Kind::name`), if a server has begun to run any since the last [`DataDir::forget_compute`].
    pub(crate) fn compute(&self) -> Option<String> {
        let written = fs::read_to_string(self.path.join("compute"));
        let name = written.ok().or_else(|| Some(self.server_info().ok()?.compute))?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    pub(crate) fn write_compute(&self, name: &str) -> anyhow::Result<()> {
        self.write_atomically("compute", name.as_bytes())
    }

    /// Nothing runs any more: a next server may run instances of another kind.
    pub(crate) fn forget_compute(&self) -> anyhow::Result<()> {
        self.write_atomically("compute", b"")
    }

    /// Writes a private file so that a crash leaves the old one or the new one, never a part.
    fn write_atomically(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let temporary = self.path.join(format!(".{name}.new"));
        let target = self.path.join(name);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &target).with_context(|| format!("cannot write {}", target.display()))?;
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }
}

/// Whether the process of this number runs; one that has ended and waits for its parent does not.
pub(crate) fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

impl Credentials {
    /// A pair in AWS's form: `AKIA` and 16 base-32 digits; 40 base-64 digits.
    fn random() -> Credentials {
        const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut rng = rand::rng();
        let mut pick = |alphabet: &[u8], n: usize| -> String {
            (0..n).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])).collect()
        };
        Credentials {
            access_key_id: format!("AKIA{}", pick(BASE32, 16)),
            secret_access_key: pick(BASE64, 40),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn credentials_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(dir.path()).unwrap();
        assert!(data.existing_credentials().is_err());
        let first = data.credentials().unwrap();
        assert_eq!(first.secret_access_key, data.credentials().unwrap().secret_access_key);
        let mode = fs::metadata(data.path().join("credentials.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(first.access_key_id.len(), 20);
    }

    #[test]
    fn the_lock_of_a_dead_server_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(dir.path()).unwrap();
        let held = data.lock().unwrap();
        // As a child that has the lock while the server, which is named in it, is dead already.
        fs::write(data.path().join("server.lock"), "4194305").unwrap();
        let (waiting, waited) = (data.clone(), std::sync::Arc::new(std::sync::Barrier::new(2)));
        let begun = waited.clone();
        let successor = std::thread::spawn(move || {
            begun.wait();
            waiting.lock().map(drop)
        });
        waited.wait();
        drop(held);
        successor.join().unwrap().unwrap();
        assert!(runs(&std::process::id().to_string()) && !runs("4194305") && !runs("") && !runs("x"));
    }

    #[test]
    fn a_second_server_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(dir.path()).unwrap();
        let held = data.lock().unwrap();
        let refused = data.lock().unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(held);
        data.lock().unwrap();
    }
}
