//! The instance metadata service: what an instance learns of itself at 169.254.169.254.
//!
//! The fabric redirects that address to the server's port and lets only instances reach it, so the connection's source address says
//! who asks; [`MetadataSource`] turns it into an [`InstanceMetadata`]. Version 2 wants a token first: `token.rs`. The token's
//! answer carries the instance's hop limit as its TTL, so that a container or a proxy inside the instance gets one only if the launch allows
//! it. `tree.rs` lays out the paths.
//!
//! Instances of the process driver share the host's loopback interface and have no source address to be known by: for them there is no
//! metadata.

mod server;
mod slots;
#[cfg(test)]
mod tests;
mod token;
mod tree;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use puffer_core::Timestamp;
use puffer_core::ec2::{Cidr, MetadataOptions};

pub use server::MetadataServer;
pub use token::TokenKey;

/// Who knows the instances.
pub trait MetadataSource: Send + Sync + 'static {
    /// The living instance that has this address.
    fn lookup(&self, source: Ipv4Addr) -> Option<InstanceMetadata>;
}

/// What an instance may learn of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceMetadata {
    /// `i-…`.
    pub instance_id: String,
    /// `ami-…`.
    pub image_id: String,
    /// `t2.micro`, ….
    pub instance_type: String,
    /// Position in its launch request.
    pub ami_launch_index: u32,
    /// `r-…`.
    pub reservation_id: String,
    /// Private DNS name.
    pub hostname: String,
    /// Address in its subnet.
    pub private_ip: Ipv4Addr,
    /// Public address, if any.
    pub public_ip: Option<Ipv4Addr>,
    /// Interface's MAC address.
    pub mac: String,
    /// `eni-…`.
    pub interface_id: String,
    /// `subnet-…`.
    pub subnet_id: String,
    /// Its block.
    pub subnet_cidr: Cidr,
    /// `vpc-…`.
    pub vpc_id: String,
    /// Its block.
    pub vpc_cidr: Cidr,
    /// `us-east-1a`.
    pub zone: String,
    /// `use1-az1`.
    pub zone_id: String,
    /// `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// Names of its security groups, in the order of the launch.
    pub security_groups: Vec<String>,
    /// Their ids.
    pub security_group_ids: Vec<String>,
    /// Key pair: name and OpenSSH public key.
    pub key: Option<(String, String)>,
    /// User data, decoded.
    pub user_data: Option<Vec<u8>>,
    /// Tags; shown if the launch allows it.
    pub tags: BTreeMap<String, String>,
    /// Metadata settings of the launch.
    pub options: MetadataOptions,
    /// Bought as spot capacity.
    pub is_spot: bool,
    /// When it will be taken back, once its notice was given.
    pub interruption: Option<Timestamp>,
    /// Since when it is advised to move.
    pub rebalance_at: Option<Timestamp>,
    /// `InService`, `Terminated`, …: where its Auto Scaling group moves it.
    pub target_lifecycle_state: Option<String>,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// ARN of the instance profile it was launched with.
    pub instance_profile: Option<String>,
    /// When it was launched.
    pub launched_at: Timestamp,
}

/// Whether there is a value or directory at this path: for fuzzing.
pub(crate) fn has_path(instance: &InstanceMetadata, path: &str) -> bool {
    tree::find(instance, path).is_some()
}
