//! What happened, as a hash that two runs of a seed must share, and as lines if somebody wants to read them.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use puffer_core::autoscaling::{Activity, Group, Member};
use puffer_core::ec2::Instance;
use puffer_core::elb::Target;
use puffer_store::Change;

/// Lines kept at most; beyond, the oldest go.
const LINES_MAX: usize = 200_000;

/// The trace of a world.
pub(crate) struct Trace {
    hasher: DefaultHasher,
    /// Events so far.
    pub(crate) n_events: u64,
    lines: Option<std::collections::VecDeque<String>>,
}

impl Trace {
    pub(crate) fn new(keeps_lines: bool) -> Trace {
        Trace { hasher: DefaultHasher::new(), n_events: 0, lines: keeps_lines.then(Default::default) }
    }

    /// Notes an event.
    pub(crate) fn note(&mut self, at_ms: i64, event: fmt::Arguments<'_>) {
        self.n_events += 1;
        at_ms.hash(&mut self.hasher);
        let text = event.to_string();
        text.hash(&mut self.hasher);
        self.line(at_ms, text);
    }

    /// Notes a committed transaction.
    pub(crate) fn transaction(&mut self, at_ms: i64, changes: &[Change<'_>]) {
        self.n_events += 1;
        at_ms.hash(&mut self.hasher);
        for change in changes {
            (change.collection(), change.key(), change.encoded()).hash(&mut self.hasher);
        }
        if self.lines.is_some() {
            for change in changes {
                self.line(at_ms, format!("  wrote {}", summary(change)));
            }
        }
    }

    fn line(&mut self, at_ms: i64, text: String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        let seconds = at_ms.rem_euclid(86_400_000);
        lines.push_back(format!("{:>6}.{:03} {text}", seconds / 1000, seconds % 1000));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.map(Vec::from).unwrap_or_default()
    }
}

/// A written record in a few words.
fn summary(change: &Change<'_>) -> String {
    let (collection, key) = (change.collection(), change.key());
    if let Some(g) = change.after::<Group>() {
        return format!(
            "group {key}: {}≤{}≤{} {:?} back-off {:?} {:?}",
            g.min, g.desired, g.max, g.status, g.launch_backoff, g.zone_backoff
        );
    }
    if let Some(m) = change.after::<Member>() {
        return format!("member {key}: {:?} {:?} {:?} of {}", m.state, m.health, m.unhealthy_cause, m.group);
    }
    if let Some(i) = change.after::<Instance>() {
        let reason = i.state_reason.as_ref().map_or("", |r| r.code.as_str());
        return format!("instance {key}: {:?}, shall {:?} {reason}", i.state, i.intent);
    }
    if let Some(a) = change.after::<Activity>() {
        return format!("activity {key}: {:?} {} | {}", a.status, a.description, a.cause_text());
    }
    if let Some(t) = change.after::<Target>() {
        return format!("target {}: {:?} draining since {:?}", t.id, t.state, t.draining_since);
    }
    match change.encoded() {
        Some(bytes) if collection.starts_with("autoscaling") => {
            format!("{collection}/{key}: {}", String::from_utf8_lossy(&bytes))
        }
        Some(_) => format!("{collection}/{key}"),
        None => format!("removed {collection}/{key}"),
    }
}
