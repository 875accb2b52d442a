//! No check calls a member unhealthy within its grace period.

use std::time::Duration;

use puffer_core::autoscaling::{HealthStatus, UnhealthyCause};

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

/// A commit may be this long after the decision; while the clock was set in between, times do not compare.
const COMMIT_MAX: Duration = Duration::from_secs(5);

pub(crate) struct GraceIsKept;

impl Invariant for GraceIsKept {
    fn name(&self) -> &'static str {
        "grace_is_kept"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        if now.steady_for < COMMIT_MAX {
            return Ok(());
        }
        for delta in &deltas.members {
            let (Some(before), Some(after)) = (&delta.before, &delta.after) else { continue };
            let newly = before.health == HealthStatus::Healthy && after.health == HealthStatus::Unhealthy;
            let by_check =
                matches!(after.unhealthy_cause, Some(UnhealthyCause::Elb | UnhealthyCause::Ec2StatusCheck));
            if !(newly && by_check) {
                continue;
            }
            let Some(group) = now.view.groups.get(&after.group) else { continue };
            let ends = before.state_since + Duration::from_secs(group.health_check_grace_s.into());
            holds!(
                ends <= now.wall,
                "{} is called unhealthy ({:?}) at {} within its grace period until {ends}",
                delta.key,
                after.unhealthy_cause,
                now.wall
            );
        }
        Ok(())
    }
}
