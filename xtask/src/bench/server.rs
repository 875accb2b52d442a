use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::load::Endpoint;
use super::machine;
use crate::process;

/// From start to the first answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A private server on the simulated driver. Dropping it ends it, and the data plane that it may have started.
pub(super) struct Server {
    child: Child,
    binary: PathBuf,
    data_dir: tempfile::TempDir,
    pub(super) endpoint: Endpoint,
}

impl Server {
    /// Starts it, with `more` arguments for `puffer serve`.
    pub(super) fn start(binary: &Path, more: &[String]) -> anyhow::Result<Server> {
        let data_dir = tempfile::Builder::new().prefix("puffer-bench-").tempdir()?;
        let log_path = data_dir.path().join("server.log");
        let log = std::fs::File::create(&log_path)?;
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--compute", "simulated", "--any-image", "--data-dir"])
            .arg(data_dir.path())
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let pid = u64::from(child.id());
        let started = process::wait_for("the server's start", START_LIMIT, || {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                bail!("the server ended at once ({status}): {}", log.trim());
            }
            let mut env = Command::new(binary);
            env.args(["env", "--json", "--data-dir"]).arg(data_dir.path());
            let Ok(text) = process::output(&mut env) else { return Ok(Err("no answer yet".into())) };
            let environment: Value = serde_json::from_str(&text)?;
            Ok(if environment["server"]["pid"] == pid {
                Ok(environment)
            } else {
                Err("not yet listening".into())
            })
        });
        let environment = match started {
            Ok(environment) => environment,
            Err(error) => {
                // Not yet a `Server` that ends itself when dropped.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let text = |name: &str| environment[name].as_str().unwrap_or_default().to_owned();
        Ok(Server {
            child,
            binary: binary.to_owned(),
            data_dir,
            endpoint: Endpoint {
                address: text("AWS_ENDPOINT_URL").trim_start_matches("http://").to_owned(),
                access_key_id: text("AWS_ACCESS_KEY_ID"),
                secret_access_key: text("AWS_SECRET_ACCESS_KEY"),
            },
        })
    }

    /// Processor time so far, in seconds.
    pub(super) fn cpu_s(&self) -> f64 {
        machine::cpu_s(self.child.id())
    }

    /// Memory, in bytes: a line of `/proc/<pid>/status` such as `VmRSS`.
    pub(super) fn memory_bytes(&self, line: &str) -> u64 {
        machine::memory_bytes(self.child.id(), line)
    }

    /// Bytes of a file in the data directory.
    pub(super) fn file_bytes(&self, name: &str) -> u64 {
        std::fs::metadata(self.data_dir.path().join(name)).map_or(0, |m| m.len())
    }

    /// The data plane's process, if there is one.
    pub(super) fn balancer_pid(&self) -> Option<u32> {
        let socket = self.data_dir.path().join("balancer.sock").to_string_lossy().into_owned();
        machine::pids().find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&socket)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.balancer_pid().is_some() {
            let mut teardown = Command::new(&self.binary);
            teardown.args(["teardown", "--yes", "--data-dir"]).arg(self.data_dir.path());
            if let Err(error) = process::output(&mut teardown) {
                eprintln!("the data plane may be left: {error:#}");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary that benches measure: built with optimizations unless one is given.
pub(super) fn binary(given: &Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(binary) = given {
        return Ok(binary.clone());
    }
    process::run(
        Command::new("cargo").args(["build", "--release", "-p", "puffer"]).current_dir(crate::root()),
    )?;
    Ok(crate::target_dir().join("release/puffer"))
}
