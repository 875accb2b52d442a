//! The HTTP door of the AWS APIs: accepts connections, reads bounded requests, and hands them to the [`Desk`].
//!
//! Every wait has an end: a client that sends its header or body slowly, or none at all, loses the connection; beyond the
//! greatest number of connections new ones wait in the kernel's queue.

mod desk;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use puffer_wire::limits::BODY_BYTES_MAX;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

pub(crate) use desk::{Desk, Dispatch};

/// Connections served at once; AWS tools open ten each at most.
const CONNECTIONS_MAX: usize = 4096;
/// From the first wait for a request until its header is read; so also the life of an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// For reading one body of at most [`BODY_BYTES_MAX`].
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's header. A presigned URL is the longest thing in one.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Bytes of a too large body that are read and thrown away, so that the client is still there to hear why.
const DISCARD_BYTES_MAX: u64 = 64 << 20;
/// KiB of bodies being read at once, over all connections.
const BODY_KIB_IN_FLIGHT_MAX: u32 = 256 << 10;
/// KiB of a body below which nothing is reserved: the common case stays cheap.
const BODY_KIB_FREE: u32 = 16;
/// How long requests that are being answered may take once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no descriptors left, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves, then lets requests under way finish.
pub(crate) async fn serve(listener: TcpListener, desk: Arc<Desk>, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let bodies = Arc::new(Semaphore::new(BODY_KIB_IN_FLIGHT_MAX as usize));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let connection = connection(stream, Arc::clone(&desk), Arc::clone(&bodies), stopped.clone());
        tokio::spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    // Nobody listening any more is fine: then there is no connection.
    let _ = stopping.send(true);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAIN_TIMEOUT, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("stopped with requests still being answered");
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    desk: Arc<Desk>,
    bodies: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are written at once; waiting to fill a packet would only add delay. Failure leaves a slower connection.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let (desk, bodies) = (Arc::clone(&desk), Arc::clone(&bodies));
        async move { Ok::<_, Infallible>(exchange(&desk, &bodies, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        result = &mut serving => Some(result),
        () = async { drop(stopped.wait_for(|stop| *stop).await) } => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

async fn exchange(desk: &Desk, bodies: &Semaphore, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let most = body.size_hint().upper().unwrap_or(BODY_BYTES_MAX as u64);
    if most == 0 {
        return desk.answer(&head, &[]).await;
    }
    if most > DISCARD_BYTES_MAX {
        return desk.refuse_size(&head);
    }
    let kib = u32::try_from(most.min(BODY_BYTES_MAX as u64).div_ceil(1024)).unwrap_or(u32::MAX);
    let reserved = match kib > BODY_KIB_FREE {
        true => bodies.acquire_many(kib).await.ok(),
        false => None,
    };
    let read = tokio::time::timeout(BODY_TIMEOUT, read(body)).await;
    let response = match read {
        Ok(Ok(Some(body))) => desk.answer(&head, &body).await,
        Ok(Ok(None)) => desk.refuse_size(&head),
        Ok(Err(error)) => desk.refuse_body(&head, &format!("The body cannot be read: {error}")),
        Err(_) => desk.refuse_body(&head, "The body did not arrive in time."),
    };
    drop(reserved);
    response
}

/// The whole body, or `None` if it is too large; of such a one the rest is thrown away.
async fn read(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut n_bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        n_bytes += data.len() as u64;
        if n_bytes > DISCARD_BYTES_MAX {
            return Ok(None);
        } else if n_bytes > BODY_BYTES_MAX as u64 {
            more = BytesMut::new();
        } else if first.is_empty() {
            // Nearly every body comes in one piece and is not copied.
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
    }
    Ok(match () {
        () if n_bytes > BODY_BYTES_MAX as u64 => None,
        () if more.is_empty() => Some(first),
        () => Some(more.freeze()),
    })
}

#[cfg(test)]
mod tests;
