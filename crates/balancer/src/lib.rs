//! Floor 1: the data plane of load balancers, a process of its own (`puffer balancer`) that outlives the control
//! plane, and the client by which the control plane drives it.
//!
//! The control plane sends declarative snapshots ([`BalancerConfig`]) and reads cumulative reports ([`Report`])
//! through [`BalancerClient`]; it never sees a connection.

mod client;
pub mod config;
mod control;
mod data;
#[doc(hidden)]
pub mod fuzzing;
mod health_check;
mod histogram;
mod http;
mod metrics;
mod plane;
mod process;
mod protocol;
mod report;

pub use client::{BalancerClient, ClientError, Pulse, SpawnOptions};
pub use config::BalancerConfig;
pub use histogram::{BUCKETS, Histogram, bucket_of, bucket_value_s};
pub use process::{FINISH_LIMIT, Options, RunError, run};
pub use protocol::{Applied, BindError, FrameError, PROTOCOL_VERSION};
pub use report::{Counters, HostCounts, Report, Scope, ScopeCounters, TargetReport};
