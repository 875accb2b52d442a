//! EC2's resources: what exists and what is wanted of it.

mod instance;

pub use instance::{
    Instance, InstanceIntent, InstanceLifecycle, InstanceState, LaunchTemplateSource, MetadataOptions,
    StateReason, StatusCheck,
};
