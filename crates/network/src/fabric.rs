//! The contract between the control plane and whatever carries the instances' packets.
//!
//! The control plane computes one [`DesiredNetwork`], complete and declarative, and a [`Fabric`] makes it real. A fabric
//! keeps no truth of its own: what it finds on the machine that the snapshot does not name, and that carries this server's
//! names, goes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use puffer_core::ErrorClass;
use puffer_core::ec2::{Cidr, RuleMatch};

/// All that the network shall be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DesiredNetwork {
    /// Subnets by id.
    pub subnets: BTreeMap<String, DesiredSubnet>,
    /// Security groups by id. One that an endpoint names but that is absent allows nothing.
    pub groups: BTreeMap<String, DesiredGroup>,
    /// Everything with an address, by `(subnet, address)`.
    pub endpoints: BTreeMap<(String, Ipv4Addr), Endpoint>,
}

/// A subnet: one bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredSubnet {
    /// `vpc-…`: subnets of one VPC reach each other, those of different VPCs do not.
    pub vpc_id: String,
    /// Block of the VPC.
    pub vpc_cidr: Cidr,
    /// Its block.
    pub cidr: Cidr,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// Whether its instances may reach the outside (by masquerading).
    pub to_internet: bool,
}

/// A security group's rules. Everything else is dropped; replies are always allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DesiredGroup {
    /// What may come in.
    pub ingress: Vec<RuleMatch>,
    /// What may go out.
    pub egress: Vec<RuleMatch>,
}

/// Something with an address in a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is.
    pub kind: EndpointKind,
    /// Its security groups; a packet may pass if any of them allows it.
    pub groups: Vec<String>,
}

/// What has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointKind {
    /// An instance behind an interface of its own; no packet may leave that interface with another address than these.
    Instance {
        /// `i-…`, from which the interface's name follows ([`Fabric::interface`]).
        id: String,
        /// MAC address.
        mac: String,
    },
    /// A load balancer's node: the host itself has the address, on the subnet's bridge.
    Node,
}

/// Something that the machine refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct FabricError {
    /// What was being done.
    pub what: String,
    /// What the system said.
    pub reason: String,
    /// What can be done about it.
    pub class: ErrorClass,
}

/// Carries packets.
///
/// * `apply` is idempotent and bounded in time. After an error the network may be partly as desired; applying again goes on
///   from there.
/// * What is already as desired is not disturbed: connections live through an `apply`.
/// * An instance's rules are in force before its interface exists, so that nothing passes in between.
/// * Instances and their interfaces outlive the control plane; so do bridges and rules.
#[async_trait]
pub trait Fabric: Send + Sync + 'static {
    /// Makes `desired` real.
    async fn apply(&self, desired: &DesiredNetwork) -> Result<(), FabricError>;

    /// Name of a subnet's bridge. Follows from the id alone.
    fn bridge(&self, subnet_id: &str) -> String;

    /// Name of the host's end of an instance's interface, at most 15 bytes. Follows from the id alone.
    fn interface(&self, instance_id: &str) -> String;

    /// Where instances of a subnet find a name server.
    fn name_servers(&self, subnet: &DesiredSubnet) -> Vec<Ipv4Addr>;
}
