//! The control socket.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use puffer_balancer::config::*;
use puffer_balancer::{BalancerClient, ClientError, PROTOCOL_VERSION, RunError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::harness::*;

#[tokio::test]
async fn a_socket_has_one_owner() {
    let balancer = Balancer::start().await;
    let mode = std::fs::metadata(balancer.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let socket = balancer.socket();
    let second = within(tokio::task::spawn_blocking(move || run(socket, 1))).await.unwrap();
    match second {
        Err(RunError::Owned { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
    // The owner was not disturbed.
    balancer.client.report().await.unwrap();
}

#[tokio::test]
async fn a_client_takes_up_with_a_new_process() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let before = balancer.client.report().await.unwrap();
    balancer.restart().await;
    let after = balancer.report_when(|_| true).await;
    assert!(after.epoch != before.epoch && after.generation == 0);
    // A wait on the old process's numbers returns at once.
    let change = within(balancer.client.wait_change(before.change, Duration::from_secs(60))).await.unwrap();
    assert!(change > before.change);
    balancer.apply(|_| ()).await;
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_wait_ends_with_its_time() {
    let balancer = Balancer::start().await;
    let change = balancer.client.report().await.unwrap().change;
    assert_eq!(balancer.client.wait_change(change, Duration::from_millis(1)).await.unwrap(), change);
}

#[tokio::test]
async fn nonsense_changes_nothing() {
    let target = Target::echo("a").await;
    let mut balancer = Balancer::start().await;
    let address = balancer.serve(&[target.address]).await;
    let bad: &[fn(&mut BalancerConfig)] = &[
        |c| c.generation = 0,
        |c| c.target_groups.clear(),
        |c| c.target_groups[0].health_check.matcher = "x".into(),
        |c| c.target_groups[0].health_check.path = "/ HTTP/1.1\r\nX: y".into(),
        |c| c.load_balancers[0].listeners[0].rules[0].actions.clear(),
        |c| c.target_groups.push(c.target_groups[0].clone()),
    ];
    for (i, change) in bad.iter().enumerate() {
        let mut config = balancer.config.clone();
        config.generation += 1;
        change(&mut config);
        assert!(matches!(balancer.client.apply(&config).await, Err(ClientError::Refused(_))), "{i}");
    }
    // The same again is fine.
    balancer.client.apply(&balancer.config).await.unwrap();
    assert_eq!(Peer::dial(address).await.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_port_in_use_is_reported_and_tried_again() {
    for n_threads in [1, 2] {
        let target = Target::echo("a").await;
        let mut balancer = Balancer::start_with(n_threads).await;
        let address = balancer.serve(&[target.address]).await;
        let taken = std::net::TcpListener::bind((*address.ip(), 8081)).unwrap();
        let listeners = &mut balancer.config.load_balancers[0].listeners;
        listeners.push(ListenerConfig { arn: "l2".into(), bind_port: 8081, ..listeners[0].clone() });
        listeners.push(ListenerConfig { arn: "l3".into(), ..listeners[0].clone() });
        balancer.config.generation += 1;
        let applied = balancer.client.apply(&balancer.config).await.unwrap();
        let mut failed: Vec<_> =
            applied.bind_errors.iter().map(|e| (e.listener.as_str(), e.address.port())).collect();
        failed.sort_unstable();
        assert_eq!(failed, [("l2", 8081), ("l3", 8080)]);
        assert_eq!(Peer::dial(address).await.get("/").await.status(), 200);
        drop(taken);
        balancer.apply(|c| drop(c.load_balancers[0].listeners.pop())).await;
        let second = std::net::SocketAddrV4::new(*address.ip(), 8081);
        assert_eq!(Peer::dial(second).await.get("/").await.status(), 200);
    }
}

#[tokio::test]
async fn an_absent_balancer_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let error = BalancerClient::connect(&dir.path().join("none")).await.unwrap_err();
    assert!(matches!(error, ClientError::Absent(..)));
    assert_eq!(error.class(), puffer_core::ErrorClass::Transient);
}

async fn send_frame(stream: &mut UnixStream, json: &str) {
    stream.write_u32(json.len() as u32).await.unwrap();
    stream.write_all(json.as_bytes()).await.unwrap();
}

async fn frame(stream: &mut UnixStream) -> String {
    let mut bytes = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Version 1 did not know classic load balancers: neither side may take the other for one that does.
#[tokio::test]
async fn peers_of_different_versions_part() {
    assert_eq!(PROTOCOL_VERSION, 2);
    let balancer = Balancer::start().await;
    let mut old = UnixStream::connect(balancer.socket()).await.unwrap();
    send_frame(&mut old, "{\"version\":1}").await;
    assert!(within(frame(&mut old)).await.contains("\"version\":2"));
    assert_eq!(within(old.read(&mut [0])).await.unwrap(), 0, "nothing of it is answered");

    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("old.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let greets = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        frame(&mut client).await;
        send_frame(&mut client, "{\"version\":1,\"epoch\":5,\"pid\":4711,\"generation\":3}").await;
    });
    let error = within(BalancerClient::connect(&socket)).await.unwrap_err();
    assert!(matches!(error, ClientError::Version { theirs: 1, pid: 4711 }), "{error:?}");
    assert!(error.to_string().contains("stop its process 4711"), "{error}");
    within(greets).await.unwrap();
}
