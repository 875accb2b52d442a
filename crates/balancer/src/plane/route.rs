//! What a bound address serves: the listener's rules with everything they refer to, ready to use.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use arc_swap::ArcSwap;

use puffer_core::elb::balance::pick_weighted;
use puffer_core::elb::rule::{Condition, FixedResponse, Redirect, RequestView, matches_all};

use super::counters::Block;
use super::group::{Group, Target};
use crate::config::{ClassicListenerConfig, ListenerProtocol, LoadBalancerAttributes};

/// A bound address. Its route changes with the configuration, connections keep the address.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddrV4,
    route: ArcSwap<Route>,
}

/// A listener on one node.
pub(crate) struct Route {
    pub(crate) listener: String,
    /// The listener's port by the API.
    pub(crate) port: u16,
    pub(crate) protocol: ListenerProtocol,
    pub(crate) classic: Option<ClassicListenerConfig>,
    /// Zone of the node.
    pub(crate) zone: String,
    pub(crate) node: Ipv4Addr,
    pub(crate) node_text: String,
    pub(crate) attributes: LoadBalancerAttributes,
    /// Ready lines of `X-Forwarded-Proto` and `X-Forwarded-Port`.
    pub(crate) forwarded_lines: Vec<u8>,
    pub(crate) rules: Vec<Rule>,
    /// Of (balancer, zone).
    pub(crate) block: Arc<Block>,
}

/// A rule, ready to use.
pub(crate) struct Rule {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: RuleAction,
}

/// The terminal action of a rule.
pub(crate) enum RuleAction {
    Forward(Vec<Way>),
    Redirect(Redirect),
    Fixed(FixedResponse),
}

/// One target group of a forward action.
pub(crate) struct Way {
    pub(crate) weight: u16,
    pub(crate) group: Arc<Group>,
    /// Of (balancer, group, zone).
    pub(crate) block: Arc<Block>,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddrV4, route: Arc<Route>) -> Arc<Endpoint> {
        Arc::new(Endpoint { address, route: ArcSwap::new(route) })
    }

    pub(crate) fn route(&self) -> Arc<Route> {
        self.route.load_full()
    }

    pub(crate) fn set_route(&self, route: Arc<Route>) {
        self.route.store(route);
    }
}

impl Route {
    /// The action of the first rule that takes `request`; none only if the default rule is missing.
    pub(crate) fn action_for(&self, request: &dyn RequestView) -> Option<&RuleAction> {
        self.rules.iter().find(|r| matches_all(&r.conditions, request)).map(|r| &r.action)
    }

    /// Where a listener without requests sends its connections.
    pub(crate) fn only_way(&self) -> Option<&Way> {
        match &self.rules.last()?.action {
            RuleAction::Forward(ways) => ways.first(),
            RuleAction::Redirect(_) | RuleAction::Fixed(_) => None,
        }
    }

    /// Where a target takes what comes in here.
    pub(crate) fn address_of(&self, target: &Target) -> SocketAddrV4 {
        let port = self.classic.as_ref().map_or(target.address.port(), |c| c.target_port);
        SocketAddrV4::new(*target.address.ip(), port)
    }
}

/// Chooses among the groups of a forward action by weight.
pub(crate) fn choose_way(ways: &[Way], random: impl FnOnce() -> u64) -> Option<&Way> {
    match ways {
        [only] if only.weight > 0 => Some(only),
        _ => ways.get(pick_weighted(ways.iter().map(|w| w.weight), random())?),
    }
}
