//! The records of everything Puffer manages, and the transactions over them that both `api` and `control` need:
//! launching instances, ending them, registering targets, changing a group's desired capacity.
//!
//! A function here takes a `Transaction` and either changes the records or says why not; it never acts on the
//! world. So one request, or one step of a reconciler, is one durable transaction.

pub mod addresses;
pub mod alarms;
pub mod bootstrap;
pub mod classic;
pub mod composite_alarms;
#[cfg(test)]
mod fixtures;
pub mod forecasts;
pub mod group_members;
pub mod group_step;
pub mod groups;
pub mod images;
pub mod instances;
pub mod launch;
pub mod launch_templates;
pub mod lifecycle_hooks;
pub mod messaging;
pub mod mix;
pub mod names;
pub mod networks;
pub mod nodes;
pub mod notices;
pub mod policies;
pub mod policy_run;
pub mod refreshes;
pub mod root_volumes;
pub mod scheduled_actions;
mod schema;
pub mod security_groups;
pub mod spot;
pub mod tags;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod triggers;
pub mod zones;

pub use schema::schema;
