//! What a change of the network costs among many instances: `cargo bench -p puffer-network --bench fabric` (as root, with nftables
//! and iproute2). All of it happens in a network namespace of its own.

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use puffer_core::ec2::{Cidr, RuleMatch, RulePeer};
use puffer_network::{
    BridgeFabric, DesiredGroup, DesiredNetwork, DesiredSubnet, Endpoint, EndpointKind, Fabric, Services,
};

/// Instances, and of them such with an interface on a bridge.
const SIZES: [(u32, u32); 4] = [(200, 0), (2_000, 0), (2_000, 500), (20_000, 0)];
/// Changes of each kind.
const ROUNDS: u32 = 11;
const SUBNET: &str = "subnet-a";

fn main() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    let bench = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        eprintln!(
            "{:>9} {:>10} {:>12} {:>12} {:>12} {:>12}",
            "instances", "interfaces", "first, ms", "none, ms", "one more, ms", "one less, ms"
        );
        SIZES.iter().for_each(|(n, n_interfaces)| measure(*n, *n_interfaces));
    });
    bench.join().unwrap();
}

fn measure(n: u32, n_interfaces: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fabric = BridgeFabric::new(
        Path::new("/bench/server"),
        Services { metadata_port: Some(8123), dns_port: Some(8153) },
    );
    let mut desired = network(n);
    let timed = |desired: &DesiredNetwork| {
        let began = tokio::time::Instant::now();
        runtime.block_on(fabric.apply(desired)).unwrap();
        began.elapsed().as_secs_f64() * 1e3
    };
    let first = timed(&desired);
    for i in 0..n_interfaces {
        let name = fabric.interface(&id(i));
        ip(&format!("link add {name} type veth peer name p{i}"));
        ip(&format!("link set {name} master {} up", fabric.bridge(SUBNET)));
    }
    let (mut none, mut more, mut less) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        none.push(timed(&desired));
        let (key, endpoint) = instance(n + round);
        desired.endpoints.insert(key.clone(), endpoint);
        more.push(timed(&desired));
        desired.endpoints.remove(&key);
        less.push(timed(&desired));
    }
    eprintln!(
        "{n:>9} {n_interfaces:>10} {first:>12.1} {:>12.1} {:>12.1} {:>12.1}",
        median(none),
        median(more),
        median(less)
    );
    runtime.block_on(fabric.teardown()).unwrap();
    for i in 0..n_interfaces {
        ip(&format!("link delete p{i}"));
    }
}

fn network(n: u32) -> DesiredNetwork {
    let vpc_cidr: Cidr = "172.31.0.0/16".parse().unwrap();
    let mut desired = DesiredNetwork::default();
    let cidr = vpc_cidr.subnet(17, 0).unwrap();
    let gateway = cidr.nth(1).unwrap();
    let subnet = DesiredSubnet { vpc_id: "vpc-1".into(), vpc_cidr, cidr, gateway, to_internet: true };
    desired.subnets.insert(SUBNET.to_owned(), subnet);
    let http =
        RuleMatch { protocol: "tcp".into(), from_port: 80, to_port: 80, peer: RulePeer::Ipv4(Cidr::ANY) };
    desired.groups.insert("sg-web".into(), DesiredGroup { ingress: vec![http.clone()], egress: vec![http] });
    desired.endpoints.extend((0..n).map(instance));
    desired
}

fn id(n: u32) -> String {
    format!("i-{n:017x}")
}

fn instance(n: u32) -> ((String, Ipv4Addr), Endpoint) {
    let mac = format!("02:00:00:{:02x}:{:02x}:{:02x}", n >> 16 & 255, n >> 8 & 255, n & 255);
    let kind = EndpointKind::Instance { id: id(n), mac };
    let address = Ipv4Addr::from(0xac1f_0010 + n);
    ((SUBNET.to_owned(), address), Endpoint { kind, groups: vec!["sg-web".into()] })
}

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
