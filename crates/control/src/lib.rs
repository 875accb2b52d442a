//! Floor 2: reconcilers. Each reads the store and the metrics, asks `core` what to do, and acts through floor 1.

mod alarm_action;
mod image_source;
pub mod instance_converge;
mod placement;
mod reconciler;

pub use alarm_action::{ActionOutcome, AlarmAction, FiredAlarm};
pub use image_source::{ImageSource, ImageSourceError, NoFiles};
pub use placement::{LoopbackPlacement, Place, Placement, PlacementError};
pub use reconciler::{Reconciler, RunningReconciler, spawn};
