//! The driver with real processes. The contract's own suite is in `contract.rs`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::{ImageRef, NetworkAttachment};

/// No step of these tests takes longer than this on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    data: tempfile::TempDir,
    driver: ProcessDriver,
}

impl World {
    fn new() -> World {
        let data = tempfile::tempdir().unwrap();
        let driver = ProcessDriver::open(data.path()).unwrap();
        World { data, driver }
    }

    fn image(&self, script: &str) -> PathBuf {
        let layer = self.data.path().join("image");
        std::fs::create_dir_all(layer.join("shared")).unwrap();
        std::fs::write(layer.join("shared/tool"), "tool").unwrap();
        let manifest = serde_json::json!({
            "kind": "process", "command": ["/bin/sh", "-c", script], "environment": {"GREETING": "hello ${HOST}"},
            "port": 80, "shared": ["shared"],
        });
        std::fs::write(layer.join(BUNDLE_MANIFEST), manifest.to_string()).unwrap();
        layer
    }

    fn spec(&self, id: &str, layers: Vec<PathBuf>) -> LaunchSpec {
        LaunchSpec {
            root: 0,
            instance_id: id.to_owned(),
            image: ImageRef { image_id: "ami-1".to_owned(), layers },
            cpu_millis: 1000,
            memory_bytes: 1 << 29,
            hostname: "host".to_owned(),
            network: Some(NetworkAttachment {
                bridge: String::new(),
                host_interface: String::new(),
                address: Ipv4Addr::new(127, 31, 0, 9),
                prefix: 20,
                gateway: Ipv4Addr::new(127, 31, 0, 1),
                mac: "02:00:00:00:00:01".to_owned(),
                dns: Vec::new(),
            }),
            ssh_public_keys: Vec::new(),
            user_data: None,
            environment: BTreeMap::new(),
        }
    }

    fn directory(&self, id: &str) -> PathBuf {
        std::fs::canonicalize(self.data.path()).unwrap().join("instances").join(id)
    }

    async fn state(&self, id: &str) -> Option<DriverState> {
        self.driver.list().await.unwrap().into_iter().find(|i| i.instance_id == id).map(|i| i.state)
    }

    fn pids(&self, id: &str) -> Vec<i32> {
        tree::members(&self.directory(id), &[])
    }
}

/// Waits until `check` holds.
async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let begin = tokio::time::Instant::now();
    while !check() {
        assert!(begin.elapsed() < PATIENCE, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn contains(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|t| t.contains(text))
}

#[tokio::test]
async fn launches_once_and_terminates_the_whole_tree() {
    let world = World::new();
    // A child that leaves the session, as daemons do.
    let layer = world.image("echo \"$GREETING $PORT\"; setsid sleep 1000 & exec sleep 1000");
    let spec = world.spec("i-1", vec![layer.clone()]);
    world.driver.launch(&spec).await.unwrap();
    until("both processes", || world.pids("i-1").len() == 2).await;
    let before = world.pids("i-1");
    world.driver.launch(&spec).await.unwrap();
    assert_eq!(world.pids("i-1"), before);
    let console = world.directory("i-1").join("console.log");
    until("the greeting", || contains(&console, &format!("hello 127.31.0.9 {}", port_map(80)))).await;
    assert!(world.driver.console_output("i-1").await.unwrap().0.starts_with(b"hello"));
    assert!(std::fs::symlink_metadata(world.directory("i-1").join("root/shared")).unwrap().is_symlink());

    world.driver.terminate("i-1").await.unwrap();
    assert!(world.pids("i-1").is_empty());
    assert!(!world.directory("i-1").exists());
    world.driver.terminate("i-1").await.unwrap();
    assert!(layer.join("shared/tool").exists(), "the image is untouched");
    assert_eq!(world.driver.turns.lock().len(), 0);
}

#[tokio::test]
async fn keeps_its_disk_over_stop_and_start_and_runs_user_data_once() {
    let world = World::new();
    let layer =
        world.image("trap 'echo asked; exit 0' TERM; echo up >> starts; while :; do sleep 0.05; done");
    let mut spec = world.spec("i-2", vec![layer]);
    spec.user_data = Some(b"#!/bin/sh\necho run >> user-data-ran\n".to_vec());
    world.driver.launch(&spec).await.unwrap();
    let root = world.directory("i-2").join("root");
    until("the user data", || contains(&root.join("user-data-ran"), "run")).await;
    until("the service", || contains(&root.join("starts"), "up")).await;
    world.driver.stop("i-2", 10).await.unwrap();
    assert_eq!(world.state("i-2").await, Some(DriverState::Stopped));
    assert!(contains(&world.directory("i-2").join("console.log"), "asked"));
    world.driver.stop("i-2", 10).await.unwrap();
    world.driver.start(&spec).await.unwrap();
    until("the second start", || contains(&root.join("starts"), "up\nup")).await;
    world.driver.reboot(&spec).await.unwrap();
    until("the third start", || contains(&root.join("starts"), "up\nup\nup")).await;
    assert_eq!(std::fs::read_to_string(root.join("user-data-ran")).unwrap(), "run\n");
    // A new root volume boots for the first time, with the user data as it is by now.
    spec.root = 1;
    spec.user_data = Some(b"#!/bin/sh\necho changed >> user-data-ran\n".to_vec());
    world.driver.replace_root(&spec, 10).await.unwrap();
    until("the new user data", || contains(&root.join("user-data-ran"), "changed")).await;
    until("the new start", || contains(&root.join("starts"), "up")).await;
    assert_eq!(std::fs::read_to_string(root.join("starts")).unwrap(), "up\n");
    // Killed while it replaced: the old root set aside, none in its place.
    let directory = world.directory("i-2");
    world.driver.stop("i-2", 10).await.unwrap();
    std::fs::write(directory.join("root-swap.json"), "2").unwrap();
    std::fs::rename(&root, directory.join("root.old")).unwrap();
    world.driver.start(&spec).await.unwrap();
    until("the old root again", || contains(&root.join("starts"), "up\nup")).await;
    spec.root = 2;
    world.driver.replace_root(&spec, 10).await.unwrap();
    until("the last user data", || contains(&root.join("user-data-ran"), "changed")).await;
    assert!(!directory.join("root.old").exists() && !directory.join("root.new").exists());
    world.driver.terminate("i-2").await.unwrap();
}

#[tokio::test]
async fn adopts_what_runs_and_reports_what_died() {
    let mut world = World::new();
    let layer = world.image("exec sleep 1000");
    let spec = world.spec("i-3", vec![layer]);
    world.driver.launch(&spec).await.unwrap();
    let before = world.pids("i-3");
    world.driver = ProcessDriver::open(world.data.path()).unwrap();
    assert_eq!(world.state("i-3").await, Some(DriverState::Running));
    world.driver.launch(&spec).await.unwrap();
    assert_eq!(world.pids("i-3"), before, "adopted, not launched again");
    let mut usage = Vec::new();
    world.driver.usage(&mut ["i-3", "i-unknown"].into_iter(), &mut usage);
    assert!(matches!(&usage[..], [(id, u)] if id == "i-3" && u.memory_bytes > 0), "{usage:?}");

    tree::signal_all(&before, Signal::SIGKILL);
    tokio::time::timeout(PATIENCE, world.driver.changed()).await.unwrap();
    until("its end", || world.pids("i-3").is_empty()).await;
    assert_eq!(world.state("i-3").await, Some(DriverState::Stopped));
    world.driver.terminate("i-3").await.unwrap();
}

#[tokio::test]
async fn a_launch_cut_short_is_completed() {
    let world = World::new();
    let layer = world.image("exec sleep 1000");
    let spec = world.spec("i-4", vec![layer]);
    world.driver.launch(&spec).await.unwrap();
    let first = world.pids("i-4");
    // As if the server had died after the spawn and before the record.
    std::fs::remove_file(world.directory("i-4").join("processes.json")).unwrap();
    let again = ProcessDriver::open(world.data.path()).unwrap();
    assert_eq!(again.list().await.unwrap()[0].state, DriverState::Starting);
    again.launch(&spec).await.unwrap();
    let second = world.pids("i-4");
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    again.terminate("i-4").await.unwrap();
}

#[tokio::test]
async fn meters_the_cpu_of_the_tree() {
    let world = World::new();
    let layer = world.image("while :; do :; done & wait");
    let spec = world.spec("i-5", vec![layer]);
    world.driver.launch(&spec).await.unwrap();
    let begin = tokio::time::Instant::now();
    loop {
        let mut usage = Vec::new();
        world.driver.usage(&mut ["i-5"].into_iter(), &mut usage);
        if usage.first().is_some_and(|(_, u)| u.cpu_ns >= 100_000_000) {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "no CPU time was seen: {usage:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.driver.terminate("i-5").await.unwrap();
}

#[tokio::test]
async fn an_image_of_an_instance_stands_by_itself() {
    let world = World::new();
    let layer = world.image("echo made > made-here; exec sleep 1000");
    let spec = world.spec("i-6", vec![layer.clone()]);
    world.driver.launch(&spec).await.unwrap();
    until("the change", || contains(&world.directory("i-6").join("root/made-here"), "made")).await;
    let target = world.data.path().join("copy");
    std::fs::create_dir(&target).unwrap();
    let layers = world.driver.create_image("i-6", &target).await.unwrap();
    assert_eq!(layers, std::slice::from_ref(&target));
    std::fs::remove_dir_all(layer).unwrap();
    assert!(contains(&target.join("made-here"), "made") && contains(&target.join("shared/tool"), "tool"));
    world.driver.launch(&world.spec("i-7", layers)).await.unwrap();
    assert_eq!(world.state("i-7").await, Some(DriverState::Running));
    world.driver.terminate("i-6").await.unwrap();
    world.driver.terminate("i-7").await.unwrap();
}

#[tokio::test]
async fn a_failed_launch_leaves_nothing() {
    let world = World::new();
    let layer = world.image("exit 0");
    std::fs::write(layer.join(BUNDLE_MANIFEST), r#"{"kind":"process","command":["no-such-program-here"]}"#)
        .unwrap();
    for (id, layers) in
        [("i-8", vec![layer]), ("i-9", vec![world.data.path().join("absent")]), ("i-10", vec![])]
    {
        let error = world.driver.launch(&world.spec(id, layers)).await.unwrap_err();
        assert!(matches!(error, DriverError::BadImage { .. }), "{id}: {error}");
    }
    assert_eq!(std::fs::read_dir(world.data.path().join("instances")).unwrap().count(), 0);
    for id in ["", "../x", "a/b", ".making-i-1"] {
        assert!(world.driver.terminate(id).await.is_err(), "{id:?} is no instance id");
    }
    assert!(matches!(world.driver.stop("i-none", 1).await, Err(DriverError::NotFound(_))));
    assert!(matches!(world.driver.console_output("i-none").await, Err(DriverError::NotFound(_))));
}
