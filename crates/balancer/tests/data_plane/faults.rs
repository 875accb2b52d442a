//! Targets and clients that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use puffer_balancer::config::BalancerConfig;
use tokio::net::TcpListener;

use super::harness::*;

fn impatient(config: &mut BalancerConfig) {
    config.load_balancers[0].attributes.idle_timeout_s = 1;
}

#[tokio::test]
async fn nobody_to_forward_to() {
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[]).await;
    let mut client = Peer::dial(address).await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!((response.status(), response.get("connection")), (503, Some("keep-alive")));
    }
    let counters = balancer.counters_when(|c| c.http_code_elb_503 == 2).await;
    assert_eq!((counters.http_code_elb_5xx, counters.request_count), (2, 0));
}

#[tokio::test]
async fn a_target_that_refuses() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(nobody) = closed.local_addr().unwrap() else { unreachable!() };
    drop(closed);
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[nobody]).await;
    let mut client = Peer::dial(address).await;
    assert_eq!(client.get("/").await.status(), 502);
    assert_eq!(client.get("/").await.status(), 502);
    let counters = balancer.counters_when(|c| c.http_code_elb_502 == 2).await;
    assert_eq!((counters.target_connection_error_count, counters.request_count), (2, 2));
}

#[tokio::test]
async fn targets_that_answer_nonsense_or_nothing() {
    for says in [
        "",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let target = Target::says(says).await;
        let mut balancer = Balancer::start().await;
        let address = balancer.serve(&[target.address]).await;
        assert_eq!(Peer::dial(address).await.get("/").await.status(), 502, "{says:?}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off_for_the_client() {
    for says in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ] {
        let target = Target::says(says).await;
        let mut balancer = Balancer::start().await;
        let address = balancer.serve(&[target.address]).await;
        let mut client = Peer::dial(address).await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(client.rest().await.ends_with("abc"));
    }
}

#[tokio::test]
async fn a_silent_target_times_out() {
    let target = Target::start(|_, mut peer| async move { drop(peer.rest().await) }).await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve_with(&[target.address], impatient).await;
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 504);
    balancer.counters_when(|c| c.http_code_elb_504 == 1).await;
}

#[tokio::test]
async fn silent_clients_time_out() {
    let target = Target::start(|_, mut peer| async move { drop(peer.rest().await) }).await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve_with(&[target.address], impatient).await;
    let mut idle = Peer::dial(address).await;
    let mut half = Peer::dial(address).await;
    half.send("GET / HTTP/1.1\r\nHos").await;
    let mut body = Peer::dial(address).await;
    body.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc").await;
    assert_eq!(idle.rest().await, "");
    assert_eq!(half.message().await.status(), 408);
    assert_eq!(body.message().await.status(), 408);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    // Each connection answers once and then reads the next request only to close.
    let n_requests = Arc::new(AtomicUsize::new(0));
    let counter = n_requests.clone();
    let target = Target::start(move |_, mut peer| {
        let counter = counter.clone();
        async move {
            if peer.head().await.is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                if peer.head().await.is_some() {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    assert_eq!(client.get("/").await.status(), 200);
    // What may be repeated is.
    assert_eq!(client.get("/").await.status(), 200);
    assert_eq!((target.n_connections(), n_requests.load(Ordering::SeqCst)), (2, 3));
    // What may not be is not: the target has read it, and nobody knows what it did.
    let response = client.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na").await;
    assert_eq!((response.status(), response.get("connection")), (502, Some("keep-alive")));
    assert_eq!((target.n_connections(), n_requests.load(Ordering::SeqCst)), (2, 4));
}

#[tokio::test]
async fn a_kept_connection_closed_in_between_costs_nothing() {
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let target = Target::start(move |_, mut peer| {
        let closed = closed.clone();
        async move {
            if peer.try_message(false).await.is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
            drop(peer);
            closed.send(()).unwrap();
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    for _ in 0..5 {
        let response = client.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na").await;
        assert_eq!(response.body, "ok");
        within(is_closed.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_target() {
    let (gone, mut is_gone) = tokio::sync::mpsc::unbounded_channel();
    let target = Target::start(move |_, mut peer| {
        let gone = gone.clone();
        async move {
            peer.rest().await;
            gone.send(()).unwrap();
        }
    })
    .await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let mut client = Peer::dial(address).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    balancer.report_when(|r| r.targets[0].in_flight == 1).await;
    drop(client);
    within(is_gone.recv()).await.unwrap();
    let counters =
        balancer.counters_when(|c| c.http_code_elb_4xx == 1 && c.active_connection_count == 0).await;
    assert_eq!(counters.request_count, 1);
}
