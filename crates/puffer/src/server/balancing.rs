//! The load balancers' reconcilers and the data plane that they drive.

use std::sync::Arc;

use anyhow::Context;
use puffer_balancer::SpawnOptions;
use puffer_compute::process::port_map;
use puffer_control::{
    BalancerLink, BalancerMetrics, BalancerSync, PortPolicy, RunningReconciler, TargetSync, spawn,
};
use puffer_core::Clock;
use puffer_metrics::Metrics;
use puffer_store::Store;
use tokio::sync::{Notify, watch};

use super::compute::Kind;
use crate::data_dir::DataDir;

/// Starts them. The data plane's process starts with the first load balancer and outlives this one.
pub(super) fn start(
    kind: Kind,
    data: &DataDir,
    store: &Store,
    metrics: &Metrics,
    clock: &Arc<dyn Clock>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<RunningReconciler>> {
    let plane = Arc::new(BalancerLink::new(SpawnOptions {
        exe: std::env::current_exe().context("cannot find this program's file")?,
        socket: data.balancer_socket(),
        log: data.path().join("balancer.log"),
        args: Vec::new(),
    }));
    let ports = ports(kind);
    let lost = Arc::new(Notify::new());
    let sync =
        BalancerSync::new(store.clone(), Arc::clone(&plane), Arc::clone(clock), ports, Arc::clone(&lost));
    let health = TargetSync::new(store.clone(), Arc::clone(&plane), Arc::clone(clock), ports, lost);
    let figures = BalancerMetrics::new(store.clone(), plane, metrics.clone(), Arc::clone(clock));
    Ok(vec![spawn(sync, stopped.clone()), spawn(health, stopped.clone()), spawn(figures, stopped.clone())])
}

/// Which port is really bound or dialled for a port of the API.
pub(super) fn ports(kind: Kind) -> PortPolicy {
    match kind {
        // Whoever has no privileges cannot bind low ports, neither for instances nor for load balancers.
        Kind::Process => PortPolicy::by(port_map),
        Kind::Container | Kind::Simulated => PortPolicy::default(),
    }
}
