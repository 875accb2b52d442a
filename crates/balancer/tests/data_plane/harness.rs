//! A balancer in a thread, raw peers, and configurations.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use puffer_balancer::config::*;
use puffer_balancer::{BalancerClient, Counters, FINISH_LIMIT, Options, Report, RunError, TargetReport};
use puffer_core::{Clock, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 8080;

/// Bounds a wait.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(LIMIT, work).await.expect("not within 10 s")
}

struct TestClock;

impl Clock for TestClock {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(now.as_millis() as i64)
    }
}

/// A balancer, and the configuration that it has.
pub(crate) struct Balancer {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) client: BalancerClient,
    pub(crate) config: BalancerConfig,
    thread: Option<std::thread::JoinHandle<Result<(), RunError>>>,
}

impl Balancer {
    pub(crate) async fn start() -> Balancer {
        Balancer::start_with(1).await
    }

    pub(crate) async fn start_with(threads: usize) -> Balancer {
        Balancer::start_as(|options| options.threads = Some(threads)).await
    }

    pub(crate) async fn start_as(change: impl FnOnce(&mut Options)) -> Balancer {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path().join("b.sock"), 1);
        change(&mut options);
        let thread = Some(spawn(options));
        let client = connect(&dir.path().join("b.sock")).await;
        Balancer { dir, client, config: BalancerConfig::default(), thread }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("b.sock")
    }

    /// Stops the process's thread and waits for its end.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        self.client.shutdown(grace).await.unwrap();
        let thread = self.thread.take().unwrap();
        within(tokio::task::spawn_blocking(|| thread.join().unwrap().unwrap())).await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.stop(Duration::ZERO).await;
        self.thread = Some(spawn(options(self.socket(), 1)));
        connect(&self.socket()).await;
    }

    /// Changes the configuration and applies it without errors.
    pub(crate) async fn apply(&mut self, change: impl FnOnce(&mut BalancerConfig)) {
        change(&mut self.config);
        self.config.generation += 1;
        let applied = self.client.apply(&self.config).await.unwrap();
        assert_eq!((applied.generation, &applied.bind_errors[..]), (self.config.generation, &[][..]));
    }

    /// Adds a balancer `lb` with listener `l` that forwards to group `g` of `targets`; gives its address.
    pub(crate) async fn serve(&mut self, targets: &[SocketAddrV4]) -> SocketAddrV4 {
        self.serve_with(targets, |_| ()).await
    }

    /// As [`Balancer::serve`], with changes.
    pub(crate) async fn serve_with(
        &mut self,
        targets: &[SocketAddrV4],
        change: impl FnOnce(&mut BalancerConfig),
    ) -> SocketAddrV4 {
        let address = own_address();
        let listener = ListenerConfig {
            arn: "l".into(),
            port: 80,
            bind_port: PORT,
            protocol: ListenerProtocol::Http,
            rules: vec![forward_rule(&[("g", 1)])],
            classic: None,
        };
        let lb = LoadBalancerConfig {
            arn: "lb".into(),
            kind: LoadBalancerKind::Application,
            nodes: vec![NodeConfig { zone: "zone-a".into(), address, deaf: false }],
            attributes: LoadBalancerAttributes::default(),
            listeners: vec![listener],
        };
        self.apply(|c| {
            c.load_balancers.push(lb);
            c.target_groups.push(group("g", targets));
            change(c);
        })
        .await;
        SocketAddrV4::new(address, PORT)
    }

    /// Waits until a report is as wanted.
    pub(crate) async fn report_when(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        within(async {
            loop {
                let report = self.client.report().await.unwrap();
                if wanted(&report) {
                    return report;
                }
                self.client.wait_change(report.change, Duration::from_millis(20)).await.unwrap();
            }
        })
        .await
    }

    /// Waits until the counters of the whole balancer `lb` are as wanted.
    pub(crate) async fn counters_when(&self, wanted: impl Fn(&Counters) -> bool) -> Counters {
        let counters = |r: &Report| counters_of(r, None, None);
        counters(&self.report_when(|r| wanted(&counters(r))).await)
    }
}

fn spawn(options: Options) -> std::thread::JoinHandle<Result<(), RunError>> {
    std::thread::spawn(move || puffer_balancer::run(options))
}

fn options(socket: PathBuf, threads: usize) -> Options {
    let clock = Arc::new(TestClock);
    Options { socket, threads: Some(threads), clock, seed: 7, finish_limit: FINISH_LIMIT }
}

pub(crate) fn run(socket: PathBuf, threads: usize) -> Result<(), RunError> {
    puffer_balancer::run(options(socket, threads))
}

pub(crate) async fn connect(socket: &std::path::Path) -> BalancerClient {
    within(async {
        loop {
            match BalancerClient::connect(socket).await {
                Ok(client) => return client,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

pub(crate) fn counters_of(report: &Report, group: Option<&str>, zone: Option<&str>) -> Counters {
    let is = |s: &&puffer_balancer::ScopeCounters| {
        s.scope.load_balancer == "lb"
            && s.scope.target_group.as_deref() == group
            && s.scope.zone.as_deref() == zone
    };
    report.counters.iter().find(is).map(|s| s.counters).unwrap_or_default()
}

pub(crate) fn target_of<'a>(report: &'a Report, id: &str) -> &'a TargetReport {
    report.targets.iter().find(|t| t.id == id).expect("a target of this id")
}

/// A loopback address that no other test uses.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    Ipv4Addr::new(127, 64 + (pid >> 8 & 63) as u8, pid as u8, NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn forward_rule(ways: &[(&str, u16)]) -> RuleConfig {
    let target_groups =
        ways.iter().map(|(arn, weight)| WeightedTargetGroup { arn: (*arn).into(), weight: *weight });
    let forward = Forward { target_groups: target_groups.collect(), stickiness: None };
    RuleConfig {
        arn: "r".into(),
        priority: None,
        conditions: vec![],
        actions: vec![Action::Forward(forward)],
    }
}

/// A group whose targets t0, t1, … are not checked.
pub(crate) fn group(arn: &str, targets: &[SocketAddrV4]) -> TargetGroupConfig {
    let target = |(i, address): (usize, &SocketAddrV4)| TargetConfig {
        id: format!("t{i}"),
        address: *address.ip(),
        port: address.port(),
        zone: "zone-a".into(),
        draining: false,
    };
    TargetGroupConfig {
        arn: arn.into(),
        protocol: TargetProtocol::Http,
        port: 80,
        health_check: HealthCheckConfig { enabled: false, ..HealthCheckConfig::default() },
        attributes: TargetGroupAttributes::default(),
        targets: targets.iter().enumerate().map(target).collect(),
    }
}

/// One end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    bytes: Vec<u8>,
}

/// A message as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Message {
    /// Value of a header line.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|l| l.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// First line.
    pub(crate) fn start(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(crate) fn status(&self) -> u16 {
        self.start().split(' ').nth(1).unwrap().parse().unwrap()
    }
}

impl Peer {
    pub(crate) async fn dial(address: SocketAddrV4) -> Peer {
        Peer { stream: within(TcpStream::connect(address)).await.unwrap(), bytes: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        within(self.stream.write_all(text.as_bytes())).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        within(self.stream.read_buf(&mut self.bytes)).await.is_ok_and(|n| n > 0)
    }

    fn taken(&mut self, n: usize) -> String {
        String::from_utf8(self.bytes.drain(..n).collect()).unwrap()
    }

    /// Up to the end of a head; none at the end of the connection.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    pub(crate) async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.windows(mark.len()).position(|w| w == mark.as_bytes()) {
                return Some(self.taken(at + mark.len()));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub(crate) async fn exactly(&mut self, n: usize) -> String {
        while self.bytes.len() < n {
            assert!(self.more().await, "ended after {:?}", String::from_utf8_lossy(&self.bytes));
        }
        self.taken(n)
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        self.taken(self.bytes.len())
    }

    /// A message with its body, by its framing; chunks stay as they are. None at the end of the connection.
    pub(crate) async fn try_message(&mut self, bodiless: bool) -> Option<Message> {
        let mut message = Message { head: self.head().await?, body: String::new() };
        let status = message.start().strip_prefix("HTTP/1.1 ").and_then(|s| s[..3].parse::<u16>().ok());
        if bodiless || status.is_some_and(|s| s < 200 || s == 204 || s == 304) {
        } else if let Some(n) = message.get("content-length") {
            let n = n.parse().unwrap();
            message.body = self.exactly(n).await;
        } else if message.get("transfer-encoding").is_some() {
            message.body = self.until("0\r\n\r\n").await.unwrap();
        } else if status.is_some() {
            message.body = self.rest().await;
        }
        Some(message)
    }

    pub(crate) async fn message(&mut self) -> Message {
        self.try_message(false).await.expect("a message rather than the end")
    }

    /// Sends a request and reads its response.
    pub(crate) async fn ask(&mut self, request: &str) -> Message {
        self.send(request).await;
        self.message().await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Message {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }
}

/// A target that follows a script for each connection.
pub(crate) struct Target {
    pub(crate) address: SocketAddrV4,
    n_connections: Arc<AtomicUsize>,
}

impl Target {
    pub(crate) async fn start<F>(script: impl Fn(usize, Peer) -> F + Send + 'static) -> Target
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
        let n_connections = Arc::new(AtomicUsize::new(0));
        let counter = n_connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let n = counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(n, Peer { stream, bytes: Vec::new() }));
            }
        });
        Target { address, n_connections }
    }

    /// Answers every request with its name and what it read.
    pub(crate) async fn echo(name: &'static str) -> Target {
        Target::start(move |_, mut peer| async move {
            while let Some(request) = peer.try_message(false).await {
                let body = format!("{name}\n{}{}", request.head, request.body);
                peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
            }
        })
        .await
    }

    /// Answers the first bytes of every connection with `response`, and closes.
    pub(crate) async fn says(response: &'static str) -> Target {
        Target::start(move |_, mut peer| async move {
            if peer.head().await.is_some() {
                peer.send(response).await;
            }
        })
        .await
    }

    pub(crate) fn n_connections(&self) -> usize {
        self.n_connections.load(Ordering::SeqCst)
    }
}
