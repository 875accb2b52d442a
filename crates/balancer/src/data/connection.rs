//! A client's connection: request after request, in order.

use std::future::poll_fn;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::admit::{Act, Admitted, admit, count_own};
use super::buffer::Buffer;
use super::exchange::exchange;
use super::watch::{Interrupt, Slot, Watch};
use super::worker::Worker;
use crate::http::own_response::{Delivery, push_error};
use crate::http::request::Refused;
use crate::http::{REQUEST_HEAD_BYTES_MAX, head_end};
use crate::plane::route::{Endpoint, Route};

/// How long a connection that we close is still read, so that our last response is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes read in that time.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// A client's connection.
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddrV4,
    pub(super) watch: Watch,
    pub(super) accepted: Instant,
    /// What the client sent and nobody used yet.
    pub(super) inbox: Buffer,
    /// The head being sent to a target, later the response's head.
    pub(super) out: Vec<u8>,
}

/// How a connection goes on after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// With the next request.
    Request,
    /// Not at all.
    Close,
    /// Not at all, but the client may still be sending.
    Linger,
}

/// What came instead of a request.
enum NoRequest {
    /// The client closed, failed, or was silent for too long.
    Over,
    /// The connection is answered with this status, and closed.
    Refused(u16),
}

/// Serves a connection to its end.
pub(super) async fn serve(
    worker: Rc<Worker>,
    endpoint: Arc<Endpoint>,
    stream: TcpStream,
    peer: SocketAddrV4,
    slot: Rc<Slot>,
    accepted: Instant,
) {
    let idle = idle_timeout(&endpoint.route());
    let watch = Watch::new(slot, accepted + idle);
    poll_fn(|cx| {
        watch.attach(cx);
        Poll::Ready(())
    })
    .await;
    let mut connection =
        Connection { worker, stream, peer, watch, accepted, inbox: Buffer::default(), out: Vec::new() };
    let next = loop {
        match connection.serve_one(&endpoint).await {
            Next::Request => {}
            end => break end,
        }
    };
    if next == Next::Linger {
        connection.linger().await;
    }
    connection.give_back();
}

/// Longest silence.
pub(super) fn idle_timeout(route: &Route) -> Duration {
    Duration::from_secs(route.attributes.idle_timeout_s.into())
}

impl Connection {
    async fn serve_one(&mut self, endpoint: &Endpoint) -> Next {
        let (route, mut request) = match self.next_request(endpoint).await {
            Ok(admitted) => admitted,
            Err((_, NoRequest::Over)) => return Next::Close,
            Err((route, NoRequest::Refused(status))) => {
                return self.answer(&route, status, false, false).await;
            }
        };
        self.inbox.consume(request.head_bytes);
        let counters = &route.block.part(self.worker.index).counters;
        counters.processed_bytes.add(request.head_bytes as u64);
        match std::mem::replace(&mut request.act, Act::Answer) {
            Act::Forward(forwarding) => exchange(self, &route, request, forwarding).await,
            Act::Answer => {
                // The body is here if the connection is to stay; its end was found when the answer was written.
                if let Ok(n) = request.body.take(self.inbox.data()) {
                    self.inbox.consume(n);
                }
                self.send_out(&route, request.keep_alive).await
            }
        }
    }

    /// Reads up to the end of a head and admits the request. The route is the one at that time, so that a change of
    /// rules holds for the next request of every connection.
    async fn next_request(
        &mut self,
        endpoint: &Endpoint,
    ) -> Result<(Arc<Route>, Admitted), (Arc<Route>, NoRequest)> {
        let mut scanned = 0;
        loop {
            if !self.inbox.is_empty() && (scanned == 0 || head_end(self.inbox.data(), scanned)) {
                let route = endpoint.route();
                if self.out.capacity() == 0 {
                    self.out = self.worker.spares.scratch();
                }
                match admit(&self.worker, &route, self.peer, self.inbox.data(), &mut self.out) {
                    Ok(Some(admitted)) => return Ok((route, admitted)),
                    Ok(None) => {}
                    Err(Refused(status)) => return Err((route, NoRequest::Refused(status))),
                }
            }
            scanned = self.inbox.data().len();
            if scanned >= REQUEST_HEAD_BYTES_MAX || (scanned > 0 && !self.inbox.grow(REQUEST_HEAD_BYTES_MAX))
            {
                return Err((endpoint.route(), NoRequest::Refused(400)));
            }
            match self.read_more().await {
                Ok(()) => {}
                Err(Some(Interrupt::TimedOut)) if scanned > 0 => {
                    return Err((endpoint.route(), NoRequest::Refused(408)));
                }
                Err(_) => return Err((endpoint.route(), NoRequest::Over)),
            }
        }
    }

    /// Waits for bytes of a head. While nothing of it is there, the connection holds no buffer.
    async fn read_more(&mut self) -> Result<(), Option<Interrupt>> {
        let Connection { worker, stream, watch, inbox, out, .. } = self;
        poll_fn(|cx| {
            if inbox.is_empty() {
                if watch.slot.is_finishing() {
                    return Poll::Ready(Err(None));
                }
                if stream.poll_read_ready(cx).is_pending() {
                    worker.spares.give_back(std::mem::take(inbox));
                    worker.spares.give_back_scratch(std::mem::take(out));
                    return Poll::Ready(Err(Some(ready!(watch.poll(cx)))));
                }
                if inbox.is_full() {
                    *inbox = worker.spares.buffer();
                }
            }
            match inbox.poll_fill(cx, &mut stream.split().0) {
                Poll::Ready(Ok(n)) if n > 0 => Poll::Ready(Ok(())),
                Poll::Ready(_) => Poll::Ready(Err(None)),
                Poll::Pending => watch.poll(cx).map(|i| Err(Some(i))),
            }
        })
        .await
    }

    /// Answers with an error page.
    pub(super) async fn answer(
        &mut self,
        route: &Route,
        status: u16,
        keep_alive: bool,
        head_only: bool,
    ) -> Next {
        count_own(&route.block.part(self.worker.index).counters, status);
        let keep_alive = keep_alive && self.may_stay(route);
        let now = self.worker.shared.clock.now();
        if self.out.capacity() == 0 {
            self.out = self.worker.spares.scratch();
        }
        self.out.clear();
        push_error(&mut self.out, status, Delivery { keep_alive, head_only, now });
        self.send_out(route, keep_alive).await
    }

    /// Whether the connection's life may go on.
    pub(super) fn may_stay(&self, route: &Route) -> bool {
        let life = Duration::from_secs(route.attributes.client_keep_alive_s.into());
        !self.watch.slot.is_finishing() && self.accepted.elapsed() < life
    }

    async fn send_out(&mut self, route: &Route, keep_alive: bool) -> Next {
        self.watch.extend(idle_timeout(route));
        let sent = self.watch.over(self.stream.write_all(&self.out)).await;
        route.block.part(self.worker.index).counters.processed_bytes.add(self.out.len() as u64);
        match sent {
            Ok(Ok(())) if keep_alive => Next::Request,
            Ok(Ok(())) => Next::Linger,
            _ => Next::Close,
        }
    }

    /// Closes our side and reads on for a while.
    async fn linger(&mut self) {
        let stream = &mut self.stream;
        let mut sink = self.worker.spares.scratch();
        let read_on = async {
            stream.shutdown().await?;
            let mut n_read = 0;
            while n_read < LINGER_BYTES_MAX {
                sink.clear();
                match stream.read_buf(&mut sink).await? {
                    0 => break,
                    n => n_read += n,
                }
            }
            std::io::Result::Ok(())
        };
        // Whatever comes of it: the connection ends now.
        let _ = timeout(LINGER, read_on).await;
        self.worker.spares.give_back_scratch(sink);
    }

    fn give_back(&mut self) {
        self.worker.spares.give_back(std::mem::take(&mut self.inbox));
        self.worker.spares.give_back_scratch(std::mem::take(&mut self.out));
    }
}
