//! Floor 2: reconcilers. Each reads the store and the metrics, asks `core` what to do, and acts through floor 1.

mod activity_prune;
mod alarm_action;
mod alarm_evaluate;
mod balancer_metrics;
mod balancer_sync;
mod composite_evaluate;
mod data_plane;
#[cfg(test)]
mod elb_fixtures;
pub mod group_converge;
pub mod image_build;
mod image_source;
mod instance_action;
pub mod instance_converge;
mod metadata_source;
mod metric_collect;
mod metric_flush;
mod network_sync;
mod notify;
mod placement;
mod policy_execute;
mod port_policy;
mod predict;
mod reconciler;
mod schedule_run;
mod spot_market;
mod target_sync;
mod tick;
mod topic_action;
mod trigger_evaluate;
mod wake;

pub use activity_prune::ActivityPrune;
pub use alarm_action::{ActionOutcome, AlarmAction, FiredAlarm};
pub use alarm_evaluate::{AlarmEvaluate, AlarmStatus};
pub use balancer_metrics::{BalancerMetrics, BalancerMetricsStatus};
pub use balancer_sync::{BalancerSync, BalancerSyncStatus, snapshot};
pub use composite_evaluate::{CompositeEvaluate, CompositeStatus};
pub use data_plane::{BalancerLink, DataPlane};
pub use image_source::{ImageSource, ImageSourceError, NoFiles};
pub use instance_action::InstanceAction;
pub use metadata_source::RecordedMetadata;
pub use metric_collect::{CollectStatus, MetricCollect};
pub use metric_flush::MetricFlush;
pub use network_sync::{
    FabricPlacement, NetworkReady, NetworkSync, NetworkSyncStatus, NotReady, desired_network,
};
pub use notify::{Notify, NotifyStatus};
pub use placement::{LoopbackPlacement, Place, Placement, PlacementError};
pub use policy_execute::PolicyExecute;
pub use port_policy::PortPolicy;
pub use predict::{Predict, PredictStatus};
pub use reconciler::{Reconciler, RunningReconciler, spawn};
pub use schedule_run::{ScheduleRun, ScheduleRunStatus};
pub use spot_market::SpotMarketFollow;
pub use target_sync::{TargetSync, TargetSyncStatus};
pub use topic_action::TopicAction;
pub use trigger_evaluate::{TriggerEvaluate, TriggerStatus};
