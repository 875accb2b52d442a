//! Servers and shims that are killed at any moment.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use puffer_compute::container::{ContainerDriver, Options};
use puffer_compute::contract::{Subject, wait_console, wait_state};
use puffer_compute::{Driver, DriverState, LaunchSpec};

use super::machine::{Machine, processes_of};

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
            .args(["--exact", "container::crash::churn_until_killed", "--nocapture"])
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
