//! Listening sockets.

use std::io;
use std::net::{SocketAddrV4, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted; the system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Binds `address` once for each worker.
///
/// The address may come to the machine later (`IP_FREEBIND`). With several workers, each has a socket of its own
/// and the kernel spreads connections over them. Such sockets would also share with another process of the same
/// user, so a first, unshared bind finds out whether the address is free.
pub(crate) fn bind(address: SocketAddrV4, n_workers: usize) -> io::Result<Vec<TcpListener>> {
    if n_workers == 1 {
        return Ok(vec![listen(address, false)?]);
    }
    drop(socket(address, false)?);
    (0..n_workers).map(|_| listen(address, true)).collect()
}

fn listen(address: SocketAddrV4, shared: bool) -> io::Result<TcpListener> {
    let socket = socket(address, shared)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddrV4, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_freebind_v4(true)?;
    // Accepted connections inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
