//! `puffer balancer` as a process of its own: started on demand, left running, found again, and replaced when it dies.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use puffer_balancer::config::*;
use puffer_balancer::{BalancerClient, SpawnOptions};

/// A balancer with one listener that answers "tea" by itself.
fn config(address: SocketAddrV4) -> BalancerConfig {
    let fixed = FixedResponse { status_code: 200, content_type: None, message_body: "tea".into() };
    let actions = vec![Action::FixedResponse(fixed)];
    let listener = ListenerConfig {
        arn: "l".into(),
        port: 80,
        bind_port: address.port(),
        protocol: ListenerProtocol::Http,
        rules: vec![RuleConfig { arn: "r".into(), priority: None, conditions: vec![], actions }],
        classic: None,
    };
    let load_balancer = LoadBalancerConfig {
        arn: "lb".into(),
        kind: LoadBalancerKind::Application,
        nodes: vec![NodeConfig { zone: "z".into(), address: *address.ip(), deaf: false }],
        attributes: LoadBalancerAttributes::default(),
        listeners: vec![listener],
    };
    BalancerConfig { generation: 1, load_balancers: vec![load_balancer], target_groups: vec![] }
}

fn ask(client: &mut TcpStream) -> String {
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    while !text.ends_with("tea") {
        let mut bytes = [0; 1024];
        let n = client.read(&mut bytes).unwrap();
        assert!(n > 0, "ended after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
    }
    text
}

/// Ends the detached process when an assertion fails.
struct Reaper(std::path::PathBuf);

impl Drop for Reaper {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(owner) = std::fs::read_to_string(&self.0)
            && let Ok(pid) = owner.parse()
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[tokio::test]
async fn the_data_plane_outlives_its_client_and_is_replaced_when_it_dies() {
    let dir = tempfile::tempdir().unwrap();
    let options = SpawnOptions {
        exe: env!("CARGO_BIN_EXE_puffer").into(),
        socket: dir.path().join("balancer.sock"),
        log: dir.path().join("balancer.log"),
        args: vec!["--threads".into(), "1".into()],
    };
    let _reaper = Reaper(dir.path().join("balancer.sock.lock"));
    let pid = std::process::id();
    let address = SocketAddrV4::new(Ipv4Addr::new(127, 200, (pid >> 8) as u8, pid as u8), 8080);
    let first = BalancerClient::connect_or_spawn(&options).await.unwrap();
    assert_eq!(first.apply(&config(address)).await.unwrap().bind_errors, []);
    let epoch = first.report().await.unwrap().epoch;
    let mut connection = TcpStream::connect(address).unwrap();
    assert!(ask(&mut connection).starts_with("HTTP/1.1 200 "));
    drop(first);

    // Another control plane finds the same process; an open connection notices nothing.
    let second = BalancerClient::connect_or_spawn(&options).await.unwrap();
    let report = second.report().await.unwrap();
    assert_eq!((report.epoch, report.generation), (epoch, 1));
    ask(&mut connection);

    // It is killed: the next one starts empty, in its place.
    let owner = std::fs::read_to_string(dir.path().join("balancer.sock.lock")).unwrap();
    kill(Pid::from_raw(owner.parse().unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(connection.read(&mut [0; 16]).unwrap_or(0), 0);
    let third = BalancerClient::connect_or_spawn(&options).await.unwrap();
    let report = third.report().await.unwrap();
    assert!(report.epoch != epoch && report.generation == 0);
    assert_eq!(third.apply(&config(address)).await.unwrap().bind_errors, []);
    ask(&mut TcpStream::connect(address).unwrap());
    third.shutdown(Duration::ZERO).await.unwrap();
}
