//! The end of each launch and each termination is told exactly once, in the transaction in which it ends: by one event, and by one
//! message to the topic if the group tells it of such ends. Nothing else is told.

use std::collections::BTreeMap;

use puffer_core::autoscaling::notice::Notice;
use serde_json::Value;

use super::{Found, Invariant, Now, holds};
use crate::setup::TOPIC_ARN;
use crate::view::Deltas;

pub(crate) struct AnnouncedExactlyOnce;

/// How often activities are told of, by activity and kind.
type Told = BTreeMap<(String, String), u32>;

/// What a message to a topic tells of: an activity and its end.
fn message_of(body: &str) -> Option<(String, String)> {
    let body: Value = serde_json::from_str(body).ok()?;
    Some((body["ActivityId"].as_str()?.to_owned(), body["Event"].as_str()?.to_owned()))
}

impl Invariant for AnnouncedExactlyOnce {
    fn name(&self) -> &'static str {
        "announced_exactly_once"
    }

    fn transaction(&mut self, deltas: &Deltas, now: &Now<'_>) -> Found {
        let (mut events, mut messages) = (Told::new(), Told::new());
        for event in &deltas.events {
            if let Some(id) = event.detail["ActivityId"].as_str() {
                *events.entry((id.to_owned(), event.detail_type.clone())).or_default() += 1;
            }
        }
        for told in deltas.messages.iter().filter_map(|m| message_of(&m.body)) {
            *messages.entry(told).or_default() += 1;
        }
        for delta in &deltas.activities {
            let Some(after) = &delta.after else { continue };
            let had_ended = delta.before.as_ref().is_some_and(|a| a.status.is_final());
            let Some(notice) = Notice::of(after).filter(|_| !had_ended) else { continue };
            // Whoever deletes a group tells of its instances before.
            let Some(group) = deltas.group_before(now.view, &after.group) else { continue };
            let of_event = (after.id.clone(), notice.detail_type().to_owned());
            let n = events.remove(&of_event).unwrap_or(0);
            holds!(n == 1, "the end of \u{201c}{}\u{201d} is told by {n} events", after.description);
            let wanted = notice.notification_type();
            let tells = group.notifications.get(TOPIC_ARN).is_some_and(|types| types.contains(wanted));
            let n = messages.remove(&(after.id.clone(), wanted.to_owned())).unwrap_or(0);
            holds!(
                n == u32::from(tells),
                "the end of \u{201c}{}\u{201d} is told by {n} messages ({wanted} is asked for: {tells})",
                after.description
            );
        }
        let more = events.keys().chain(messages.keys()).next();
        holds!(more.is_none(), "{more:?} is told of and has not ended now");
        Ok(())
    }
}
