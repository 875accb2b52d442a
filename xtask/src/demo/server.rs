use std::cell::RefCell;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::name_lookup;
use super::status::{GroupStatus, LoadBalancerStatus};
use crate::process;

/// From start to the first answer.
const START_LIMIT: Duration = Duration::from_secs(20);
/// From the stop signal to the exit.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Lines of the log that a failure shows.
const LOG_TAIL_LINES: usize = 30;

/// The root file system of the lab's image for containers, built once under `target/`.
pub(crate) fn lab_root(binary: &Path) -> anyhow::Result<PathBuf> {
    let printed = process::output(
        Command::new("bash")
            .arg(crate::root().join("labs/l0/image.sh"))
            .arg("root")
            .env("PUFFER", binary)
            .env("LAB_CACHE", lab_cache()),
    )?;
    let root = PathBuf::from(printed.lines().last().unwrap_or_default().trim());
    if !root.is_dir() {
        bail!("labs/l0/image.sh printed no directory but: {printed}");
    }
    Ok(root)
}

/// Where the lab's images are kept between runs.
fn lab_cache() -> PathBuf {
    crate::root().join("target/lab-l0")
}

/// A private server on a fresh data directory and free ports. Dropping it ends it.
pub(crate) struct Server {
    binary: PathBuf,
    data_dir: tempfile::TempDir,
    child: RefCell<Child>,
    environment: serde_json::Map<String, Value>,
    compute: &'static str,
}

impl Server {
    pub(crate) fn start(binary: &Path, compute: &'static str, keep: bool) -> anyhow::Result<Server> {
        let mut data_dir = tempfile::Builder::new().prefix("puffer-demo-").tempdir()?;
        data_dir.disable_cleanup(keep);
        if keep {
            eprintln!("data directory: {}", data_dir.path().display());
        }
        let log = File::create(data_dir.path().join("server.log"))?;
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--compute", compute, "--data-dir"])
            .arg(data_dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let pid = u64::from(child.id());
        let log_path = data_dir.path().join("server.log");
        let environment = process::wait_for("the server's start", START_LIMIT, || {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                bail!("the server ended at once ({status}): {}", log.trim());
            }
            let mut env = Command::new(binary);
            env.args(["env", "--json", "--data-dir"]).arg(data_dir.path());
            let Ok(text) = process::output(&mut env) else { return Ok(Err("no answer yet".into())) };
            let environment: serde_json::Map<String, Value> = serde_json::from_str(&text)?;
            Ok(if environment["server"]["pid"] == pid {
                Ok(environment)
            } else {
                Err("not yet listening".into())
            })
        });
        let environment = match environment {
            Ok(environment) => environment,
            Err(error) => {
                // Not yet a `Server` that ends itself when dropped.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        Ok(Server { binary: binary.to_owned(), data_dir, child: RefCell::new(child), environment, compute })
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// One of the variables that point AWS tools at this server.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.environment.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Variables that point AWS tools at this server.
    pub(crate) fn aws_environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
    }

    /// Imports the lab's base image for this kind of instance and returns its id.
    pub(crate) fn lab_image(&self) -> anyhow::Result<String> {
        let printed = process::output(
            Command::new("bash")
                .arg(crate::root().join("labs/l0/image.sh"))
                .arg(self.compute)
                .arg(self.data_dir())
                .env("PUFFER", &self.binary)
                .env("LAB_CACHE", lab_cache()),
        )?;
        let id = printed.lines().last().unwrap_or_default().trim();
        if !id.starts_with("ami-") {
            bail!("labs/l0/image.sh printed no image id but: {printed}");
        }
        Ok(id.to_owned())
    }

    fn status(&self) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.binary);
        command.args(["status", "--json", "--data-dir"]).arg(self.data_dir());
        Ok(serde_json::from_str(&process::output(&mut command)?)?)
    }

    /// The group as the server sees it.
    pub(crate) fn group(&self, name: &str) -> anyhow::Result<GroupStatus> {
        let groups: Vec<GroupStatus> = serde_json::from_value(self.status()?["groups"].take())?;
        groups.into_iter().find(|g| g.name == name).with_context(|| format!("no group {name}"))
    }

    /// Where to connect for a load balancer's name: its address from the server's own DNS, its port as bound.
    pub(crate) fn resolve(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let dns = self.environment["server"]["dns"].as_str().context("the server has no DNS server")?;
        let address = name_lookup::address_of(dns.parse()?, name)?;
        let balancers: Vec<LoadBalancerStatus> =
            serde_json::from_value(self.status()?["load_balancers"].take())?;
        let balancer = balancers.iter().find(|b| b.dns_name == name).context("no such load balancer")?;
        let listener = balancer.listeners.first().context("no listener")?;
        Ok(SocketAddr::new(address.into(), listener.bind_port))
    }

    pub(crate) fn show_log_tail(&self) {
        let log = std::fs::read_to_string(self.data_dir().join("server.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        eprintln!("--- end of the server's log");
        for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
            eprintln!("{line}");
        }
    }

    /// Stops the server with everything it runs and checks that nothing is left.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        process::run(
            Command::new(&self.binary).args(["teardown", "--yes", "--data-dir"]).arg(self.data_dir()),
        )?;
        let mut child = self.child.borrow_mut();
        process::wait_for("the server's end", STOP_LIMIT, || {
            Ok(child.try_wait()?.ok_or_else(|| "still running".to_owned()))
        })?;
        self.check_nothing_left()
    }

    /// Processes and mounts that still name the data directory are leaks.
    fn check_nothing_left(&self) -> anyhow::Result<()> {
        let data_dir = self.data_dir().to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        if let Some(mount) = mounts.lines().find(|m| m.contains(&data_dir)) {
            bail!("a mount is left: {mount}");
        }
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains(&data_dir) {
                bail!("a process is left: {} {command}", entry.file_name().to_string_lossy());
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.borrow_mut();
        if let Ok(None) = child.try_wait() {
            let teardown = Command::new(&self.binary)
                .args(["teardown", "--yes", "--data-dir"])
                .arg(self.data_dir.path())
                .status();
            if !teardown.is_ok_and(|s| s.success()) {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}
