//! Wires the rooms together and runs the reconcilers.

use std::sync::Arc;
use std::time::Duration;

use puffer_control::group_converge::GroupConverge;
use puffer_control::instance_converge::{ConvergeLimits, ConvergeRooms, InstanceConverge};
use puffer_control::{LoopbackPlacement, NoFiles, RunningReconciler, spawn};
use puffer_core::Clock;
use puffer_metrics::Metrics;
use puffer_store::Store;
use tokio::sync::watch;

use super::balancing;
use super::compute::{self, Kind};
use crate::cli::ServeArgs;
use crate::data_dir::DataDir;

/// What one reconciler gets to finish what it is doing.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything that runs behind the door.
pub(super) struct Rooms {
    running: Vec<RunningReconciler>,
}

impl Rooms {
    /// Waits for the reconcilers' ends. Each may be cut off anywhere: their next activation goes on from the records.
    pub(super) async fn stop(self) {
        for reconciler in self.running {
            reconciler.stopped(STOP_TIMEOUT).await;
        }
    }
}

/// Starts the reconcilers of a server.
pub(super) async fn start(
    kind: Kind,
    args: &ServeArgs,
    data: &DataDir,
    store: &Store,
    metrics: &Metrics,
    clock: &Arc<dyn Clock>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Rooms> {
    let driver = compute::driver(kind, args, data, store, clock)?;
    let instances = InstanceConverge::new(
        ConvergeRooms {
            store: store.clone(),
            driver,
            images: Arc::new(NoFiles),
            placement: Arc::new(LoopbackPlacement),
            clock: Arc::clone(clock),
        },
        ConvergeLimits::default(),
    );
    let rng = Box::new(rand::make_rng::<rand::rngs::StdRng>());
    let groups = GroupConverge::new(store.clone(), Arc::clone(clock), rng);
    let mut running = vec![spawn(instances, stopped.clone()), spawn(groups, stopped.clone())];
    running.extend(balancing::start(kind, data, store, metrics, clock, stopped)?);
    Ok(Rooms { running })
}
