//! Floor 2: reconcilers. Each reads the store and the metrics, asks `core` what to do, and acts through floor 1.

mod reconciler;

pub use reconciler::{Reconciler, RunningReconciler, spawn};
