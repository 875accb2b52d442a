//! A request's way to a target and the response's way back.
//!
//! Both ways run at the same time, so a target may answer early and a client may stream. A request goes to a target
//! twice only if the target cannot have acted on it: it was sent on a kept connection that turned out to be closed, not
//! a byte of a response has come, all of the request is still here, and its method is idempotent. A classic load balancer also
//! tries another target if the first cannot be connected, since nothing was sent then.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::admit::{Admitted, Forwarding, count_own};
use super::buffer::Buffer;
use super::connect::{self, NoConnection, Tried};
use super::connection::{Connection, Next, idle_timeout};
use super::download::{DownloadEnd, Through, Wanted, download};
use super::pool::Upstream;
use super::tunnel::tunnel;
use super::upload::{Progress, UploadEnd, upload};
use super::watch::Interrupt;
use crate::http::body::Body;
use crate::plane::counters::OpenConnection;
use crate::plane::route::Route;

/// AWS's status for a client that leaves before its response; only ever counted.
const CLIENT_GONE: u16 = 460;

/// How an attempt ended.
enum End {
    Through(Through),
    Failed(DownloadEnd),
    BadBody,
    ClientGone,
    Interrupted(Interrupt),
}

/// Carries out `request`, whose head for the target is in the connection's `out`.
pub(super) async fn exchange(
    connection: &mut Connection,
    route: &Route,
    mut request: Admitted,
    mut forwarding: Forwarding,
) -> Next {
    // The part of the body that is already here goes along with the head.
    let Ok(n) = request.body.take(connection.inbox.data()) else {
        return connection.answer(route, 400, false, request.is_head).await;
    };
    connection.out.extend_from_slice(&connection.inbox.data()[..n]);
    connection.inbox.consume(n);
    let progress = Progress {
        uploaded: Cell::new(request.body.is_done()),
        awaits_client: Cell::new(false),
        responding: Cell::new(false),
        sent_at: Cell::new(connection.accepted),
        bytes: Cell::new(n as u64),
    };
    connection.watch.slot.set_target(forwarding.in_flight.target().serial);
    let mut target_inbox = connection.worker.spares.buffer();
    let next = converse(connection, route, &mut request, &mut forwarding, &progress, &mut target_inbox).await;
    connection.worker.spares.give_back(target_inbox);
    connection.watch.slot.set_target(0);
    route.block.part(connection.worker.index).counters.processed_bytes.add(progress.bytes.get());
    next
}

async fn converse(
    connection: &mut Connection,
    route: &Route,
    request: &mut Admitted,
    forwarding: &mut Forwarding,
    progress: &Progress,
    target_inbox: &mut Buffer,
) -> Next {
    let worker = connection.worker.clone();
    let idle = idle_timeout(route);
    let replayable = request.is_idempotent && request.body.is_done();
    let mut upstream = match worker.pool.take(forwarding.ends(route), !replayable) {
        Some(upstream) => upstream,
        None => match connect(connection, route, forwarding).await {
            Ok(upstream) => upstream,
            Err(status) => return fail(connection, route, request, progress, status).await,
        },
    };
    loop {
        let end =
            attempt(connection, route, request, forwarding, progress, &mut upstream, target_inbox).await;
        let status = match end {
            End::Through(through) if through.switched => {
                let Connection { stream, inbox, watch, .. } = connection;
                let target = (&mut upstream.stream, target_inbox);
                tunnel((stream, inbox), target, &worker.spares, progress, watch, idle).await;
                return Next::Close;
            }
            End::Through(through) => {
                if !progress.uploaded.get() {
                    return Next::Linger;
                }
                let now = Instant::now();
                if through.keep_target {
                    worker.pool.put(forwarding.ends(route), upstream, now);
                }
                connection.watch.set_deadline(now + idle);
                return if through.keep_client { Next::Request } else { Next::Linger };
            }
            End::Failed(DownloadEnd::NoResponse) if upstream.reused && replayable => {
                upstream = match connect(connection, route, forwarding).await {
                    Ok(upstream) => upstream,
                    Err(status) => return fail(connection, route, request, progress, status).await,
                };
                continue;
            }
            End::ClientGone | End::Failed(DownloadEnd::ClientGone) => {
                count_own(&route.block.part(worker.index).counters, CLIENT_GONE);
                return Next::Close;
            }
            // The client has a part of the response; only the end of the connection can tell it of the failure.
            End::Failed(DownloadEnd::BrokenOff) => return Next::Close,
            End::Interrupted(_) | End::BadBody if progress.responding.get() => return Next::Close,
            End::Failed(DownloadEnd::NoResponse | DownloadEnd::NotHttp) => 502,
            End::BadBody => 400,
            End::Interrupted(Interrupt::Cut) => 502,
            End::Interrupted(Interrupt::TimedOut) if progress.awaits_client.get() => 408,
            End::Interrupted(Interrupt::TimedOut) => 504,
        };
        return fail(connection, route, request, progress, status).await;
    }
}

/// Answers in the target's place.
async fn fail(
    connection: &mut Connection,
    route: &Route,
    request: &Admitted,
    progress: &Progress,
    status: u16,
) -> Next {
    let keep_alive = request.keep_alive && progress.uploaded.get();
    connection.answer(route, status, keep_alive, request.is_head).await
}

/// A new connection to the target, or the status that the client gets instead. Under a classic load balancer the request may get
/// another target on the way.
async fn connect(
    connection: &Connection,
    route: &Route,
    forwarding: &mut Forwarding,
) -> Result<Upstream, u16> {
    let Connection { worker, watch, .. } = connection;
    let mut tried = Tried::default();
    loop {
        let part = forwarding.block.part(worker.index);
        let failure = match connect::connect(watch, route, part, forwarding.address).await {
            Ok(stream) => {
                let open = OpenConnection::new(route.block.clone(), worker.index);
                return Ok(Upstream::new(stream, open, Instant::now()));
            }
            Err(failure) => failure,
        };
        tried.add(forwarding.in_flight.target().serial);
        let classic = route.classic.as_ref().zip(route.only_way());
        match classic.and_then(|(classic, way)| Some((classic, tried.next(route, way)?))) {
            Some((classic, target)) => forwarding.move_to(target, worker, route, classic),
            None if failure == NoConnection::TimedOut => return Err(504),
            None => return Err(502),
        }
        watch.slot.set_target(forwarding.in_flight.target().serial);
    }
}

/// Sends the request on `upstream` and passes the response on.
async fn attempt(
    connection: &mut Connection,
    route: &Route,
    request: &mut Admitted,
    forwarding: &Forwarding,
    progress: &Progress,
    upstream: &mut Upstream,
    target_inbox: &mut Buffer,
) -> End {
    let idle = idle_timeout(route);
    let keep_alive = request.keep_alive && connection.may_stay(route);
    let Connection { worker, stream, watch, inbox, out, .. } = connection;
    let (mut client_reads, mut client_writes) = stream.split();
    let (mut target_reads, mut target_writes) = upstream.stream.split();
    watch.extend(idle);
    match watch.over(target_writes.write_all(out)).await {
        // A target that closed may have said why before; if not, reading finds that out.
        Ok(_) => {}
        Err(interrupt) => return End::Interrupted(interrupt),
    }
    progress.sent_at.set(Instant::now());
    let wanted = Wanted {
        to_head: request.is_head,
        client_minor: request.minor,
        keep_alive,
        offers_upgrade: request.offers_upgrade,
        extra: &forwarding.cookies,
        follows: forwarding.follows.as_ref(),
        part: forwarding.block.part(worker.index),
        idle,
    };
    let body: &mut Body = &mut request.body;
    let up = upload(&mut client_reads, &mut target_writes, inbox, body, progress, watch, idle);
    let down = download(&mut target_reads, &mut client_writes, target_inbox, out, &wanted, progress, watch);
    let (mut up, mut down) = (pin!(up), pin!(down));
    let mut is_up_over = false;
    poll_fn(|cx| {
        if let Poll::Ready(end) = down.as_mut().poll(cx) {
            return Poll::Ready(end.map_or_else(End::Failed, End::Through));
        }
        if !is_up_over && let Poll::Ready(end) = up.as_mut().poll(cx) {
            match end {
                UploadEnd::ClientGone => return Poll::Ready(End::ClientGone),
                UploadEnd::BadBody => return Poll::Ready(End::BadBody),
                UploadEnd::TargetClosed => is_up_over = true,
            }
        }
        watch.poll(cx).map(End::Interrupted)
    })
    .await
}
