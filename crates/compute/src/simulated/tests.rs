use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use puffer_core::{Clock, ManualClock, Timestamp};

use super::*;
use crate::contract::{self, Subject};
use crate::{Driver, DriverError, DriverState, ImageRef, LaunchSpec};

const BAD: &str = "ami-0bad0bad0bad0bad0";

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)))
}

fn spec(number: u32) -> LaunchSpec {
    LaunchSpec {
        root: 0,
        instance_id: format!("i-{number:017x}"),
        image: ImageRef { image_id: "ami-0123456789abcdef0".into(), layers: Vec::new() },
        cpu_millis: 2000,
        memory_bytes: 1 << 30,
        hostname: "ip-10-0-0-1".into(),
        network: None,
        ssh_public_keys: Vec::new(),
        user_data: None,
        environment: Default::default(),
    }
}

struct Simulated(SimulatedSettings);

#[async_trait]
impl Subject for Simulated {
    async fn open(&self) -> Arc<dyn Driver> {
        Arc::new(SimulatedDriver::new(self.0.clone(), clock()))
    }
    fn spec(&self, number: u32) -> LaunchSpec {
        spec(number)
    }
    fn bad_image(&self) -> ImageRef {
        ImageRef { image_id: BAD.into(), layers: Vec::new() }
    }
    fn image_target(&self) -> PathBuf {
        PathBuf::from("/nonexistent")
    }
    fn leftovers(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn survives(&self) -> bool {
        false
    }
    fn has_disk(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract() {
    for boot in [Duration::ZERO, Duration::from_secs(30)] {
        let settings = SimulatedSettings {
            boot,
            shutdown: boot / 3,
            bad_images: [BAD.to_owned()].into(),
            ..Default::default()
        };
        for check in contract::CHECKS {
            contract::check(&Simulated(settings.clone()), check).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn boots_take_their_time_all_at_once() {
    let settings = SimulatedSettings { boot: Duration::from_secs(40), ..Default::default() };
    let driver = Arc::new(SimulatedDriver::new(settings, clock()));
    let started = tokio::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let driver = Arc::clone(&driver);
        tasks.spawn(async move { driver.launch(&spec(n)).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(started.elapsed().as_secs(), 40);
    assert_eq!(driver.list().await.unwrap().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn load_becomes_cpu_time() {
    let settings = SimulatedSettings { load: Arc::new(|_| 0.5), ..Default::default() };
    let driver = SimulatedDriver::new(settings, clock());
    let spec = spec(1);
    driver.launch(&spec).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    let mut usage = Vec::new();
    driver.usage(&mut [spec.instance_id.as_str()].into_iter(), &mut usage);
    // Half of two CPUs for ten seconds.
    let cpu_s = usage[0].1.cpu_ns as f64 / 1e9;
    assert!((cpu_s - 10.0).abs() < 0.01, "{cpu_s}");
}

#[tokio::test(start_paused = true)]
async fn faults_come_at_their_rates_and_leave_nothing() {
    let settings = SimulatedSettings {
        capacity_failures: 0.2,
        transient_failures: 0.1,
        permanent_failures: 0.1,
        seed: 7,
        ..Default::default()
    };
    let driver = SimulatedDriver::new(settings, clock());
    let (mut capacity, mut transient, mut permanent, mut good) = (0, 0, 0, 0);
    for n in 0..2000 {
        match driver.launch(&spec(n)).await {
            Ok(()) => good += 1,
            Err(DriverError::InsufficientCapacity(_)) => capacity += 1,
            Err(DriverError::Transient(_)) => transient += 1,
            Err(_) => permanent += 1,
        }
    }
    assert_eq!(driver.list().await.unwrap().len(), good);
    for (seen, expected) in [(capacity, 400), (transient, 200), (permanent, 200)] {
        assert!(i32::abs(seen - expected) < 60, "{seen} instead of about {expected}");
    }
    driver.adjust(|s| s.n_instances_max = good);
    let full = driver.launch(&spec(9999)).await;
    assert!(matches!(full, Err(DriverError::InsufficientCapacity(_))));
}

#[tokio::test(start_paused = true)]
async fn deaths_wake_and_restore_brings_back() {
    let restored = [(spec(1), DriverState::Running), (spec(2), DriverState::Stopped)];
    let driver = SimulatedDriver::restore(SimulatedSettings::default(), clock(), restored);
    let id = spec(1).instance_id;
    assert!(driver.power_off(&id));
    tokio::time::timeout(Duration::from_secs(1), driver.changed()).await.unwrap();
    let states: Vec<_> = driver.list().await.unwrap().into_iter().map(|i| i.state).collect();
    assert_eq!(states, [DriverState::Stopped, DriverState::Stopped]);
    assert!(!driver.power_off(&id));
    assert!(driver.lose(&id));
    assert!(matches!(driver.start(&spec(1)).await, Err(DriverError::NotFound(_))));
}
