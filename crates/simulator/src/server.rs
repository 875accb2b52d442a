//! The control plane of a world, wired as the binary wires it, over pretended rooms.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_api::{Ctx, NoConsole};
use puffer_compute::Driver;
use puffer_control::group_converge::GroupConverge;
use puffer_control::instance_converge::{ConvergeLimits, ConvergeRooms, InstanceConverge};
use puffer_control::{
    ActivityPrune, AlarmAction, AlarmEvaluate, BalancerMetrics, BalancerSync, CompositeEvaluate,
    InstanceAction, MetricCollect, NoFiles, PolicyExecute, PortPolicy, Predict, ScheduleRun,
    SpotMarketFollow, TargetSync, TriggerEvaluate, spawn,
};
use puffer_core::Clock;
use puffer_core::ec2::Cidr;
use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
use puffer_metrics::{Metrics, Options};
use puffer_store::{ManualCommits, Store};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::sync::{Notify, watch};

use crate::dice::{chance, dice};
use crate::machines::SimDriver;
use crate::placement::SimPlacement;
use crate::plane::SimPlane;
use crate::world::{SimClock, World};

/// Account and region of every world.
const ACCOUNT: &str = "123456789012";
const REGION: &str = "us-east-1";
/// Metric store's cache: it has nothing to read back.
const METRIC_CACHE_BYTES: usize = 1 << 16;

/// Commits what the server queues, for as long as it lives.
pub(crate) async fn commit(world: Arc<World>, commits: Arc<ManualCommits>) {
    use rand::RngExt;
    loop {
        commits.wanted().await;
        let (takes_ms, refuses) = {
            let f = &mut world.state.lock().faults;
            let refuses = f.disk_refuses > 0.0 && chance(&mut f.dice, f.disk_refuses);
            (f.dice.random_range(0..=f.commit_ms), refuses)
        };
        if takes_ms > 0 {
            tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        }
        world.life.step().await;
        if refuses {
            world.note(format_args!("the disk refuses a commit"));
            world.state.lock().faults.refused_ms = world.time.now_ms();
            commits.refuse("the simulated disk is full");
        } else {
            commits.commit(&mut |changes| world.committed(changes));
        }
    }
}

/// Starts a server on `store`; its `life`th.
pub(crate) async fn start(world: &Arc<World>, store: Store, life: u64) -> Result<Arc<Ctx>, String> {
    let seed = world.plan.seed;
    let clock: Arc<dyn Clock> = Arc::new(SimClock(Arc::clone(world)));
    let wanted = Bootstrap {
        account: ACCOUNT.into(),
        region: REGION.into(),
        vpc_cidr: "172.31.0.0/16".parse().map_err(|e| format!("{e:?}"))?,
        subnet_prefix: 24,
        address_space: Cidr::ANY,
        any_image: true,
    };
    let mut rng = dice(seed, "bootstrap");
    let now = clock.now();
    store
        .transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, now, &mut rng))
        .await
        .map_err(|e| format!("the server does not start: {e}"))?;
    // Metrics of the last life are lost: more than a crash may lose, so nothing may depend on them.
    let options = Options { cache_bytes: METRIC_CACHE_BYTES, ..Options::default() };
    let metrics = Metrics::in_memory(Arc::clone(&clock), options).map_err(|e| e.to_string())?;
    run(world, &store, &metrics, &clock, life);
    let rng: Pcg64 = dice(seed, &format!("api of life {life}"));
    Ok(Arc::new(Ctx {
        endpoint: "127.0.0.1:80".into(),
        account: ACCOUNT.into(),
        region: REGION.into(),
        clock,
        store,
        metrics,
        rng: Mutex::new(Box::new(rng)),
        console: Arc::new(NoConsole),
    }))
}

/// The reconcilers, as `puffer serve` runs them. Left out is the flush of metrics, which would move data from memory to memory.
/// Nobody subscribes by HTTP here, so nothing is sent to others.
fn run(world: &Arc<World>, store: &Store, metrics: &Metrics, clock: &Arc<dyn Clock>, life: u64) {
    // Nobody stops a server gently here; the runtime goes with all its tasks.
    let (stop, stopped) = watch::channel(false);
    let driver: Arc<dyn Driver> = Arc::new(SimDriver(Arc::clone(world)));
    let instances = InstanceConverge::new(
        ConvergeRooms {
            store: store.clone(),
            driver: Arc::clone(&driver),
            images: Arc::new(NoFiles),
            placement: Arc::new(SimPlacement(Arc::clone(world))),
            clock: Arc::clone(clock),
        },
        ConvergeLimits::default(),
    );
    let rng = dice(world.plan.seed, &format!("groups of life {life}"));
    let groups =
        GroupConverge::new(store.clone(), Arc::clone(clock), Box::new(Pcg64::from_rng(&mut { rng })));
    let policies = Arc::new(PolicyExecute::new(store.clone(), metrics.clone(), Arc::clone(clock)));
    let on_instances = Arc::new(InstanceAction::new(store.clone(), Arc::clone(clock)));
    let actions: Vec<Arc<dyn AlarmAction>> = vec![policies, on_instances];
    let alarms = AlarmEvaluate::new(store.clone(), metrics.clone(), Arc::clone(clock), actions.clone());
    let composites = CompositeEvaluate::new(store.clone(), Arc::clone(clock), actions);
    let triggers = TriggerEvaluate::new(store.clone(), metrics.clone(), Arc::clone(clock));
    let rng = dice(world.plan.seed, &format!("schedules of life {life}"));
    let schedules = ScheduleRun::new(store.clone(), Arc::clone(clock), Box::new(rng));
    let usage = MetricCollect::new(store.clone(), metrics.clone(), Arc::clone(clock), driver);
    let plane = Arc::new(SimPlane(Arc::clone(world)));
    let lost = Arc::new(Notify::new());
    let ports = PortPolicy::default();
    let sync =
        BalancerSync::new(store.clone(), Arc::clone(&plane), Arc::clone(clock), ports, Arc::clone(&lost));
    let health = TargetSync::new(store.clone(), Arc::clone(&plane), Arc::clone(clock), ports, lost);
    let figures = BalancerMetrics::new(store.clone(), plane, metrics.clone(), Arc::clone(clock));
    drop([
        spawn(instances, stopped.clone()),
        spawn(groups, stopped.clone()),
        spawn(schedules, stopped.clone()),
        spawn(triggers, stopped.clone()),
        spawn(alarms, stopped.clone()),
        spawn(composites, stopped.clone()),
        spawn(usage, stopped.clone()),
        spawn(ActivityPrune::new(store.clone(), Arc::clone(clock)), stopped.clone()),
        spawn(SpotMarketFollow::new(store.clone(), Arc::clone(clock)), stopped.clone()),
        spawn(Predict::new(store.clone(), metrics.clone(), Arc::clone(clock)), stopped.clone()),
        spawn(puffer_control::Notify::new(store.clone(), Arc::clone(clock)), stopped.clone()),
        spawn(sync, stopped.clone()),
        spawn(health, stopped.clone()),
        spawn(figures, stopped),
    ]);
    // A watch whose sender is gone would make every reconciler's wait end at once.
    tokio::spawn(async move {
        stop.closed().await;
    });
}
