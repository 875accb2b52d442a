//! What a guest sees and may do.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use puffer_compute::contract::Subject;
use puffer_compute::{Driver, LaunchSpec};

use super::machine::{Machine, told};

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
