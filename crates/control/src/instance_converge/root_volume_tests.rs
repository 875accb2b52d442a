use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use puffer_compute::simulated::{SimulatedDriver, SimulatedSettings};
use puffer_compute::{Driver, DriverError, DriverInstance, DriverState, ImageRef, LaunchSpec, Usage};
use puffer_core::ec2::{InstanceState as State, RootTaskState, RootVolumeTask, StatusCheck};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::instances::{self, InstanceError};
use puffer_inventory::root_volumes::{self, RootRequest};
use puffer_inventory::zones;
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;

use super::tests::{AMI, World, booting};

const NEW: &str = "ami-0fedcba9876543210";
const BAD: &str = "ami-0bad0bad0bad0bad0";

fn request(id: &str, image: &str) -> RootRequest {
    RootRequest { instance_id: id.to_owned(), image_id: image.to_owned(), ..Default::default() }
}

/// What the driver is told of the replacement by number 1.
fn replaced(id: &str) -> LaunchSpec {
    LaunchSpec {
        instance_id: id.to_owned(),
        image: ImageRef { image_id: NEW.into(), layers: vec![] },
        root: 1,
        cpu_millis: 1000,
        memory_bytes: 1 << 30,
        hostname: String::new(),
        network: None,
        ssh_public_keys: vec![],
        user_data: None,
        environment: Default::default(),
    }
}

impl World {
    async fn replace(&self, id: &str, image: &str) -> Result<String, InstanceError> {
        let request = request(id, image);
        let now = self.clock.now();
        let mut rng = Pcg64::seed_from_u64(9 + u64::from(self.get(id).n_root_replacements));
        self.store.transact(|tx| root_volumes::begin(tx, request, now, &mut rng).map(|t| t.id.clone())).await
    }

    fn task(&self, id: &str) -> Arc<RootVolumeTask> {
        self.store.get(id).unwrap()
    }

    async fn root_of(&self, id: &str) -> u32 {
        self.driver.list().await.unwrap().into_iter().find(|i| i.instance_id == id).unwrap().root
    }
}

#[tokio::test(start_paused = true)]
async fn a_root_volume_is_replaced_and_nothing_else() {
    let mut world = World::new(booting(5)).await;
    world.start();
    let ids = world.launch(2).await;
    world.until(&ids, |i| i.instance_status == StatusCheck::Ok).await;
    let before = world.get(&ids[0]);
    let now = world.clock.now();
    // Meanwhile it cannot be asked for another one, nor be stopped. Asked in the same transaction: nobody knows when the machine is done.
    let task = world
        .edit(|tx| {
            let mut rng = Pcg64::seed_from_u64(9);
            let task = root_volumes::begin(tx, request(&ids[0], NEW), now, &mut rng).unwrap().id.clone();
            let refused = root_volumes::begin(tx, request(&ids[0], NEW), now, &mut rng);
            assert!(matches!(refused, Err(InstanceError::IncorrectState { .. })), "{refused:?}");
            let refused = instances::request_stop(tx, &ids[..1], false, now);
            assert!(
                matches!(refused, Err(InstanceError::IncorrectState { what: "stopped", .. })),
                "{refused:?}"
            );
            let left = instances::stop(tx, &ids[0], now).unwrap();
            assert_eq!(left.instance.state, State::Running, "nor by its group");
            task
        })
        .await;
    world.until(&ids[..1], |i| i.root_replacement.is_none() && i.instance_status == StatusCheck::Ok).await;
    let after = world.get(&ids[0]);
    assert_eq!(
        (after.image_id.as_str(), after.state, after.launched_at),
        (NEW, State::Running, before.launched_at)
    );
    assert_eq!(
        (after.private_ip, &after.network_interface_id),
        (before.private_ip, &before.network_interface_id)
    );
    assert_ne!(after.root_volume_id(), before.root_volume_id());
    assert_eq!(after.root_volume_id().len(), before.root_volume_id().len());
    assert_eq!(world.root_of(&ids[0]).await, 1);
    let task = world.task(&task);
    assert_eq!((task.state, task.completed_at), (RootTaskState::Succeeded, Some(world.clock.now())));
    assert_eq!((world.get(&ids[1]).image_id.as_str(), world.root_of(&ids[1]).await), (AMI, 0));
    world.store.read(|r| {
        assert_eq!(root_volumes::owner_of(r, &after.root_volume_id()).unwrap().id, ids[0]);
        assert!(root_volumes::owner_of(r, &before.root_volume_id()).is_none(), "that one is gone");
    });
    // It stops and starts with the disk that it has.
    world.edit(|tx| instances::request_stop(tx, &ids[..1], false, now).map(|_| ())).await.unwrap();
    world.until_state(&ids[..1], State::Stopped).await;
    world.edit(|tx| instances::request_start(tx, &ids[..1], now).map(|_| ())).await.unwrap();
    world.until_state(&ids[..1], State::Running).await;
    assert_eq!(world.root_of(&ids[0]).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_used_costs_the_guest_nothing() {
    let settings = SimulatedSettings { bad_images: [BAD.to_owned()].into(), ..Default::default() };
    let mut world = World::new(settings).await;
    world.start();
    let ids = world.launch(1).await;
    world.until_state(&ids, State::Running).await;
    let task = world.replace(&ids[0], BAD).await.unwrap();
    world.until(&ids, |i| i.root_replacement.is_none()).await;
    let (task, after) = (world.task(&task), world.get(&ids[0]));
    assert_eq!(task.state, RootTaskState::Failed);
    assert!(task.reason.as_ref().unwrap().starts_with("Client.InvalidAMI: "), "{:?}", task.reason);
    assert_eq!((after.state, after.image_id.as_str(), after.root_serial), (State::Running, AMI, 0));
    // The number of a failed one is not given again.
    world.replace(&ids[0], NEW).await.unwrap();
    world.until(&ids, |i| i.root_serial == 2 && i.image_id == NEW).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_boot_is_stopped_and_says_what_it_has() {
    // With these dice the machine takes the new disk, and refuses to boot from it.
    let mut seeds = 0..50;
    let (world, ids, task) = loop {
        let seed = seeds.next().expect("a quarter of the seeds does it");
        let mut world = World::new(SimulatedSettings { seed, ..Default::default() }).await;
        world.start();
        let ids = world.launch(1).await;
        world.until_state(&ids, State::Running).await;
        world.driver.adjust(|s| s.permanent_failures = 0.5);
        let task = world.replace(&ids[0], NEW).await.unwrap();
        world.until(&ids, |i| i.root_replacement.is_none()).await;
        if world.task(&task).state == RootTaskState::FailedDetached {
            break (world, ids, task);
        }
    };
    let after = world.get(&ids[0]);
    assert_eq!((after.state, after.root_serial, after.image_id.as_str()), (State::Stopped, 1, NEW));
    assert_eq!(world.root_of(&ids[0]).await, 1);
    assert_eq!(after.state_reason.as_ref().map(|r| &r.message), world.task(&task).reason.as_ref());
    world.driver.adjust(|s| s.permanent_failures = 0.0);
    let now = world.clock.now();
    world.edit(|tx| instances::request_start(tx, &ids, now).map(|_| ())).await.unwrap();
    world.until_state(&ids, State::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_any_two_steps_is_mended_by_the_next_server() {
    // (the driver had begun, it was done)
    for (begun, done) in [(false, false), (true, false), (true, true)] {
        let mut world = World::new(SimulatedSettings::default()).await;
        let ids = world.launch(1).await;
        world.driver.intrude(&ids[0]);
        let now = world.clock.now();
        world.edit(|tx| instances::mark_running(tx, &ids[0], 0, now)).await;
        let task = world.replace(&ids[0], NEW).await.unwrap();
        if begun {
            world.driver.power_off(&ids[0]);
        }
        if done {
            world.driver.replace_root(&replaced(&ids[0]), 0).await.unwrap();
        }
        world.start();
        world.until(&ids, |i| i.root_replacement.is_none()).await;
        let after = world.get(&ids[0]);
        assert_eq!((after.state, after.image_id.as_str()), (State::Running, NEW), "{begun} {done}");
        assert_eq!(world.task(&task).state, RootTaskState::Succeeded);
        assert_eq!(world.on_machine(&ids[0]).await, Some(DriverState::Running));
        let console = world.driver.console_output(&ids[0]).await.unwrap().0;
        assert!(
            String::from_utf8_lossy(&console).ends_with("boot 1\n"),
            "one disk, one boot: {begun} {done}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_meanwhile_takes_its_task_along() {
    let mut world = World::new(booting(60)).await;
    world.start();
    let ids = world.launch(1).await;
    world.until_state(&ids, State::Running).await;
    // Nobody can be reached there, so the replacement stays asked for.
    let (now, zone) = (world.clock.now(), world.get(&ids[0]).zone.clone());
    world.edit(|tx| zones::set_down(tx, &zone, true, now)).await.unwrap();
    let task = world.replace(&ids[0], NEW).await.unwrap();
    world.edit(|tx| instances::request_terminate(tx, &ids, now).map(|_| ())).await.unwrap();
    world.until_state(&ids, State::Terminated).await;
    assert_eq!(world.task(&task).state, RootTaskState::Failed);
    assert!(world.driver.list().await.unwrap().is_empty());
    // The record of the instance takes its tasks along.
    world.clock.advance(Duration::from_secs(3601));
    let tasks = world.store.subscribe::<RootVolumeTask>();
    while world.store.get::<RootVolumeTask>(&task).is_some() {
        tasks.next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reboot_waits_for_a_replacement_that_has_begun() {
    // Whether the disk was replaced already, when the server died and somebody had asked for a reboot.
    for done in [false, true] {
        let mut world = World::new(SimulatedSettings::default()).await;
        let ids = world.launch(1).await;
        world.driver.intrude(&ids[0]);
        let now = world.clock.now();
        world.edit(|tx| instances::mark_running(tx, &ids[0], 0, now)).await;
        let task = world.replace(&ids[0], NEW).await.unwrap();
        world.edit(|tx| root_volumes::mark_begun(tx, &task)).await;
        world.edit(|tx| instances::request_reboot(tx, &ids).map(|_| ())).await.unwrap();
        if done {
            world.driver.replace_root(&replaced(&ids[0]), 0).await.unwrap();
            world.driver.power_off(&ids[0]);
        }
        world.start();
        world.until(&ids, |i| i.root_replacement.is_none() && i.reboots_done == 1).await;
        assert_eq!(world.task(&task).state, RootTaskState::Succeeded, "{done}");
        let (after, root) = (world.get(&ids[0]), world.root_of(&ids[0]).await);
        assert_eq!((after.state, after.image_id.as_str(), root), (State::Running, NEW, 1), "{done}");
    }
}

/// A driver whose answer to a replacement never comes, though it is made.
struct Silent(Arc<SimulatedDriver>);

#[async_trait::async_trait]
impl Driver for Silent {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    async fn launch(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        self.0.launch(spec).await
    }
    async fn start(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        self.0.start(spec).await
    }
    async fn stop(&self, id: &str, grace_s: u32) -> Result<(), DriverError> {
        self.0.stop(id, grace_s).await
    }
    async fn reboot(&self, spec: &LaunchSpec) -> Result<(), DriverError> {
        self.0.reboot(spec).await
    }
    async fn replace_root(&self, spec: &LaunchSpec, grace_s: u32) -> Result<(), DriverError> {
        self.0.replace_root(spec, grace_s).await?;
        std::future::pending().await
    }
    async fn suspend(&self, id: &str, suspended: bool) -> Result<(), DriverError> {
        self.0.suspend(id, suspended).await
    }
    async fn terminate(&self, id: &str) -> Result<(), DriverError> {
        self.0.terminate(id).await
    }
    async fn list(&self) -> Result<Vec<DriverInstance>, DriverError> {
        self.0.list().await
    }
    async fn changed(&self) {
        self.0.changed().await;
    }
    fn usage(&self, ids: &mut dyn Iterator<Item = &str>, out: &mut Vec<(String, Usage)>) {
        self.0.usage(ids, out);
    }
    async fn create_image(&self, id: &str, target: &Path) -> Result<Vec<PathBuf>, DriverError> {
        self.0.create_image(id, target).await
    }
    async fn console_output(&self, id: &str) -> Result<(Vec<u8>, Option<Timestamp>), DriverError> {
        self.0.console_output(id).await
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_made_and_never_answered_has_succeeded() {
    let mut world = World::new(SimulatedSettings::default()).await;
    world.start_with(Arc::new(Silent(Arc::clone(&world.driver))));
    let ids = world.launch(1).await;
    world.until_state(&ids, State::Running).await;
    let task = world.replace(&ids[0], NEW).await.unwrap();
    world.until(&ids, |i| i.root_replacement.is_none()).await;
    let after = world.get(&ids[0]);
    assert_eq!((after.state, after.image_id.as_str(), after.root_serial), (State::Running, NEW, 1));
    assert_eq!((world.task(&task).state, world.task(&task).reason.clone()), (RootTaskState::Succeeded, None));
}
