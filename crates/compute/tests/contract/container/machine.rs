//! A data directory with a three-megabyte image, and what the machine holds of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use puffer_compute::container::{ContainerDriver, Options};
use puffer_compute::contract::{Subject, wait_console};
use puffer_compute::{Driver, ImageRef, LaunchSpec};
use tempfile::TempDir;

/// Counts its starts, reports, and stays until it is asked to stop.
const INIT: &str = r#"#!/bin/sh
trap 'echo "power down"; exit 0' TERM
echo x >>/boots
echo "boot $(wc -l </boots)"
[ -x /on-boot ] && . /on-boot
while :; do sleep 1000 & wait $!; done
"#;

/// A data directory and an image of three megabytes; terminates what is left when it goes out of scope.
pub(crate) struct Machine {
    pub(crate) dir: TempDir,
}

impl Machine {
    /// `None` (said aloud) where the tests cannot run.
    pub(crate) fn new() -> Option<Machine> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("SKIPPED: needs /bin/busybox (apt-get install busybox-static)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("image/root");
        for name in ["bin", "sbin", "etc", "root", "proc", "sys", "dev", "tmp", "run", "var"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let applets = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout)
            .unwrap()
            .lines()
            .filter(|name| *name != "busybox" && *name != "init")
        {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nadmin:x:1000:1000::/home/admin:/bin/sh\n",
        )
        .unwrap();
        fs::write(root.join("etc/shadowed"), "secret").unwrap();
        let machine = Machine { dir };
        machine.script("sbin/init", INIT);
        Some(machine)
    }

    pub(crate) fn image_root(&self) -> PathBuf {
        self.dir.path().join("image/root")
    }

    pub(crate) fn script(&self, name: &str, text: &str) {
        let path = self.image_root().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.data_dir(), env!("CARGO_BIN_EXE_puffer-container-helper"))
    }

    /// Pid of an instance's init, as the driver noted it.
    pub(crate) fn init_of(&self, id: &str) -> String {
        let run = fs::read_to_string(self.data_dir().join("instances").join(id).join("run.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&run).unwrap()["init"]["pid"].to_string()
    }

    pub(crate) fn driver(&self) -> Arc<ContainerDriver> {
        Arc::new(ContainerDriver::new(self.options()).unwrap())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let options = self.options();
        let clean = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let Ok(driver) = ContainerDriver::new(options) else { return };
                for instance in driver.list().await.unwrap_or_default() {
                    if let Err(error) = driver.terminate(&instance.instance_id).await {
                        eprintln!("clean-up of {}: {error}", instance.instance_id);
                    }
                }
            });
        });
        let _ = clean.join();
    }
}

#[async_trait]
impl Subject for Machine {
    async fn open(&self) -> Arc<dyn Driver> {
        self.driver()
    }

    fn spec(&self, number: u32) -> LaunchSpec {
        LaunchSpec {
            root: 0,
            instance_id: format!("i-{number:017x}"),
            image: ImageRef { image_id: "ami-00000000000000001".into(), layers: vec![self.image_root()] },
            cpu_millis: 1000,
            memory_bytes: 64 << 20,
            hostname: format!("ip-10-0-0-{number}"),
            network: None,
            ssh_public_keys: vec!["ssh-ed25519 AAAA test".into()],
            user_data: None,
            environment: Default::default(),
        }
    }

    fn bad_image(&self) -> ImageRef {
        ImageRef { image_id: "ami-0bad".into(), layers: vec![self.dir.path().join("nowhere")] }
    }

    fn image_target(&self) -> PathBuf {
        let target = self.dir.path().join("new-image/layer");
        fs::create_dir_all(&target).unwrap();
        target
    }

    fn leftovers(&self, id: &str) -> Vec<String> {
        let mut found = Vec::new();
        if self.data_dir().join("instances").join(id).exists() {
            found.push("directory".into());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let data = self.data_dir().display().to_string();
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&data) && line.contains(id))
                .map(|line| format!("mount {line}")),
        );
        let inside = format!("/{id}");
        let mine = living(&self.data_dir()).into_iter().filter(|(_, groups)| groups.contains(&inside));
        found.extend(mine.map(|(pid, _)| format!("process {pid}")));
        for hierarchy in
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"]
        {
            for server in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
                let name = server.file_name().to_string_lossy().into_owned();
                if name.starts_with("puffer-")
                    && ours(&self.data_dir(), &name)
                    && server.path().join(id).exists()
                {
                    found.push(format!("cgroup {}", server.path().join(id).display()));
                }
            }
        }
        found
    }
}

/// Tests run side by side: only groups of this data directory's server count.
pub(crate) fn ours(data_dir: &Path, text: &str) -> bool {
    let Ok(path) = fs::canonicalize(data_dir.join("instances")) else { return false };
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    text.contains(&format!("puffer-{hash:08x}"))
}

/// Processes in this server's groups with their groups, zombies aside: those wait for whoever adopted them.
pub(crate) fn living(data_dir: &Path) -> Vec<(String, String)> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let read = |pid: &str, name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    pids.map(|pid| (read(&pid, "cgroup"), pid))
        .filter(|(groups, pid)| ours(data_dir, groups) && !read(pid, "status").contains("State:\tZ"))
        .map(|(groups, pid)| (pid, groups))
        .collect()
}

pub(crate) fn processes_of(data_dir: &Path) -> Vec<String> {
    living(data_dir).into_iter().map(|(pid, _)| pid).collect()
}

/// What a guest's script printed between two marks, line by line.
pub(crate) async fn told(driver: &dyn Driver, id: &str) -> Vec<String> {
    wait_console(driver, id, "told-all").await;
    let (bytes, _) = driver.console_output(id).await.unwrap();
    String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_string()).collect()
}
