//! Bridges, routes and packet filter of this machine: the fabric for instances with interfaces of their own.
//!
//! * **A bridge per subnet**, with the subnet's gateway address and the addresses of load balancer nodes. Frames never pass
//!   from one instance's port to another's: the bridge answers ARP for its whole subnet, so every packet between instances is
//!   routed by the host and meets the security groups there, also within a subnet.
//! * **Two nftables tables per server**: one at the ports against forged addresses (an unknown port passes nothing), one for
//!   security groups, metadata, names and masquerading. A change of members changes set elements only. `ruleset.rs`
//!   compiles, `script.rs` finds the smallest change; each change is one transaction of the kernel's.
//! * **A blackhole route** for each VPC, behind the bridges' own routes: what belongs to no bridge goes nowhere instead of
//!   to the default route.
//!
//! All names carry a tag of the server's, so that several servers share a machine and each finds what a crash left. Links are
//! changed through `ip`, rules through `nft`: both take a batch, so an apply costs a constant number of processes.

mod address_space;
mod forwarding;
mod links;
mod names;
mod probe;
mod ruleset;
mod script;
mod tool;

use std::net::Ipv4Addr;
use std::path::Path;

use async_trait::async_trait;
use tokio::sync::Mutex;

pub use address_space::pick_vpc_cidr;
pub use forwarding::blocked_forwarding;
use names::Names;
pub use probe::{Missing, probe};
use ruleset::Ruleset;

use crate::{DesiredNetwork, DesiredSubnet, Fabric, FabricError};

/// Ports on which this server answers its instances. They listen on all addresses of the host; the fabric lets only instances reach
/// them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Services {
    /// Metadata: what instances find at 169.254.169.254, port 80.
    pub metadata_port: Option<u16>,
    /// Names: what instances find at their gateway's address, port 53, UDP and TCP.
    pub dns_port: Option<u16>,
}

/// The fabric for machines where we may change the network.
pub struct BridgeFabric {
    names: Names,
    services: Services,
    /// What the kernel's rules are, if the last change succeeded.
    applied: Mutex<Option<Ruleset>>,
}

impl BridgeFabric {
    /// A fabric for the server of `data_dir`. Touches nothing yet.
    pub fn new(data_dir: &Path, services: Services) -> BridgeFabric {
        BridgeFabric { names: Names::of(data_dir), services, applied: Mutex::new(None) }
    }

    /// Removes bridges, routes and rules of this server, whoever made them, and puts packet forwarding back as it was.
    pub async fn teardown(&self) -> Result<(), FabricError> {
        let mut applied = self.applied.lock().await;
        *applied = None;
        tool::nft(&script::remove(&self.names)).await?;
        links::apply(&DesiredNetwork::default(), &self.names).await?;
        forwarding::give_back()
    }
}

#[async_trait]
impl Fabric for BridgeFabric {
    async fn apply(&self, desired: &DesiredNetwork) -> Result<(), FabricError> {
        let mut applied = self.applied.lock().await;
        let wanted = ruleset::compile(desired, &self.names, self.services);
        // Rules first: no interface may work before its rules are in force.
        if applied.is_some() && !script::tables_exist(&self.names).await? {
            *applied = None;
        }
        if let Some(text) = script::change(applied.as_ref(), &wanted, &self.names) {
            // What a failed change left is unknown; the next one starts over.
            *applied = None;
            tool::nft(&text).await?;
        }
        *applied = Some(wanted);
        links::apply(desired, &self.names).await
    }

    fn bridge(&self, subnet_id: &str) -> String {
        self.names.bridge(subnet_id)
    }

    fn interface(&self, instance_id: &str) -> String {
        self.names.interface(instance_id)
    }

    fn name_servers(&self, subnet: &DesiredSubnet) -> Vec<Ipv4Addr> {
        self.services.dns_port.map(|_| subnet.gateway).into_iter().collect()
    }
}
