use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use puffer_compute::{DriverError, ImageRef, LaunchSpec};
use puffer_core::ErrorClass;
use puffer_core::ec2::{Instance, KeyPair, Subnet, instance_types};

use super::Shared;

fn by_class(class: ErrorClass, reason: String) -> DriverError {
    match class {
        ErrorClass::Transient | ErrorClass::Throttled => DriverError::Transient(reason),
        ErrorClass::Capacity => DriverError::InsufficientCapacity(reason),
        ErrorClass::Caller | ErrorClass::Permanent | ErrorClass::Bug => DriverError::Permanent(reason),
    }
}

impl Shared {
    /// All that the driver needs to run the instance; its place in the network is made ready on the way.
    pub(super) async fn spec(&self, instance: &Instance) -> Result<LaunchSpec, DriverError> {
        let layers = self.rooms.images.layers(&instance.image_id).await.map_err(|e| match e.class {
            ErrorClass::Transient | ErrorClass::Throttled => DriverError::Transient(e.reason),
            _ => DriverError::BadImage { image_id: instance.image_id.clone(), reason: e.reason },
        })?;
        let subnet = self.rooms.store.get::<Subnet>(&instance.subnet_id).ok_or_else(|| {
            DriverError::Permanent(format!("subnet {} does not exist any more", instance.subnet_id))
        })?;
        let size = instance_types::find(&instance.instance_type).ok_or_else(|| {
            DriverError::Permanent(format!("unknown instance type {}", instance.instance_type))
        })?;
        let place =
            self.rooms.placement.place(instance, &subnet).await.map_err(|e| by_class(e.class, e.reason))?;
        let key = instance.key_name.as_ref().and_then(|name| self.rooms.store.get::<KeyPair>(name));
        // Launches are refused if it is not base64; a guest that lacks what it was given is no launch.
        let user_data = instance.user_data.as_ref().map(|data| STANDARD.decode(data)).transpose();
        let user_data = user_data
            .map_err(|_| DriverError::Permanent("the instance's user data is not base64".to_owned()))?;
        let [a, b, c, d] = instance.private_ip.octets();
        Ok(LaunchSpec {
            instance_id: instance.id.clone(),
            image: ImageRef { image_id: instance.image_id.clone(), layers },
            root: instance.root_serial,
            cpu_millis: size.n_vcpus * 1000,
            memory_bytes: u64::from(size.memory_mib) << 20,
            hostname: format!("ip-{a}-{b}-{c}-{d}"),
            network: place.network,
            ssh_public_keys: key.map(|k| k.public_key.clone()).into_iter().collect(),
            user_data,
            environment: place.environment,
        })
    }
}
