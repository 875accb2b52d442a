//! What the names of load balancers stand for.

use std::net::Ipv4Addr;

use puffer_core::elb::{LoadBalancer, LoadBalancerState, Rule, Target, TargetState};
use puffer_store::Reader;

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
/// Balancing across zones is always on for application load balancers, so all nodes are as healthy as the load
/// balancer: a target group whose targets have all failed makes it unhealthy, an empty one does not.
pub fn load_balancer_addresses(reader: &Reader<'_>, dns_name: &str) -> Vec<NodeAddress> {
    let name = dns_name.trim_end_matches('.').to_ascii_lowercase();
    let mut found = reader.list_by::<LoadBalancer>("dns_name", &name);
    let Some(balancer) = found.pop() else { return Vec::new() };
    if !matches!(balancer.state, LoadBalancerState::Active | LoadBalancerState::ActiveImpaired) {
        return Vec::new();
    }
    let rules = reader.list_by::<Rule>("load_balancer", &balancer.arn);
    let healthy = rules.iter().flat_map(|r| r.target_groups()).all(|group| group_is_healthy(reader, group));
    let node = |n: &puffer_core::elb::Node| NodeAddress {
        zone: n.zone.clone(),
        address: n.address,
        healthy_zone: healthy,
    };
    balancer.nodes.iter().map(node).collect()
}

fn group_is_healthy(reader: &Reader<'_>, group: &str) -> bool {
    let targets = reader.list_by::<Target>("target_group", group);
    let good = |t: &Target| matches!(t.state, TargetState::Healthy | TargetState::Unavailable);
    targets.is_empty() || targets.iter().any(|t| good(t))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{edit, load_balancer, rule_to, store, target};

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
        assert!(addresses("web-2.us-east-1.elb.amazonaws.com").is_empty());
    }
}
