use async_trait::async_trait;
use puffer_core::Timestamp;

/// Where console output comes from: the compute room, behind a face that lets handlers ask for this and nothing else.
#[async_trait]
pub trait ConsoleSource: Send + Sync + 'static {
    /// The latest output of an instance and when it last grew; `None` if the machine does not have the instance (any more).
    async fn console_output(
        &self,
        instance_id: &str,
    ) -> Result<Option<(Vec<u8>, Option<Timestamp>)>, ConsoleError>;
}

/// Why there is no console output.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConsoleError(pub String);

/// For tests and servers without instances: no instance has a console.
#[derive(Debug, Default)]
pub struct NoConsole;

#[async_trait]
impl ConsoleSource for NoConsole {
    async fn console_output(&self, _: &str) -> Result<Option<(Vec<u8>, Option<Timestamp>)>, ConsoleError> {
        Ok(None)
    }
}
