//! Floor 2: the AWS services. A folder per service, a file per family of operations; each handler validates, runs one store
//! transaction and wakes a reconciler. No handler launches anything.

mod autoscaling;
mod cloudwatch;
pub mod context;
mod elbv2;
mod error;
mod registry;
mod sts;

pub use context::Ctx;
pub use error::ApiError;
pub use registry::{Handler, Registry};

/// All operations that Puffer serves.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    cloudwatch::register(&mut registry);
    autoscaling::register(&mut registry);
    elbv2::register(&mut registry);
    sts::register(&mut registry);
    registry
}
