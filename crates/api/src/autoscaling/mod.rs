//! EC2 Auto Scaling, API version 2011-01-01: a file per family of operations. Version 2009-05-15 has a folder of its own.
//!
//! Handlers validate, change records in one transaction and return; the reconcilers see the change and act.

mod activities;
mod block_devices;
mod capacity;
mod classic_load_balancers;
mod describe_groups;
mod error;
mod execute_policy;
mod filters;
mod from_instance;
mod group_shapes;
mod groups;
mod instances;
mod launch_configurations;
mod launch_instances;
mod lifecycle_hooks;
mod maintenance;
mod members;
mod metrics_collection;
mod mixed_policy;
mod notifications;
mod paging;
mod policies;
mod policy_shapes;
mod predictive;
mod processes;
mod refreshes;
mod resource_labels;
mod scheduled_actions;
mod source;
mod static_types;
mod tags;
#[cfg(test)]
mod tests;
mod traffic;
mod v2009;
mod warm_pools;
mod zone_settings;

use crate::Registry;

/// Registers every operation that is served.
pub(crate) fn register(registry: &mut Registry) {
    groups::register(registry);
    describe_groups::register(registry);
    capacity::register(registry);
    instances::register(registry);
    members::register(registry);
    lifecycle_hooks::register(registry);
    notifications::register(registry);
    warm_pools::register(registry);
    execute_policy::register(registry);
    launch_configurations::register(registry);
    launch_instances::register(registry);
    policies::register(registry);
    predictive::register(registry);
    activities::register(registry);
    traffic::register(registry);
    processes::register(registry);
    scheduled_actions::register(registry);
    refreshes::register(registry);
    metrics_collection::register(registry);
    tags::register(registry);
    static_types::register(registry);
    classic_load_balancers::register(registry);
    v2009::register(registry);
}
