//! The client's side of an exchange: the rest of the request's body, and then a watch for the client's leaving.

use std::cell::Cell;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::buffer::Buffer;
use super::watch::Watch;
use crate::http::body::Body;

/// How far an exchange has come; both sides look at it.
pub(super) struct Progress {
    /// The whole request has left.
    pub(super) uploaded: Cell<bool>,
    /// We wait for the client to send.
    pub(super) awaits_client: Cell<bool>,
    /// The response's head has arrived.
    pub(super) responding: Cell<bool>,
    /// When the last of the request left.
    pub(super) sent_at: Cell<Instant>,
    /// Bytes from and to the client.
    pub(super) bytes: Cell<u64>,
}

impl Progress {
    /// Of a connection that has no requests.
    pub(super) fn of_bytes(now: Instant) -> Progress {
        Progress {
            uploaded: Cell::new(true),
            awaits_client: Cell::new(false),
            responding: Cell::new(false),
            sent_at: Cell::new(now),
            bytes: Cell::new(0),
        }
    }

    pub(super) fn count(&self, n: usize) {
        self.bytes.set(self.bytes.get() + n as u64);
    }
}

/// How the upload ended; a whole one never does, it goes on watching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadEnd {
    /// The client left.
    ClientGone,
    /// The body breaks the rules of its framing.
    BadBody,
    /// The target takes no more, though it may still answer.
    TargetClosed,
}

/// Sends the rest of `body`, then watches until the client leaves.
pub(super) async fn upload(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    inbox: &mut Buffer,
    body: &mut Body,
    progress: &Progress,
    watch: &Watch,
    idle: Duration,
) -> UploadEnd {
    while !body.is_done() {
        if inbox.is_empty() {
            progress.awaits_client.set(true);
            match inbox.fill(from).await {
                Ok(n) if n > 0 => {}
                _ => return UploadEnd::ClientGone,
            }
            progress.awaits_client.set(false);
            watch.extend(idle);
        }
        let Ok(n) = body.take(inbox.data()) else { return UploadEnd::BadBody };
        if to.write_all(&inbox.data()[..n]).await.is_err() {
            return UploadEnd::TargetClosed;
        }
        progress.count(n);
        inbox.consume(n);
        if body.is_done() {
            progress.sent_at.set(Instant::now());
        }
    }
    progress.uploaded.set(true);
    loop {
        if inbox.is_full() {
            // Requests ahead of their turn fill the buffer; the client's leaving will show when they are read.
            std::future::pending::<()>().await;
        }
        match inbox.fill(from).await {
            Ok(n) if n > 0 => {}
            // Once the response flows, a client that closed only its sending side may still read.
            Ok(_) if progress.responding.get() => std::future::pending().await,
            _ => return UploadEnd::ClientGone,
        }
    }
}
