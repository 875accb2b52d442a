//! What the deciders look at: a group, its members and what is known of their instances, as of one moment.

use super::census::Census;
use super::refresh::Replacing;
use super::{Group, HealthStatus, LifecycleState, Member};
use crate::ec2::{Instance, InstanceState};
use crate::{Mutation, Timestamp};

/// A group as of `now`.
#[derive(Debug)]
pub struct GroupView<'a> {
    /// What is wanted.
    pub group: &'a Group,
    /// All members, whatever their state.
    pub members: Vec<MemberView<'a>>,
    /// The group's zones with the subnets to launch into, sorted by zone.
    pub zones: Vec<ZoneView<'a>>,
    /// What new instances would be made from.
    pub source: SourceView<'a>,
    /// With a mixed instances policy: what may be launched.
    pub mix: Option<&'a super::mixed::Mix>,
    /// The instance refresh that is going on.
    pub refresh: Option<&'a Replacing>,
    /// The moment.
    pub now: Timestamp,
    /// In which zone each member is.
    pub census: Census<'a>,
}

/// A zone of the group.
#[derive(Debug, Clone)]
pub struct ZoneView<'a> {
    /// Name.
    pub name: &'a str,
    /// Subnets of the group in it.
    pub subnets: Vec<&'a str>,
}

/// What new instances would be made from, for termination policies.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceView<'a> {
    /// The group's launch template id.
    pub template_id: Option<&'a str>,
    /// When each launch configuration of the members was made; those deleted since are missing.
    pub configurations: &'a [(String, Timestamp)],
}

/// A member and what is known of its instance.
#[derive(Debug, Clone, Copy)]
pub struct MemberView<'a> {
    /// The membership.
    pub member: &'a Member,
    /// The instance; `None`: its record is gone.
    pub instance: Option<&'a Instance>,
    /// What load balancers say.
    pub traffic: Traffic,
}

/// What the load balancers of the group say of a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// A registration is left somewhere, maybe draining.
    pub held: bool,
    /// An attachment that is in service finds it unhealthy.
    pub unhealthy: bool,
    /// Some attachment has not found it healthy yet.
    pub unproven: bool,
}

impl MemberView<'_> {
    /// Waits in the warm pool and can be taken: nothing is wrong with it that may yet pass.
    pub fn can_be_taken(&self) -> bool {
        self.is_ready_in_pool() && self.member.impaired_since.is_none()
    }

    /// Waits in the warm pool in the state that it shall have there.
    pub fn is_ready_in_pool(&self) -> bool {
        let wanted = match self.member.state {
            LifecycleState::WarmedStopped => InstanceState::Stopped,
            LifecycleState::WarmedRunning => InstanceState::Running,
            _ => return false,
        };
        self.member.health == HealthStatus::Healthy && self.instance.is_some_and(|i| i.state == wanted)
    }
}

impl GroupView<'_> {
    /// Units that count towards `desired`: without weights, the number of members that count.
    pub fn n_counted(&self) -> u32 {
        sum(self.members.iter().map(|m| m.member.units()))
    }

    /// The largest weight of a type that may be launched or of a member that is there.
    pub fn weight_max(&self) -> u32 {
        let members = self.members.iter().map(|m| m.member.weight).max();
        self.mix.map_or(1, super::mixed::Mix::weight_max).max(members.unwrap_or(1))
    }

    /// Whether an instance is coming or going. What happens within the warm pool alone is no activity of the group.
    pub fn has_activity(&self) -> bool {
        self.members.iter().any(|m| m.member.is_under_way())
    }
}

/// How long a newcomer takes to be of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warmup {
    /// So many seconds …
    pub s: u32,
    /// … for whoever came into service from then on; those before are warm.
    pub since: Timestamp,
}

impl Warmup {
    /// For all.
    pub fn of_all(s: u32) -> Warmup {
        Warmup { s, since: Timestamp::default() }
    }
}

impl MemberView<'_> {
    /// In service, healthy by the checks that the group has, and warm.
    pub fn is_ready(&self, group: &Group, warmup: Warmup, now: Timestamp) -> bool {
        let proven = !(group.health_check_elb && (self.traffic.unproven || self.traffic.unhealthy));
        proven
            && self.member.health == HealthStatus::Healthy
            && self.warm_at(warmup).is_some_and(|at| at <= now)
    }

    /// When it is warm, once it is in service.
    pub fn warm_at(&self, warmup: Warmup) -> Option<Timestamp> {
        let since = self.member.in_service_at.filter(|_| self.member.state == LifecycleState::InService)?;
        let s = if since < warmup.since { 0 } else { warmup.s };
        Some(since + std::time::Duration::from_secs(s.into()))
    }
}

pub(super) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// A sum of weights, which are bounded so that it cannot overflow in earnest.
pub(super) fn sum(weights: impl Iterator<Item = u32>) -> u32 {
    weights.fold(0, u32::saturating_add)
}

/// How many units have warmed up and how many are warming: those on their way into service, and those in service for less
/// than `warmup_s`.
pub fn warmth(members: &[MemberView<'_>], warmup_s: u32, now: Timestamp) -> (u32, u32) {
    let warmup = std::time::Duration::from_secs(warmup_s.into());
    let (mut warmed, mut warming) = (0, 0);
    for m in members.iter().filter(|m| m.member.counts()) {
        let since = m.member.in_service_at.filter(|_| m.member.state == LifecycleState::InService);
        match since {
            Some(since) if since + warmup <= now || Mutation::CountWarming.is_on() => {
                warmed += m.member.weight;
            }
            _ => warming += m.member.weight,
        }
    }
    (warmed, warming)
}

#[cfg(test)]
pub(crate) mod fixtures {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::autoscaling::{InstanceSource, LaunchTemplateRef};

    pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    /// A group from template `lt-1` over zones a, b and c, a subnet each.
    pub(crate) fn group(min: u32, max: u32, desired: u32) -> Group {
        let source = InstanceSource::LaunchTemplate(LaunchTemplateRef {
            id: "lt-1".into(),
            name: "web".into(),
            version: "$Latest".into(),
        });
        Group {
            min,
            max,
            desired,
            zones: vec!["a".into(), "b".into(), "c".into()],
            subnets: vec!["subnet-a".into(), "subnet-b".into(), "subnet-c".into()],
            ..Group::new("g", "uuid", "arn", source, NOW)
        }
    }

    pub(crate) fn zones() -> Vec<ZoneView<'static>> {
        [("a", "subnet-a"), ("b", "subnet-b"), ("c", "subnet-c")]
            .map(|(name, subnet)| ZoneView { name, subnets: vec![subnet] })
            .to_vec()
    }

    /// A member long in service.
    pub(crate) fn member(id: &str, zone: &str) -> Member {
        let long_ago = NOW - std::time::Duration::from_secs(36_000);
        Member {
            instance_id: id.into(),
            group: "g".into(),
            zone: zone.into(),
            instance_type: "t2.micro".into(),
            state: LifecycleState::InService,
            state_since: long_ago,
            in_service_at: Some(long_ago),
            added_at: long_ago,
            health: HealthStatus::Healthy,
            unhealthy_cause: None,
            protected: false,
            launch_configuration: None,
            launch_template: Some(crate::ec2::LaunchTemplateSource {
                id: "lt-1".into(),
                name: "web".into(),
                version: 1,
            }),
            activity_id: None,
            traffic_sources: vec![],
            surplus: false,
            spare: false,
            refreshed_by: None,
            impaired_since: None,
            weight: 1,
            lifecycle: crate::ec2::InstanceLifecycle::OnDemand,
            launched_at: long_ago,
            hooks: Default::default(),
            way: Default::default(),
            scaled_in: false,
            root_target: None,
        }
    }

    pub(crate) fn instance(id: &str, state: InstanceState) -> Instance {
        let mut value = serde_json::json!({
            "id": id, "reservation_id": "r", "ami_launch_index": 0, "client_token": null, "image_id": "ami",
            "instance_type": "t2.micro", "zone": "a", "vpc_id": "vpc", "subnet_id": "subnet-a",
            "network_interface_id": "eni", "private_ip": Ipv4Addr::LOCALHOST, "public_ip": null, "mac": "",
            "security_groups": [], "key_name": null, "user_data": null, "iam_instance_profile": null,
            "metadata_options": crate::ec2::MetadataOptions::default(), "detailed_monitoring": false,
            "termination_protected": false, "terminate_on_shutdown": false, "lifecycle": "OnDemand",
            "state": state, "intent": "Run", "reboot_requests": 0, "reboots_done": 0, "state_reason": null,
            "launched_at": 0, "running_at": null, "terminated_at": null, "instance_status": "ok",
            "system_status": "ok", "launch_template": null, "auto_scaling_group": "g", "tags": {}
        });
        if state != InstanceState::Pending {
            value["running_at"] = 1.into();
        }
        serde_json::from_value(value).unwrap()
    }

    /// Views over parallel lists.
    pub(crate) fn view<'a>(
        group: &'a Group,
        members: &'a [Member],
        instances: &'a [Instance],
    ) -> GroupView<'a> {
        let members = members.iter().map(|member| MemberView {
            member,
            instance: instances.iter().find(|i| i.id == member.instance_id),
            traffic: Traffic::default(),
        });
        GroupView {
            group,
            members: members.collect(),
            zones: zones(),
            source: SourceView { template_id: Some("lt-1"), configurations: &[] },
            mix: None,
            refresh: None,
            now: NOW,
            census: Census::default(),
        }
    }

    /// A running instance for each member.
    pub(crate) fn running(members: &[Member]) -> Vec<Instance> {
        members.iter().map(|m| instance(&m.instance_id, InstanceState::Running)).collect()
    }
}
