//! Wires the rooms together and runs the reconcilers.

use std::sync::Arc;
use std::time::Duration;

use puffer_compute::Driver;
use puffer_compute::image::ImageStore;
use puffer_compute::simulated::SimulatedDriver;
use puffer_control::group_converge::GroupConverge;
use puffer_control::image_build::{BuildRooms, ImageBuild};
use puffer_control::instance_converge::{ConvergeLimits, ConvergeRooms, InstanceConverge};
use puffer_control::{
    ActivityPrune, AlarmAction, AlarmEvaluate, CompositeEvaluate, ImageSource, InstanceAction, MetricCollect,
    MetricFlush, NoFiles, Notify, PolicyExecute, Predict, RunningReconciler, ScheduleRun, SpotMarketFollow,
    TopicAction, TriggerEvaluate, spawn,
};
use puffer_core::Clock;
use puffer_metrics::Metrics;
use puffer_store::Store;
use tokio::sync::watch;

use super::balancing;
use super::compute::{self, Kind};
use super::images::StoredImages;
use super::network;
use crate::cli::ServeArgs;
use crate::data_dir::DataDir;

/// What one reconciler gets to finish what it is doing.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Everything that runs behind the door.
pub(super) struct Rooms {
    /// What runs the instances.
    pub(super) driver: Arc<dyn Driver>,
    /// The same, if its instances are simulated.
    pub(super) simulated: Option<Arc<SimulatedDriver>>,
    running: Vec<RunningReconciler>,
    serving: Vec<tokio::task::JoinHandle<()>>,
}

impl Rooms {
    /// Waits for the reconcilers' ends. Each may be cut off anywhere: their next activation goes on from the records.
    pub(super) async fn stop(self) {
        for reconciler in self.running {
            reconciler.stopped(STOP_TIMEOUT).await;
        }
        for task in self.serving {
            task.abort();
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
    let (driver, simulated) = compute::driver(kind, args, data, store, clock)?;
    let images: Arc<dyn ImageSource> = match kind {
        Kind::Simulated => Arc::new(NoFiles),
        Kind::Container | Kind::Process => Arc::new(StoredImages::new(ImageStore::open(&data.images())?)),
    };
    let network = network::start(kind, data, store, clock, stopped).await?;
    let instances = InstanceConverge::new(
        ConvergeRooms {
            store: store.clone(),
            driver: Arc::clone(&driver),
            images: Arc::clone(&images),
            placement: network.placement,
            clock: Arc::clone(clock),
        },
        ConvergeLimits::default(),
    );
    let builder = ImageBuild::new(BuildRooms {
        store: store.clone(),
        driver: Arc::clone(&driver),
        images,
        clock: Arc::clone(clock),
    });
    let rng = Box::new(rand::make_rng::<rand::rngs::StdRng>());
    let groups = GroupConverge::new(store.clone(), Arc::clone(clock), rng);
    let rng = Box::new(rand::make_rng::<rand::rngs::StdRng>());
    let schedules = ScheduleRun::new(store.clone(), Arc::clone(clock), rng);
    let triggers = TriggerEvaluate::new(store.clone(), metrics.clone(), Arc::clone(clock));
    let policies = Arc::new(PolicyExecute::new(store.clone(), metrics.clone(), Arc::clone(clock)));
    let on_instances = Arc::new(InstanceAction::new(store.clone(), Arc::clone(clock)));
    let to_topics = Arc::new(TopicAction::new(store.clone(), Arc::clone(clock)));
    let actions: Vec<Arc<dyn AlarmAction>> = vec![policies, on_instances, to_topics];
    let alarms = AlarmEvaluate::new(store.clone(), metrics.clone(), Arc::clone(clock), actions.clone());
    let composites = CompositeEvaluate::new(store.clone(), Arc::clone(clock), actions);
    let usage = MetricCollect::new(store.clone(), metrics.clone(), Arc::clone(clock), Arc::clone(&driver));
    let mut running = vec![
        spawn(instances, stopped.clone()),
        spawn(builder, stopped.clone()),
        spawn(groups, stopped.clone()),
        spawn(schedules, stopped.clone()),
        spawn(triggers, stopped.clone()),
        spawn(Predict::new(store.clone(), metrics.clone(), Arc::clone(clock)), stopped.clone()),
        spawn(alarms, stopped.clone()),
        spawn(composites, stopped.clone()),
        spawn(usage, stopped.clone()),
        spawn(MetricFlush::new(metrics.clone()), stopped.clone()),
        spawn(Notify::new(store.clone(), Arc::clone(clock)), stopped.clone()),
        spawn(SpotMarketFollow::new(store.clone(), Arc::clone(clock)), stopped.clone()),
        spawn(ActivityPrune::new(store.clone(), Arc::clone(clock)), stopped.clone()),
    ];
    running.extend(network.running);
    running.extend(balancing::start(kind, data, store, metrics, clock, stopped)?);
    Ok(Rooms { driver, simulated, running, serving: network.serving })
}
