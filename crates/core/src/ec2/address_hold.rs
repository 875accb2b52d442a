use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp};

/// An address of a subnet that something other than an instance has: a load balancer's node.
///
/// It outlives its holder's record until nothing uses the address any more, so that no instance gets an address
/// on which connections are still open. Whoever allocates in a subnet skips the instances' addresses *and* these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressHold {
    /// `subnet-…`.
    pub subnet_id: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Who has it: the load balancer's ARN.
    pub holder: String,
    /// `ELB app/name/0123456789abcdef`, as `DescribeNetworkInterfaces` shows.
    pub description: String,
    /// `eni-…`.
    pub network_interface_id: String,
    /// MAC address shown for it.
    pub mac: String,
    /// `sg-…` of the interface, kept here because the holder's record may be gone already.
    pub security_groups: Vec<String>,
    /// Since when.
    pub since: Timestamp,
    /// Set once the holder wants it no more; it is free when its connections have ended.
    pub releasing_since: Option<Timestamp>,
}

impl AddressHold {
    /// The key of the address in its subnet: addresses of different VPCs may be equal.
    pub fn key_of(subnet_id: &str, address: Ipv4Addr) -> String {
        format!("{subnet_id}|{address}")
    }
}

impl Record for AddressHold {
    const COLLECTION: &'static str = "ec2-address-holds";
    const INDEXES: &'static [&'static str] = &["holder", "security_group", "subnet"];

    fn key(&self) -> String {
        AddressHold::key_of(&self.subnet_id, self.address)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("holder", &self.holder);
        push("subnet", &self.subnet_id);
        for group in &self.security_groups {
            push("security_group", group);
        }
    }
}
