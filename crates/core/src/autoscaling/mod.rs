//! EC2 Auto Scaling: groups, their members, policies and activities, and the decisions about them.
//!
//! [`plan`] decides what a group launches and terminates, [`lifecycle`] where an instance goes next, [`health`] who is
//! unhealthy, [`scaling`] what a policy makes of a metric, [`schedule`] when a scheduled action runs next, [`refresh`] how an
//! instance refresh goes on.

mod activity;
pub mod backoff;
pub mod cancel_drain;
pub mod census;
mod group;
pub mod health;
pub mod hook;
pub mod launch_call;
pub mod lifecycle;
pub mod maintenance;
mod member;
pub mod mixed;
pub mod notice;
pub mod plan;
mod policy;
pub mod predict;
pub mod process;
pub mod puffer_tags;
pub mod refresh;
pub mod scaling;
pub mod schedule;
pub mod texts;
pub mod trigger;
pub mod view;
pub mod warm_pool;

pub use activity::{Activity, ActivityStatus};
pub use group::{
    CauseSentence, DEFAULT_COOLDOWN_S, DeletionProtection, Group, GroupStatus, GroupTag, InstanceSource,
    LaunchConfiguration, LaunchTemplateRef, MetricsCollection, SuspendedProcess, ZonalShift, ZoneImpairment,
};
pub use hook::LifecycleHook;
pub use maintenance::{Bounds, HealthyPercentages};
pub use member::{HealthStatus, LifecycleState, Member, RootTarget, UnhealthyCause};
pub use policy::{
    AdjustmentType, AlarmRef, PolicyKind, ScalingPolicy, StepAdjustment, TargetTracking, TargetTrackingMetric,
};
pub use refresh::{InstanceRefresh, RefreshPreferences, RefreshStatus, RefreshStrategy};
