//! Floor 1: the network of instances: bridges, addresses, security groups, metadata and names.

mod bridge_fabric;
pub mod dns;
mod fabric;
#[doc(hidden)]
pub mod fuzzing;
pub mod metadata;

pub use bridge_fabric::{BridgeFabric, Missing, Services, blocked_forwarding, pick_vpc_cidr, probe};
pub use fabric::{DesiredGroup, DesiredNetwork, DesiredSubnet, Endpoint, EndpointKind, Fabric, FabricError};
