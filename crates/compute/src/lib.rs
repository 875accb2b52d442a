//! Floor 1: running instances. [`Driver`] is the contract; the drivers are `container`, `process` and
//! `simulated`.

pub mod container;
#[cfg(feature = "contract")]
pub mod contract;
mod driver;
#[doc(hidden)]
pub mod fuzzing;
pub mod image;
pub mod process;
pub mod simulated;

pub use driver::{
    CALLS_AT_ONCE_DEFAULT, CONSOLE_BYTES_MAX, Driver, DriverError, DriverInstance, DriverState, ImageRef,
    LaunchSpec, NetworkAttachment, Usage,
};
