use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use puffer_compute::NetworkAttachment;
use puffer_core::ErrorClass;
use puffer_core::ec2::{Instance, Subnet, Vpc};
use puffer_network::Fabric;
use puffer_store::Store;

use super::NetworkReady;
use super::desired::{desired_subnet, endpoint_of};
use crate::{Place, Placement, PlacementError};

/// Longest wait of a launch for its place in the network.
const READY_TIMEOUT: Duration = Duration::from_secs(15);

/// Places of instances on a fabric's bridges.
pub struct FabricPlacement<F> {
    store: Store,
    fabric: Arc<F>,
    ready: NetworkReady,
}

impl<F: Fabric> FabricPlacement<F> {
    /// `ready` is shared with the [`super::NetworkSync`] of the same fabric.
    pub fn new(store: Store, fabric: Arc<F>, ready: NetworkReady) -> Self {
        FabricPlacement { store, fabric, ready }
    }
}

#[async_trait]
impl<F: Fabric> Placement for FabricPlacement<F> {
    async fn place(&self, instance: &Instance, subnet: &Subnet) -> Result<Place, PlacementError> {
        let Some(vpc) = self.store.get::<Vpc>(&subnet.vpc_id) else {
            let reason = format!("{} has no VPC", subnet.id);
            return Err(PlacementError { class: ErrorClass::Bug, reason });
        };
        let endpoint = endpoint_of(instance);
        self.ready
            .cover(&subnet.id, instance.private_ip, &endpoint, READY_TIMEOUT)
            .await
            .map_err(|e| PlacementError { class: ErrorClass::Transient, reason: e.to_string() })?;
        let network = NetworkAttachment {
            bridge: self.fabric.bridge(&subnet.id),
            host_interface: self.fabric.interface(&instance.id),
            address: instance.private_ip,
            prefix: subnet.cidr.prefix(),
            gateway: subnet.gateway(),
            mac: instance.mac.clone(),
            dns: self.fabric.name_servers(&desired_subnet(subnet, &vpc)),
        };
        Ok(Place { network: Some(network), environment: BTreeMap::new() })
    }

    /// The network follows the records: an instance that is terminated there has no place any more.
    async fn vacate(&self, _: &str) {}
}
