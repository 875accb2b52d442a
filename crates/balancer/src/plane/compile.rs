//! From configuration to live objects, checking what the control plane may have got wrong.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use puffer_core::elb::health::Matcher;
use puffer_core::elb::rule::Action;

use super::counters::Blocks;
use super::group::{Group, UsedBy};
use super::route::{Route, Rule, RuleAction, Way};
use crate::config::{
    BalancerConfig, ListenerConfig, ListenerProtocol, LoadBalancerConfig, LoadBalancerKind, NodeConfig,
    RuleConfig,
};
use crate::report::Scope;

/// Shortest interval between checks, in milliseconds.
const CHECK_INTERVAL_MS_MIN: u64 = 50;

/// A configuration that makes no sense; nothing of it is applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Nonsense(String);

/// Refuses what cannot be served.
pub(crate) fn check(config: &BalancerConfig) -> Result<(), Nonsense> {
    let mut groups = HashSet::new();
    for group in &config.target_groups {
        if !groups.insert(group.arn.as_str()) {
            return Err(Nonsense(format!("target group {} occurs twice", group.arn)));
        }
        let check = &group.health_check;
        if Matcher::parse(&check.matcher).is_none() {
            return Err(Nonsense(format!(
                "target group {}: {:?} is not a matcher",
                group.arn, check.matcher
            )));
        }
        if check.interval_ms < CHECK_INTERVAL_MS_MIN || check.timeout_ms == 0 {
            return Err(Nonsense(format!(
                "target group {}: check interval or time-out too short",
                group.arn
            )));
        }
        if !check.path.starts_with('/') || check.path.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(Nonsense(format!(
                "target group {}: {:?} is not a check path",
                group.arn, check.path
            )));
        }
        let mut targets = HashSet::new();
        if !group.targets.iter().all(|t| targets.insert((&t.id, t.port))) {
            return Err(Nonsense(format!("target group {} has a target twice", group.arn)));
        }
    }
    for listener in config.load_balancers.iter().flat_map(|lb| &lb.listeners) {
        let forwards = |r: &RuleConfig| matches!(r.actions.last(), Some(Action::Forward(_)));
        if listener.protocol == ListenerProtocol::Tcp && !listener.rules.iter().all(forwards) {
            return Err(Nonsense(format!("listener {} cannot answer, it has no HTTP", listener.arn)));
        }
    }
    for rule in config.load_balancers.iter().flat_map(|lb| &lb.listeners).flat_map(|l| &l.rules) {
        match terminal(rule)? {
            Action::Forward(forward) => {
                if let Some(w) = forward.target_groups.iter().find(|w| !groups.contains(w.arn.as_str())) {
                    return Err(Nonsense(format!(
                        "rule {} forwards to unknown target group {}",
                        rule.arn, w.arn
                    )));
                }
            }
            Action::FixedResponse(fixed) => {
                let line = fixed.content_type.as_deref().unwrap_or_default();
                if line.bytes().any(|b| b.is_ascii_control()) || !(200..=599).contains(&fixed.status_code) {
                    return Err(Nonsense(format!("rule {} has an impossible fixed response", rule.arn)));
                }
            }
            Action::Redirect(_) => {}
        }
    }
    Ok(())
}

fn terminal(rule: &RuleConfig) -> Result<&Action, Nonsense> {
    rule.actions.last().ok_or_else(|| Nonsense(format!("rule {} has no action", rule.arn)))
}

/// Which balancer forwards to each group.
pub(crate) fn users(config: &BalancerConfig) -> HashMap<&str, UsedBy> {
    let mut users = HashMap::new();
    for lb in &config.load_balancers {
        let used_by = || UsedBy {
            load_balancer: lb.arn.clone(),
            classic: lb.kind == LoadBalancerKind::Classic,
            nodes: lb.nodes.iter().map(|n| (n.zone.clone(), n.address)).collect(),
        };
        if lb.kind == LoadBalancerKind::Classic {
            users.entry(lb.arn.as_str()).or_insert_with(used_by);
        }
        let actions = lb.listeners.iter().flat_map(|l| &l.rules).flat_map(|r| &r.actions);
        for action in actions {
            let Action::Forward(forward) = action else { continue };
            for way in &forward.target_groups {
                users.entry(way.arn.as_str()).or_insert_with(used_by);
            }
        }
    }
    users
}

/// A listener on one node, ready to use.
pub(crate) fn route(
    lb: &LoadBalancerConfig,
    node: &NodeConfig,
    listener: &ListenerConfig,
    groups: &HashMap<String, Arc<Group>>,
    blocks: &mut Blocks,
) -> Result<Arc<Route>, Nonsense> {
    let scope = |group: Option<&str>| Scope {
        load_balancer: lb.arn.clone(),
        target_group: group.map(str::to_owned),
        zone: Some(node.zone.clone()),
    };
    let mut rules = Vec::with_capacity(listener.rules.len());
    for rule in &listener.rules {
        let action = match terminal(rule)? {
            Action::Redirect(redirect) => RuleAction::Redirect(redirect.clone()),
            Action::FixedResponse(fixed) => RuleAction::Fixed(fixed.clone()),
            Action::Forward(forward) => {
                let way = |w: &crate::config::WeightedTargetGroup| {
                    let group = groups.get(&w.arn)?.clone();
                    Some(Way { weight: w.weight, group, block: blocks.get(scope(Some(&w.arn))) })
                };
                RuleAction::Forward(forward.target_groups.iter().filter_map(way).collect())
            }
        };
        rules.push(Rule { conditions: rule.conditions.clone(), action });
    }
    Ok(Arc::new(Route {
        listener: listener.arn.clone(),
        port: listener.port,
        protocol: listener.protocol,
        classic: listener.classic.clone(),
        zone: node.zone.clone(),
        node: node.address,
        node_text: node.address.to_string(),
        attributes: lb.attributes.clone(),
        forwarded_lines: format!("X-Forwarded-Proto: http\r\nX-Forwarded-Port: {}\r\n", listener.port)
            .into_bytes(),
        rules,
        block: blocks.get(scope(None)),
    }))
}
