//! The data plane's configuration, computed from the records: pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use puffer_balancer::config::{
    BalancerConfig, ClassicListenerConfig, ClassicStickiness, DesyncMode, HealthCheckConfig,
    HealthCheckProtocol, ListenerConfig, ListenerProtocol, LoadBalancerAttributes, LoadBalancerConfig,
    LoadBalancerKind, NodeConfig, RuleConfig, StickinessConfig, TargetConfig, TargetGroupAttributes,
    TargetGroupConfig, TargetProtocol, XffMode,
};
use puffer_core::ec2::{Instance, InstanceState};
use puffer_core::elb::arn::classic_name;
use puffer_core::elb::attributes::{CROSS_ZONE, LOAD_BALANCER, TARGET_GROUP, flag, number, value};
use puffer_core::elb::balance::Algorithm;
use puffer_core::elb::classic::{self, ClassicListener, ClassicLoadBalancer, PolicyKind, Protocol};
use puffer_core::elb::rule::{Action, Forward, WeightedTargetGroup};
use puffer_core::elb::{
    HEALTH_CHECK_PERIOD_TAG, HealthCheckProtocol as CheckedBy, Listener, LoadBalancer, Rule, Target,
    TargetGroup, TargetType, period_tag,
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
                classic: None,
            });
        }
        load_balancers.push(load_balancer(reader, balancer, out));
    }
    for balancer in reader.iter::<ClassicLoadBalancer>() {
        used.insert(balancer.arn.clone());
        load_balancers.push(classic_load_balancer(reader, balancer, ports));
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
    LoadBalancerConfig {
        arn: balancer.arn.clone(),
        kind: LoadBalancerKind::Application,
        nodes: balancer.nodes.iter().map(|n| node(reader, n)).collect(),
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
            desync_mode: desync_mode(value(set, LOAD_BALANCER, "routing.http.desync_mitigation_mode")),
        },
        listeners,
    }
}

fn node(reader: &Reader<'_>, node: &puffer_core::elb::Node) -> NodeConfig {
    NodeConfig { zone: node.zone.clone(), address: node.address, deaf: zones::is_down(reader, &node.zone) }
}

fn desync_mode(name: &str) -> DesyncMode {
    match name {
        "monitor" => DesyncMode::Monitor,
        "strictest" => DesyncMode::Strictest,
        _ => DesyncMode::Defensive,
    }
}

/// A classic load balancer: each listener has one rule, which forwards to the target group of the instances.
fn classic_load_balancer(
    reader: &Reader<'_>,
    balancer: &ClassicLoadBalancer,
    ports: PortPolicy,
) -> LoadBalancerConfig {
    let target_groups = vec![WeightedTargetGroup { arn: balancer.arn.clone(), weight: 1 }];
    let forward = Action::Forward(Forward { target_groups, stickiness: None });
    let listener = |l: &ClassicListener| ListenerConfig {
        arn: format!("{}:{}", balancer.arn, l.port),
        port: l.port,
        bind_port: ports.port(l.port),
        protocol: match l.protocol {
            Protocol::Http => ListenerProtocol::Http,
            Protocol::Tcp => ListenerProtocol::Tcp,
        },
        rules: vec![RuleConfig {
            arn: format!("{}:{}/default", balancer.arn, l.port),
            priority: None,
            conditions: Vec::new(),
            actions: vec![forward.clone()],
        }],
        classic: Some(ClassicListenerConfig {
            target_port: ports.port(l.instance_port),
            stickiness: balancer.stickiness(l).and_then(stickiness),
            proxy_protocol: balancer.has_proxy_protocol(l.instance_port),
        }),
    };
    LoadBalancerConfig {
        arn: balancer.arn.clone(),
        kind: LoadBalancerKind::Classic,
        nodes: balancer.nodes.iter().map(|n| node(reader, n)).collect(),
        attributes: LoadBalancerAttributes {
            idle_timeout_s: balancer.attributes.idle_timeout_s,
            // A connection lives as long as somebody says something on it.
            client_keep_alive_s: u32::MAX,
            preserve_host_header: true,
            desync_mode: desync_mode(&balancer.attributes.desync_mode),
            ..LoadBalancerAttributes::default()
        },
        listeners: balancer.listeners.iter().map(listener).collect(),
    }
}

fn stickiness(policy: &PolicyKind) -> Option<ClassicStickiness> {
    match policy {
        PolicyKind::LbCookie { expiration_s } => {
            Some(ClassicStickiness::LbCookie { duration_s: *expiration_s })
        }
        PolicyKind::AppCookie { cookie_name } => {
            Some(ClassicStickiness::AppCookie { name: cookie_name.clone() })
        }
        PolicyKind::ProxyProtocol { .. } => None,
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
            // A classic load balancer would rather answer 503 than ask an instance that failed.
            fail_open: classic_name(&group.arn).is_none(),
            cross_zone: value(set, TARGET_GROUP, CROSS_ZONE) != "false",
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
        protocol: match check.protocol {
            CheckedBy::Http => HealthCheckProtocol::Http,
            CheckedBy::Tcp => HealthCheckProtocol::Tcp,
        },
        port: check.port.map(|port| dialled(group, port, ports)),
        path: check.path.clone(),
        matcher: check.matcher.clone(),
        interval_ms: u64::from(interval_s) * 1000,
        timeout_ms: u64::from(check.timeout_s) * 1000,
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
    }
}

/// The port on which a target's `port` is reached. Addresses outside of Puffer's instances mean what they say, and a whole instance
/// is no port.
pub(crate) fn dialled(group: &TargetGroup, port: u16, ports: PortPolicy) -> u16 {
    match group.target_type {
        _ if port == classic::WHOLE_INSTANCE => port,
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
