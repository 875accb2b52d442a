use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use puffer_compute::simulated::{SimulatedDriver, SimulatedSettings};
use puffer_compute::{Driver, ImageRef, LaunchSpec};
use puffer_core::ec2::{Cidr, Image, ImageState, Instance};
use puffer_core::ssm::Parameter;
use puffer_core::{Clock, ManualClock, Tags, Timestamp};
use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
use puffer_inventory::instances;
use puffer_inventory::launch::{LaunchRequest, run_instances};
use puffer_store::{Store, StoreError, Transaction};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// An image store in memory that can be told to fail.
#[derive(Default)]
struct Shelf {
    images: Mutex<Vec<FoundImage>>,
    failures: Mutex<u32>,
    class: Mutex<Option<ErrorClass>>,
}

impl Shelf {
    fn check(&self) -> Result<(), ImageSourceError> {
        let mut failures = self.failures.lock();
        if *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        let class = self.class.lock().unwrap_or(ErrorClass::Transient);
        Err(ImageSourceError { class, reason: "disk full".into() })
    }

    fn ids(&self) -> Vec<String> {
        self.images.lock().iter().map(|i| i.id.clone()).collect()
    }
}

#[async_trait]
impl ImageSource for Shelf {
    async fn layers(&self, _: &str) -> Result<Vec<PathBuf>, ImageSourceError> {
        Ok(Vec::new())
    }
    async fn prepare(&self, _: &str) -> Result<PathBuf, ImageSourceError> {
        self.check().map(|()| PathBuf::new())
    }
    async fn commit(&self, image: &Image, _: &[PathBuf]) -> Result<u64, ImageSourceError> {
        self.images.lock().push(found(&image.id, &image.name, image.created_at));
        Ok(3 << 30)
    }
    async fn discard(&self, id: &str) -> Result<(), ImageSourceError> {
        self.images.lock().retain(|i| i.id != id);
        Ok(())
    }
    async fn list(&self) -> Result<Vec<FoundImage>, ImageSourceError> {
        Ok(self.images.lock().clone())
    }
}

fn found(id: &str, name: &str, created_at: Timestamp) -> FoundImage {
    FoundImage {
        id: id.into(),
        name: name.into(),
        description: None,
        architecture: "x86_64".into(),
        created_at,
        size_bytes: 1,
        aliases: vec!["/puffer/images/base".into()],
    }
}

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    shelf: Arc<Shelf>,
    driver: Arc<SimulatedDriver>,
    build: ImageBuild,
}

async fn world() -> World {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
    let wanted = Bootstrap {
        account: "123456789012".into(),
        region: "us-east-1".into(),
        vpc_cidr: "172.31.0.0/16".parse().unwrap(),
        subnet_prefix: 20,
        address_space: Cidr::ANY,
        any_image: true,
    };
    let mut rng = Pcg64::seed_from_u64(1);
    store.transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, NOW, &mut rng)).await.unwrap();
    let shelf = Arc::new(Shelf::default());
    let driver = Arc::new(SimulatedDriver::new(SimulatedSettings::default(), Arc::clone(&clock)));
    let build = ImageBuild::new(BuildRooms {
        store: store.clone(),
        driver: Arc::clone(&driver) as Arc<dyn Driver>,
        images: Arc::clone(&shelf) as Arc<dyn ImageSource>,
        clock,
    });
    World { _dir: dir, store, shelf, driver, build }
}

impl World {
    async fn edit<R>(&self, body: impl FnOnce(&mut Transaction<'_>) -> R) -> R {
        self.store.transact::<_, StoreError>(|tx| Ok(body(tx))).await.unwrap()
    }

    /// A running instance, and the image that is asked of it.
    async fn ask(&self, image_id: &str) -> Arc<Instance> {
        let request = LaunchRequest::new("ami-0123456789abcdef0", "t2.micro");
        let mut rng = Pcg64::seed_from_u64(2);
        let instance = self.edit(|tx| run_instances(tx, &request, NOW, &mut rng).unwrap().remove(0)).await;
        self.driver
            .launch(&LaunchSpec {
                root: 0,
                instance_id: instance.id.clone(),
                image: ImageRef { image_id: instance.image_id.clone(), layers: Vec::new() },
                cpu_millis: 1000,
                memory_bytes: 0,
                hostname: String::new(),
                network: None,
                ssh_public_keys: Vec::new(),
                user_data: None,
                environment: Default::default(),
            })
            .await
            .unwrap();
        self.edit(|tx| {
            instances::mark_running(tx, &instance.id, 0, NOW);
            images::create(tx, pending(image_id, &instance.id)).unwrap();
        })
        .await;
        instance
    }

    fn image(&self, id: &str) -> Option<Arc<Image>> {
        self.store.get(id)
    }
}

fn pending(id: &str, source: &str) -> Image {
    Image {
        id: id.into(),
        name: "counter".into(),
        description: None,
        state: ImageState::Pending,
        state_reason: None,
        architecture: "x86_64".into(),
        created_at: NOW,
        source_instance_id: Some(source.into()),
        no_reboot: false,
        source_at_rest: false,
        root_volume_gib: 8,
        public: false,
        client_token: None,
        deprecated_at: None,
        tags: Tags::new(),
    }
}

const ID: &str = "ami-00000000000000001";

#[tokio::test]
async fn an_image_is_made_named_and_removed() {
    let world = world().await;
    let instance = world.ask(ID).await;
    assert_eq!(world.build.activate().await.made, 1);
    assert_eq!(world.image(ID).unwrap().state, ImageState::Available);
    assert_eq!(world.store.get::<Parameter>("/puffer/images/counter/latest").unwrap().value, ID);
    assert_eq!(world.build.activate().await, BuildStatus::default());
    // An instance that was launched from it keeps its files.
    world
        .edit(|tx| {
            tx.update::<Instance>(&instance.id, |i| i.image_id = ID.into());
            tx.update::<Image>(ID, |i| i.state = ImageState::Deregistered);
        })
        .await;
    assert_eq!(world.build.activate().await, BuildStatus::default());
    assert_eq!(world.shelf.ids(), [ID]);
    world.edit(|tx| instances::mark_terminated(tx, &instance.id, None, NOW)).await;
    assert_eq!(world.build.activate().await.removed, 1);
    assert!(world.shelf.ids().is_empty() && world.image(ID).is_none());
    assert!(world.store.get::<Parameter>("/puffer/images/counter/latest").is_none());
    assert_eq!(world.build.activate().await, BuildStatus::default());
}

#[tokio::test]
async fn an_image_stays_for_the_root_volumes_that_will_be_made_from_it() {
    let world = world().await;
    let instance = world.ask(ID).await;
    assert_eq!(world.build.activate().await.made, 1);
    let member = puffer_core::autoscaling::RootTarget::of(ID.into(), 0);
    world
        .edit(|tx| {
            tx.update::<Image>(ID, |i| i.state = ImageState::Deregistered);
            tx.update::<Instance>(&instance.id, |i| {
                i.root_replacement = Some(puffer_core::ec2::RootReplacement {
                    task_id: "replacevol-1".into(),
                    image_id: ID.into(),
                    serial: 1,
                });
            });
        })
        .await;
    assert_eq!(world.build.activate().await, BuildStatus::default());
    // Nobody asked the instance yet, but its group will.
    world
        .edit(|tx| {
            tx.update::<Instance>(&instance.id, |i| i.root_replacement = None);
            let value = serde_json::json!({
                "instance_id": instance.id, "group": "g", "zone": instance.zone,
                "instance_type": instance.instance_type, "state": "ReplacingRootVolume", "state_since": 0,
                "in_service_at": null, "added_at": 0, "health": "Healthy", "unhealthy_cause": null,
                "protected": false, "launch_configuration": null, "launch_template": null,
                "activity_id": null, "traffic_sources": [], "surplus": false, "root_target": member,
            });
            tx.put::<puffer_core::autoscaling::Member>(serde_json::from_value(value).unwrap());
        })
        .await;
    assert_eq!(world.build.activate().await, BuildStatus::default());
    assert_eq!(world.shelf.ids(), [ID]);
    world
        .edit(|tx| tx.update::<puffer_core::autoscaling::Member>(&instance.id, |m| m.root_target = None))
        .await;
    assert_eq!(world.build.activate().await.removed, 1);
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_again_and_others_are_final() {
    let world = world().await;
    world.ask(ID).await;
    *world.shelf.failures.lock() = 1;
    assert_eq!(world.build.activate().await, BuildStatus::default());
    assert_eq!(world.build.activate().await, BuildStatus::default(), "not before its time");
    tokio::time::advance(COPY_BACKOFF).await;
    assert_eq!(world.build.activate().await.made, 1);

    let world = self::world().await;
    world.ask(ID).await;
    *world.shelf.failures.lock() = 1;
    *world.shelf.class.lock() = Some(ErrorClass::Capacity);
    assert_eq!(world.build.activate().await.failed, 1);
    let image = world.image(ID).unwrap();
    assert_eq!(image.state, ImageState::Failed);
    assert_eq!(image.state_reason.as_ref().unwrap().message, "Client.VolumeLimitExceeded: disk full");
}

#[tokio::test]
async fn an_image_waits_until_the_guest_is_shut_down() {
    let world = world().await;
    let instance = world.ask(ID).await;
    world.edit(|tx| tx.update::<Instance>(&instance.id, |i| i.reboot_requests += 1)).await;
    assert_eq!(world.build.activate().await, BuildStatus::default());
    world.edit(|tx| images::source_rests(tx, &instance.id)).await;
    assert_eq!(world.build.activate().await.made, 1);

    let world = self::world().await;
    let instance = world.ask(ID).await;
    world
        .edit(|tx| {
            tx.update::<Instance>(&instance.id, |i| i.reboot_requests += 1);
            tx.update::<Image>(ID, |i| i.no_reboot = true)
        })
        .await;
    assert_eq!(world.build.activate().await.made, 1);
}

#[tokio::test]
async fn an_image_of_an_instance_that_is_gone_fails() {
    let world = world().await;
    let instance = world.ask(ID).await;
    world.edit(|tx| instances::mark_terminated(tx, &instance.id, None, NOW)).await;
    assert_eq!(world.build.activate().await.failed, 1);
    assert_eq!(world.image(ID).unwrap().state, ImageState::Failed);
}

#[tokio::test]
async fn what_is_in_the_store_is_recorded_and_the_newest_has_the_name() {
    let world = world().await;
    let (old, new) = ("ami-0000000000000000a", "ami-0000000000000000b");
    let later = NOW + Duration::from_secs(60);
    world.shelf.images.lock().extend([found(new, "base", later), found(old, "base", NOW)]);
    assert_eq!(world.build.activate().await.found, 2);
    for name in ["/puffer/images/base/latest", "/puffer/images/base"] {
        assert_eq!(world.store.get::<Parameter>(name).unwrap().value, new);
    }
    assert_eq!(world.build.activate().await, BuildStatus::default());
    // Without the newest the name falls back to the next.
    world.edit(|tx| tx.update::<Image>(new, |i| i.state = ImageState::Deregistered)).await;
    assert_eq!(world.build.activate().await.removed, 1);
    assert_eq!(world.store.get::<Parameter>("/puffer/images/base/latest").unwrap().value, old);
}
