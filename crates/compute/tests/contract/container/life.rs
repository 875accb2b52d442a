//! A guest's own power-off and reboot, its user data, its disk as an image, and the probe.

use std::fs;
use std::os::unix::fs::MetadataExt;

use puffer_compute::container::Options;
use puffer_compute::contract::{Subject, wait_console, wait_state};
use puffer_compute::{Driver, DriverState, ImageRef, LaunchSpec};

use super::machine::{Machine, told};

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
    assert_eq!(driver.list().await.unwrap()[0].trouble, None, "it powered itself off");
    driver.terminate(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_dies_is_told_from_one_that_ends() {
    let Some(machine) = Machine::new() else { return };
    machine.script("on-boot", "case $(wc -l </boots) in 1) exit 3 ;; 2) exit 0 ;; esac\n");
    let driver = machine.driver();
    let spec = machine.spec(1);
    let id = spec.instance_id.as_str();
    let off = async || {
        wait_state(driver.as_ref(), id, Some(DriverState::Stopped)).await;
        driver.list().await.unwrap().remove(0).trouble
    };
    driver.launch(&spec).await.unwrap();
    assert_eq!(off().await.as_deref(), Some("init ended with exit status 3"));
    driver.start(&spec).await.unwrap();
    assert_eq!(off().await, None);
    driver.start(&spec).await.unwrap();
    wait_console(driver.as_ref(), id, "boot 3").await;
    driver.stop(id, 0).await.unwrap();
    assert_eq!(off().await, None, "it was killed because somebody asked");
    driver.start(&spec).await.unwrap();
    wait_console(driver.as_ref(), id, "boot 4").await;
    let kill = std::process::Command::new("kill").args(["-KILL", &machine.init_of(id)]).status();
    assert!(kill.unwrap().success());
    assert_eq!(off().await.as_deref(), Some("init was killed by SIGKILL"));
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
    // A new root volume boots for the first time; whose uids it has does not change.
    let owner = || fs::metadata(&upper).unwrap().uid();
    let before = owner();
    let next = LaunchSpec { root: 1, ..spec.clone() };
    driver.replace_root(&next, 5).await.unwrap();
    told_times(driver.as_ref(), id, "user data run 1", 2).await;
    driver.stop(id, 5).await.unwrap();
    assert_eq!(owner(), before);
    assert_eq!(fs::read_to_string(upper.join("user-data-runs")).unwrap(), "x\n");
    // Killed while it replaced: the old disk set aside and no other one in its place.
    let disk = machine.data_dir().join("instances").join(id).join("disk");
    fs::write(disk.with_file_name("swap.json"), "2").unwrap();
    fs::rename(&disk, disk.with_extension("old")).unwrap();
    let last = LaunchSpec { root: 2, ..spec.clone() };
    driver.replace_root(&last, 5).await.unwrap();
    told_times(driver.as_ref(), id, "user data run 1", 3).await;
    assert!(!disk.with_extension("old").exists() && !disk.with_extension("new").exists());
    driver.terminate(id).await.unwrap();
}

/// Waits, with a bound, until the console has said this so many times.
async fn told_times(driver: &dyn Driver, id: &str, text: &str, times: usize) {
    for _ in 0..2_000 {
        let (bytes, _) = driver.console_output(id).await.unwrap();
        if String::from_utf8_lossy(&bytes).matches(text).count() == times {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the console of {id} does not say '{text}' {times} times");
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
