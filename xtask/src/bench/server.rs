use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::process;

/// From start to the first answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A private server on the simulated driver. Dropping it ends it.
pub(super) struct Server {
    child: Child,
    _data_dir: tempfile::TempDir,
    /// Address and port.
    pub(super) address: String,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
}

impl Server {
    pub(super) fn start(binary: &Path) -> anyhow::Result<Server> {
        let data_dir = tempfile::Builder::new().prefix("puffer-bench-").tempdir()?;
        let log_path = data_dir.path().join("server.log");
        let log = std::fs::File::create(&log_path)?;
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--compute", "simulated", "--any-image", "--data-dir"])
            .arg(data_dir.path())
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
            _data_dir: data_dir,
            address: text("AWS_ENDPOINT_URL").trim_start_matches("http://").to_owned(),
            access_key_id: text("AWS_ACCESS_KEY_ID"),
            secret_access_key: text("AWS_SECRET_ACCESS_KEY"),
        })
    }

    /// Processor time so far, in seconds.
    pub(super) fn cpu_s(&self) -> f64 {
        /// Kernel ticks per second in /proc, the same on all Linux systems since 2.6.
        const TICKS_PER_S: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        // utime and stime are the 14th and 15th fields; the name was the second.
        after_name.split(' ').skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum::<f64>()
            / TICKS_PER_S
    }
}

impl Drop for Server {
    fn drop(&mut self) {
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
