//! Figures of the container driver on this machine: `cargo bench -p puffer-compute --bench container` (as root, with busybox-static).

#![allow(clippy::unwrap_used, dead_code)]

#[path = "../tests/contract/container/machine.rs"]
mod machine;

use std::fs;

use machine::{Machine, processes_of};
use puffer_compute::Driver;
use puffer_compute::contract::Subject;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
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
