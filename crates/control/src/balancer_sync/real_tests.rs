//! The reconcilers against the real data plane, on loopback: from records to an answered request and back.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use puffer_balancer::SpawnOptions;
use puffer_core::ec2::AddressHold;
use puffer_core::elb::{Listener, LoadBalancer, LoadBalancerState, Rule, Target, TargetGroup, TargetState};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::{nodes, targets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::elb_fixtures::{LB, TG, World, hold, target};
use crate::{BalancerLink, BalancerSync, PortPolicy, TargetSync, spawn};

/// Longest wait for anything here.
const LIMIT: Duration = Duration::from_secs(20);

struct WallClock;

impl Clock for WallClock {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }
}

/// Waits until `holds`, looking again after each change of a record.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, looking).await.is_ok(), "{what} did not come about");
}

/// A web server that answers every request with 200.
async fn web_server(address: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

async fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut text)).await.ok()?.ok()?;
    text.lines().next().map(str::to_owned)
}

fn start_data_plane(socket: &Path) {
    let options = puffer_balancer::Options {
        socket: socket.to_owned(),
        threads: Some(1),
        clock: Arc::new(WallClock),
        seed: 1,
        finish_limit: puffer_balancer::FINISH_LIMIT,
    };
    std::thread::spawn(move || puffer_balancer::run(options).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_records_to_an_answer_and_back() {
    let w = World::new();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("balancer.sock");
    start_data_plane(&socket);
    until("the data plane's socket", || socket.exists()).await;

    let node = Ipv4Addr::new(127, 31, 77, 250);
    let port = TcpListener::bind((node, 0)).await.unwrap().local_addr().unwrap().port();
    let backend = web_server(Ipv4Addr::new(127, 31, 77, 9)).await;
    w.with_balancer().await;
    w.edit(|tx| {
        tx.update::<LoadBalancer>(LB, |b| b.nodes[0].address = node);
        tx.update::<Listener>("listener", |l| l.port = port);
        tx.update::<TargetGroup>(TG, |g| {
            g.tags.insert("puffer:health-check-period".into(), "1".into());
        });
        tx.delete::<Target>(&Target::key_of(TG, "10.0.0.9", 80));
        tx.put(Target { port: backend, ..target("127.31.77.9") });
        tx.put(AddressHold { address: node, ..hold() });
    })
    .await;

    let plane = Arc::new(BalancerLink::new(SpawnOptions {
        exe: "/bin/false".into(),
        socket,
        log: dir.path().join("log"),
        args: Vec::new(),
    }));
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let (stop, stopped) = watch::channel(false);
    let ports = PortPolicy::default();
    let lost = Arc::clone(&w.lost);
    let sync =
        BalancerSync::new(w.store.clone(), Arc::clone(&plane), Arc::clone(&clock), ports, Arc::clone(&lost));
    let sync = spawn(sync, stopped.clone());
    let health = spawn(TargetSync::new(w.store.clone(), plane, clock, ports, lost), stopped);

    until("an active load balancer", || {
        w.store.get::<LoadBalancer>(LB).is_some_and(|b| b.state == LoadBalancerState::Active)
    })
    .await;
    let state = || w.store.list::<Target>().first().map(|t| t.state);
    until("a healthy target", || state() == Some(TargetState::Healthy)).await;
    assert_eq!(get((node, port).into()).await.as_deref(), Some("HTTP/1.1 200 OK"));

    let gone = [targets::TargetDescription::of("127.31.77.9")];
    let now = Timestamp::from_secs(WallClock.now().as_secs());
    w.edit(|tx| targets::deregister(tx, TG, &gone, now)).await.unwrap();
    until("the end of draining", || state().is_none()).await;
    assert_eq!(
        get((node, port).into()).await.as_deref(),
        Some("HTTP/1.1 503 Service Temporarily Unavailable")
    );

    w.edit(|tx| {
        for rule in tx.list::<Rule>() {
            tx.delete::<Rule>(&rule.arn);
        }
        tx.delete::<Listener>("listener");
        tx.delete::<LoadBalancer>(LB);
        nodes::release(tx, "subnet-a", node, now);
    })
    .await;
    until("a free address", || w.store.list::<AddressHold>().is_empty()).await;
    assert!(TcpStream::connect((node, port)).await.is_err(), "the listener is closed");
    stop.send(true).unwrap();
    sync.stopped(LIMIT).await;
    health.stopped(LIMIT).await;
}
