//! Launching: the one way by which instances come into being, for `RunInstances` and for Auto Scaling alike.
//!
//! [`run_instances`] checks a [`LaunchRequest`] against what exists and records instances in state `pending`, with their ids and
//! addresses. Nothing runs yet: `instance_converge` sees the records and calls the driver.

mod error;
mod request;
mod run;

pub use error::LaunchError;
pub use request::{
    ClientToken, LaunchRequest, SpotPurchase, TemplateRef, request_from_data, resolve_template,
};
pub use run::{
    GROUPS_PER_INSTANCE_MAX, INSTANCES_PER_LAUNCH_MAX, USER_DATA_BYTES_MAX, check_user_data, launched_before,
    run_instances,
};
