//! EC2's resources: what exists and what is wanted of it.

mod address_hold;
mod cidr;
mod image;
mod instance;
pub mod instance_types;
mod key_pair;
mod launch_template;
mod names;
mod price;
pub mod requirements;
mod root_volume;
mod security_group;
pub mod spot;
mod vpc;

pub use address_hold::AddressHold;
pub use cidr::{BadCidr, Cidr};
pub use image::{Image, ImageState};
pub use instance::{
    Instance, InstanceIntent, InstanceLifecycle, InstanceState, LaunchTemplateSource, MetadataOptions,
    StateReason, StatusCheck,
};
pub use key_pair::{KeyPair, KeyType};
pub use launch_template::{
    BlockDeviceSpec, InterfaceSpec, LaunchTemplate, LaunchTemplateData, LaunchTemplateVersion,
    MetadataOptionsSpec, SpotSpec, TagSpecification,
};
pub use names::{is_well_formed_id, private_dns_name, profile_arn, sibling_id};
pub use price::{BadPrice, Price};
pub use root_volume::{RootReplacement, RootTaskState, RootVolumeTask};
pub use security_group::{RuleMatch, RulePeer, SecurityGroup, SecurityGroupRule};
pub use spot::{Interruption, InterruptionCause, SpotMarket, SpotTerms};
pub use vpc::{Account, SUBNET_RESERVED_FIRST, Subnet, Vpc, ZoneCondition};
