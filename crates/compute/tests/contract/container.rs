//! The container driver: the contract, then what a machine of its own must be.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use puffer_compute::container::{ContainerDriver, Options};
use puffer_compute::contract::{self, Subject, wait_console, wait_state};
use puffer_compute::{Driver, DriverState, ImageRef, LaunchSpec};
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
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// `None` (said aloud) where the tests cannot run.
    fn new() -> Option<Machine> {
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

    fn image_root(&self) -> PathBuf {
        self.dir.path().join("image/root")
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.image_root().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn options(&self) -> Options {
        Options::new(self.data_dir(), env!("CARGO_BIN_EXE_puffer-container-helper"))
    }

    fn driver(&self) -> Arc<ContainerDriver> {
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
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let cgroup = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
            if cgroup.contains(&format!("{id}/"))
                && cgroup.contains("puffer-")
                && ours(&self.data_dir(), &cgroup)
            {
                found.push(format!("process {:?}", process.file_name()));
            }
        }
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
fn ours(data_dir: &Path, text: &str) -> bool {
    let Ok(path) = fs::canonicalize(data_dir.join("instances")) else { return false };
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    text.contains(&format!("puffer-{hash:08x}"))
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        #[test]
        fn every_check_is_run() {
            assert_eq!(contract::CHECKS, [$(stringify!($name)),*]);
        }
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(machine) = Machine::new() {
                    contract::check(&machine, stringify!($name)).await;
                }
            }
        )*
    };
}

contract!(
    launch_is_idempotent,
    launches_at_once,
    stop_and_start_keep_the_disk,
    terminate_removes_everything,
    not_found_is_typed,
    failed_launch_leaves_nothing,
    instances_outlive_the_driver,
    usage_grows,
    console_is_bounded,
    image_of_an_instance,
);

/// What a guest's script printed between two marks, line by line.
async fn told(driver: &dyn Driver, id: &str) -> Vec<String> {
    wait_console(driver, id, "told-all").await;
    let (bytes, _) = driver.console_output(id).await.unwrap();
    String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guest_is_confined() {
    let Some(machine) = Machine::new() else { return };
    machine.script(
        "on-boot",
        r#"
say() { printf '%s=%s\n' "$1" "$2"; }
say host "$(hostname)"
say whoami "$(id -u)"
say pid $$
say container "$container"
say uids "$(cat /proc/self/uid_map | tr -s ' ')"
say cgroup "$(cat /proc/self/cgroup | grep '^0::')"
say v1 "$(cat /proc/self/cgroup | grep memory)"
say interfaces "$(ls /sys/class/net | tr '\n' ' ')"
say machineid "$(wc -c </etc/machine-id)"
say image "$(stat -c %u /etc/shadowed)"
say keys "$(cat /root/.ssh/authorized_keys)"
say mounts "$(grep -c /tmp/ /proc/self/mountinfo)"
say swappiness "$( (echo 1 >/proc/sys/vm/swappiness) 2>&1)"
say panic "$( (echo 1 >/proc/sys/kernel/panic) 2>&1)"
say sysrq "$( (echo b >/proc/sysrq-trigger) 2>&1)"
say forward "$( (echo 1 >/proc/sys/net/ipv4/ip_forward) 2>&1 && cat /proc/sys/net/ipv4/ip_forward)"
say mknod "$( (mknod /dev/vda b 254 0 && head -c 1 /dev/vda) 2>&1 | tail -1)"
say node "$( (head -c 1 /hostdisk) 2>&1)"
say dmesg "$(dmesg 2>&1 | head -1)"
say date "$(date -s 2001-01-01 2>&1 | head -1)"
say kcore "$(head -c 4 /proc/kcore | wc -c)"
say limit "$( (echo max >/sys/fs/cgroup/memory.max || echo 9999 >/sys/fs/cgroup/../pids.max) 2>&1 | tail -1)"
say freeze "$( (echo 1 >/sys/fs/cgroup/cgroup.freeze) 2>&1)"
say group "$(mkdir /sys/fs/cgroup/mine && echo made)"
say sys "$( (echo 1 >/sys/kernel/mm/ksm/run) 2>&1 || true)"
say tmp "$(touch /tmp/a /run/b && echo ok)"
say mount "$(mkdir -p /mnt && mount -t tmpfs none /mnt && echo ok)"
say modules "$(modprobe loop 2>&1 | head -1)"
say null "$(echo x >/dev/null && echo ok)"
say files "$(ulimit -n)"
echo told-all
"#,
    );
    // A device node in an image must not open the host's disk.
    let made = Command::new("mknod")
        .arg(machine.image_root().join("hostdisk"))
        .args(["-m", "666", "c", "1", "5"])
        .status();
    assert!(made.unwrap().success());
    let driver = machine.driver();
    let spec = machine.spec(1);
    let id = spec.instance_id.as_str();
    driver.launch(&spec).await.unwrap();
    let lines = told(driver.as_ref(), id).await;
    let said = |key: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("no {key} in {lines:#?}")).to_string()
    };
    let exactly = [
        ("host", "ip-10-0-0-1"),
        ("whoami", "0"),
        ("pid", "1"),
        ("container", "oci"),
        ("cgroup", "0::/"),
        ("interfaces", "lo"),
        ("machineid", "0"),
        ("image", "0"),
        ("keys", "ssh-ed25519 AAAA test"),
        ("mounts", "0"),
        ("kcore", "0"),
        ("group", "made"),
        ("tmp", "ok"),
        ("mount", "ok"),
        ("null", "ok"),
        ("forward", "1"),
        ("files", "1024"),
    ];
    for (key, wanted) in exactly {
        assert_eq!(said(key).trim(), wanted, "{key} in {lines:#?}");
    }
    assert!(said("v1").is_empty() || said("v1").ends_with(":/"), "{lines:#?}");
    for key in ["swappiness", "panic", "sysrq", "mknod", "node", "dmesg", "date", "limit", "freeze"] {
        let text = said(key).to_lowercase();
        let refused = ["denied", "not permitted", "read-only", "nonexistent", "no such"]
            .iter()
            .any(|word| text.contains(word));
        assert!(refused, "{key} was not refused: '{text}' in {lines:#?}");
    }
    assert_ne!(said("uids").split(' ').nth(2), Some("0"), "the guest's root must not be the host's");
    // The image is as it was, and the guest's files are not root's on the host.
    assert_eq!(fs::metadata(machine.image_root().join("etc/shadowed")).unwrap().uid(), 0);
    assert!(!machine.image_root().join("boots").exists());
    let boots = fs::metadata(machine.data_dir().join("instances").join(id).join("disk/upper/boots")).unwrap();
    assert!(boots.uid() >= 0x7000_0000, "owner {}", boots.uid());
    driver.terminate(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold() {
    let Some(machine) = Machine::new() else { return };
    // Twice the memory limit, in a child of init that the kernel then kills; and two burners on half a CPU.
    machine.script(
        "on-boot",
        "head -c 134217728 /dev/zero | tail >/dev/null; echo memory=$?\n(while :; do :; done) &\n(while :; do :; done) &\necho told-all\n",
    );
    let driver = machine.driver();
    let spec = LaunchSpec { cpu_millis: 500, ..machine.spec(1) };
    let id = spec.instance_id.as_str();
    driver.launch(&spec).await.unwrap();
    let lines = told(driver.as_ref(), id).await;
    assert!(lines.iter().any(|line| line == "memory=137"), "{lines:#?}");
    let cpu_ns = || {
        let mut out = Vec::new();
        driver.usage(&mut [id].into_iter(), &mut out);
        out[0].1.cpu_ns
    };
    let (from, began) = (cpu_ns(), tokio::time::Instant::now());
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let share = (cpu_ns() - from) as f64 / began.elapsed().as_nanos() as f64;
    assert!(share < 0.65, "half a CPU was allowed, {share:.2} was used");
    driver.terminate(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guests_own_power_off_and_reboot_are_heeded() {
    let Some(machine) = Machine::new() else { return };
    machine.script(
        "on-boot",
        "case $(wc -l </boots) in 2) echo told-all ;; 1) reboot -f ;; 3) poweroff -f ;; esac\n",
    );
    let driver = machine.driver();
    let spec = machine.spec(1);
    let id = spec.instance_id.as_str();
    driver.launch(&spec).await.unwrap();
    told(driver.as_ref(), id).await;
    wait_state(driver.as_ref(), id, Some(DriverState::Running)).await;
    driver.stop(id, 5).await.unwrap();
    driver.start(&spec).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while driver.list().await.unwrap()[0].state != DriverState::Stopped {
            driver.changed().await;
        }
    })
    .await
    .unwrap();
    let mut usage = Vec::new();
    driver.usage(&mut [id].into_iter(), &mut usage);
    assert!(usage.is_empty(), "a stopped instance is not metered");
    driver.terminate(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_data_runs_once() {
    let Some(machine) = Machine::new() else { return };
    let driver = machine.driver();
    let script =
        b"#!/bin/sh\necho x >>/user-data-runs\necho \"user data run $(wc -l </user-data-runs)\"\n".to_vec();
    let spec = LaunchSpec { user_data: Some(script), ..machine.spec(1) };
    let id = spec.instance_id.as_str();
    driver.launch(&spec).await.unwrap();
    wait_console(driver.as_ref(), id, "user data run 1").await;
    let upper = machine.data_dir().join("instances").join(id).join("disk/upper");
    driver.stop(id, 5).await.unwrap();
    driver.start(&spec).await.unwrap();
    wait_console(driver.as_ref(), id, "boot 2").await;
    driver.stop(id, 5).await.unwrap();
    assert_eq!(fs::read_to_string(upper.join("user-data-runs")).unwrap(), "x\n");
    assert!(
        fs::read_to_string(upper.join("var/log/cloud-init-output.log")).unwrap().contains("user data run 1")
    );
    driver.terminate(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_keeps_owners_links_deletions_and_modes() {
    let Some(machine) = Machine::new() else { return };
    machine.script(
        "on-boot",
        r#"
[ -e /made ] || {
  rm /etc/shadowed; rm -r /var; mkdir -p /var/new
  mkdir /made; echo a >/made/a; ln /made/a /made/b; ln -s ../etc /made/link; chown 33:33 /made/a; chmod 4755 /made/a
  mkfifo /made/fifo; dd if=/dev/zero of=/made/sparse bs=1 count=1 seek=100M 2>/dev/null
}
echo "facts $(stat -c %u:%g:%a:%h /made/a) $(readlink /made/link) $(ls /var | grep -c new) $(test -e /etc/shadowed || echo deleted) $(stat -c %U /made)"
echo told-all
"#,
    );
    let driver = machine.driver();
    let spec = machine.spec(1);
    driver.launch(&spec).await.unwrap();
    let find = |lines: Vec<String>| lines.into_iter().find(|line| line.starts_with("facts ")).unwrap();
    let first = find(told(driver.as_ref(), &spec.instance_id).await);
    assert!(first.contains("33:33:4755:2 ../etc") && first.contains("1 deleted root"), "{first}");
    let target = machine.image_target();
    let layers = driver.create_image(&spec.instance_id, &target).await.unwrap();
    driver.terminate(&spec.instance_id).await.unwrap();
    assert_eq!(fs::metadata(target.join("made/a")).unwrap().uid(), 33);
    assert!(fs::metadata(target.join("made/sparse")).unwrap().blocks() < 1000, "holes are kept");
    let again = LaunchSpec {
        image: ImageRef { image_id: "ami-0c0ffee0c0ffee000".into(), layers },
        ..machine.spec(2)
    };
    driver.launch(&again).await.unwrap();
    let said = find(told(driver.as_ref(), &again.instance_id).await);
    assert!(said.contains("33:33:4755:2 ../etc") && said.contains("1 deleted root"), "{said}");
    driver.terminate(&again.instance_id).await.unwrap();
}
