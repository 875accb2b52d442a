//! The container driver: the contract, then what a machine of its own must be.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use puffer_compute::container::{ContainerDriver, Options};
use puffer_compute::contract::{self, Subject, wait_console, wait_state};
use puffer_compute::{Driver, DriverState, ImageRef, LaunchSpec, NetworkAttachment};
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

/// Runs `body` in a network namespace of its own with a bridge `br-test` (10.99.0.1/24), by running this one test again inside it: whatever
/// happens, the kernel takes bridge and pairs away with the last process.
fn in_private_network(test: &str, body: impl Future<Output = ()>) {
    const INSIDE: &str = "PUFFER_TEST_INSIDE";
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: needs root");
    }
    if std::env::var_os(INSIDE).is_some() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(body);
    }
    // A fresh sysfs shows the new namespace's interfaces; the cgroup mounts move over to it.
    let script = "set -e; t=$(mktemp -d); mount --rbind /sys/fs/cgroup $t; mount -t sysfs sysfs /sys; \
                  mount --rbind $t /sys/fs/cgroup; umount -l $t; rmdir $t; ip link set lo up; \
                  ip link add br-test type bridge; ip addr add 10.99.0.1/24 dev br-test; ip link set br-test up; \
                  exec \"$0\" --exact \"$1\" --nocapture";
    let status = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(format!("container::{test}"))
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "inside the private network");
}

fn attach(mut spec: LaunchSpec, number: u8) -> LaunchSpec {
    spec.network = Some(NetworkAttachment {
        bridge: "br-test".into(),
        host_interface: format!("pf-test{number}"),
        address: Ipv4Addr::new(10, 99, 0, number),
        prefix: 24,
        gateway: Ipv4Addr::new(10, 99, 0, 1),
        mac: format!("02:00:0a:63:00:{number:02x}"),
        dns: vec![Ipv4Addr::new(10, 99, 0, 1)],
    });
    spec
}

/// One request; `None` while nobody answers.
fn get(address: &str) -> Option<String> {
    let timeout = std::time::Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), timeout).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains(" 200 ").then_some(answer)
}

async fn wait_get(address: &str) -> String {
    tokio::time::timeout(std::time::Duration::from_secs(30), async {
        loop {
            let to = address.to_string();
            if let Some(answer) = tokio::task::spawn_blocking(move || get(&to)).await.unwrap() {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{address} does not answer"))
}

#[test]
fn an_instance_is_reached_through_its_bridge() {
    in_private_network("an_instance_is_reached_through_its_bridge", async {
        let Some(machine) = Machine::new() else { return };
        machine.script(
            "on-boot",
            "echo \"mac $(cat /sys/class/net/eth0/address) $(cat /etc/resolv.conf)\"; ip route | grep default; mkdir -p /www; echo hello >/www/index.html; httpd -p 80 -h /www; echo told-all\n",
        );
        let driver = machine.driver();
        let specs = [attach(machine.spec(1), 2), attach(machine.spec(2), 3)];
        for spec in &specs {
            driver.launch(spec).await.unwrap();
        }
        let id = specs[0].instance_id.as_str();
        let text = told(driver.as_ref(), id).await.join("\n");
        assert!(text.contains("mac 02:00:0a:63:00:02 nameserver 10.99.0.1"), "{text}");
        assert!(text.contains("default via 10.99.0.1 dev eth0"), "{text}");
        assert!(wait_get("10.99.0.2:80").await.contains("hello"));
        assert!(wait_get("10.99.0.3:80").await.contains("hello"));
        let usage = |id: &str| {
            let mut out = Vec::new();
            driver.usage(&mut [id].into_iter(), &mut out);
            out.pop().unwrap().1
        };
        let before = usage(id);
        assert!(before.network_in_packets >= 3 && before.network_out_bytes > 100, "{before:?}");
        for _ in 0..20 {
            wait_get("10.99.0.2:80").await;
        }
        let after = usage(id);
        assert!(
            after.network_in_bytes > before.network_in_bytes
                && after.network_out_packets > before.network_out_packets
        );
        // A restarted instance has the same place, and a metered one.
        driver.reboot(&specs[0]).await.unwrap();
        wait_get("10.99.0.2:80").await;
        assert!(usage(id).network_in_packets > 0);
        for spec in &specs {
            driver.terminate(&spec.instance_id).await.unwrap();
        }
        assert!(!Path::new("/sys/class/net/pf-test2").exists(), "the pair is gone when terminate returns");
        // A bridge that is not there is an error that leaves nothing.
        let mut spec = attach(machine.spec(3), 4);
        spec.network.as_mut().unwrap().bridge = "br-absent".into();
        let error = driver.launch(&spec).await.unwrap_err().to_string();
        assert!(error.contains("br-absent"), "{error}");
        assert_eq!(machine.leftovers(&spec.instance_id), Vec::<String>::new());
    });
}

/// The lab's shape: systemd, a unit on port 80, user data. `PUFFER_TEST_SYSTEMD_ROOT` names a root file system with systemd and Python 3 (for example
/// `mmdebstrap --variant=minbase --include=systemd-sysv,python3,iproute2 bookworm DIR`).
#[test]
fn systemd_boots_serves_and_powers_off() {
    in_private_network("systemd_boots_serves_and_powers_off", async {
        let Some(root) = std::env::var_os("PUFFER_TEST_SYSTEMD_ROOT").map(PathBuf::from) else {
            return eprintln!("SKIPPED: PUFFER_TEST_SYSTEMD_ROOT names no root file system with systemd");
        };
        let Some(machine) = Machine::new() else { return };
        let layer = machine.dir.path().join("app-layer");
        let units = layer.join("etc/systemd/system");
        fs::create_dir_all(units.join("multi-user.target.wants")).unwrap();
        fs::write(
            units.join("app.service"),
            "[Unit]\nAfter=network.target\n[Service]\nExecStart=/usr/bin/python3 -m http.server 80 --directory /etc/systemd\nPrivateTmp=yes\nProtectSystem=full\nMemoryMax=200M\n[Install]\nWantedBy=multi-user.target\n",
        )
        .unwrap();
        symlink("../app.service", units.join("multi-user.target.wants/app.service")).unwrap();
        let driver = machine.driver();
        let spec = LaunchSpec {
            image: ImageRef { image_id: "ami-00000000000000002".into(), layers: vec![root, layer] },
            memory_bytes: 512 << 20,
            cpu_millis: 2000,
            user_data: Some(b"#!/bin/sh\necho user data as $(id -u) in $(systemd-detect-virt)\nsystemd-run --quiet sh -c '(systemctl is-system-running --wait; systemctl --failed; echo told-all) >/dev/console'\n".to_vec()),
            ..attach(machine.spec(1), 2)
        };
        let id = spec.instance_id.as_str();
        let began = tokio::time::Instant::now();
        driver.launch(&spec).await.unwrap();
        let launched = began.elapsed();
        wait_get("10.99.0.2:80").await;
        let answered = began.elapsed();
        let text = told(driver.as_ref(), id).await.join("\n");
        assert!(text.contains("user data as 0 in "), "{text}");
        assert!(text.contains("running"), "{text}");
        assert!(!text.contains("degraded"), "{text}");
        let began = tokio::time::Instant::now();
        driver.stop(id, 30).await.unwrap();
        let stopped = began.elapsed();
        assert!(
            stopped < std::time::Duration::from_secs(20),
            "systemd did not heed the power-off: {stopped:?}"
        );
        let began = tokio::time::Instant::now();
        driver.start(&spec).await.unwrap();
        wait_get("10.99.0.2:80").await;
        eprintln!(
            "launch {launched:?}, first 200 {answered:?}, stop {stopped:?}, start to 200 {:?}",
            began.elapsed()
        );
        driver.terminate(id).await.unwrap();
        assert_eq!(machine.leftovers(id), Vec::<String>::new());
    });
}

/// Processes in this server's groups with their groups, zombies aside: those wait for whoever adopted them.
fn living(data_dir: &Path) -> Vec<(String, String)> {
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

fn processes_of(data_dir: &Path) -> Vec<String> {
    living(data_dir).into_iter().map(|(pid, _)| pid).collect()
}

/// What the next test kills: launches, restarts and terminates four instances without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_until_killed() {
    let Some(dir) = std::env::var_os("PUFFER_TEST_CHURN").map(PathBuf::from) else { return };
    let options = Options::new(dir.join("data"), env!("CARGO_BIN_EXE_puffer-container-helper"));
    let driver = Arc::new(ContainerDriver::new(options).unwrap());
    let text = fs::read(dir.join("specs.json")).unwrap();
    let specs: Vec<LaunchSpec> = serde_json::from_slice(&text).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for spec in specs {
        let driver = driver.clone();
        tasks.spawn(async move {
            loop {
                let id = spec.instance_id.as_str();
                driver.launch(&spec).await.unwrap();
                driver.stop(id, 1).await.unwrap();
                driver.start(&spec).await.unwrap();
                driver.terminate(id).await.unwrap();
            }
        });
    }
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_nothing_leaks_and_all_goes_on() {
    const ROUNDS: u64 = 24;
    let Some(machine) = Machine::new() else { return };
    let specs: Vec<LaunchSpec> = (1..=4).map(|n| machine.spec(n)).collect();
    fs::write(machine.dir.path().join("specs.json"), serde_json::to_vec(&specs).unwrap()).unwrap();
    for round in 0..ROUNDS {
        let mut churn = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "container::churn_until_killed", "--nocapture"])
            .env("PUFFER_TEST_CHURN", machine.dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20 + round * 9)).await;
        if let Some(status) = churn.try_wait().unwrap() {
            panic!("the churn ended by itself in round {round}: {status}");
        }
        // A shim dies too, now and then.
        if round % 3 == 2
            && let Some(shim) = processes_of(&machine.data_dir()).first()
        {
            let _ = Command::new("kill").args(["-KILL", shim]).status();
        }
        churn.kill().unwrap();
        churn.wait().unwrap();
        let driver = machine.driver();
        for spec in &specs {
            match round % 2 {
                0 => driver.terminate(&spec.instance_id).await.unwrap(),
                _ => driver.launch(spec).await.unwrap(),
            }
        }
        let states = driver.list().await.unwrap();
        assert_eq!(states.len(), if round % 2 == 0 { 0 } else { 4 }, "round {round}: {states:?}");
        for spec in &specs {
            driver.terminate(&spec.instance_id).await.unwrap();
            assert_eq!(machine.leftovers(&spec.instance_id), Vec::<String>::new(), "round {round}");
        }
        assert_eq!(processes_of(&machine.data_dir()), Vec::<String>::new(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_outlives_its_shim() {
    let Some(machine) = Machine::new() else { return };
    let driver = machine.driver();
    let spec = machine.spec(1);
    let id = spec.instance_id.as_str();
    driver.launch(&spec).await.unwrap();
    wait_console(driver.as_ref(), id, "boot 1").await;
    let run = fs::read_to_string(machine.data_dir().join("instances").join(id).join("run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    assert!(
        Command::new("kill").args(["-KILL", &run["shim"]["pid"].to_string()]).status().unwrap().success()
    );
    tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while processes_of(&machine.data_dir()).contains(&run["shim"]["pid"].to_string()) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    wait_state(driver.as_ref(), id, Some(DriverState::Running)).await;
    let mut usage = Vec::new();
    driver.usage(&mut [id].into_iter(), &mut usage);
    assert_eq!(usage.len(), 1);
    driver.stop(id, 5).await.unwrap();
    driver.start(&spec).await.unwrap();
    wait_console(driver.as_ref(), id, "boot 2").await;
    driver.terminate(id).await.unwrap();
    assert_eq!(machine.leftovers(id), Vec::<String>::new());
}

#[tokio::test]
async fn the_probe_says_yes_here_and_why_not_elsewhere() {
    let Some(machine) = Machine::new() else { return };
    fs::create_dir_all(machine.data_dir()).unwrap();
    let probe = puffer_compute::container::probe(&machine.options()).await;
    assert!(probe.usable, "{:#?}", probe.findings);
    assert_eq!(fs::read_dir(machine.data_dir()).unwrap().count(), 0, "the trial leaves nothing");
    let nowhere = Options::new("/proc/nowhere", env!("CARGO_BIN_EXE_puffer-container-helper"));
    let probe = puffer_compute::container::probe(&nowhere).await;
    assert!(!probe.usable);
    assert!(probe.findings.iter().any(|finding| finding.detail.contains("prepare the data directory")));
}

/// Not a check but figures: `cargo nextest run -p puffer-compute --run-ignored only -E 'test(figures)' --no-capture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn figures() {
    const N: u32 = 40;
    let Some(machine) = Machine::new() else { return };
    let driver = machine.driver();
    let mut times = Vec::new();
    for n in 1..=N {
        let began = tokio::time::Instant::now();
        driver.launch(&machine.spec(n)).await.unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    eprintln!(
        "launch to running, one at a time: median {:?}, worst {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    let ids: Vec<String> = (1..=N).map(|n| machine.spec(n).instance_id).collect();
    let mut out = Vec::with_capacity(ids.len());
    let rounds = 1000;
    let began = tokio::time::Instant::now();
    for _ in 0..rounds {
        out.clear();
        driver.usage(&mut ids.iter().map(String::as_str), &mut out);
    }
    assert_eq!(out.len() as u32, N);
    eprintln!("usage: {:?} per instance", began.elapsed() / (rounds * N));
    for pid in processes_of(&machine.data_dir()) {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if command.contains("container-helper") {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let lines: Vec<&str> = rollup
                .lines()
                .filter(|l| ["Rss:", "Pss:", "Private_Dirty:"].iter().any(|k| l.starts_with(k)))
                .collect();
            eprintln!("shim: {}", lines.join(", "));
            break;
        }
    }
    let began = tokio::time::Instant::now();
    for id in &ids {
        driver.terminate(id).await.unwrap();
    }
    eprintln!("terminate: {:?} each", began.elapsed() / N);
    let began = tokio::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 1..=N {
        let (driver, spec) = (driver.clone(), machine.spec(n));
        tasks.spawn(async move { driver.launch(&spec).await.unwrap() });
    }
    while tasks.join_next().await.is_some() {}
    eprintln!("{N} launches at once: {:?}, {:?} each", began.elapsed(), began.elapsed() / N);
}
