//! Elastic Load Balancing: load balancers, listeners, rules, target groups and their targets; and the pure
//! decisions about them: which rule takes a request, which target, and how healthy it is.

pub mod arn;
pub mod attributes;
pub mod balance;
pub mod classic;
pub mod health;
pub mod limits;
mod listener;
mod load_balancer;
mod period_tags;
pub mod rule;
mod target;
mod target_group;

pub use listener::{Listener, ListenerProtocol, Rule, target_groups_of};
pub use load_balancer::{LoadBalancer, LoadBalancerState, Node, Scheme};
pub use period_tags::{HEALTH_CHECK_PERIOD_TAG, METRIC_PERIOD_TAG, check_period_tags, period_tag};
pub use target::{Target, TargetState};
pub use target_group::{HealthCheck, HealthCheckProtocol, TargetGroup, TargetProtocol, TargetType};
