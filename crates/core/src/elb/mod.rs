//! Elastic Load Balancing: load balancers, listeners, rules, target groups and their targets.

mod target;

pub use target::{Target, TargetState};
