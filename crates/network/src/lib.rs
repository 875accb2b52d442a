//! Floor 1: the network of instances: bridges, addresses, security groups, metadata and names.

pub mod dns;
mod fabric;

pub use fabric::{
    DesiredGroup, DesiredNetwork, DesiredSubnet, Endpoint, EndpointKind, Fabric, FabricError,
};
