//! What `puffer status` shows: the records as of one moment, put together for people.

use puffer_core::autoscaling::{
    Activity, Group, HealthStatus, InstanceRefresh, LifecycleState, Member, PolicyKind, RefreshStrategy,
    ScalingPolicy,
};
use puffer_core::ec2::Instance;
use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_core::elb::{Listener, LoadBalancer, Target, TargetState};
use puffer_core::event::Event;
use puffer_inventory::refreshes;
use puffer_store::{Reader, Store};
use serde::{Deserialize, Serialize};

/// Activities shown for each group.
const ACTIVITIES_SHOWN: usize = 8;

/// The whole picture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    pub(crate) groups: Vec<GroupReport>,
    pub(crate) load_balancers: Vec<BalancerReport>,
    /// Instances by state.
    pub(crate) instances: std::collections::BTreeMap<String, usize>,
}

/// A group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GroupReport {
    pub(crate) name: String,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) desired: u32,
    pub(crate) in_service: usize,
    /// In service, and healthy in every target group.
    pub(crate) healthy: usize,
    pub(crate) members: Vec<MemberReport>,
    pub(crate) policies: Vec<PolicyReport>,
    /// What else explains the numbers, a line each: suspended processes, a refresh under way, zones that are down.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    pub(crate) activities: Vec<ActivityReport>,
}

/// An instance of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MemberReport {
    pub(crate) instance_id: String,
    pub(crate) zone: String,
    pub(crate) address: Option<String>,
    pub(crate) lifecycle: String,
    pub(crate) health: String,
    /// Worst state over the group's target groups; absent without target groups.
    pub(crate) target_health: Option<String>,
}

/// A policy and where its metric stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PolicyReport {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) value: Option<f64>,
    pub(crate) target: Option<f64>,
}

/// Why a group is as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExplainReport {
    /// The group's newest instance refresh, as sentences.
    pub(crate) refresh: Vec<String>,
    /// Its activities, newest first.
    pub(crate) activities: Vec<ActivityReport>,
}

/// An activity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ActivityReport {
    pub(crate) id: String,
    pub(crate) started_at: String,
    pub(crate) status: String,
    pub(crate) description: String,
    pub(crate) cause: String,
    pub(crate) message: Option<String>,
    pub(crate) reasons: Vec<String>,
}

/// A load balancer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BalancerReport {
    pub(crate) name: String,
    pub(crate) dns_name: String,
    pub(crate) state: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) listeners: Vec<ListenerReport>,
}

/// A listener and the port it really has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ListenerReport {
    pub(crate) port: u16,
    pub(crate) bind_port: u16,
}

/// The newest value of a policy's metric.
pub(crate) type MetricValue<'a> = dyn Fn(&Group, &ScalingPolicy) -> Option<f64> + 'a;
/// The port that a listener's port becomes on this machine.
pub(crate) type BindPort<'a> = dyn Fn(u16) -> u16 + 'a;

/// Puts the picture together.
pub(crate) fn status(store: &Store, value_of: &MetricValue<'_>, bind_port: &BindPort<'_>) -> StatusReport {
    store.read(|r| {
        let mut instances = std::collections::BTreeMap::new();
        for instance in r.iter::<Instance>() {
            *instances.entry(instance.state.name().to_owned()).or_default() += 1;
        }
        StatusReport {
            groups: r.iter::<Group>().map(|g| group(r, g, value_of)).collect(),
            load_balancers: r
                .iter::<LoadBalancer>()
                .map(|b| balancer(r, b, bind_port))
                .chain(r.iter::<ClassicLoadBalancer>().map(|b| classic(b, bind_port)))
                .collect(),
            instances,
        }
    })
}

/// One activity by its id, or the activities of a group, newest first.
pub(crate) fn explain(store: &Store, what: &str) -> Option<ExplainReport> {
    store.read(|r| match r.get::<Activity>(what) {
        Some(one) => Some(ExplainReport { refresh: Vec::new(), activities: vec![activity(&one)] }),
        None => r.get::<Group>(what).map(|g| ExplainReport {
            refresh: refreshes::of_group(r, &g).first().map(|f| refresh(f)).unwrap_or_default(),
            activities: newest_activities(r, &g.name, usize::MAX),
        }),
    })
}

fn refresh(f: &InstanceRefresh) -> Vec<String> {
    let p = &f.preferences;
    let mut lines = vec![format!(
        "instance refresh {}: {}, {} percent complete, {} of {} instances left",
        f.id,
        f.status.name(),
        f.progress.percent(),
        f.progress.n_left,
        f.progress.n_total
    )];
    lines.push(match p.max_healthy {
        _ if f.strategy == RefreshStrategy::ReplaceRootVolume => {
            format!("at least {} percent stay ready while instances get another root volume", p.min_healthy)
        }
        Some(max) => format!("at least {} percent stay ready, at most {max} percent exist", p.min_healthy),
        None => {
            format!("at least {} percent stay ready; an instance goes as its successor comes", p.min_healthy)
        }
    });
    if let Some(rollback) = &f.rollback {
        lines.push(format!("rolled back since {}: {}", rollback.started_at, rollback.reason));
    }
    lines.extend(f.reason.clone());
    lines
}

/// The newest events, of one group or of all, oldest first. A group that has gone leaves its events; one that is unknown and has none is
/// nobody.
pub(crate) fn events(store: &Store, group: Option<&str>, most: usize) -> Option<Vec<serde_json::Value>> {
    let all = match group {
        Some(group) => {
            let found = store.list_by::<Event>("group", group);
            if found.is_empty() && store.get::<Group>(group).is_none() {
                return None;
            }
            found
        }
        None => store.list::<Event>(),
    };
    Some(all[all.len().saturating_sub(most)..].iter().map(|e| e.to_json()).collect())
}

fn group(r: &Reader<'_>, group: &Group, value_of: &MetricValue<'_>) -> GroupReport {
    let members: Vec<MemberReport> =
        r.list_by::<Member>("group", &group.name).iter().map(|m| member(r, group, m)).collect();
    let policies = r.list_by::<ScalingPolicy>("group", &group.name);
    let serving = LifecycleState::InService.name();
    let is_healthy =
        |m: &MemberReport| m.target_health.as_deref().is_none_or(|h| h == TargetState::Healthy.name());
    GroupReport {
        name: group.name.clone(),
        min: group.min,
        max: group.max,
        desired: group.desired,
        in_service: members.iter().filter(|m| m.lifecycle == serving).count(),
        healthy: members.iter().filter(|m| m.lifecycle == serving && is_healthy(m)).count(),
        members,
        policies: policies.iter().map(|p| policy(p, value_of(group, p))).collect(),
        notes: notes(r, group),
        activities: newest_activities(r, &group.name, ACTIVITIES_SHOWN),
    }
}

fn notes(r: &Reader<'_>, group: &Group) -> Vec<String> {
    let mut notes = Vec::new();
    if !group.suspended.is_empty() {
        let names: Vec<&str> = group.suspended.iter().map(|p| p.name.as_str()).collect();
        notes.push(format!("suspended: {}", names.join(", ")));
    }
    let newest = refreshes::of_group(r, group);
    if let Some(under_way) = newest.first().filter(|f| f.status.is_active()) {
        notes.extend(refresh(under_way).into_iter().next());
    }
    notes
}

fn member(r: &Reader<'_>, group: &Group, member: &Member) -> MemberReport {
    let targets = r.list_by::<Target>("id", &member.instance_id);
    let states: Vec<TargetState> = group
        .target_groups
        .iter()
        .map(|arn| targets.iter().find(|t| t.target_group == *arn).map_or(TargetState::Unused, |t| t.state))
        .collect();
    let worst = states.iter().find(|s| **s != TargetState::Healthy).or(states.first());
    MemberReport {
        instance_id: member.instance_id.clone(),
        zone: member.zone.clone(),
        address: r.get::<Instance>(&member.instance_id).map(|i| i.private_ip.to_string()),
        lifecycle: member.state.name().to_owned(),
        health: if member.health == HealthStatus::Healthy { "Healthy" } else { "Unhealthy" }.to_owned(),
        target_health: worst.map(|s| s.name().to_owned()),
    }
}

fn policy(policy: &ScalingPolicy, value: Option<f64>) -> PolicyReport {
    let (kind, target) = match &policy.kind {
        PolicyKind::Simple { .. } => ("simple", None),
        PolicyKind::Step { .. } => ("step", None),
        PolicyKind::TargetTracking(t) => ("target tracking", Some(t.target)),
        PolicyKind::Predictive(p) => ("predictive", Some(p.target)),
    };
    PolicyReport { name: policy.name.clone(), kind: kind.to_owned(), value, target }
}

fn newest_activities(r: &Reader<'_>, group: &str, most: usize) -> Vec<ActivityReport> {
    let mut found = r.list_by::<Activity>("group", group);
    found.sort_by_key(|a| std::cmp::Reverse(a.started_at));
    found.iter().take(most).map(|a| activity(a)).collect()
}

fn activity(a: &Activity) -> ActivityReport {
    ActivityReport {
        id: a.id.clone(),
        started_at: a.started_at.to_rfc3339_secs(),
        status: a.status.name().to_owned(),
        description: a.description.clone(),
        cause: a.cause_text(),
        message: a.status_message.clone(),
        reasons: a.reasons.clone(),
    }
}

/// A classic load balancer. Its record has no state, as its API has none, so only its kind is told; ports that could not be had are in
/// the log.
fn classic(balancer: &ClassicLoadBalancer, bind_port: &BindPort<'_>) -> BalancerReport {
    let listeners = balancer.listeners.iter();
    BalancerReport {
        name: balancer.name.clone(),
        dns_name: balancer.dns_name.clone(),
        state: "classic".to_owned(),
        addresses: balancer.nodes.iter().map(|n| n.address.to_string()).collect(),
        listeners: listeners.map(|l| ListenerReport { port: l.port, bind_port: bind_port(l.port) }).collect(),
    }
}

fn balancer(r: &Reader<'_>, balancer: &LoadBalancer, bind_port: &BindPort<'_>) -> BalancerReport {
    let listeners = r.list_by::<Listener>("load_balancer", &balancer.arn);
    BalancerReport {
        name: balancer.name.clone(),
        dns_name: balancer.dns_name.clone(),
        state: balancer.state.name().to_owned(),
        addresses: balancer.nodes.iter().map(|n| n.address.to_string()).collect(),
        listeners: listeners
            .iter()
            .map(|l| ListenerReport { port: l.port, bind_port: bind_port(l.port) })
            .collect(),
    }
}
