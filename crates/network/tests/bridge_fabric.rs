//! The fabric with real packets, in network namespaces of its own: nothing of it reaches the machine's network.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use puffer_core::ec2::{Cidr, RuleMatch, RulePeer};
use puffer_network::{
    BridgeFabric, DesiredGroup, DesiredNetwork, DesiredSubnet, Endpoint, EndpointKind, Fabric, Services,
};

/// For what must work.
const PATIENCE: Duration = Duration::from_secs(5);
/// For what must not: a dropped packet gives no sign.
const SILENCE: Duration = Duration::from_millis(300);
const METADATA_PORT: u16 = 8123;

/// Runs `body` on a thread with a fresh network namespace, which ends with it.
fn in_fresh_namespace(body: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    for tool in ["nft", "ip", "unshare"] {
        if !["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|d| Path::new(d).join(tool).exists()) {
            eprintln!("SKIPPED: needs {tool}");
            return;
        }
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        body();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A network namespace that a sleeping child holds, as a guest.
struct Guest {
    holder: Child,
}

impl Guest {
    fn new() -> Guest {
        let holder =
            Command::new("unshare").args(["-n", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let guest = Guest { holder };
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let begin = tokio::time::Instant::now();
        while std::fs::read_link(guest.namespace()).is_ok_and(|ns| ns == own) {
            assert!(begin.elapsed() < PATIENCE, "the guest's namespace does not come");
            std::thread::yield_now();
        }
        guest
    }

    /// Plugs a guest into a bridge, as the container driver does.
    fn plugged(interface: &str, bridge: &str, mac: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Guest {
        let guest = Guest::new();
        let pid = guest.holder.id();
        ip(&format!("link add {interface} type veth peer name eth0 address {mac} netns {pid}"));
        ip(&format!("link set {interface} master {bridge} up"));
        guest.ip("link set lo up");
        guest.ip(&format!("address add {address}/20 dev eth0"));
        guest.ip("link set eth0 up");
        guest.ip(&format!("route add default via {gateway}"));
        guest
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    fn ip(&self, words: &str) {
        let words = words.to_owned();
        self.inside(move || ip(&words));
    }

    /// Runs `work` on a thread inside.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(self.namespace()).unwrap();
        let thread = std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    /// Answers every connection to `port` with the caller's address, until the test ends.
    fn serve(&self, port: u16) {
        self.inside(move || serve(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)));
    }

    fn reach(&self, to: &str) -> Option<String> {
        let to = to.parse().unwrap();
        self.inside(move || reach(None, to, PATIENCE))
    }

    fn is_refused(&self, to: &str) -> bool {
        let to = to.parse().unwrap();
        self.inside(move || reach(None, to, SILENCE)).is_none()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn serve(at: SocketAddrV4) {
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let who = stream.peer_addr().unwrap().ip().to_string();
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok()
                    && stream.write_all(format!("{who}\n").as_bytes()).is_ok()
                {}
            });
        }
    });
}

/// A connection from `source`, and the address that the other end sees.
fn connect(source: Option<Ipv4Addr>, to: SocketAddrV4, within: Duration) -> Option<TcpStream> {
    use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
    let Some(source) = source else { return TcpStream::connect_timeout(&SocketAddr::V4(to), within).ok() };
    let fd: OwnedFd =
        socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    socket::bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0))).unwrap();
    let timeout = nix::sys::time::TimeVal::new(within.as_secs() as i64, i64::from(within.subsec_micros()));
    socket::setsockopt(&fd, socket::sockopt::SendTimeout, &timeout).unwrap();
    socket::connect(fd.as_raw_fd(), &SockaddrIn::from(to)).ok()?;
    Some(TcpStream::from(fd))
}

fn ask(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"?").ok()?;
    let mut answer = String::new();
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && byte[0] != b'\n' {
        answer.push(byte[0] as char);
    }
    (!answer.is_empty()).then_some(answer)
}

fn reach(source: Option<Ipv4Addr>, to: SocketAddrV4, within: Duration) -> Option<String> {
    ask(&mut connect(source, to, within)?)
}

fn rule(protocol: &str, port: i32, peer: &str) -> RuleMatch {
    let peer = match peer.parse() {
        Ok(block) => RulePeer::Ipv4(block),
        Err(_) => RulePeer::Group(peer.to_owned()),
    };
    RuleMatch { protocol: protocol.to_owned(), from_port: port, to_port: port, peer }
}

fn group(ingress: &[RuleMatch]) -> DesiredGroup {
    DesiredGroup { ingress: ingress.to_vec(), egress: vec![rule("-1", -1, "0.0.0.0/0")] }
}

const MAC: [&str; 4] = ["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03", "02:00:00:00:00:04"];

/// Two subnets, web servers behind a balancer's node in one, a database in the other.
fn network() -> DesiredNetwork {
    let vpc_cidr: Cidr = "172.31.0.0/16".parse().unwrap();
    let mut desired = DesiredNetwork::default();
    for (i, id) in ["subnet-a", "subnet-b"].iter().enumerate() {
        let cidr = vpc_cidr.subnet(20, i as u64).unwrap();
        let gateway = cidr.nth(1).unwrap();
        let subnet = DesiredSubnet { vpc_id: "vpc-1".into(), vpc_cidr, cidr, gateway, to_internet: i == 0 };
        desired.subnets.insert((*id).to_owned(), subnet);
    }
    desired.groups.insert("sg-lb".into(), group(&[rule("tcp", 80, "0.0.0.0/0")]));
    desired.groups.insert("sg-web".into(), group(&[rule("tcp", 80, "sg-lb")]));
    desired.groups.insert("sg-db".into(), group(&[rule("tcp", 5432, "sg-web")]));
    for (n, subnet, address, groups) in [
        (0, "subnet-a", "172.31.0.10", "sg-web"),
        (1, "subnet-a", "172.31.0.11", "sg-web"),
        (2, "subnet-b", "172.31.16.10", "sg-db"),
    ] {
        add_instance(&mut desired, n, subnet, address, groups);
    }
    let node = Endpoint { kind: EndpointKind::Node, groups: vec!["sg-lb".into()] };
    desired.endpoints.insert(("subnet-a".into(), "172.31.0.4".parse().unwrap()), node);
    desired
}

fn add_instance(desired: &mut DesiredNetwork, n: usize, subnet: &str, address: &str, group: &str) {
    let kind = EndpointKind::Instance { id: format!("i-{n}"), mac: MAC[n].to_owned() };
    let endpoint = Endpoint { kind, groups: vec![group.to_owned()] };
    desired.endpoints.insert((subnet.to_owned(), address.parse().unwrap()), endpoint);
}

fn plug(fabric: &BridgeFabric, n: usize, subnet: &str, address: &str) -> Guest {
    let address: Ipv4Addr = address.parse().unwrap();
    let gateway = Cidr::new(address, 20).unwrap().nth(1).unwrap();
    Guest::plugged(&fabric.interface(&format!("i-{n}")), &fabric.bridge(subnet), MAC[n], address, gateway)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn fabric() -> BridgeFabric {
    BridgeFabric::new(
        Path::new("/test/server"),
        Services { metadata_port: Some(METADATA_PORT), dns_port: None },
    )
}

#[test]
fn security_groups_hold_for_real_packets() {
    in_fresh_namespace(|| {
        let (runtime, fabric, mut desired) = (runtime(), fabric(), network());
        runtime.block_on(fabric.apply(&desired)).unwrap();
        let web1 = plug(&fabric, 0, "subnet-a", "172.31.0.10");
        let web2 = plug(&fabric, 1, "subnet-a", "172.31.0.11");
        let db = plug(&fabric, 2, "subnet-b", "172.31.16.10");
        for (guest, port) in [(&web1, 80), (&web2, 80), (&db, 5432), (&db, 22)] {
            guest.serve(port);
        }
        let node: Ipv4Addr = "172.31.0.4".parse().unwrap();
        let from = |source: Option<Ipv4Addr>, to: &str, within| reach(source, to.parse().unwrap(), within);

        // The balancer's node to its targets, by group; not the host in its own name.
        assert_eq!(from(Some(node), "172.31.0.10:80", PATIENCE).as_deref(), Some("172.31.0.4"));
        assert_eq!(from(Some("172.31.0.1".parse().unwrap()), "172.31.0.10:80", SILENCE), None);
        // Between instances: by group across subnets, nothing within the subnet without a rule.
        assert_eq!(web1.reach("172.31.16.10:5432").as_deref(), Some("172.31.0.10"));
        assert!(web1.is_refused("172.31.16.10:22"));
        assert!(web1.is_refused("172.31.0.11:80"));
        assert!(db.is_refused("172.31.0.10:80"));
        // Instances to the node; not to the host's other ports.
        serve("172.31.0.4:80".parse().unwrap());
        serve("172.31.0.1:22".parse().unwrap());
        assert_eq!(web1.reach("172.31.0.4:80").as_deref(), Some("172.31.0.10"));
        assert_eq!(db.reach("172.31.0.4:80").as_deref(), Some("172.31.16.10"));
        assert!(web1.is_refused("172.31.0.1:22"));
        // Metadata sees who asks.
        serve(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, METADATA_PORT));
        assert_eq!(web1.reach("169.254.169.254:80").as_deref(), Some("172.31.0.10"));
        assert_eq!(db.reach("169.254.169.254:80").as_deref(), Some("172.31.16.10"));

        // A borrowed address passes nothing.
        web1.ip("address add 172.31.0.77/20 dev eth0");
        web1.inside(|| {
            let source: Ipv4Addr = "172.31.0.77".parse().unwrap();
            assert_eq!(reach(Some(source), "172.31.16.10:5432".parse().unwrap(), SILENCE), None);
        });

        // One more instance, then a rule less: established connections live on.
        let mut kept = connect(Some(node), "172.31.0.10:80".parse().unwrap(), PATIENCE).unwrap();
        add_instance(&mut desired, 3, "subnet-b", "172.31.16.11", "sg-web");
        runtime.block_on(fabric.apply(&desired)).unwrap();
        let web3 = plug(&fabric, 3, "subnet-b", "172.31.16.11");
        web3.serve(80);
        assert_eq!(from(Some(node), "172.31.16.11:80", PATIENCE).as_deref(), Some("172.31.0.4"));
        assert_eq!(web3.reach("172.31.16.10:5432").as_deref(), Some("172.31.16.11"));
        desired.groups.get_mut("sg-web").unwrap().ingress.clear();
        runtime.block_on(fabric.apply(&desired)).unwrap();
        assert_eq!(ask(&mut kept).as_deref(), Some("172.31.0.4"));
        assert_eq!(from(Some(node), "172.31.0.11:80", SILENCE), None);
        // An instance that is gone from the records passes nothing, although its interface is still there.
        desired.endpoints.remove(&("subnet-b".to_owned(), "172.31.16.11".parse().unwrap()));
        runtime.block_on(fabric.apply(&desired)).unwrap();
        assert!(web3.is_refused("172.31.16.10:5432"));
        // The same again by a server that starts afresh.
        let again = self::fabric();
        runtime.block_on(again.apply(&desired)).unwrap();
        assert_eq!(ask(&mut kept).as_deref(), Some("172.31.0.4"));
        assert_eq!(web1.reach("172.31.16.10:5432").as_deref(), Some("172.31.0.10"));
    });
}

#[test]
fn the_outside_is_reached_by_masquerading_and_nothing_leaks() {
    in_fresh_namespace(|| {
        let (runtime, fabric, desired) = (runtime(), fabric(), network());
        let outside = Guest::new();
        ip(&format!("link add up0 type veth peer name eth0 netns {}", outside.holder.id()));
        ip("address add 198.51.100.1/24 dev up0");
        ip("link set up0 up");
        ip("route add default via 198.51.100.2");
        outside.ip("address add 198.51.100.2/24 dev eth0");
        outside.ip("link set eth0 up");
        outside.serve(443);
        runtime.block_on(fabric.apply(&desired)).unwrap();
        let web = plug(&fabric, 0, "subnet-a", "172.31.0.10");
        let db = plug(&fabric, 2, "subnet-b", "172.31.16.10");
        assert_eq!(web.reach("198.51.100.2:443").as_deref(), Some("198.51.100.1"));
        assert!(db.is_refused("198.51.100.2:443"), "its subnet is private");
        // Addresses of the VPC that no bridge has do not follow the default route.
        let begin = tokio::time::Instant::now();
        assert!(connect(None, "172.31.200.1:80".parse().unwrap(), PATIENCE).is_none());
        assert!(begin.elapsed() < SILENCE, "refused at once");
        let chosen = runtime.block_on(puffer_network::pick_vpc_cidr(Path::new("/test/server"))).unwrap();
        assert_eq!(chosen.unwrap().to_string(), "172.31.0.0/16", "its own routes do not count");
        let other = runtime.block_on(puffer_network::pick_vpc_cidr(Path::new("/test/other"))).unwrap();
        assert_eq!(other.unwrap().to_string(), "172.30.0.0/16");
        drop((web, db));

        runtime.block_on(fabric.teardown()).unwrap();
        runtime.block_on(fabric.teardown()).unwrap();
        let shown = |program: &str, words: &[&str]| {
            String::from_utf8(Command::new(program).args(words).output().unwrap().stdout).unwrap()
        };
        assert!(!shown("ip", &["link"]).contains("pf"), "{}", shown("ip", &["link"]));
        assert!(!shown("ip", &["route"]).contains("172.31"), "{}", shown("ip", &["route"]));
        assert_eq!(shown("nft", &["list", "ruleset"]), "");
        assert!(runtime.block_on(puffer_network::probe()).is_empty());
    });
}

fn forwarding() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned()
}

#[test]
fn forwarding_is_put_back_by_the_last_server_that_leaves() {
    in_fresh_namespace(|| {
        for before in ["0", "1"] {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", before).unwrap();
            let (runtime, one) = (runtime(), fabric());
            let two = BridgeFabric::new(Path::new("/test/other"), Services::default());
            runtime.block_on(one.apply(&network())).unwrap();
            // In place of what the first has: a machine has one routing table.
            runtime.block_on(one.apply(&DesiredNetwork::default())).unwrap();
            runtime.block_on(two.apply(&network())).unwrap();
            assert_eq!(forwarding(), "1");
            runtime.block_on(one.teardown()).unwrap();
            assert_eq!(forwarding(), "1", "the other server needs it");
            runtime.block_on(two.teardown()).unwrap();
            assert_eq!(forwarding(), before);
        }
    });
}

#[test]
fn a_filter_that_drops_what_is_forwarded_is_found_and_its_remedy_works() {
    in_fresh_namespace(|| {
        let (runtime, fabric, desired) = (runtime(), fabric(), network());
        runtime.block_on(fabric.apply(&desired)).unwrap();
        let web = plug(&fabric, 0, "subnet-a", "172.31.0.10");
        let db = plug(&fabric, 2, "subnet-b", "172.31.16.10");
        db.serve(5432);
        assert!(runtime.block_on(puffer_network::blocked_forwarding()).is_empty());
        assert!(web.reach("172.31.16.10:5432").is_some());
        let shell =
            |script: &str| assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
        shell(
            "nft add table inet own && nft 'add chain inet own f { type filter hook forward priority 0; policy drop; }'",
        );
        assert!(web.is_refused("172.31.16.10:5432"));
        let found = runtime.block_on(puffer_network::blocked_forwarding());
        assert_eq!(found.len(), 1, "{found:?}");
        shell(&found[0].remedy.clone().unwrap().replace("sudo ", ""));
        assert!(runtime.block_on(puffer_network::blocked_forwarding()).is_empty());
        assert!(web.reach("172.31.16.10:5432").is_some());
        runtime.block_on(fabric.teardown()).unwrap();
    });
}
