//! A running instance that its group ends, or gives another root volume, has left its target groups first: none of its registrations still takes requests.

use puffer_core::autoscaling::{GroupStatus, Member};
use puffer_core::ec2::InstanceState;

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct DrainedBeforeEnded;

impl Invariant for DrainedBeforeEnded {
    fn name(&self) -> &'static str {
        "drained_before_ended"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for delta in &deltas.instances {
            let (Some(before), Some(after)) = (&delta.before, &delta.after) else { continue };
            let ends = after.state == InstanceState::ShuttingDown;
            let reboots = before.root_replacement.is_none() && after.root_replacement.is_some();
            if before.state != InstanceState::Running || !(ends || reboots) {
                continue;
            }
            // A user who ends an instance by EC2 does so without its group, even if the group was about to; a group tells its
            // activity in the same transaction.
            if ends && deltas.activities.is_empty() {
                continue;
            }
            let goes = |m: &&std::sync::Arc<Member>| m.is_terminating() || m.state.is_replacing_root();
            let Some(member) = now.view.members.get(&delta.key).filter(goes) else {
                continue;
            };
            let Some(group) = now.view.groups.get(&member.group) else { continue };
            if group.status != GroupStatus::Active {
                continue;
            }
            let taking = now
                .view
                .targets_of(&delta.key)
                .find(|t| t.draining_since.is_none() && group.target_groups.contains(&t.target_group));
            holds!(
                taking.is_none(),
                "{} is ended or rebooted and still registered with {:?}",
                delta.key,
                taking.map(|t| &t.target_group)
            );
        }
        Ok(())
    }
}
