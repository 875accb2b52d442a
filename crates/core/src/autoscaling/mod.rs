//! EC2 Auto Scaling: groups, their members, policies and activities.

mod activity;
mod group;
mod member;
mod policy;

pub use activity::{Activity, ActivityStatus};
pub use group::{
    CauseSentence, Group, GroupStatus, GroupTag, InstanceSource, LaunchConfiguration, LaunchTemplateRef,
    MetricsCollection, SuspendedProcess,
};
pub use member::{HealthStatus, LifecycleState, Member, UnhealthyCause};
pub use policy::{
    AdjustmentType, AlarmRef, PolicyKind, ScalingPolicy, StepAdjustment, TargetTracking, TargetTrackingMetric,
};
