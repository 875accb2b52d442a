use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use puffer_compute::simulated::{SimulatedDriver, SimulatedSettings};
use puffer_compute::{Driver, DriverState};
use puffer_core::ec2::{Cidr, Image, ImageState, Instance, InstanceState as State, StatusCheck};
use puffer_core::{Clock, ManualClock, Timestamp};
use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
use puffer_inventory::launch::{LaunchError, LaunchRequest, run_instances};
use puffer_inventory::{images, instances, zones};
use puffer_store::{Store, StoreError, Transaction};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;
use tokio::sync::watch;

use super::step::LAUNCH_ATTEMPTS_MAX;
use super::*;
use crate::{LoopbackPlacement, NoFiles, spawn};

pub(super) const AMI: &str = "ami-0123456789abcdef0";

pub(super) struct World {
    _dir: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) driver: Arc<SimulatedDriver>,
    pub(super) clock: Arc<ManualClock>,
    stop: watch::Sender<bool>,
    seed: u64,
}

impl World {
    pub(super) async fn new(settings: SimulatedSettings) -> World {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)));
        let driver = SimulatedDriver::new(settings, Arc::clone(&clock) as Arc<dyn Clock>);
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
        let wanted = Bootstrap {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            vpc_cidr: "172.31.0.0/16".parse().unwrap(),
            subnet_prefix: 18,
            address_space: Cidr::ANY,
            any_image: true,
        };
        let mut rng = Pcg64::seed_from_u64(1);
        store
            .transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, clock.now(), &mut rng))
            .await
            .unwrap();
        let (stop, _) = watch::channel(false);
        World { _dir: dir, store, driver: Arc::new(driver), clock, stop, seed: 2 }
    }

    pub(super) fn start(&self) {
        self.start_with(Arc::clone(&self.driver) as Arc<dyn Driver>);
    }

    pub(super) fn start_with(&self, driver: Arc<dyn Driver>) {
        let rooms = ConvergeRooms {
            store: self.store.clone(),
            driver,
            images: Arc::new(NoFiles),
            placement: Arc::new(LoopbackPlacement),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        };
        spawn(InstanceConverge::new(rooms, ConvergeLimits::default()), self.stop.subscribe());
    }

    pub(super) async fn launch(&mut self, n: u32) -> Vec<String> {
        let request = LaunchRequest { min_count: n, max_count: n, ..LaunchRequest::new(AMI, "t2.micro") };
        self.launch_as(&request).await
    }

    async fn launch_as(&mut self, request: &LaunchRequest) -> Vec<String> {
        self.seed += 1;
        let mut rng = Pcg64::seed_from_u64(self.seed);
        let now = self.clock.now();
        let made = self
            .store
            .transact::<_, LaunchError>(|tx| run_instances(tx, request, now, &mut rng))
            .await
            .unwrap();
        made.iter().map(|i| i.id.clone()).collect()
    }

    pub(super) async fn edit<R>(&self, body: impl FnOnce(&mut Transaction<'_>) -> R) -> R {
        self.store.transact::<_, StoreError>(|tx| Ok(body(tx))).await.unwrap()
    }

    /// Waits until all of these instances are as wanted. Level-triggered and without a clock: the test runner's own limit bounds it.
    pub(super) async fn until(&self, ids: &[String], wanted: impl Fn(&Instance) -> bool) {
        let changes = self.store.subscribe::<Instance>();
        loop {
            let fine = |id: &String| self.store.get::<Instance>(id).is_some_and(|i| wanted(&i));
            if ids.iter().all(fine) {
                return;
            }
            changes.next().await;
        }
    }

    pub(super) async fn until_state(&self, ids: &[String], state: State) {
        self.until(ids, |i| i.state == state).await;
    }

    pub(super) fn get(&self, id: &str) -> Arc<Instance> {
        self.store.get(id).unwrap()
    }

    pub(super) async fn on_machine(&self, id: &str) -> Option<DriverState> {
        self.driver.list().await.unwrap().into_iter().find(|i| i.instance_id == id).map(|i| i.state)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

pub(super) fn booting(boot_s: u64) -> SimulatedSettings {
    SimulatedSettings { boot: Duration::from_secs(boot_s), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn the_whole_life_of_an_instance() {
    let mut world = World::new(booting(20)).await;
    world.start();
    let ids = world.launch(3).await;
    world.until_state(&ids, State::Running).await;
    world.until(&ids, |i| i.instance_status == StatusCheck::Ok && i.system_status == StatusCheck::Ok).await;
    let one = &ids[..1];
    let now = world.clock.now();
    world.edit(|tx| instances::request_reboot(tx, one).map(|_| ())).await.unwrap();
    world.until(one, |i| i.reboots_done == 1).await;
    assert_eq!(
        world.driver.console_output(&one[0]).await.unwrap().0,
        format!("simulated instance {}: boot 2\n", one[0]).into_bytes()
    );
    world.edit(|tx| instances::request_stop(tx, one, false, now).map(|_| ())).await.unwrap();
    world.until_state(one, State::Stopped).await;
    assert_eq!(world.on_machine(&one[0]).await, Some(DriverState::Stopped));
    assert_eq!(world.get(&one[0]).state_reason.as_ref().unwrap().code, "Client.UserInitiatedShutdown");
    world.edit(|tx| instances::request_start(tx, one, now).map(|_| ())).await.unwrap();
    world.until_state(one, State::Running).await;
    world.edit(|tx| instances::request_terminate(tx, &ids, now).map(|_| ())).await.unwrap();
    world.until_state(&ids, State::Terminated).await;
    assert!(world.driver.list().await.unwrap().is_empty());
    // An hour later nothing is left.
    world.clock.advance(Duration::from_secs(3601));
    let changes = world.store.subscribe::<Instance>();
    while !world.store.list::<Instance>().is_empty() {
        changes.next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_rests_while_an_image_is_made_of_it() {
    let mut world = World::new(SimulatedSettings::default()).await;
    world.start();
    let ids = world.launch(1).await;
    world.until_state(&ids, State::Running).await;
    let now = world.clock.now();
    let image = Image {
        id: "ami-1".into(),
        name: "copy".into(),
        description: None,
        state: ImageState::Pending,
        state_reason: None,
        architecture: "x86_64".into(),
        created_at: now,
        source_instance_id: Some(ids[0].clone()),
        no_reboot: false,
        source_at_rest: false,
        root_volume_gib: 8,
        public: false,
        client_token: None,
        deprecated_at: None,
        tags: Default::default(),
    };
    let changes = world.store.subscribe::<Image>();
    world
        .edit(|tx| {
            tx.put(image);
            instances::request_reboot(tx, &ids).map(|_| ())
        })
        .await
        .unwrap();
    while !world.store.get::<Image>("ami-1").unwrap().source_at_rest {
        changes.next().await;
    }
    assert_eq!(world.on_machine(&ids[0]).await, Some(DriverState::Stopped));
    assert_eq!(world.get(&ids[0]).state, State::Running, "to all others it runs, as on EC2");
    world.edit(|tx| images::complete(tx, "ami-1", 1, now)).await;
    world.until(&ids, |i| i.reboots_done == 1).await;
    assert_eq!(world.on_machine(&ids[0]).await, Some(DriverState::Running));
}

#[tokio::test(start_paused = true)]
async fn ending_a_booting_instance_leaves_nothing() {
    let mut world = World::new(booting(60)).await;
    world.start();
    let ids = world.launch(5).await;
    let now = world.clock.now();
    world.edit(|tx| instances::request_terminate(tx, &ids, now).map(|_| ())).await.unwrap();
    world.until_state(&ids, State::Terminated).await;
    assert!(world.driver.list().await.unwrap().is_empty());
    assert_eq!(world.get(&ids[0]).running_at, None);
}

#[tokio::test(start_paused = true)]
async fn failures_by_class() {
    for (settings, code) in [
        (
            SimulatedSettings { capacity_failures: 1.0, ..Default::default() },
            "Server.InsufficientInstanceCapacity",
        ),
        (SimulatedSettings { permanent_failures: 1.0, ..Default::default() }, "Server.InternalError"),
        (SimulatedSettings { transient_failures: 1.0, ..Default::default() }, "Server.InternalError"),
        (
            SimulatedSettings { bad_images: [AMI.to_owned()].into(), ..Default::default() },
            "Client.InvalidAMI",
        ),
    ] {
        let mut world = World::new(settings).await;
        world.start();
        let ids = world.launch(2).await;
        world.until_state(&ids, State::Terminated).await;
        let reason = world.get(&ids[0]).state_reason.clone().unwrap();
        assert_eq!(reason.code, code);
        assert!(reason.message.starts_with(&format!("{code}: ")), "{}", reason.message);
        assert!(world.driver.list().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_again_a_bounded_number_of_times() {
    // Two of five attempts would have to fail in a row for all eight: the seed decides once and for all.
    let settings = SimulatedSettings { transient_failures: 0.3, seed: 3, ..Default::default() };
    let mut world = World::new(settings).await;
    world.start();
    let ids = world.launch(8).await;
    world.until_state(&ids, State::Running).await;
    const { assert!(LAUNCH_ATTEMPTS_MAX > 2) };
}

#[tokio::test(start_paused = true)]
async fn guests_that_power_off_stop_or_end() {
    let mut world = World::new(SimulatedSettings::default()).await;
    world.start();
    let stays = world.launch(1).await;
    let request = LaunchRequest { terminate_on_shutdown: true, ..LaunchRequest::new(AMI, "t2.micro") };
    let goes = world.launch_as(&request).await;
    world.until_state(&stays, State::Running).await;
    world.until_state(&goes, State::Running).await;
    assert!(world.driver.power_off(&stays[0]) && world.driver.power_off(&goes[0]));
    world.until_state(&stays, State::Stopped).await;
    world.until_state(&goes, State::Terminated).await;
    for id in [&stays[0], &goes[0]] {
        assert_eq!(world.get(id).state_reason.as_ref().unwrap().code, "Client.InstanceInitiatedShutdown");
    }
    assert_eq!(world.on_machine(&goes[0]).await, None);
}

#[tokio::test(start_paused = true)]
async fn guests_that_die_stop_whatever_a_power_off_would_do() {
    let mut world = World::new(SimulatedSettings::default()).await;
    world.start();
    let request = LaunchRequest { terminate_on_shutdown: true, ..LaunchRequest::new(AMI, "t2.micro") };
    let ids = world.launch_as(&request).await;
    world.until_state(&ids, State::Running).await;
    assert!(world.driver.crash(&ids[0], "init ended with exit status 3"));
    world.until_state(&ids, State::Stopped).await;
    let record = world.get(&ids[0]);
    let text = "Server.InternalError: The instance failed (init ended with exit status 3)";
    assert_eq!(record.state_reason.as_ref().unwrap().code, "Server.InternalError");
    assert_eq!(record.state_reason.as_ref().unwrap().message, text);
    assert_eq!(record.transition_reason.as_deref(), Some(text));
    let now = world.clock.now();
    world.edit(|tx| instances::request_start(tx, &ids, now).map(|_| ())).await.unwrap();
    world.until_state(&ids, State::Running).await;
}

#[tokio::test(start_paused = true)]
async fn instances_out_of_reach_are_impaired_until_they_answer() {
    let mut world = World::new(SimulatedSettings::default()).await;
    world.start();
    let ids = world.launch(2).await;
    world.until(&ids, |i| i.instance_status == StatusCheck::Ok).await;
    assert!(world.driver.impair(&ids[0], Some("its network interface is down")));
    world.until(&ids[..1], |i| i.instance_status == StatusCheck::Impaired).await;
    assert_eq!(world.get(&ids[0]).system_status, StatusCheck::Ok);
    assert_eq!(world.get(&ids[1]).instance_status, StatusCheck::Ok);
    world.driver.impair(&ids[0], None);
    world.until(&ids[..1], |i| i.instance_status == StatusCheck::Ok).await;
    assert_eq!(world.get(&ids[0]).state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn guests_in_a_zone_that_is_down_hold_still_and_go_on_later() {
    let mut world = World::new(SimulatedSettings::default()).await;
    world.start();
    let here = LaunchRequest {
        min_count: 2,
        max_count: 2,
        zone: Some("us-east-1a".into()),
        ..LaunchRequest::new(AMI, "t2.micro")
    };
    let ids = world.launch_as(&here).await;
    let elsewhere = LaunchRequest { zone: Some("us-east-1b".into()), min_count: 1, max_count: 1, ..here };
    let other = world.launch_as(&elsewhere).await;
    world.until(&ids, |i| i.system_status == StatusCheck::Ok).await;
    world.until(&other, |i| i.system_status == StatusCheck::Ok).await;
    let now = world.clock.now();
    world.edit(|tx| zones::set_down(tx, "us-east-1a", true, now)).await.unwrap();
    let held = async |wanted: &[String]| {
        loop {
            let listed = world.driver.list().await.unwrap();
            let held = listed.into_iter().filter(|i| i.suspended).map(|i| i.instance_id);
            let (held, wanted): (BTreeSet<_>, BTreeSet<_>) =
                (held.collect(), wanted.iter().cloned().collect());
            if held == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    held(&ids).await;
    // Whatever the sweep sees, the checks stay impaired; nothing is started or restarted there.
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(ids.iter().all(|id| world.get(id).system_status == StatusCheck::Impaired));
    assert!(ids.iter().all(|id| world.get(id).instance_status == StatusCheck::Impaired));
    assert_eq!(world.get(&other[0]).system_status, StatusCheck::Ok);
    world.edit(|tx| instances::request_reboot(tx, &ids[..1]).map(|_| ())).await.unwrap();
    world.edit(|tx| instances::request_stop(tx, &ids[1..], false, now).map(|_| ())).await.unwrap();
    world.until_state(&ids[1..], State::Stopped).await;
    let refused = world.edit(|tx| instances::request_start(tx, &ids[1..], now).map(|_| ())).await;
    assert!(matches!(refused, Err(instances::InstanceError::ZoneDown { .. })), "{refused:?}");
    // A group may ask all the same, and finds no capacity.
    world.edit(|tx| instances::start(tx, &ids[1], now)).await;
    let no_capacity = |i: &Instance| {
        i.state_reason.as_ref().is_some_and(|r| r.code == "Server.InsufficientInstanceCapacity")
    };
    world.until(&ids[1..], |i| i.state == State::Stopped && no_capacity(i)).await;
    assert_ne!(world.get(&ids[0]).reboots_done, 1);
    world.edit(|tx| zones::set_down(tx, "us-east-1a", false, now)).await.unwrap();
    held(&[]).await;
    world.until(&ids[..1], |i| i.reboots_done == 1 && i.system_status == StatusCheck::Ok).await;
    world.edit(|tx| instances::request_start(tx, &ids[1..], now).map(|_| ())).await.unwrap();
    world.until_state(&ids[1..], State::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_went_down_before_a_restart_is_followed_after_it() {
    let mut world = World::new(SimulatedSettings::default()).await;
    // Recorded and running; then the zone went down, and the server died before anything was done about it.
    let ids = world.launch(1).await;
    world.driver.intrude(&ids[0]);
    let (now, zone) = (world.clock.now(), world.get(&ids[0]).zone.clone());
    world.edit(|tx| instances::mark_running(tx, &ids[0], 0, now)).await;
    world.edit(|tx| zones::set_down(tx, &zone, true, now)).await.unwrap();
    world.start();
    while !world.driver.list().await.unwrap()[0].suspended {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What is on its way there finds no capacity.
    let pending = world.launch(1).await;
    world.until_state(&pending, State::Running).await;
    assert_ne!(world.get(&pending[0]).zone, zone);
}

#[tokio::test(start_paused = true)]
async fn lost_instances_end_and_orphans_are_removed() {
    let mut world = World::new(SimulatedSettings::default()).await;
    world.start();
    let ids = world.launch(2).await;
    world.until_state(&ids, State::Running).await;
    world.driver.lose(&ids[0]);
    world.until_state(&ids[..1], State::Terminated).await;
    assert_eq!(world.get(&ids[0]).state_reason.as_ref().unwrap().code, "Server.InternalError");
    let orphan = "i-00000000000000bad";
    world.driver.intrude(orphan);
    while world.on_machine(orphan).await.is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.get(&ids[1]).state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_up_what_was_under_way() {
    let mut world = World::new(booting(5)).await;
    // Recorded, then the server died before anything was done about it.
    let ids = world.launch(4).await;
    world.driver.intrude(&ids[3]);
    world.driver.intrude("i-00000000000000bad");
    let now = world.clock.now();
    world.edit(|tx| instances::request_terminate(tx, &ids[..1], now).map(|_| ())).await.unwrap();
    world.start();
    world.until_state(&ids[1..], State::Running).await;
    world.until_state(&ids[..1], State::Terminated).await;
    while world.on_machine("i-00000000000000bad").await.is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.driver.list().await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_leaves_it_stopped() {
    let mut world = World::new(SimulatedSettings::default()).await;
    world.start();
    let ids = world.launch(1).await;
    world.until_state(&ids, State::Running).await;
    let now = world.clock.now();
    world.edit(|tx| instances::request_stop(tx, &ids, false, now).map(|_| ())).await.unwrap();
    world.until_state(&ids, State::Stopped).await;
    world.driver.adjust(|s| s.capacity_failures = 1.0);
    world.edit(|tx| instances::request_start(tx, &ids, now).map(|_| ())).await.unwrap();
    world
        .until(&ids, |i| {
            i.state == State::Stopped
                && i.state_reason.as_ref().is_some_and(|r| r.code == "Server.InsufficientInstanceCapacity")
        })
        .await;
}

/// Churn under every kind of fault: in the end the records and the machine agree, nothing doubled, nothing left.
#[tokio::test]
async fn churn_converges() {
    let settings = SimulatedSettings {
        boot: Duration::from_millis(3),
        shutdown: Duration::from_millis(1),
        capacity_failures: 0.05,
        transient_failures: 0.05,
        permanent_failures: 0.05,
        seed: 11,
        ..Default::default()
    };
    let mut world = World::new(settings).await;
    world.start();
    let mut all = Vec::new();
    for round in 0..20 {
        let ids = world.launch(20).await;
        let now = world.clock.now();
        if round % 3 == 0 {
            world.until(&ids, |i| i.state != State::Pending).await;
            for id in &ids[..5] {
                world.driver.power_off(id);
            }
        }
        let _ =
            world.store.transact(|tx| instances::request_terminate(tx, &ids[10..], now).map(|_| ())).await;
        all.extend(ids);
    }
    world.until(&all, |i| !step::is_wanted(i)).await;
    let now = world.clock.now();
    world.edit(|tx| all.iter().for_each(|id| drop(instances::terminate(tx, id, now)))).await;
    world.until_state(&all, State::Terminated).await;
    assert!(world.driver.list().await.unwrap().is_empty());
}
