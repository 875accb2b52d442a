//! Names of the processes that can be suspended. What a suspended process stops is decided where it would act.

/// New instances.
pub const LAUNCH: &str = "Launch";
/// Ending instances.
pub const TERMINATE: &str = "Terminate";
/// Registration of new instances with load balancers.
pub const ADD_TO_LOAD_BALANCER: &str = "AddToLoadBalancer";
/// Policies on alarms.
pub const ALARM_NOTIFICATION: &str = "AlarmNotification";
/// Evening out the zones.
pub const AZ_REBALANCE: &str = "AZRebalance";
/// Marking instances unhealthy.
pub const HEALTH_CHECK: &str = "HealthCheck";
/// Rolling replacement.
pub const INSTANCE_REFRESH: &str = "InstanceRefresh";
/// Terminating unhealthy instances to replace them.
pub const REPLACE_UNHEALTHY: &str = "ReplaceUnhealthy";
/// Scheduled changes of size.
pub const SCHEDULED_ACTIONS: &str = "ScheduledActions";

/// All of them, as `DescribeScalingProcessTypes` lists them.
pub const ALL: &[&str] = &[
    ADD_TO_LOAD_BALANCER,
    ALARM_NOTIFICATION,
    AZ_REBALANCE,
    HEALTH_CHECK,
    INSTANCE_REFRESH,
    LAUNCH,
    REPLACE_UNHEALTHY,
    SCHEDULED_ACTIONS,
    TERMINATE,
];
