//! Where an instance goes in the network: what the converger needs to know of the network room, and no more.

use std::collections::BTreeMap;

use async_trait::async_trait;
use puffer_compute::NetworkAttachment;
use puffer_core::ErrorClass;
use puffer_core::ec2::{Instance, Subnet};

/// An instance's place, made ready.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// Its interface; `None` if the driver has no network.
    pub network: Option<NetworkAttachment>,
    /// Environment that tells the guest what a network would have told it (its address, where metadata is).
    pub environment: BTreeMap<String, String>,
}

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct PlacementError {
    /// What can be done about it.
    pub class: ErrorClass,
    /// Why.
    pub reason: String,
}

/// Makes places for instances. Idempotent; called before each launch and start.
#[async_trait]
pub trait Placement: Send + Sync + 'static {
    /// Sees to it that the subnet's bridge exists and that the instance's security groups are in force for its address, and says
    /// where the instance attaches.
    async fn place(&self, instance: &Instance, subnet: &Subnet) -> Result<Place, PlacementError>;

    /// The instance ended; whatever is kept for it may go.
    async fn vacate(&self, instance_id: &str);
}

/// For drivers whose instances share the host's loopback, and for simulated ones: an address and nothing to make ready.
#[derive(Debug, Default)]
pub struct LoopbackPlacement;

#[async_trait]
impl Placement for LoopbackPlacement {
    async fn place(&self, instance: &Instance, subnet: &Subnet) -> Result<Place, PlacementError> {
        let network = NetworkAttachment {
            bridge: String::new(),
            host_interface: String::new(),
            address: instance.private_ip,
            prefix: subnet.cidr.prefix(),
            gateway: subnet.gateway(),
            mac: instance.mac.clone(),
            dns: Vec::new(),
        };
        Ok(Place { network: Some(network), environment: BTreeMap::new() })
    }

    async fn vacate(&self, _: &str) {}
}
