//! The data plane's configuration, computed from the records: pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use puffer_balancer::config::{
    BalancerConfig, DesyncMode, HealthCheckConfig, HealthCheckProtocol, ListenerConfig, ListenerProtocol,
    LoadBalancerAttributes, LoadBalancerConfig, LoadBalancerKind, NodeConfig, RuleConfig, StickinessConfig,
    TargetConfig, TargetGroupAttributes, TargetGroupConfig, TargetProtocol, XffMode,
};
use puffer_core::ec2::{Instance, InstanceState};
use puffer_core::elb::attributes::{LOAD_BALANCER, TARGET_GROUP, flag, number, value};
use puffer_core::elb::balance::Algorithm;
use puffer_core::elb::{
    HEALTH_CHECK_PERIOD_TAG, Listener, LoadBalancer, Rule, Target, TargetGroup, TargetType, period_tag,
};
use puffer_inventory::zones;
use puffer_store::Reader;

use crate::PortPolicy;

/// Everything that the data plane is to do, without a generation.
///
/// Target groups to which no rule forwards stay out: their targets are not checked. So do targets whose instance does
/// not run; `target_sync` says so in their records. Nobody listens at nodes in zones that are down.
pub fn snapshot(reader: &Reader<'_>, ports: PortPolicy) -> BalancerConfig {
    let mut used = BTreeSet::new();
    let mut load_balancers = Vec::new();
    for balancer in reader.iter::<LoadBalancer>() {
        let listeners = reader.list_by::<Listener>("load_balancer", &balancer.arn);
        let mut out = Vec::with_capacity(listeners.len());
        for listener in &listeners {
            let rules = rules(reader, listener);
            for rule in &rules {
                used.extend(puffer_core::elb::target_groups_of(&rule.actions).map(str::to_owned));
            }
            out.push(ListenerConfig {
                arn: listener.arn.clone(),
                port: listener.port,
                bind_port: ports.port(listener.port),
                protocol: ListenerProtocol::Http,
                rules,
            });
        }
        load_balancers.push(load_balancer(reader, balancer, out));
    }
    let groups = used.iter().filter_map(|arn| reader.get::<TargetGroup>(arn));
    let target_groups = groups.map(|group| target_group(reader, &group, ports)).collect();
    BalancerConfig { generation: 0, load_balancers, target_groups }
}

/// Rules by priority, the default rule last. Without its default rule a listener would serve nothing at all, so the
/// order is made so that an absent priority sorts behind every number.
fn rules(reader: &Reader<'_>, listener: &Listener) -> Vec<RuleConfig> {
    let mut rules = reader.list_by::<Rule>("listener", &listener.arn);
    rules.sort_by_key(|r| r.priority.unwrap_or(u32::MAX));
    let config = |r: &Rule| RuleConfig {
        arn: r.arn.clone(),
        priority: r.priority,
        conditions: r.conditions.clone(),
        actions: r.actions.clone(),
    };
    rules.iter().map(|r| config(r)).collect()
}

fn load_balancer(
    reader: &Reader<'_>,
    balancer: &LoadBalancer,
    listeners: Vec<ListenerConfig>,
) -> LoadBalancerConfig {
    let set = &balancer.attributes;
    let on = |key| flag(set, LOAD_BALANCER, key);
    let node = |n: &puffer_core::elb::Node| NodeConfig {
        zone: n.zone.clone(),
        address: n.address,
        deaf: zones::is_down(reader, &n.zone),
    };
    LoadBalancerConfig {
        arn: balancer.arn.clone(),
        kind: LoadBalancerKind::Application,
        nodes: balancer.nodes.iter().map(node).collect(),
        attributes: LoadBalancerAttributes {
            idle_timeout_s: number(set, LOAD_BALANCER, "idle_timeout.timeout_seconds"),
            client_keep_alive_s: number(set, LOAD_BALANCER, "client_keep_alive.seconds"),
            xff_mode: match value(set, LOAD_BALANCER, "routing.http.xff_header_processing.mode") {
                "preserve" => XffMode::Preserve,
                "remove" => XffMode::Remove,
                _ => XffMode::Append,
            },
            xff_client_port: on("routing.http.xff_client_port.enabled"),
            drop_invalid_header_fields: on("routing.http.drop_invalid_header_fields.enabled"),
            preserve_host_header: on("routing.http.preserve_host_header.enabled"),
            desync_mode: match value(set, LOAD_BALANCER, "routing.http.desync_mitigation_mode") {
                "monitor" => DesyncMode::Monitor,
                "strictest" => DesyncMode::Strictest,
                _ => DesyncMode::Defensive,
            },
        },
        listeners,
    }
}

fn target_group(reader: &Reader<'_>, group: &TargetGroup, ports: PortPolicy) -> TargetGroupConfig {
    let set = &group.attributes;
    let s = |key| number(set, TARGET_GROUP, key);
    TargetGroupConfig {
        arn: group.arn.clone(),
        protocol: TargetProtocol::Http,
        port: group.port,
        health_check: health_check(group, ports),
        attributes: TargetGroupAttributes {
            deregistration_delay_s: group.deregistration_delay_s(),
            algorithm: match value(set, TARGET_GROUP, "load_balancing.algorithm.type") {
                "least_outstanding_requests" => Algorithm::LeastOutstandingRequests,
                "weighted_random" => Algorithm::WeightedRandom,
                _ => Algorithm::RoundRobin,
            },
            slow_start_s: s("slow_start.duration_seconds"),
            stickiness: StickinessConfig {
                enabled: flag(set, TARGET_GROUP, "stickiness.enabled"),
                duration_s: s("stickiness.lb_cookie.duration_seconds"),
            },
        },
        targets: targets(reader, group, ports),
    }
}

fn health_check(group: &TargetGroup, ports: PortPolicy) -> HealthCheckConfig {
    let check = &group.health_check;
    let interval_s = period_tag(&group.tags, HEALTH_CHECK_PERIOD_TAG)
        .map_or(check.interval_s, |period| period.min(check.interval_s));
    HealthCheckConfig {
        enabled: check.enabled,
        protocol: HealthCheckProtocol::Http,
        port: check.port.map(|port| dialled(group, port, ports)),
        path: check.path.clone(),
        matcher: check.matcher.clone(),
        interval_ms: u64::from(interval_s) * 1000,
        timeout_ms: u64::from(check.timeout_s) * 1000,
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
    }
}

/// The port on which a target's `port` is reached. Addresses outside of Puffer's instances mean what they say.
pub(crate) fn dialled(group: &TargetGroup, port: u16, ports: PortPolicy) -> u16 {
    match group.target_type {
        TargetType::Instance => ports.port(port),
        TargetType::Ip => port,
    }
}

/// Whether the data plane may know a target. A pending instance is only seconds away from running.
pub(crate) fn is_reachable(reader: &Reader<'_>, group: &TargetGroup, target: &Target) -> bool {
    let up = |i: &Instance| matches!(i.state, InstanceState::Pending | InstanceState::Running);
    match group.target_type {
        TargetType::Instance => reader.get::<Instance>(&target.id).is_some_and(|i| up(&i)),
        TargetType::Ip => true,
    }
}

fn targets(reader: &Reader<'_>, group: &TargetGroup, ports: PortPolicy) -> Vec<TargetConfig> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for target in reader.list_by::<Target>("target_group", &group.arn) {
        let port = dialled(group, target.port, ports);
        if !is_reachable(reader, group, &target) || !seen.insert((target.id.clone(), port)) {
            continue;
        }
        out.push(TargetConfig {
            id: target.id.clone(),
            address: target.address,
            port,
            zone: target.zone.clone(),
            draining: target.draining_since.is_some(),
        });
    }
    out
}

/// Addresses of nodes in a configuration, by load balancer.
pub(crate) fn node_addresses(config: &BalancerConfig) -> BTreeMap<&str, Vec<std::net::Ipv4Addr>> {
    let of = |lb: &LoadBalancerConfig| lb.nodes.iter().map(|n| n.address).collect();
    config.load_balancers.iter().map(|lb| (lb.arn.as_str(), of(lb))).collect()
}
