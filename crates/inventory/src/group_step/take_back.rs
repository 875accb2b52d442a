//! Members that drain come back into service.

use puffer_core::autoscaling::cancel_drain::TAG_CANCEL_DRAIN;
use puffer_core::autoscaling::hook::HookStand;
use puffer_core::autoscaling::plan::{Action, LaunchWhy};
use puffer_core::autoscaling::warm_pool::Way;
use puffer_core::autoscaling::{ActivityStatus, LifecycleState, Member, texts};

use super::activity::{self, Begin};
use super::{Observation, Step, causes, subnet_of};

impl Step<'_, '_> {
    /// Who drains when an instance refresh begins, or is chosen while one goes on, is as old as what it replaces: nobody of them
    /// comes back, not even when it is over. Says whether there was anybody.
    pub(super) fn let_go_of_draining(&mut self, seen: &Observation) -> bool {
        if self.refresh.is_none() {
            return false;
        }
        let draining = seen.members.iter().map(|m| &m.member).filter(|m| m.scaled_in);
        let ids: Vec<&String> = draining.map(|m| &m.instance_id).collect();
        for id in &ids {
            self.tx.update::<Member>(id, |m| m.scaled_in = false);
        }
        !ids.is_empty()
    }

    /// Takes the members that the plan chose back. Each goes the way of one that comes out of standby: registered anew, without
    /// the hooks of a launch, for it was launched long ago.
    pub(super) fn take_back(&mut self, actions: &[Action], seen: &Observation) {
        for action in actions {
            let Action::TakeBack { instance_id, why } = action else { continue };
            let Some(observed) = seen.members.iter().find(|m| m.member.instance_id == *instance_id) else {
                continue;
            };
            let member = &observed.member;
            if let Some(open) = &member.activity_id {
                let message = texts::DRAIN_CANCELLED.to_owned();
                activity::close_with(self.tx, open, ActivityStatus::Cancelled, message, self.now);
            }
            let (cause, mut reasons) = match why {
                LaunchWhy::Difference(from, to) => (
                    causes(&self.group, self.now, texts::taken_back(*from, *to)),
                    self.group.desired_reasons.clone(),
                ),
                _ => (vec![texts::sentence(self.now, texts::taken_back_to_replace())], Vec::new()),
            };
            reasons.push(format!(
                "{instance_id} has drained since {}, and the tag {TAG_CANCEL_DRAIN} lets it come back",
                member.state_since
            ));
            let begin = Begin {
                group: &self.group,
                instance_id: Some(instance_id),
                description: texts::taking_back(instance_id),
                cause,
                reasons,
                subnet: &subnet_of(observed.instance.as_ref()),
                zone: &member.zone,
                status: ActivityStatus::PreInService,
            };
            let activity = activity::begin(self.tx, begin, self.now, self.rng).id.clone();
            let now = self.now;
            self.tx.update::<Member>(instance_id, |m| {
                (m.state, m.state_since, m.hooks) = (LifecycleState::Pending, now, HookStand::Done);
                (m.scaled_in, m.surplus, m.spare) = (false, false, false);
                if m.way == Way::BackToPool {
                    m.way = Way::Direct;
                }
                m.activity_id = Some(activity);
                m.traffic_sources.clear();
            });
            self.report.moved += 1;
        }
    }
}
