//! A connection of a TCP listener: one target takes all of it, and bytes go both ways until both sides have finished or neither
//! has said anything for the idle time-out.
//!
//! What a connection counts as is what CloudWatch says of TCP listeners: a request when the target took it, and the time that the
//! target took to do so as the latency.

use std::future::poll_fn;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::buffer::Buffer;
use super::connect::{self, Tried};
use super::connection::idle_timeout;
use super::tunnel::tunnel;
use super::upload::Progress;
use super::watch::{Slot, Watch};
use super::worker::Worker;
use crate::plane::counters::OpenConnection;
use crate::plane::group::InFlight;
use crate::plane::route::{Endpoint, Route, Way};

/// Serves a connection to its end.
pub(super) async fn relay(
    worker: Rc<Worker>,
    endpoint: Arc<Endpoint>,
    mut client: TcpStream,
    peer: SocketAddrV4,
    slot: Rc<Slot>,
) {
    let route = endpoint.route();
    let idle = idle_timeout(&route);
    let watch = Watch::new(slot, Instant::now() + idle);
    poll_fn(|cx| {
        watch.attach(cx);
        Poll::Ready(())
    })
    .await;
    let Some(way) = route.only_way() else { return };
    let Some((mut target, in_flight)) = connect(&worker, &route, way, &watch).await else { return };
    let _open = OpenConnection::new(route.block.clone(), worker.index);
    if route.classic.as_ref().is_some_and(|c| c.proxy_protocol) {
        let line = proxy_line(peer, SocketAddrV4::new(route.node, route.port));
        if !matches!(watch.over(target.write_all(line.as_bytes())).await, Ok(Ok(()))) {
            return;
        }
    }
    let progress = Progress::of_bytes(Instant::now());
    let (mut from_client, mut from_target) = (Buffer::default(), Buffer::default());
    let spares = &worker.spares;
    watch.extend(idle);
    tunnel((&mut client, &mut from_client), (&mut target, &mut from_target), spares, &progress, &watch, idle)
        .await;
    spares.give_back(from_client);
    spares.give_back(from_target);
    route.block.part(worker.index).counters.processed_bytes.add(progress.bytes.get());
    watch.slot.set_target(0);
    drop(in_flight);
}

/// A connection to a target that takes it.
async fn connect(
    worker: &Rc<Worker>,
    route: &Route,
    way: &Way,
    watch: &Watch,
) -> Option<(TcpStream, InFlight)> {
    let part = way.block.part(worker.index);
    let mut tried = Tried::default();
    // A client of TCP cannot be told why, so its connection is closed after the last try.
    while let Some(target) = tried.next(route, way) {
        let (address, serial) = (route.address_of(&target), target.serial);
        watch.slot.set_target(serial);
        let in_flight = InFlight::new(target, worker.shared.clone());
        let began = Instant::now();
        if let Ok(stream) = connect::connect(watch, route, part, address).await {
            part.counters.request_count.add(1);
            part.response_time.record(began.elapsed());
            return Some((stream, in_flight));
        }
        tried.add(serial);
    }
    None
}

/// The line of the proxy protocol, version 1, that tells a target who is behind the connection.
fn proxy_line(client: SocketAddrV4, listener: SocketAddrV4) -> String {
    format!("PROXY TCP4 {} {} {} {}\r\n", client.ip(), listener.ip(), client.port(), listener.port())
}
