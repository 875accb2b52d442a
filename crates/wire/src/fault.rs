use std::borrow::Cow;

use crate::schema::ErrorSchema;

/// An error as it goes over the wire, in any protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    /// AWS's error code, in the form the service's query protocol has it.
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// For people.
    pub message: String,
    /// Whether the sender is to blame (`Sender`) or the service (`Receiver`).
    pub sender: bool,
}

impl Fault {
    /// The sender's fault, status 400.
    pub fn sender(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Fault { code: code.into(), status: 400, message: message.into(), sender: true }
    }

    /// The service's fault, status 500.
    pub fn receiver(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Fault { code: code.into(), status: 500, message: message.into(), sender: false }
    }

    /// An error that the service's model declares.
    pub fn declared(error: &'static ErrorSchema, message: impl Into<String>) -> Self {
        Fault {
            code: Cow::Borrowed(error.code),
            status: error.status,
            message: message.into(),
            sender: error.sender,
        }
    }

    /// The same error with another HTTP status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}
