use std::borrow::Cow;

use puffer_store::StoreError;
use puffer_wire::{ErrorSchema, Fault};

/// What a handler answers instead of its output. Adapter errors become this through one table in this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// AWS's error code, as the service's query protocol has it (`ValidationError`, `InvalidGroup.NotFound`).
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// For people; the texts that tools match on are AWS's.
    pub message: String,
    /// Whether the sender is to blame.
    pub sender: bool,
}

impl ApiError {
    /// The sender's fault: status 400.
    pub fn sender(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Fault::sender(code, message).into()
    }

    /// Puffer's fault: status 500.
    pub fn receiver(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Fault::receiver(code, message).into()
    }

    /// An error that the service's model declares, such as `&autoscaling::errors::ALREADY_EXISTS_FAULT`.
    pub fn declared(error: &'static ErrorSchema, message: impl Into<String>) -> Self {
        Fault::declared(error, message).into()
    }

    /// `ValidationError`, the query services' answer to a request that makes no sense.
    pub fn validation(message: impl Into<String>) -> Self {
        ApiError::sender("ValidationError", message)
    }

    /// A defect of Puffer. The cause goes to the log, never to the client.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed inside Puffer");
        ApiError::receiver(
            "InternalFailure",
            "The request failed because of an internal error; see Puffer's log.",
        )
    }
}

impl From<Fault> for ApiError {
    fn from(f: Fault) -> Self {
        ApiError { code: f.code, status: f.status, message: f.message, sender: f.sender }
    }
}

impl From<ApiError> for Fault {
    fn from(e: ApiError) -> Self {
        Fault { code: e.code, status: e.status, message: e.message, sender: e.sender }
    }
}

impl From<StoreError> for ApiError {
    /// The request was not made durable, so it did not happen; the client may repeat it.
    fn from(e: StoreError) -> Self {
        tracing::error!(cause = %e, "a request could not be made durable");
        // Whoever runs the server can free some disk, so the client is told.
        ApiError::receiver("InternalFailure", format!("Nothing was changed: {e}."))
    }
}
