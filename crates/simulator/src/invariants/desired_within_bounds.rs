//! The wanted capacity lies within the bounds, whoever set it.

use puffer_core::autoscaling::GroupStatus;

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct DesiredWithinBounds;

impl Invariant for DesiredWithinBounds {
    fn name(&self) -> &'static str {
        "desired_within_bounds"
    }

    fn transaction(&mut self, deltas: &Deltas, _: &Now<'_>) -> Found {
        for group in deltas.groups.iter().filter_map(|d| d.after.as_ref()) {
            holds!(
                group.status == GroupStatus::Deleting || (group.min..=group.max).contains(&group.desired),
                "{} wants {}, outside {}–{}",
                group.name,
                group.desired,
                group.min,
                group.max
            );
        }
        Ok(())
    }
}
