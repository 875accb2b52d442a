//! Instances on a bridge, in a network namespace of the test's own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use puffer_compute::contract::Subject;
use puffer_compute::{Driver, ImageRef, LaunchSpec, NetworkAttachment};

use super::machine::{Machine, told};

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
        .arg(format!("container::network::{test}"))
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
        // A guest without its interface cannot be reached.
        for (direction, trouble) in [("down", Some("its network interface is down")), ("up", None)] {
            let namespace = format!("--net=/proc/{}/ns/net", machine.init_of(id));
            let set =
                Command::new("nsenter").args([&namespace, "ip", "link", "set", "eth0", direction]).status();
            assert!(set.unwrap().success());
            // The kernel passes the change on to the other end within a second.
            let seen = async {
                loop {
                    let listed = driver.list().await.unwrap();
                    if listed.iter().any(|i| i.instance_id == id && i.trouble.as_deref() == trouble) {
                        return;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(10), seen).await.unwrap();
        }
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
