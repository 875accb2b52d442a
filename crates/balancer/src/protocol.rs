//! The control protocol: JSON messages over a unix socket, each after its length.
//!
//! A frame is a length of four bytes, big-endian, and that many bytes of JSON. The client speaks first with
//! [`Hello`]; after the server's [`Welcome`] each request gets one answer, in order. Whoever needs two things at
//! once (a long wait and a call) opens two connections. A file mode of 0600 is the access control.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::BalancerConfig;
use crate::report::Report;

/// Version of this protocol. It grows only when an older peer could not make sense of a message; new optional
/// fields do not count. 2: classic load balancers and listeners of TCP.
pub const PROTOCOL_VERSION: u32 = 2;
/// Longest frame, in bytes: some 200,000 targets.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;

/// First frame of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// [`PROTOCOL_VERSION`] of the client.
    pub(crate) version: u32,
}

/// First frame of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// [`PROTOCOL_VERSION`] of the server; it closes the connection if the client's is another.
    pub(crate) version: u32,
    /// Differs after every start of the process.
    pub(crate) epoch: u64,
    /// Its process id.
    pub(crate) pid: u32,
    /// Generation of the applied configuration; 0 before the first.
    pub(crate) generation: u64,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Make this configuration real.
    Apply {
        /// The whole of it.
        config: BalancerConfig,
    },
    /// Tell what has been seen.
    Report,
    /// Answer once the change number exceeds `since`, or the time is over.
    WaitChange {
        /// Change number already known.
        since: u64,
        /// Longest wait, in milliseconds.
        timeout_ms: u64,
    },
    /// Stop listening, finish what is under way for at most `grace_ms`, and exit.
    Shutdown {
        /// Longest wait, in milliseconds.
        grace_ms: u64,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// To [`Request::Apply`].
    Applied(Applied),
    /// To [`Request::Report`].
    Report(Report),
    /// To [`Request::WaitChange`].
    Changed {
        /// The change number now; equal to `since` if the time was over.
        change: u64,
    },
    /// To [`Request::Shutdown`]: it has begun.
    Stopping,
    /// The request was refused.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What came of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Which process applied it.
    pub epoch: u64,
    /// Generation now applied.
    pub generation: u64,
    /// Listeners that could not be bound on some node. Everything else works; the next apply tries again.
    pub bind_errors: Vec<BindError>,
}

/// A listener that could not be bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindError {
    /// ARN of the listener.
    pub listener: String,
    /// Address and port.
    pub address: std::net::SocketAddrV4,
    /// What the system said.
    pub error: String,
}

/// A frame that could not be carried.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed or ended.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// The frame is longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// The frame is not the message it should be.
    #[error("not a message of this protocol")]
    Json(#[from] serde_json::Error),
}

/// Sends one frame.
pub(crate) async fn send<W: AsyncWrite + Unpin>(
    to: &mut W,
    message: &impl Serialize,
) -> Result<(), FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let n = frame.len() - 4;
    if n > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(n));
    }
    frame[..4].copy_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
    to.write_all(&frame).await?;
    Ok(to.flush().await?)
}

/// Receives one frame.
pub(crate) async fn receive<M: DeserializeOwned, R: AsyncRead + Unpin>(
    from: &mut R,
) -> Result<M, FrameError> {
    let n = from.read_u32().await? as usize;
    if n > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(n));
    }
    // Grows with what really arrives, so that a false length claims no memory.
    let mut body = Vec::new();
    from.take(n as u64).read_to_end(&mut body).await?;
    if body.len() < n {
        return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(serde_json::from_slice(&body)?)
}
