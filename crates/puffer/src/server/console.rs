//! The compute room as handlers see it: a source of console output.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use puffer_api::{ConsoleError, ConsoleSource};
use puffer_compute::{Driver, DriverError};
use puffer_core::Timestamp;

/// What reading an instance's console may take.
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Consoles of a driver's instances.
pub(super) struct DriverConsole(pub(super) Arc<dyn Driver>);

#[async_trait]
impl ConsoleSource for DriverConsole {
    async fn console_output(
        &self,
        instance_id: &str,
    ) -> Result<Option<(Vec<u8>, Option<Timestamp>)>, ConsoleError> {
        match tokio::time::timeout(CONSOLE_TIMEOUT, self.0.console_output(instance_id)).await {
            Ok(Ok(output)) => Ok(Some(output)),
            Ok(Err(DriverError::NotFound(_))) => Ok(None),
            Ok(Err(error)) => Err(ConsoleError(error.to_string())),
            Err(_) => Err(ConsoleError(format!("the console of {instance_id} could not be read in time"))),
        }
    }
}
