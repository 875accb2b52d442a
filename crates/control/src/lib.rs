//! Floor 2: reconcilers. Each reads the store and the metrics, asks `core` what to do, and acts through floor 1.

mod alarm_action;
mod reconciler;

pub use alarm_action::{ActionOutcome, AlarmAction, FiredAlarm};
pub use reconciler::{Reconciler, RunningReconciler, spawn};
