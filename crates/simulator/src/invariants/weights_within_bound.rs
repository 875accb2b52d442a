//! With weights, a group launches until what is wanted is reached: less than the largest weight above it, and never more than its
//! maximum and that. Each member weighs what its type weighs in the group.

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct WeightsWithinBound;

impl Invariant for WeightsWithinBound {
    fn name(&self) -> &'static str {
        "weights_within_bound"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        let wanted = deltas.launched().filter(|(m, _)| !m.surplus && !m.spare);
        for (member, _) in wanted {
            let Some(group) = now.view.groups.get(&member.group) else { continue };
            let weight = now.view.weight_max(&group.name);
            if weight == 1 {
                continue;
            }
            let counted = now.view.n_counted(&group.name);
            holds!(
                counted < group.max + weight,
                "a launch of {} units makes {} of {} count; the maximum is {} and the largest weight {weight}",
                member.weight,
                counted,
                group.name,
                group.max
            );
            let refreshing = now.view.refresh_of(&group.name).and_then(|r| r.desired.as_ref());
            let mixed = refreshing.and_then(|d| d.mixed.as_ref()).or(group.mixed.as_ref());
            let named = mixed.and_then(|m| {
                m.overrides.iter().find(|o| o.instance_type.as_ref() == Some(&member.instance_type))
            });
            if let Some(weight) = named.map(|o| o.weight.unwrap_or(1)).filter(|_| refreshing.is_none()) {
                holds!(
                    member.weight == weight,
                    "{} ({}) counts for {} in {}, and its type for {weight}",
                    member.instance_id,
                    member.instance_type,
                    member.weight,
                    group.name
                );
            }
        }
        Ok(())
    }
}
