//! The data path. Each worker is a thread with a single-threaded runtime, its own listening sockets, connections,
//! buffers and upstream connections; nothing but counters and a target's number of requests is shared.
//!
//! A client's connection is one task ([`connection`]): it reads a head, asks the route what to do, and either
//! answers itself or exchanges request and response with a target ([`exchange`]). In the usual case a request costs
//! two reads and two writes and allocates nothing. A TCP listener's connection is a [`relay`] of bytes.

mod admit;
mod buffer;
pub(crate) mod connect;
mod connection;
mod download;
mod exchange;
mod pool;
mod relay;
mod sticky;
mod tunnel;
mod upload;
mod watch;
pub(crate) mod worker;
