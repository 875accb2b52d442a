//! What a user was told is done is on disk.

use puffer_core::Record;
use puffer_core::autoscaling::{Group, ScalingPolicy};

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
        let is_safe = match *action {
            "CreateAutoScalingGroup" => now.disk.row(Group::COLLECTION, name).is_some(),
            "PutScalingPolicy" => {
                let policy = param(params, "PolicyName").unwrap_or_default();
                now.disk.row(ScalingPolicy::COLLECTION, &format!("{name}/{policy}")).is_some()
            }
            _ => true,
        };
        // Who deletes what another has just made does so in a later transaction.
        let is_there = now.view.groups.contains_key(name) || *action == "CreateAutoScalingGroup";
        holds!(is_safe || !is_there, "{action} of {name} was answered and is not on disk");
        Ok(())
    }
}
