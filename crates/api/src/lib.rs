//! Floor 2: the AWS services. A folder per service, a file per family of operations; each handler validates, runs one store
//! transaction and wakes a reconciler. No handler launches anything.

mod autoscaling;
mod cloudwatch;
mod console_source;
pub mod context;
mod ec2;
mod elb;
mod elb_2009;
mod elbv2;
mod error;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod members_read;
mod registry;
mod requirements;
mod sns;
mod sqs;
mod ssm;
mod sts;

pub use console_source::{ConsoleError, ConsoleSource, NoConsole};
pub use context::Ctx;
pub use error::ApiError;
pub use registry::{Handler, Registry};

/// All operations that Puffer serves.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    cloudwatch::register(&mut registry);
    autoscaling::register(&mut registry);
    elb::register(&mut registry);
    elb_2009::register(&mut registry);
    elbv2::register(&mut registry);
    ec2::register(&mut registry);
    ssm::register(&mut registry);
    sts::register(&mut registry);
    sns::register(&mut registry);
    sqs::register(&mut registry);
    registry
}
