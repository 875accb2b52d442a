//! A member protected from scale-in is not chosen when the group shrinks. It may still be replaced, or ended by a user.

use super::{Found, Invariant, Now, holds};
use crate::view::{Delta, Deltas};
use puffer_core::autoscaling::{Activity, Member, texts};

pub(crate) struct ProtectedNeverScaledIn;

/// The activity that a transaction began for a member put on its way out.
pub(super) fn ending<'d>(deltas: &'d Deltas, delta: &Delta<Member>) -> Option<&'d Activity> {
    let (before, after) = (delta.before.as_ref()?, delta.after.as_ref()?);
    if before.is_terminating() || !after.is_terminating() {
        return None;
    }
    let id = after.activity_id.as_deref()?;
    deltas.activities.iter().find(|a| a.key == id)?.after.as_deref()
}

/// Whether the activity ends the instance because the group shrinks.
pub(super) fn is_scale_in(activity: &Activity, id: &str) -> bool {
    let selected = texts::selected(id);
    activity.cause.iter().any(|c| c.text == selected)
}

impl Invariant for ProtectedNeverScaledIn {
    fn name(&self) -> &'static str {
        "protected_never_scaled_in"
    }

    fn transaction(&mut self, deltas: &Deltas, _: &Now<'_>) -> Found {
        for delta in &deltas.members {
            let Some(activity) = ending(deltas, delta) else { continue };
            let protected = delta.before.as_ref().is_some_and(|m| m.protected);
            holds!(
                !(protected && is_scale_in(activity, &delta.key)),
                "{} is protected and goes because {}",
                delta.key,
                activity.cause_text()
            );
        }
        Ok(())
    }
}
