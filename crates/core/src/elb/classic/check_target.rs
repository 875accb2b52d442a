//! What a health check asks: `HTTP:80/index.html` or `TCP:80`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Characters of a path.
const PATH_CHARS_MAX: usize = 1024;

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum CheckTarget {
    /// A `GET` that must be answered with 200.
    Http {
        /// Port of the instance.
        port: u16,
        /// Path, with a query if any.
        path: String,
    },
    /// A connection.
    Tcp {
        /// Port of the instance.
        port: u16,
    },
}

/// Why a text is no target of a check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckTargetError {
    /// Not of the form.
    #[error("HealthCheck Target must specify a port within the range 1-65535 and, for HTTP, a path: {0}")]
    Form(String),
    /// It would take TLS.
    #[error("HealthCheck Target {0} needs TLS, which Puffer does not have yet; use HTTP or TCP")]
    Tls(String),
}

impl CheckTarget {
    /// Port of the instance.
    pub fn port(&self) -> u16 {
        match self {
            CheckTarget::Http { port, .. } | CheckTarget::Tcp { port } => *port,
        }
    }
}

impl FromStr for CheckTarget {
    type Err = CheckTargetError;

    fn from_str(text: &str) -> Result<Self, CheckTargetError> {
        let form = || CheckTargetError::Form(text.to_owned());
        let (protocol, rest) = text.split_once(':').ok_or_else(form)?;
        let port = |digits: &str| digits.parse().ok().filter(|port| *port > 0).ok_or_else(form);
        match protocol.to_ascii_uppercase().as_str() {
            "HTTP" => {
                let at = rest.find('/').ok_or_else(form)?;
                let (digits, path) = rest.split_at(at);
                let is_path = path.len() <= PATH_CHARS_MAX && path.bytes().all(|b| b.is_ascii_graphic());
                if !is_path {
                    return Err(form());
                }
                Ok(CheckTarget::Http { port: port(digits)?, path: path.to_owned() })
            }
            "TCP" => Ok(CheckTarget::Tcp { port: port(rest)? }),
            "HTTPS" | "SSL" => Err(CheckTargetError::Tls(text.to_owned())),
            _ => Err(form()),
        }
    }
}

impl fmt::Display for CheckTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckTarget::Http { port, path } => write!(f, "HTTP:{port}{path}"),
            CheckTarget::Tcp { port } => write!(f, "TCP:{port}"),
        }
    }
}

impl From<CheckTarget> for String {
    fn from(target: CheckTarget) -> String {
        target.to_string()
    }
}

impl TryFrom<String> for CheckTarget {
    type Error = CheckTargetError;

    fn try_from(text: String) -> Result<Self, CheckTargetError> {
        text.parse()
    }
}
