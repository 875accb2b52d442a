//! The simulated driver under the contract.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use puffer_compute::contract::Subject;
use puffer_compute::simulated::{SimulatedDriver, SimulatedSettings};
use puffer_compute::{Driver, ImageRef, LaunchSpec};
use puffer_core::{ManualClock, Timestamp};

struct Pretended {
    target: tempfile::TempDir,
}

impl Pretended {
    fn new() -> Option<Pretended> {
        Some(Pretended { target: tempfile::tempdir().unwrap() })
    }
}

#[async_trait]
impl Subject for Pretended {
    async fn open(&self) -> Arc<dyn Driver> {
        let bad_images = BTreeSet::from([self.bad_image().image_id]);
        let settings = SimulatedSettings { bad_images, ..SimulatedSettings::default() };
        Arc::new(SimulatedDriver::new(settings, Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)))))
    }

    fn spec(&self, number: u32) -> LaunchSpec {
        LaunchSpec {
            root: 0,
            instance_id: format!("i-{number:017x}"),
            image: ImageRef { image_id: "ami-00000000000000001".into(), layers: Vec::new() },
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
            hostname: "pretended".into(),
            network: None,
            ssh_public_keys: Vec::new(),
            user_data: None,
            environment: Default::default(),
        }
    }

    fn bad_image(&self) -> ImageRef {
        ImageRef { image_id: "ami-0bad".into(), layers: Vec::new() }
    }

    fn image_target(&self) -> PathBuf {
        self.target.path().to_path_buf()
    }

    fn leftovers(&self, _instance_id: &str) -> Vec<String> {
        Vec::new()
    }

    fn survives(&self) -> bool {
        false
    }

    fn has_disk(&self) -> bool {
        false
    }
}

crate::contract_tests!(Pretended::new());
