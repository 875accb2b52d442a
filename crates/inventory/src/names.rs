//! What the names of load balancers stand for.

use std::net::Ipv4Addr;
use std::sync::Arc;

use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_core::elb::{LoadBalancer, LoadBalancerState, Rule, Target, TargetState};
use puffer_store::Reader;

use crate::targets::ZONE_ALL;
use crate::zones;

/// An address behind a load balancer's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Zone of the node.
    pub zone: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether it can reach a healthy target. If no node can, answer with all ("fail open").
    pub healthy_zone: bool,
}

/// The nodes of the load balancer of that DNS name (any case, with or without the final dot); empty if there is none
/// or it is not set up yet.
///
/// A zone leaves the answer when a target group has targets in it of which none is healthy. Balancing across zones is always
/// on for application load balancers, so a zone without targets is as healthy as the others make it, and a target group
/// without any makes no zone unhealthy. A zone that is down leaves it too.
/// Source: "Target group health" of the Application Load Balancer guide, with its default of one healthy target per zone.
pub fn load_balancer_addresses(reader: &Reader<'_>, dns_name: &str) -> Vec<NodeAddress> {
    let name = dns_name.trim_end_matches('.').to_ascii_lowercase();
    let mut found = reader.list_by::<LoadBalancer>("dns_name", &name);
    let Some(balancer) = found.pop() else { return classic_addresses(reader, &name) };
    if !matches!(balancer.state, LoadBalancerState::Active | LoadBalancerState::ActiveImpaired) {
        return Vec::new();
    }
    let rules = reader.list_by::<Rule>("load_balancer", &balancer.arn);
    let mut groups: Vec<&str> = rules.iter().flat_map(|r| r.target_groups()).collect();
    groups.sort_unstable();
    groups.dedup();
    let groups: Vec<_> = groups.iter().map(|g| reader.list_by::<Target>("target_group", g)).collect();
    let node = |n: &puffer_core::elb::Node| NodeAddress {
        zone: n.zone.clone(),
        address: n.address,
        healthy_zone: !zones::is_down(reader, &n.zone)
            && groups.iter().all(|targets| serves_zone(targets, &n.zone)),
    };
    balancer.nodes.iter().map(node).collect()
}

/// The nodes of a classic load balancer. A node without cross-zone balancing serves by the instances of its own zone alone.
fn classic_addresses(reader: &Reader<'_>, name: &str) -> Vec<NodeAddress> {
    let Some(balancer) = reader.list_by::<ClassicLoadBalancer>("dns_name", name).pop() else {
        return Vec::new();
    };
    let targets = reader.list_by::<Target>("target_group", &balancer.arn);
    let serves = |zone: &str| {
        let mut usable = targets.iter().filter(|t| balancer.attributes.cross_zone || t.zone == zone);
        usable.any(|t| t.state == TargetState::Healthy)
    };
    let node = |n: &puffer_core::elb::Node| NodeAddress {
        zone: n.zone.clone(),
        address: n.address,
        healthy_zone: !zones::is_down(reader, &n.zone) && serves(&n.zone),
    };
    balancer.nodes.iter().map(node).collect()
}

/// Whether the zone's node has a healthy target of this group to send requests to, one of its own zone if it has any there.
fn serves_zone(targets: &[Arc<Target>], zone: &str) -> bool {
    let good = |t: &&Arc<Target>| matches!(t.state, TargetState::Healthy | TargetState::Unavailable);
    let registered = || targets.iter().filter(|t| t.draining_since.is_none());
    let mut here = registered().filter(|t| t.zone == zone || t.zone == ZONE_ALL).peekable();
    match here.peek() {
        Some(_) => here.any(|t| good(&t)),
        None => targets.is_empty() || registered().any(|t| good(&t)),
    }
}

#[cfg(test)]
mod tests {
    use puffer_core::ec2::ZoneCondition;

    use super::*;
    use crate::fixtures::{classic, edit, load_balancer, rule_to, store, target};

    #[tokio::test]
    async fn classic_names_follow_the_healthy_instances_of_each_zone() {
        let (_dir, store) = store();
        let balancer = classic("old");
        let arn = balancer.arn.clone();
        let healthy = || {
            let nodes = store.read(|r| load_balancer_addresses(r, "old-1.us-east-1.elb.amazonaws.com."));
            nodes.iter().map(|n| n.healthy_zone).collect::<Vec<_>>()
        };
        edit(&store, |tx| crate::classic::put(tx, balancer.clone())).await;
        assert_eq!(healthy(), [false, false]);
        edit(&store, |tx| tx.put(target(&arn, "i-1", TargetState::Healthy))).await;
        assert_eq!(healthy(), [true, false]);
        let mut across = balancer.clone();
        across.attributes.cross_zone = true;
        edit(&store, |tx| crate::classic::put(tx, across)).await;
        assert_eq!(healthy(), [true, true]);
        edit(&store, |tx| tx.put(target(&arn, "i-1", TargetState::Initial))).await;
        assert_eq!(healthy(), [false, false]);
    }

    #[tokio::test]
    async fn names_and_health() {
        let (_dir, store) = store();
        let addresses = |name: &str| store.read(|r| load_balancer_addresses(r, name));
        let balancer = load_balancer("lb", "web-1.us-east-1.elb.amazonaws.com");
        edit(&store, |tx| tx.put(balancer.clone())).await;
        assert!(addresses("web-1.us-east-1.elb.amazonaws.com").is_empty(), "it is being provisioned");
        edit(&store, |tx| {
            tx.update::<LoadBalancer>("lb", |b| b.state = LoadBalancerState::Active);
            tx.put(rule_to("tg"));
        })
        .await;
        let healthy = |name: &str| addresses(name).iter().map(|n| n.healthy_zone).collect::<Vec<_>>();
        assert_eq!(healthy("WEB-1.us-east-1.elb.amazonaws.com."), [true, true]);
        edit(&store, |tx| tx.put(target("tg", "i-1", TargetState::Unhealthy))).await;
        assert_eq!(healthy("web-1.us-east-1.elb.amazonaws.com"), [false, false]);
        edit(&store, |tx| tx.put(target("tg", "i-2", TargetState::Healthy))).await;
        assert_eq!(healthy("web-1.us-east-1.elb.amazonaws.com"), [true, true]);
        let put = async |id: &str, zone: &str, state| {
            let zone = zone.to_owned();
            edit(&store, |tx| tx.put(Target { zone, ..target("tg", id, state) })).await;
        };
        put("i-1", "us-east-1a", TargetState::Unhealthy).await;
        put("i-2", "us-east-1b", TargetState::Healthy).await;
        assert_eq!(healthy("web-1.us-east-1.elb.amazonaws.com"), [false, true], "a zone's only target fails");
        put("i-1", "us-east-1b", TargetState::Unhealthy).await;
        assert_eq!(healthy("web-1.us-east-1.elb.amazonaws.com"), [true, true], "the zone has no target");
        put("i-2", "us-east-1b", TargetState::Initial).await;
        assert_eq!(healthy("web-1.us-east-1.elb.amazonaws.com"), [false, false]);
        put("i-2", "us-east-1a", TargetState::Healthy).await;
        assert_eq!(healthy("web-1.us-east-1.elb.amazonaws.com"), [true, false]);
        let zone = "us-east-1a".to_owned();
        edit(&store, |tx| tx.put(ZoneCondition { zone, down_since: Default::default() })).await;
        assert_eq!(healthy("web-1.us-east-1.elb.amazonaws.com"), [false, false], "its zone is down");
        assert!(addresses("web-2.us-east-1.elb.amazonaws.com").is_empty());
    }
}
