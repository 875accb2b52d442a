//! The contract that every driver keeps, as checks that run against any of them.
//!
//! A driver's tests give a [`Subject`] and call [`check`]; each named check stands for one of the rules in `driver.rs`. Everything is seen through the
//! trait: the subject's image counts its starts in a file on its disk and prints `boot N` on its console, which shows what became of the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{CONSOLE_BYTES_MAX, Driver, DriverError, DriverState, ImageRef, LaunchSpec};

/// How long a value may take to appear.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Between two looks at a value.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a driver's tests supply.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A driver over the subject's machine; called again after the first was dropped, as after a restart of the control plane.
    async fn open(&self) -> Arc<dyn Driver>;

    /// The spec of the `number`th instance. Its init adds a line to a file on the disk, prints `boot N` (N lines by now) to the console, and stays
    /// until it is asked to stop, then powers off.
    fn spec(&self, number: u32) -> LaunchSpec;

    /// An image that cannot be used.
    fn bad_image(&self) -> ImageRef;

    /// A new empty directory for [`Driver::create_image`].
    fn image_target(&self) -> PathBuf;

    /// Whatever the machine still holds of the instance: processes, mounts, groups, directories.
    fn leftovers(&self, instance_id: &str) -> Vec<String>;

    /// Whether instances live outside the process (simulated ones do not).
    fn survives(&self) -> bool {
        true
    }

    /// Whether there is a disk that init can write to (simulated instances have none).
    fn has_disk(&self) -> bool {
        true
    }
}

/// The names of all checks.
pub const CHECKS: [&str; 12] = [
    "launch_is_idempotent",
    "launches_at_once",
    "stop_and_start_keep_the_disk",
    "root_volumes_are_replaced",
    "terminate_removes_everything",
    "not_found_is_typed",
    "failed_launch_leaves_nothing",
    "instances_outlive_the_driver",
    "usage_grows",
    "console_is_bounded",
    "suspended_instances_hold_still",
    "image_of_an_instance",
];

/// Runs one check of [`CHECKS`]. Panics with what was expected.
pub async fn check(subject: &dyn Subject, name: &str) {
    match name {
        "launch_is_idempotent" => launch_is_idempotent(subject).await,
        "launches_at_once" => launches_at_once(subject).await,
        "stop_and_start_keep_the_disk" => stop_and_start_keep_the_disk(subject).await,
        "root_volumes_are_replaced" => root_volumes_are_replaced(subject).await,
        "terminate_removes_everything" => terminate_removes_everything(subject).await,
        "not_found_is_typed" => not_found_is_typed(subject).await,
        "failed_launch_leaves_nothing" => failed_launch_leaves_nothing(subject).await,
        "instances_outlive_the_driver" => instances_outlive_the_driver(subject).await,
        "usage_grows" => usage_grows(subject).await,
        "console_is_bounded" => console_is_bounded(subject).await,
        "suspended_instances_hold_still" => suspended_instances_hold_still(subject).await,
        "image_of_an_instance" => image_of_an_instance(subject).await,
        other => panic!("no check is named {other}"),
    }
}

fn expect_ok<T>(result: Result<T, DriverError>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

async fn state(driver: &dyn Driver, id: &str) -> Option<DriverState> {
    let all = expect_ok(driver.list().await, "list");
    let mut mine = all.into_iter().filter(|i| i.instance_id == id);
    let first = mine.next();
    assert!(mine.next().is_none(), "{id} is listed twice");
    first.map(|i| i.state)
}

/// Waits, with a bound, until the driver reports `wanted`.
pub async fn wait_state(driver: &dyn Driver, id: &str, wanted: Option<DriverState>) {
    let mut seen = None;
    let reached = tokio::time::timeout(WAIT_MAX, async {
        loop {
            seen = state(driver, id).await;
            if seen == wanted {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    if reached.await.is_err() {
        panic!("{id} should become {wanted:?} but is {seen:?}");
    }
}

/// Waits, with a bound, until the console shows `text`.
pub async fn wait_console(driver: &dyn Driver, id: &str, text: &str) {
    let mut seen = String::new();
    let reached = tokio::time::timeout(WAIT_MAX, async {
        loop {
            let (bytes, _) = expect_ok(driver.console_output(id).await, "console_output");
            seen = String::from_utf8_lossy(&bytes).into_owned();
            if seen.contains(text) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    if reached.await.is_err() {
        panic!("the console of {id} should show '{text}' but shows:\n{seen}");
    }
}

/// Waits, with a bound, until the console has shown `text` so many times.
async fn wait_console_times(driver: &dyn Driver, id: &str, text: &str, times: usize) {
    let mut seen = String::new();
    let reached = tokio::time::timeout(WAIT_MAX, async {
        loop {
            let (bytes, _) = expect_ok(driver.console_output(id).await, "console_output");
            seen = String::from_utf8_lossy(&bytes).into_owned();
            if seen.matches(text).count() == times {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    if reached.await.is_err() {
        panic!("the console of {id} should show '{text}' {times} times but shows:\n{seen}");
    }
}

async fn gone(subject: &dyn Subject, driver: &dyn Driver, id: &str) {
    assert_eq!(state(driver, id).await, None, "{id} is still listed");
    assert_eq!(subject.leftovers(id), Vec::<String>::new(), "{id} left something behind");
}

async fn launch_is_idempotent(subject: &dyn Subject) {
    let driver = subject.open().await;
    let spec = subject.spec(1);
    let id = spec.instance_id.as_str();
    let (a, b) = tokio::join!(driver.launch(&spec), driver.launch(&spec));
    expect_ok(a, "launch");
    expect_ok(b, "the same launch at the same time");
    expect_ok(driver.launch(&spec).await, "the same launch again");
    assert_eq!(state(driver.as_ref(), id).await, Some(DriverState::Running));
    if subject.has_disk() {
        wait_console(driver.as_ref(), id, "boot 1").await;
        let (console, _) = expect_ok(driver.console_output(id).await, "console_output");
        assert!(!String::from_utf8_lossy(&console).contains("boot 2"), "it was started twice");
    }
    expect_ok(driver.start(&spec).await, "start of a running instance");
    expect_ok(driver.stop(id, 5).await, "stop");
    expect_ok(driver.stop(id, 5).await, "stop of a stopped instance");
    expect_ok(driver.terminate(id).await, "terminate");
}

async fn launches_at_once(subject: &dyn Subject) {
    const N: u32 = 6;
    let driver = subject.open().await;
    let specs: Vec<LaunchSpec> = (1..=N).map(|n| subject.spec(n)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for spec in specs.clone() {
        let driver = driver.clone();
        tasks.spawn(async move { driver.launch(&spec).await });
    }
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(result) => expect_ok(result, "one of several launches"),
            Err(error) => panic!("{error}"),
        }
    }
    for spec in &specs {
        assert_eq!(state(driver.as_ref(), &spec.instance_id).await, Some(DriverState::Running));
    }
    for spec in specs {
        let driver = driver.clone();
        tasks.spawn(async move { driver.terminate(&spec.instance_id).await });
    }
    while let Some(done) = tasks.join_next().await {
        assert!(matches!(done, Ok(Ok(()))), "one of several terminations: {done:?}");
    }
    assert!(expect_ok(driver.list().await, "list").is_empty());
}

async fn stop_and_start_keep_the_disk(subject: &dyn Subject) {
    let driver = subject.open().await;
    let spec = subject.spec(1);
    let id = spec.instance_id.as_str();
    expect_ok(driver.launch(&spec).await, "launch");
    if subject.has_disk() {
        wait_console(driver.as_ref(), id, "boot 1").await;
    }
    expect_ok(driver.stop(id, 10).await, "stop");
    assert_eq!(state(driver.as_ref(), id).await, Some(DriverState::Stopped));
    expect_ok(driver.start(&spec).await, "start");
    assert_eq!(state(driver.as_ref(), id).await, Some(DriverState::Running));
    if subject.has_disk() {
        wait_console(driver.as_ref(), id, "boot 2").await;
    }
    expect_ok(driver.reboot(&spec).await, "reboot");
    assert_eq!(state(driver.as_ref(), id).await, Some(DriverState::Running));
    if subject.has_disk() {
        wait_console(driver.as_ref(), id, "boot 3").await;
    }
    expect_ok(driver.terminate(id).await, "terminate");
}

async fn root_of(driver: &dyn Driver, id: &str) -> (DriverState, u32) {
    let all = expect_ok(driver.list().await, "list");
    match all.iter().find(|i| i.instance_id == id) {
        Some(i) => (i.state, i.root),
        None => panic!("{id} is not listed"),
    }
}

async fn root_volumes_are_replaced(subject: &dyn Subject) {
    let mut driver = subject.open().await;
    let spec = subject.spec(1);
    let id = spec.instance_id.as_str();
    expect_ok(driver.launch(&spec).await, "launch");
    if subject.has_disk() {
        wait_console(driver.as_ref(), id, "boot 1").await;
    }
    let layers = expect_ok(driver.create_image(id, &subject.image_target()).await, "create_image");
    expect_ok(driver.reboot(&spec).await, "reboot");
    if subject.has_disk() {
        wait_console(driver.as_ref(), id, "boot 2").await;
    }
    let bad = LaunchSpec { image: subject.bad_image(), root: 1, ..spec.clone() };
    let error = driver.replace_root(&bad, 5).await;
    assert!(matches!(error, Err(DriverError::BadImage { .. })), "{error:?}");
    assert_eq!(root_of(driver.as_ref(), id).await, (DriverState::Running, 0), "it runs on");
    // The image's disk has one line, so that its first boot is the second; the same call again does nothing.
    let image = ImageRef { image_id: "ami-0c0ffee0c0ffee000".into(), layers };
    let next = LaunchSpec { image, root: 1, ..spec.clone() };
    for _ in 0..2 {
        expect_ok(driver.replace_root(&next, 5).await, "replace_root");
        assert_eq!(root_of(driver.as_ref(), id).await, (DriverState::Running, 1));
        if subject.has_disk() {
            wait_console_times(driver.as_ref(), id, "boot 2", 2).await;
        }
    }
    // One that is off, and one that is held still, get theirs as well, and run then.
    expect_ok(driver.stop(id, 5).await, "stop");
    let third = LaunchSpec { root: 2, ..spec.clone() };
    expect_ok(driver.replace_root(&third, 5).await, "replace_root of a stopped instance");
    if subject.has_disk() {
        wait_console_times(driver.as_ref(), id, "boot 1", 2).await;
    }
    expect_ok(driver.suspend(id, true).await, "suspend");
    let fourth = LaunchSpec { root: 7, ..spec.clone() };
    expect_ok(driver.replace_root(&fourth, 0).await, "replace_root of a suspended instance");
    assert!(!is_suspended(driver.as_ref(), id).await);
    if subject.has_disk() {
        wait_console_times(driver.as_ref(), id, "boot 1", 3).await;
    }
    if subject.survives() {
        drop(driver);
        driver = subject.open().await;
    }
    assert_eq!(
        root_of(driver.as_ref(), id).await,
        (DriverState::Running, 7),
        "the number stays with the disk"
    );
    // Whoever takes it for one that has an older disk is refused, and nothing happens.
    let refused = [
        ("launch", driver.launch(&spec).await),
        ("start", driver.start(&spec).await),
        ("reboot", driver.reboot(&spec).await),
        ("replace_root", driver.replace_root(&next, 0).await),
    ];
    for (call, result) in refused {
        assert!(matches!(&result, Err(DriverError::Permanent(_))), "{call}: {result:?}");
    }
    assert_eq!(root_of(driver.as_ref(), id).await, (DriverState::Running, 7));
    // Stopped and started it has the disk that it had.
    expect_ok(driver.stop(id, 5).await, "stop");
    assert!(driver.start(&spec).await.is_err());
    assert_eq!(root_of(driver.as_ref(), id).await, (DriverState::Stopped, 7));
    expect_ok(driver.start(&fourth).await, "start");
    assert_eq!(root_of(driver.as_ref(), id).await, (DriverState::Running, 7));
    if subject.has_disk() {
        wait_console_times(driver.as_ref(), id, "boot 2", 3).await;
    }
    expect_ok(driver.terminate(id).await, "terminate");
    gone(subject, driver.as_ref(), id).await;
}

async fn terminate_removes_everything(subject: &dyn Subject) {
    let driver = subject.open().await;
    let running = subject.spec(1);
    let stopped = subject.spec(2);
    for spec in [&running, &stopped] {
        expect_ok(driver.launch(spec).await, "launch");
    }
    expect_ok(driver.stop(&stopped.instance_id, 5).await, "stop");
    for spec in [&running, &stopped] {
        expect_ok(driver.terminate(&spec.instance_id).await, "terminate");
        gone(subject, driver.as_ref(), &spec.instance_id).await;
        expect_ok(driver.terminate(&spec.instance_id).await, "terminate again");
    }
    // The id is free again; nothing of its first life shows.
    expect_ok(driver.launch(&running).await, "launch after terminate");
    if subject.has_disk() {
        wait_console(driver.as_ref(), &running.instance_id, "boot 1").await;
    }
    expect_ok(driver.terminate(&running.instance_id).await, "terminate");
}

async fn not_found_is_typed(subject: &dyn Subject) {
    let driver = subject.open().await;
    let spec = subject.spec(1);
    let id = spec.instance_id.as_str();
    let target = subject.image_target();
    let results = [
        ("stop", driver.stop(id, 1).await),
        ("start", driver.start(&spec).await),
        ("reboot", driver.reboot(&spec).await),
        ("replace_root", driver.replace_root(&spec, 1).await),
        ("suspend", driver.suspend(id, true).await),
        ("create_image", driver.create_image(id, &target).await.map(|_| ())),
        ("console_output", driver.console_output(id).await.map(|_| ())),
    ];
    for (call, result) in results {
        assert!(
            matches!(&result, Err(DriverError::NotFound(missing)) if missing == id),
            "{call}: {result:?}"
        );
    }
    expect_ok(driver.terminate(id).await, "terminate of an unknown id");
    gone(subject, driver.as_ref(), id).await;
}

async fn failed_launch_leaves_nothing(subject: &dyn Subject) {
    let driver = subject.open().await;
    let spec = LaunchSpec { image: subject.bad_image(), ..subject.spec(1) };
    let error = driver.launch(&spec).await;
    assert!(matches!(error, Err(DriverError::BadImage { .. })), "{error:?}");
    gone(subject, driver.as_ref(), &spec.instance_id).await;
    // A good image under the same id then works.
    let spec = subject.spec(1);
    expect_ok(driver.launch(&spec).await, "launch with a good image");
    expect_ok(driver.terminate(&spec.instance_id).await, "terminate");
}

async fn instances_outlive_the_driver(subject: &dyn Subject) {
    if !subject.survives() {
        return;
    }
    let (running, stopped) = (subject.spec(1), subject.spec(2));
    let driver = subject.open().await;
    for spec in [&running, &stopped] {
        expect_ok(driver.launch(spec).await, "launch");
        wait_console(driver.as_ref(), &spec.instance_id, "boot 1").await;
    }
    expect_ok(driver.stop(&stopped.instance_id, 5).await, "stop");
    drop(driver);
    let driver = subject.open().await;
    assert_eq!(state(driver.as_ref(), &running.instance_id).await, Some(DriverState::Running));
    assert_eq!(state(driver.as_ref(), &stopped.instance_id).await, Some(DriverState::Stopped));
    expect_ok(driver.launch(&running).await, "launch of a running instance");
    let (console, _) = expect_ok(driver.console_output(&running.instance_id).await, "console_output");
    assert!(!String::from_utf8_lossy(&console).contains("boot 2"), "it was restarted");
    let mut usage = Vec::new();
    driver.usage(&mut [running.instance_id.as_str()].into_iter(), &mut usage);
    assert_eq!(usage.len(), 1, "an adopted instance is metered");
    // The adopted instance's end is noticed.
    tokio::join!(
        async {
            let woken = tokio::time::timeout(WAIT_MAX, driver.changed()).await;
            assert!(woken.is_ok(), "changed() should wake");
        },
        async { expect_ok(driver.stop(&running.instance_id, 5).await, "stop") }
    );
    for spec in [&running, &stopped] {
        expect_ok(driver.terminate(&spec.instance_id).await, "terminate");
        gone(subject, driver.as_ref(), &spec.instance_id).await;
    }
}

async fn usage_grows(subject: &dyn Subject) {
    let driver = subject.open().await;
    let (running, stopped) = (subject.spec(1), subject.spec(2));
    for spec in [&running, &stopped] {
        expect_ok(driver.launch(spec).await, "launch");
    }
    expect_ok(driver.stop(&stopped.instance_id, 5).await, "stop");
    let ids = [running.instance_id.as_str(), stopped.instance_id.as_str(), "i-00000000000000000"];
    let mut before = Vec::new();
    driver.usage(&mut ids.into_iter(), &mut before);
    assert_eq!(
        before.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        [ids[0]],
        "only what runs is metered"
    );
    for _ in 0..100 {
        let mut after = Vec::new();
        driver.usage(&mut ids.into_iter(), &mut after);
        for ((_, old), (_, new)) in before.iter().zip(&after) {
            assert!(new.cpu_ns >= old.cpu_ns, "CPU time went from {} to {}", old.cpu_ns, new.cpu_ns);
            assert!(
                new.disk_write_bytes >= old.disk_write_bytes && new.network_in_bytes >= old.network_in_bytes
            );
        }
        before = after;
    }
    for spec in [&running, &stopped] {
        expect_ok(driver.terminate(&spec.instance_id).await, "terminate");
    }
}

async fn console_is_bounded(subject: &dyn Subject) {
    let driver = subject.open().await;
    let spec = subject.spec(1);
    expect_ok(driver.launch(&spec).await, "launch");
    if subject.has_disk() {
        wait_console(driver.as_ref(), &spec.instance_id, "boot 1").await;
        let (bytes, grew) = expect_ok(driver.console_output(&spec.instance_id).await, "console_output");
        assert!(bytes.len() <= CONSOLE_BYTES_MAX);
        assert!(grew.is_some(), "output has a time");
    }
    expect_ok(driver.terminate(&spec.instance_id).await, "terminate");
}

async fn is_suspended(driver: &dyn Driver, id: &str) -> bool {
    let all = expect_ok(driver.list().await, "list");
    all.iter().any(|i| i.instance_id == id && i.state == DriverState::Running && i.suspended)
}

async fn suspended_instances_hold_still(subject: &dyn Subject) {
    let mut driver = subject.open().await;
    let spec = subject.spec(1);
    let id = spec.instance_id.as_str();
    expect_ok(driver.launch(&spec).await, "launch");
    assert!(!is_suspended(driver.as_ref(), id).await);
    for _ in 0..2 {
        expect_ok(driver.suspend(id, true).await, "suspend");
        assert!(is_suspended(driver.as_ref(), id).await);
    }
    if subject.survives() {
        drop(driver);
        driver = subject.open().await;
        assert!(
            is_suspended(driver.as_ref(), id).await,
            "it is still held after a restart of the control plane"
        );
    }
    let mut usage = Vec::new();
    driver.usage(&mut [id].into_iter(), &mut usage);
    assert!(usage.is_empty(), "nobody can be asked: {usage:?}");
    for _ in 0..2 {
        expect_ok(driver.suspend(id, false).await, "resume");
        assert!(!is_suspended(driver.as_ref(), id).await);
    }
    driver.usage(&mut [id].into_iter(), &mut usage);
    assert_eq!(usage.len(), 1, "it is metered again");
    // It can be stopped while it is held, and what is started runs.
    expect_ok(driver.suspend(id, true).await, "suspend");
    expect_ok(driver.stop(id, 0).await, "stop of a suspended instance");
    assert_eq!(state(driver.as_ref(), id).await, Some(DriverState::Stopped));
    expect_ok(driver.suspend(id, true).await, "suspend of a stopped instance");
    expect_ok(driver.start(&spec).await, "start");
    assert!(!is_suspended(driver.as_ref(), id).await);
    expect_ok(driver.suspend(id, true).await, "suspend");
    expect_ok(driver.terminate(id).await, "terminate of a suspended instance");
    gone(subject, driver.as_ref(), id).await;
}

async fn image_of_an_instance(subject: &dyn Subject) {
    let driver = subject.open().await;
    let spec = subject.spec(1);
    expect_ok(driver.launch(&spec).await, "launch");
    if subject.has_disk() {
        wait_console(driver.as_ref(), &spec.instance_id, "boot 1").await;
    }
    let target = subject.image_target();
    let layers = expect_ok(driver.create_image(&spec.instance_id, &target).await, "create_image");
    assert_eq!(
        state(driver.as_ref(), &spec.instance_id).await,
        Some(DriverState::Running),
        "it goes on running"
    );
    expect_ok(driver.terminate(&spec.instance_id).await, "terminate");
    if !subject.has_disk() {
        return;
    }
    assert!(layers.iter().all(|layer| Path::new(layer).is_dir()), "{layers:?}");
    let image = ImageRef { image_id: "ami-0c0ffee0c0ffee000".into(), layers };
    let spec = LaunchSpec { image, ..subject.spec(2) };
    expect_ok(driver.launch(&spec).await, "launch from the new image");
    wait_console(driver.as_ref(), &spec.instance_id, "boot 2").await;
    expect_ok(driver.terminate(&spec.instance_id).await, "terminate");
}
