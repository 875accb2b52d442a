//! A group with all that its decisions depend on, read as of one moment.

use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::autoscaling::mixed::Mix;
use puffer_core::autoscaling::view::{GroupView, MemberView, SourceView, Traffic, ZoneView};
use puffer_core::autoscaling::{Group, InstanceRefresh, InstanceSource, LaunchConfiguration, Member};
use puffer_core::ec2::{Account, Instance, Subnet};
use puffer_core::elb::{Target, TargetState};
use puffer_store::Reader;

use crate::{mix, refreshes};

/// A group, its members and what is known of their instances.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The group.
    pub group: Arc<Group>,
    /// All members, by instance id.
    pub members: Vec<Observed>,
    /// Zones with the subnets to launch into, sorted by zone.
    zones: Vec<(String, Vec<String>)>,
    /// With a mixed instances policy: what may be launched.
    mix: Option<Mix>,
    /// The instance refresh that is going on.
    pub refresh: Option<Arc<InstanceRefresh>>,
    /// When the members' launch configurations were made.
    configurations: Vec<(String, Timestamp)>,
}

/// A member and what is known of its instance.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The membership.
    pub member: Arc<Member>,
    /// Its instance.
    pub instance: Option<Arc<Instance>>,
    /// Its registrations in the group's target groups, also those that drain.
    pub targets: Vec<Arc<Target>>,
}

impl Observation {
    /// Reads a group; `None` if there is none.
    pub fn of(r: &Reader<'_>, name: &str, now: Timestamp) -> Option<Observation> {
        let group = r.get::<Group>(name)?;
        let has_traffic = !(group.target_groups.is_empty() && group.traffic_removing.is_empty());
        let members: Vec<Observed> = r
            .list_by::<Member>("group", name)
            .into_iter()
            .map(|member| {
                let mut targets = match has_traffic || !member.traffic_sources.is_empty() {
                    true => r.list_by::<Target>("id", &member.instance_id),
                    false => Vec::new(),
                };
                targets.retain(|t| {
                    group.target_groups.contains(&t.target_group)
                        || group.traffic_removing.contains(&t.target_group)
                        || member.traffic_sources.contains(&t.target_group)
                });
                Observed { instance: r.get(&member.instance_id), targets, member }
            })
            .collect();
        let configurations = match &group.source {
            InstanceSource::LaunchTemplate(_)
                if members.iter().all(|m| m.member.launch_configuration.is_none()) =>
            {
                Vec::new()
            }
            _ => configurations(r, &members),
        };
        let refresh = refreshes::active(r, name);
        let mix = mix::of_group(r, &refreshes::launching(&group, refresh.as_deref()), now);
        Some(Observation { zones: zones(r, &group), group, members, mix, refresh, configurations })
    }

    /// The view that deciders take.
    pub fn view(&self, now: Timestamp) -> GroupView<'_> {
        let refreshing = self.refresh.as_ref().filter(|r| r.launches()).and_then(|r| r.desired.as_ref());
        let template_id = match refreshing.map_or(&self.group.source, |d| &d.source) {
            InstanceSource::LaunchTemplate(t) => Some(t.id.as_str()),
            InstanceSource::LaunchConfiguration(_) => None,
        };
        GroupView {
            group: &self.group,
            members: self.members.iter().map(|m| m.view(&self.group)).collect(),
            zones: self
                .zones
                .iter()
                .map(|(name, subnets)| ZoneView {
                    name,
                    subnets: subnets.iter().map(String::as_str).collect(),
                })
                .collect(),
            source: SourceView { template_id, configurations: &self.configurations },
            mix: self.mix.as_ref(),
            refresh: None,
            now,
            census: Default::default(),
        }
    }
}

impl Observed {
    /// The view that deciders take.
    pub fn view(&self, group: &Group) -> MemberView<'_> {
        let mut traffic = Traffic { held: !self.targets.is_empty(), ..Traffic::default() };
        for arn in group.target_groups.iter().filter(|arn| group.traffic_in_service.contains(*arn)) {
            // Who was left out of the target group, or taken out by hand, proves nothing there.
            let (mut healthy, mut registered) = (false, false);
            for target in self.targets.iter().filter(|t| t.target_group == *arn) {
                traffic.unhealthy |= target.state == TargetState::Unhealthy;
                healthy |= target.state == TargetState::Healthy;
                registered = true;
            }
            traffic.unproven |= registered && !healthy;
        }
        MemberView { member: &self.member, instance: self.instance.as_deref(), traffic }
    }
}

fn zones(r: &Reader<'_>, group: &Group) -> Vec<(String, Vec<String>)> {
    let mut zones: Vec<(String, Vec<String>)> = group.zones.iter().map(|z| (z.clone(), Vec::new())).collect();
    zones.sort();
    if group.subnets.is_empty() {
        // Zones alone mean their default subnets.
        let vpc = r.get::<Account>(Account::KEY).and_then(|a| a.default_vpc_id.clone());
        for (zone, subnets) in &mut zones {
            let default = r.list_by::<Subnet>("default_zone", zone);
            subnets.extend(default.iter().filter(|s| Some(&s.vpc_id) == vpc.as_ref()).map(|s| s.id.clone()));
        }
        return zones;
    }
    for id in &group.subnets {
        let Some(subnet) = r.get::<Subnet>(id) else { continue };
        if let Some((_, subnets)) = zones.iter_mut().find(|(zone, _)| *zone == subnet.zone) {
            subnets.push(id.clone());
        }
    }
    zones
}

fn configurations(r: &Reader<'_>, members: &[Observed]) -> Vec<(String, Timestamp)> {
    let mut names: Vec<&str> =
        members.iter().filter_map(|m| m.member.launch_configuration.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| r.get::<LaunchConfiguration>(name).map(|c| (name.to_owned(), c.created_at)))
        .collect()
}
