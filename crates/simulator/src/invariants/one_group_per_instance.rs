//! A member's instance belongs to the member's group and to no other; and an instance that says it is of a group is a
//! member, or on its way out.

use puffer_core::ec2::InstanceIntent;

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct OneGroupPerInstance;

impl Invariant for OneGroupPerInstance {
    fn name(&self) -> &'static str {
        "one_group_per_instance"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        for member in deltas.members.iter().filter_map(|d| d.after.as_ref()) {
            let Some(instance) = now.view.instances.get(&member.instance_id) else { continue };
            // What waits in a warm pool is none of the group's in its metrics.
            let of_group = instance.auto_scaling_group.as_ref();
            holds!(
                of_group == Some(&member.group) || (of_group.is_none() && member.state.is_of_pool()),
                "{} is a member of {} and says it is of {:?}",
                member.instance_id,
                member.group,
                instance.auto_scaling_group
            );
            holds!(now.view.groups.contains_key(&member.group), "{} is a member of no group", instance.id);
        }
        let touched = deltas.members.iter().map(|d| &d.key).chain(deltas.instances.iter().map(|d| &d.key));
        for id in touched {
            let Some(instance) = now.view.instances.get(id) else { continue };
            let Some(group) = &instance.auto_scaling_group else { continue };
            holds!(
                instance.intent == InstanceIntent::Terminate || now.view.members.contains_key(id),
                "{id} says it is of {group}, lives, and is no member"
            );
        }
        Ok(())
    }
}
