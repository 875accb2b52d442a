use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp};

/// An address of a subnet that is taken by something other than an instance, such as a load balancer's node.
///
/// It outlives its owner's record until nothing uses the address any more, so that no instance gets an address
/// on which connections are still open. Whoever allocates in a subnet skips the instances' addresses *and* these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressHold {
    /// `subnet-…`.
    pub subnet_id: String,
    /// The address.
    pub address: Ipv4Addr,
    /// ARN of who has it.
    pub owner: String,
    /// Security groups of the interface, kept here because the owner's record may be gone already.
    pub security_groups: Vec<String>,
    /// Set once the owner wants it no more; it is free when its connections have ended.
    pub releasing_since: Option<Timestamp>,
}

impl AddressHold {
    /// The key of a hold: addresses of different VPCs may be equal.
    pub fn key_of(subnet_id: &str, address: Ipv4Addr) -> String {
        format!("{subnet_id}|{address}")
    }
}

impl Record for AddressHold {
    const COLLECTION: &'static str = "ec2-address-holds";
    const INDEXES: &'static [&'static str] = &["owner", "security_group", "subnet"];

    fn key(&self) -> String {
        AddressHold::key_of(&self.subnet_id, self.address)
    }

    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("owner", &self.owner);
        push("subnet", &self.subnet_id);
        for group in &self.security_groups {
            push("security_group", group);
        }
    }
}
