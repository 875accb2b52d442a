//! Idle connections to targets, kept for the next request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::plane::counters::OpenConnection;

/// Most idle connections to one target from one node and worker.
const IDLE_PER_TARGET_MAX: usize = 256;
/// Longest idleness of a connection.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How often idle connections are looked through.
pub(crate) const SWEEP_PERIOD: Duration = Duration::from_secs(5);

/// A connection to a target.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: TcpStream,
    /// It has carried a request before, so the target may have closed it in the meantime.
    pub(crate) reused: bool,
    since: Instant,
    _open: OpenConnection,
}

impl Upstream {
    pub(crate) fn new(stream: TcpStream, open: OpenConnection, now: Instant) -> Self {
        Upstream { stream, reused: false, since: now, _open: open }
    }

    /// Whether nothing has arrived since the last response, neither bytes nor the end. Asks the runtime only, and so
    /// knows what the last look at the kernel's events told.
    fn is_quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// As [`Upstream::is_quiet`], but asks the kernel: worth a call where the request must not be sent twice.
    fn is_surely_quiet(&self) -> bool {
        let peeked = SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        matches!(peeked, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Whose connections these are: target's serial, its address with the port, and the node.
pub(crate) type Ends = (u64, SocketAddrV4, Ipv4Addr);

/// A worker's idle connections.
#[derive(Debug, Default)]
pub(crate) struct Pool(RefCell<HashMap<Ends, Vec<Upstream>>>);

impl Pool {
    /// The connection used last, which is the likeliest to be alive. `surely`: see [`Upstream::is_surely_quiet`].
    pub(crate) fn take(&self, ends: Ends, surely: bool) -> Option<Upstream> {
        let mut pool = self.0.borrow_mut();
        let idle = pool.get_mut(&ends)?;
        while let Some(upstream) = idle.pop() {
            if upstream.is_quiet() && (!surely || upstream.is_surely_quiet()) {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection whose last response has been read to its end.
    pub(crate) fn put(&self, ends: Ends, mut upstream: Upstream, now: Instant) {
        let mut pool = self.0.borrow_mut();
        let idle = pool.entry(ends).or_default();
        if idle.len() < IDLE_PER_TARGET_MAX {
            upstream.reused = true;
            upstream.since = now;
            idle.push(upstream);
        }
    }

    /// Closes the idle connections to a target.
    pub(crate) fn forget(&self, target: u64) {
        self.0.borrow_mut().retain(|key, _| key.0 != target);
    }

    /// Closes connections that have been idle for long or that their targets closed.
    pub(crate) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain(|u| now - u.since < IDLE_MAX && u.is_quiet());
            !idle.is_empty()
        });
    }
}
