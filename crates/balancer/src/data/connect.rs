//! Connections to targets, and the next target if one cannot be connected.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::connection::idle_timeout;
use super::watch::{Interrupt, Watch};
use crate::plane::counters::Part;
use crate::plane::group::Target;
use crate::plane::route::{Route, Way};

/// Longest wait for a connection to a target (AWS: 10 seconds, then 504).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Targets of a classic load balancer that are tried for one request or connection.
const TRIES_MAX: usize = 3;

/// Why there is no connection to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// It, or the network, said no.
    Refused,
    /// It said nothing.
    TimedOut,
    /// It is being taken out.
    Cut,
}

/// The serials of targets that were tried in vain.
#[derive(Debug, Default)]
pub(super) struct Tried(Vec<u64>);

impl Tried {
    pub(super) fn add(&mut self, serial: u64) {
        self.0.push(serial);
    }

    /// The next target in turn that was not tried; none if there is none, or enough were tried.
    pub(super) fn next(&self, route: &Route, way: &Way) -> Option<Arc<Target>> {
        if self.0.len() >= TRIES_MAX {
            return None;
        }
        way.group.pick_in_turn(&route.zone, &self.0)
    }
}

/// Connects to a target on behalf of a client. A failure is counted in `part`, unless it was ours.
pub(super) async fn connect(
    watch: &Watch,
    route: &Route,
    part: &Part,
    target: SocketAddrV4,
) -> Result<TcpStream, NoConnection> {
    watch.extend(CONNECT_TIMEOUT + idle_timeout(route));
    let connecting = timeout(CONNECT_TIMEOUT, connect_from(route.node, target));
    let failure = match watch.over(connecting).await {
        Ok(Ok(Ok(stream))) => return Ok(stream),
        Err(Interrupt::Cut) => return Err(NoConnection::Cut),
        Ok(Ok(Err(error))) => {
            tracing::debug!(%target, %error, "a target cannot be connected");
            match error.kind() {
                io::ErrorKind::TimedOut => NoConnection::TimedOut,
                _ => NoConnection::Refused,
            }
        }
        Ok(Err(_)) | Err(Interrupt::TimedOut) => {
            tracing::debug!(%target, "a target does not answer");
            NoConnection::TimedOut
        }
    };
    part.counters.target_connection_error_count.add(1);
    Err(failure)
}

/// Connects to `to` from the node's address, so that the target's security group sees the load balancer.
pub(crate) async fn connect_from(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // The port is chosen at connect time: one source port can then serve connections to many targets.
    setsockopt(&socket, IpBindAddressNoPort, &true).map_err(io::Error::from)?;
    socket.set_nodelay(true)?;
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    socket.connect(to.into()).await
}
