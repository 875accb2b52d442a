//! Members and the group's target groups: registration on the way into service, draining on the way out, and which
//! attachments are in service themselves.

use puffer_core::autoscaling::{GroupStatus, LifecycleState, Member, process};
use puffer_core::elb::{Target, TargetGroup, TargetState};

use super::{Observation, Observed, Step};
use crate::targets::{self, TargetDescription};

impl Step<'_, '_> {
    /// Follows attachments and detachments of target groups.
    pub(super) fn sync_traffic(&mut self, seen: &Observation) {
        for arn in &seen.group.target_groups {
            let healthy = |m: &Observed| {
                m.targets.iter().any(|t| t.target_group == *arn && t.state == TargetState::Healthy)
            };
            if !self.group.traffic_in_service.contains(arn) && seen.members.iter().any(healthy) {
                self.group.traffic_in_service.insert(arn.clone());
            }
        }
        for arn in &seen.group.traffic_removing {
            let mut left = false;
            for observed in &seen.members {
                let mut held = observed.targets.iter().filter(|t| t.target_group == *arn).peekable();
                left |= held.peek().is_some();
                if held.any(|t| t.draining_since.is_none()) {
                    self.deregister_from(&observed.member.instance_id, arn);
                }
                if observed.member.traffic_sources.contains(arn) {
                    self.tx.update::<Member>(&observed.member.instance_id, |m| {
                        m.traffic_sources.retain(|a| a != arn);
                    });
                }
            }
            if !left {
                self.group.traffic_removing.remove(arn);
            }
        }
        if self.group.status == GroupStatus::Active {
            let serving = seen.members.iter().filter(|m| m.member.state == LifecycleState::InService);
            for observed in serving {
                self.register(&observed.member);
            }
        }
    }

    /// Registers a member with the attached target groups that it has not been dealt with for. One that has been deleted may come
    /// back under the same ARN (a classic load balancer's name is all that it is known by), so it is not dealt with meanwhile.
    pub(super) fn register(&mut self, member: &Member) {
        let new: Vec<String> = self
            .group
            .target_groups
            .iter()
            .filter(|arn| !member.traffic_sources.contains(arn) && self.tx.get::<TargetGroup>(arn).is_some())
            .cloned()
            .collect();
        if new.is_empty() {
            return;
        }
        if !self.group.is_suspended(process::ADD_TO_LOAD_BALANCER) {
            let target = [TargetDescription::of(&member.instance_id)];
            for arn in &new {
                if let Err(error) = targets::register(self.tx, arn, &target, self.now) {
                    tracing::warn!(
                        group = self.group.name, instance = member.instance_id, %error,
                        "the instance could not be registered with a target group"
                    );
                }
            }
        }
        self.tx.update::<Member>(&member.instance_id, |m| {
            m.traffic_sources.retain(|arn| self.group.target_groups.contains(arn));
            m.traffic_sources.extend(new);
        });
    }

    /// Has a member on its way out drain everywhere. Says whether anything drains still.
    pub(super) fn drain(&mut self, observed: &Observed) -> bool {
        let id = &observed.member.instance_id;
        // As they are now: this very step may have registered it.
        let mut held = self.tx.list_by::<Target>("id", id);
        held.retain(|t| {
            self.group.target_groups.contains(&t.target_group)
                || observed.targets.iter().any(|o| o.target_group == t.target_group)
        });
        let mut arns: Vec<&str> =
            held.iter().filter(|t| t.draining_since.is_none()).map(|t| t.target_group.as_str()).collect();
        arns.dedup();
        for arn in arns {
            self.deregister_from(id, arn);
        }
        held.iter().any(|t| self.tx.get::<Target>(&Target::key_of(&t.target_group, &t.id, t.port)).is_some())
    }

    fn deregister_from(&mut self, id: &str, arn: &str) {
        if self.tx.get::<TargetGroup>(arn).is_none() {
            return;
        }
        if let Err(error) = targets::deregister(self.tx, arn, &[TargetDescription::of(id)], self.now) {
            tracing::debug!(instance = id, target_group = arn, %error, "nothing to deregister");
        }
    }
}
