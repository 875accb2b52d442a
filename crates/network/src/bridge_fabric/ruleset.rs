//! Desired network → nftables rules. Pure.
//!
//! The way of a packet that comes from or goes to a bridge:
//!
//! ```text
//! established? accept
//! check_out   by source:       goto out_c_…  the source's groups, each: an egress rule that fits → goto check_in; else drop
//! check_in    by destination:  goto in_c_…   the destination's groups: an ingress rule that fits → accept; else drop
//! ```
//!
//! `…_c_…` is a chain for a combination of groups, `…_g_…` one for a single group; which combination an address has is an element
//! of a map, and which addresses a group has are elements of a set. So an instance more changes elements, never rules. A source or
//! destination that is no endpoint passes its check only if it is not on a bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use puffer_core::ec2::{Cidr, RuleMatch, RulePeer};

use super::Services;
use super::names::{Names, fnv, identifier};
use crate::{DesiredNetwork, EndpointKind};

/// Where instances find metadata.
const METADATA: &str = "169.254.169.254";

/// A set or map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Elements {
    /// `set` or `map`.
    pub(super) keyword: &'static str,
    /// Type and flags.
    pub(super) header: &'static str,
    /// Elements; a map's as `key : value`.
    pub(super) elements: BTreeSet<String>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Chain {
    /// Hook and policy of a base chain.
    pub(super) hook: Option<&'static str>,
    /// Rules in order.
    pub(super) rules: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    pub(super) sets: BTreeMap<String, Elements>,
    pub(super) chains: BTreeMap<String, Chain>,
}

/// Both tables of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ruleset {
    /// Family `bridge`: what ports may send.
    pub(super) ports: Table,
    /// Family `ip`: everything else.
    pub(super) packets: Table,
}

/// A chain without rules in both tables, by which one sees that they are there.
pub(super) const PRESENCE_CHAIN: &str = "presence";

/// Compiles the whole ruleset.
pub(super) fn compile(desired: &DesiredNetwork, names: &Names, services: Services) -> Ruleset {
    let mut ruleset = Ruleset { ports: ports(desired, names), packets: packets(desired, names, services) };
    ruleset.ports.chain(PRESENCE_CHAIN, Vec::new());
    ruleset.packets.chain(PRESENCE_CHAIN, Vec::new());
    ruleset
}

impl Table {
    fn set(&mut self, name: impl Into<String>, header: &'static str, elements: BTreeSet<String>) {
        self.sets.insert(name.into(), Elements { keyword: "set", header, elements });
    }

    fn map(&mut self, name: &str, elements: BTreeSet<String>) {
        let header = "type ipv4_addr : verdict;";
        self.sets.insert(name.to_owned(), Elements { keyword: "map", header, elements });
    }

    fn base(&mut self, name: &str, hook: &'static str, rules: Vec<String>) {
        self.chains.insert(name.to_owned(), Chain { hook: Some(hook), rules });
    }

    fn chain(&mut self, name: impl Into<String>, rules: Vec<String>) {
        self.chains.insert(name.into(), Chain { hook: None, rules });
    }
}

/// At the ports: a frame passes only with its instance's addresses, and only to the host.
fn ports(desired: &DesiredNetwork, names: &Names) -> Table {
    let mut table = Table::default();
    let known = desired.endpoints.iter().filter_map(|((_, address), endpoint)| match &endpoint.kind {
        EndpointKind::Instance { id, mac } => {
            Some(format!("\"{}\" . {mac} . {address}", names.interface(id)))
        }
        EndpointKind::Node => None,
    });
    table.set("senders", "type ifname . ether_addr . ipv4_addr;", known.collect());
    let mine = format!("\"{}*\"", names.interface_prefix());
    table.base(
        "prerouting",
        "type filter hook prerouting priority -200; policy accept;",
        vec![format!("iifname {mine} goto from_port")],
    );
    table.base(
        "forward",
        "type filter hook forward priority -200; policy accept;",
        vec![format!("iifname {mine} drop")],
    );
    table.chain(
        "from_port",
        vec![
            "ether type ip iifname . ether saddr . ip saddr @senders accept".to_owned(),
            "ether type arp iifname . arp saddr ether . arp saddr ip @senders accept".to_owned(),
            "drop".to_owned(),
        ],
    );
    table
}

fn packets(desired: &DesiredNetwork, names: &Names, services: Services) -> Table {
    let mut table = Table::default();
    let quoted = |id: &str| format!("\"{}\"", names.bridge(id));
    let subnets = &desired.subnets;
    table.set("bridges", "type ifname;", subnets.keys().map(|id| quoted(id)).collect());
    let outward = subnets.iter().filter(|(_, s)| s.to_internet);
    table.set("outward", "type ifname;", outward.clone().map(|(id, _)| quoted(id)).collect());
    table.set(
        "hidden",
        "type ipv4_addr; flags interval;",
        outward.map(|(_, s)| s.cidr.to_string()).collect(),
    );
    table.set("gateways", "type ipv4_addr;", subnets.values().map(|s| s.gateway.to_string()).collect());
    let mut pairs = BTreeSet::new();
    for (a, from) in subnets {
        for (b, to) in subnets.iter().filter(|(_, to)| to.vpc_id == from.vpc_id) {
            debug_assert_eq!(from.vpc_cidr, to.vpc_cidr);
            pairs.insert(format!("{} . {}", quoted(a), quoted(b)));
        }
    }
    table.set("vpc_pairs", "type ifname . ifname;", pairs);
    let nodes = desired.endpoints.iter().filter(|(_, e)| e.kind == EndpointKind::Node);
    table.set("nodes", "type ipv4_addr;", nodes.map(|((_, address), _)| address.to_string()).collect());
    groups(&mut table, desired);
    checks(&mut table, services);
    hooks(&mut table, services);
    table
}

/// Members, rules and combinations.
fn groups(table: &mut Table, desired: &DesiredNetwork) {
    let mut members: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let (mut out_of, mut in_to) = (BTreeSet::new(), BTreeSet::new());
    let mut seen: BTreeSet<Ipv4Addr> = BTreeSet::new();
    for ((_, address), endpoint) in &desired.endpoints {
        // Two VPCs with the same block: a host has one routing table, so the first one has the address.
        if !seen.insert(*address) {
            continue;
        }
        let mut ids: Vec<&str> = endpoint.groups.iter().map(String::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in &ids {
            members.entry(id).or_default().insert(address.to_string());
        }
        let combination = format!("{:016x}", fnv(ids.join(",").as_bytes()));
        for (direction, map) in [("out", &mut out_of), ("in", &mut in_to)] {
            let chain = format!("{direction}_c_{combination}");
            map.insert(format!("{address} : goto {chain}"));
            let known = ids.iter().filter(|id| desired.groups.contains_key(**id));
            let mut rules: Vec<String> =
                known.map(|id| format!("jump {direction}_g_{}", identifier(id))).collect();
            rules.push("drop".to_owned());
            table.chain(chain, rules);
        }
    }
    table.map("out_of", out_of);
    table.map("in_to", in_to);
    for (id, group) in &desired.groups {
        let name = identifier(id);
        let elements = members.remove(id.as_str()).unwrap_or_default();
        table.set(format!("m_{name}"), "type ipv4_addr;", elements);
        let known = |id: &str| desired.groups.contains_key(id);
        let rules = |all: &[RuleMatch], end: &str, verdict: &str| {
            all.iter().filter_map(|rule| rule_text(rule, end, verdict, &known)).collect()
        };
        table.chain(format!("in_g_{name}"), rules(&group.ingress, "saddr", "accept"));
        table.chain(format!("out_g_{name}"), rules(&group.egress, "daddr", "goto check_in"));
    }
}

fn checks(table: &mut Table, services: Services) {
    let known = "ct state established,related accept";
    let broken = "ct state invalid drop";
    table.chain(
        "check_out",
        vec!["ip saddr vmap @out_of".into(), "iifname @bridges drop".into(), "goto check_in".into()],
    );
    table.chain(
        "check_in",
        vec!["ip daddr vmap @in_to".into(), "oifname @bridges drop".into(), "accept".into()],
    );
    let separate = "iifname @bridges oifname @bridges iifname . oifname != @vpc_pairs drop";
    let closed = "iifname @bridges oifname != @bridges iifname != @outward drop";
    table.chain(
        "routed",
        vec![known.into(), broken.into(), separate.into(), closed.into(), "goto check_out".into()],
    );
    table
        .chain("to_instances", vec![known.into(), "icmp type redirect drop".into(), "goto check_out".into()]);
    let mut from = vec![known.to_owned(), broken.to_owned()];
    // What AWS does not filter either: names, metadata and the router's own echo. After redirection the port is ours.
    from.extend(
        services.metadata_port.map(|port| format!("ct original ip daddr {METADATA} tcp dport {port} accept")),
    );
    from.extend(services.dns_port.map(|port| {
        format!("ct original ip daddr @gateways meta l4proto {{ tcp, udp }} th dport {port} accept")
    }));
    from.push("ip daddr @gateways icmp type echo-request accept".to_owned());
    from.push("ip daddr @nodes goto check_out".to_owned());
    from.push("drop".to_owned());
    table.chain("from_instances", from);
    table.chain("to_nodes", vec![known.into(), "goto check_in".into()]);
}

fn hooks(table: &mut Table, services: Services) {
    let text = |rules: &[&str]| rules.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
    // The host itself reaches its balancers' nodes over the loopback interface, unfiltered: it owns them.
    let mut input = text(&[
        "iifname @bridges goto from_instances",
        "iifname \"lo\" accept",
        "ip daddr @nodes goto to_nodes",
    ]);
    // Ports meant for instances alone.
    if let Some(port) = services.metadata_port {
        input.push(format!("tcp dport {port} drop"));
    }
    if let Some(port) = services.dns_port {
        input.push(format!("meta l4proto {{ tcp, udp }} th dport {port} drop"));
    }
    table.base("input", "type filter hook input priority 0; policy accept;", input);
    table.base(
        "forward",
        "type filter hook forward priority 0; policy accept;",
        text(&["iifname @bridges goto routed", "oifname @bridges goto routed"]),
    );
    table.base(
        "output",
        "type filter hook output priority 0; policy accept;",
        text(&["oifname @bridges goto to_instances"]),
    );
    let mut redirect = Vec::new();
    if let Some(port) = services.metadata_port {
        redirect.push(format!("iifname @bridges ip daddr {METADATA} tcp dport 80 redirect to :{port}"));
    }
    if let Some(port) = services.dns_port {
        for protocol in ["udp", "tcp"] {
            redirect
                .push(format!("iifname @bridges ip daddr @gateways {protocol} dport 53 redirect to :{port}"));
        }
    }
    table.base("prerouting", "type nat hook prerouting priority -100; policy accept;", redirect);
    table.base(
        "postrouting",
        "type nat hook postrouting priority 100; policy accept;",
        text(&["oifname \"lo\" accept", "oifname @bridges accept", "ip saddr @hidden masquerade"]),
    );
}

/// One rule's text; `None` if it can never match an IPv4 packet. `end` is the address that the peer is compared with.
fn rule_text(rule: &RuleMatch, end: &str, verdict: &str, known: &dyn Fn(&str) -> bool) -> Option<String> {
    let peer = match &rule.peer {
        RulePeer::Ipv4(block) if *block == Cidr::ANY => String::new(),
        RulePeer::Ipv4(block) => format!("ip {end} {block} "),
        RulePeer::Ipv6(..) => return None,
        // A group without members or of another server admits nobody.
        RulePeer::Group(id) if known(id) => format!("ip {end} @m_{} ", identifier(id)),
        RulePeer::Group(_) => return None,
    };
    let what = protocol_text(rule)?;
    Some(format!("{peer}{what}{verdict}"))
}

fn protocol_text(rule: &RuleMatch) -> Option<String> {
    let (from, to) = (rule.from_port, rule.to_port);
    let ports = |protocol: &str| match (u16::try_from(from), u16::try_from(to)) {
        (Ok(0), Ok(u16::MAX)) | (Err(_), _) | (_, Err(_)) => format!("meta l4proto {protocol} "),
        (Ok(from), Ok(to)) if from == to => format!("{protocol} dport {from} "),
        (Ok(from), Ok(to)) => format!("{protocol} dport {from}-{to} "),
    };
    Some(match rule.protocol.as_str() {
        "-1" | "all" => String::new(),
        "tcp" | "6" => ports("tcp"),
        "udp" | "17" => ports("udp"),
        "icmp" | "1" => match (from, to) {
            (-1, _) => "meta l4proto icmp ".to_owned(),
            (kind, -1) => format!("icmp type {kind} "),
            (kind, code) => format!("icmp type {kind} icmp code {code} "),
        },
        "icmpv6" | "58" => return None,
        number => format!("meta l4proto {} ", number.parse::<u8>().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: &str, from_port: i32, to_port: i32, peer: &str) -> RuleMatch {
        let peer = match peer.strip_prefix("sg-") {
            Some(_) => RulePeer::Group(peer.to_owned()),
            None => RulePeer::Ipv4(peer.parse().unwrap()),
        };
        RuleMatch { protocol: protocol.to_owned(), from_port, to_port, peer }
    }

    #[test]
    fn rules_as_nftables_text() {
        for (given, want) in [
            (rule("tcp", 80, 80, "0.0.0.0/0"), Some("tcp dport 80 accept")),
            (rule("tcp", 80, 90, "10.0.0.0/8"), Some("ip saddr 10.0.0.0/8 tcp dport 80-90 accept")),
            (rule("udp", 0, 65535, "sg-1"), Some("ip saddr @m_sg_1 meta l4proto udp accept")),
            (rule("-1", -1, -1, "sg-1"), Some("ip saddr @m_sg_1 accept")),
            (rule("-1", -1, -1, "0.0.0.0/0"), Some("accept")),
            (rule("icmp", -1, -1, "0.0.0.0/0"), Some("meta l4proto icmp accept")),
            (rule("icmp", 8, -1, "0.0.0.0/0"), Some("icmp type 8 accept")),
            (rule("icmp", 3, 4, "0.0.0.0/0"), Some("icmp type 3 icmp code 4 accept")),
            (rule("50", -1, -1, "0.0.0.0/0"), Some("meta l4proto 50 accept")),
            (rule("icmpv6", -1, -1, "0.0.0.0/0"), None),
            (rule("tcp", 80, 80, "sg-gone"), None),
            (rule("nonsense; drop", 80, 80, "0.0.0.0/0"), None),
        ] {
            let got = rule_text(&given, "saddr", "accept", &|id| id == "sg-1");
            assert_eq!(got.as_deref(), want, "{given:?}");
        }
    }
}
