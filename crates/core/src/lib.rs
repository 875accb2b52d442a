//! Floor 0: pure decisions and domain types. No I/O, no async, no clock, no global randomness:
//! `now` and `rng` are arguments. Deciders return a decision *and its reason*.

pub mod alarm;
pub mod autoscaling;
mod clock;
pub mod ec2;
pub mod elb;
mod error_class;
pub mod event;
pub mod ids;
pub mod messaging;
pub mod mutation;
mod record;
pub mod ssm;
mod timestamp;

pub use clock::{Clock, ManualClock};
pub use error_class::ErrorClass;
pub use mutation::Mutation;
pub use record::{Record, RecordError};
pub use timestamp::Timestamp;

/// Tags of a resource, by key.
pub type Tags = std::collections::BTreeMap<String, String>;
