//! EC2's resources: what exists and what is wanted of it.

mod address_hold;
mod instance;

pub use address_hold::AddressHold;
pub use instance::{
    Instance, InstanceIntent, InstanceLifecycle, InstanceState, LaunchTemplateSource, MetadataOptions,
    StateReason, StatusCheck,
};
