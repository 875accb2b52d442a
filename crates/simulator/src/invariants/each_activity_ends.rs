//! Each activity ends: while it is open, some member carries it and will end it; at rest, none is open.

use std::collections::BTreeSet;

use super::{Found, Invariant, Now, holds};
use crate::view::Deltas;

pub(crate) struct EachActivityEnds;

impl Invariant for EachActivityEnds {
    fn name(&self) -> &'static str {
        "each_activity_ends"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        if deltas.activities.is_empty() && deltas.members.is_empty() {
            return Ok(());
        }
        let carried: BTreeSet<&str> =
            now.view.members.values().filter_map(|m| m.activity_id.as_deref()).collect();
        for open in now.view.open.values() {
            holds!(
                carried.contains(open.id.as_str()),
                "nobody will end the activity \u{201c}{}\u{201d} of {} ({})",
                open.description,
                open.group,
                open.status.name()
            );
        }
        Ok(())
    }

    fn at_rest(&mut self, now: &Now<'_>) -> Found {
        let open = now.view.open.values().next();
        holds!(open.is_none(), "still open: {:?}", open.map(|a| &a.description));
        Ok(())
    }
}
