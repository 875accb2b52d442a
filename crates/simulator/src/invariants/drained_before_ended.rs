//! A running instance that its group ends has left its target groups first: none of its registrations still takes requests.

use puffer_core::autoscaling::GroupStatus;
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
            if before.state != InstanceState::Running || after.state != InstanceState::ShuttingDown {
                continue;
            }
            // A user who ends an instance by EC2 does so without its group, even if the group was about to; a group tells its
            // activity in the same transaction.
            if deltas.activities.is_empty() {
                continue;
            }
            let Some(member) = now.view.members.get(&delta.key).filter(|m| m.is_terminating()) else {
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
                "{} is ended and still registered with {:?}",
                delta.key,
                taking.map(|t| &t.target_group)
            );
        }
        Ok(())
    }
}
