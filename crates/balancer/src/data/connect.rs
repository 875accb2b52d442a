//! Connections to targets.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpSocket, TcpStream};

/// Connects to `to` from the node's address, so that the target's security group sees the load balancer.
pub(crate) async fn connect_from(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // The port is chosen at connect time: one source port can then serve connections to many targets.
    setsockopt(&socket, IpBindAddressNoPort, &true).map_err(io::Error::from)?;
    socket.set_nodelay(true)?;
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    socket.connect(to.into()).await
}
