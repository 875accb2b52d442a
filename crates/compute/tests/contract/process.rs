//! The process driver under the contract.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use puffer_compute::contract::Subject;
use puffer_compute::process::{BUNDLE_MANIFEST, ProcessDriver};
use puffer_compute::{Driver, ImageRef, LaunchSpec, NetworkAttachment};
use tempfile::TempDir;

/// Counts its starts beside itself, reports, and stays until it is asked to stop.
const SCRIPT: &str =
    "trap 'exit 0' TERM; echo x >>boots; echo boot $(wc -l <boots); while :; do sleep 1000 & wait $!; done";

struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Option<World> {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("image");
        fs::create_dir_all(&layer).unwrap();
        let manifest = serde_json::json!({"kind": "process", "command": ["/bin/sh", "-c", SCRIPT]});
        fs::write(layer.join(BUNDLE_MANIFEST), manifest.to_string()).unwrap();
        Some(World { dir })
    }
}

/// Ends what a failed check left running.
impl Drop for World {
    fn drop(&mut self) {
        let data = self.dir.path().join("data");
        let clean = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let Ok(driver) = ProcessDriver::open(&data) else { return };
                for instance in driver.list().await.unwrap_or_default() {
                    let _ = driver.terminate(&instance.instance_id).await;
                }
            });
        });
        let _ = clean.join();
    }
}

#[async_trait]
impl Subject for World {
    async fn open(&self) -> Arc<dyn Driver> {
        Arc::new(ProcessDriver::open(&self.dir.path().join("data")).unwrap())
    }

    fn spec(&self, number: u32) -> LaunchSpec {
        LaunchSpec {
            root: 0,
            instance_id: format!("i-{number:017x}"),
            image: ImageRef {
                image_id: "ami-00000000000000001".into(),
                layers: vec![self.dir.path().join("image")],
            },
            cpu_millis: 1000,
            memory_bytes: 64 << 20,
            hostname: format!("ip-127-31-0-{number}"),
            network: Some(NetworkAttachment {
                bridge: String::new(),
                host_interface: String::new(),
                address: Ipv4Addr::new(127, 31, 0, 10 + number as u8),
                prefix: 20,
                gateway: Ipv4Addr::new(127, 31, 0, 1),
                mac: format!("02:00:00:00:00:{number:02x}"),
                dns: Vec::new(),
            }),
            ssh_public_keys: Vec::new(),
            user_data: None,
            environment: Default::default(),
        }
    }

    fn bad_image(&self) -> ImageRef {
        ImageRef { image_id: "ami-0bad".into(), layers: vec![self.dir.path().join("nowhere")] }
    }

    fn image_target(&self) -> PathBuf {
        let target = self.dir.path().join("new-image/layer");
        fs::create_dir_all(&target).unwrap();
        target
    }

    fn leftovers(&self, id: &str) -> Vec<String> {
        let directory = self.dir.path().join("data/instances").join(id);
        let mut found: Vec<String> = directory.exists().then(|| "directory".into()).into_iter().collect();
        let needle = directory.display().to_string();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let place = fs::read_link(process.path().join("cwd")).unwrap_or_default();
            if place.display().to_string().starts_with(&needle) {
                found.push(format!("process {:?} in {}", process.file_name(), place.display()));
            }
        }
        found
    }
}

crate::contract_tests!(World::new());
