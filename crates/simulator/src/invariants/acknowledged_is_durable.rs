//! What a user was told is done is on disk.

use puffer_core::Record;
use puffer_core::autoscaling::Group;

use super::{Act, Found, Invariant, Now, holds};

pub(crate) struct AcknowledgedIsDurable;

fn param<'p>(params: &'p [(&str, &str)], name: &str) -> Option<&'p str> {
    params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

impl Invariant for AcknowledgedIsDurable {
    fn name(&self) -> &'static str {
        "acknowledged_is_durable"
    }

    fn act(&mut self, act: &Act<'_>, now: &Now<'_>) -> Found {
        let Act::Answered { action, params } = act else { return Ok(()) };
        let Some(name) = param(params, "AutoScalingGroupName") else { return Ok(()) };
        match *action {
            "CreateAutoScalingGroup" => {
                holds!(
                    now.disk.row(Group::COLLECTION, name).is_some(),
                    "{name} was made by its answer and is not on disk"
                );
            }
            "SetDesiredCapacity" => {
                let asked = param(params, "DesiredCapacity").and_then(|d| d.parse().ok());
                let Some(group) = now.view.groups.get(name) else { return Ok(()) };
                // Policies and other users may have changed it since; only a user's own last word can be compared.
                let last = group.desired_cause.last().is_some_and(|c| c.text.contains("explicitly set"));
                holds!(
                    !last || Some(group.desired) == asked,
                    "{name} was told to want {asked:?} and wants {} on disk",
                    group.desired
                );
            }
            _ => {}
        }
        Ok(())
    }
}
