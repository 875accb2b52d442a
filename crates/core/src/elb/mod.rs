//! Elastic Load Balancing: load balancers, listeners, rules, target groups and their targets; and the pure
//! decisions about them: which rule takes a request, which target, and how healthy it is.

pub mod balance;
pub mod health;
pub mod rule;
mod target;

pub use target::{Target, TargetState};
