use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use puffer_core::Timestamp;

/// Which groups are to be looked at when, though nothing of theirs changes.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: BTreeSet<(Timestamp, Arc<str>)>,
    due_of: HashMap<Arc<str>, Timestamp>,
    synced_at: Option<Timestamp>,
}

impl Agenda {
    /// Sets when the group is due next; an earlier entry is replaced.
    pub(crate) fn set_due(&mut self, name: &Arc<str>, at: Timestamp) {
        self.clear(name);
        self.due.insert((at, Arc::clone(name)));
        self.due_of.insert(Arc::clone(name), at);
    }

    pub(crate) fn clear(&mut self, name: &Arc<str>) {
        if let Some(at) = self.due_of.remove(name) {
            self.due.remove(&(at, Arc::clone(name)));
        }
    }

    /// Takes the groups that are due.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> BTreeSet<Arc<str>> {
        let mut names = BTreeSet::new();
        while let Some((at, _)) = self.due.first()
            && *at <= now
            && let Some((_, name)) = self.due.pop_first()
        {
            self.due_of.remove(&name);
            names.insert(name);
        }
        names
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether every group is to be looked at, at the latest each `period_s`; then counts from now.
    pub(crate) fn resync_due(&mut self, now: Timestamp, period_s: i64) -> bool {
        let due = self.synced_at.is_none_or(|at| now.as_millis() - at.as_millis() >= period_s * 1000);
        if due {
            self.synced_at = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_move_and_come_once() {
        let (mut agenda, at) = (Agenda::default(), Timestamp::from_secs);
        let name = |n: &str| Arc::<str>::from(n);
        agenda.set_due(&name("a"), at(5));
        agenda.set_due(&name("b"), at(3));
        agenda.set_due(&name("a"), at(4));
        assert_eq!(agenda.next_due(), Some(at(3)));
        agenda.clear(&name("b"));
        assert!(agenda.take_due(at(3)).is_empty());
        assert_eq!(agenda.take_due(at(9)), BTreeSet::from([name("a")]));
        assert_eq!((agenda.next_due(), agenda.take_due(at(9)).len()), (None, 0));
        assert!(agenda.resync_due(at(0), 300));
        assert!(!agenda.resync_due(at(299), 300));
        assert!(agenda.resync_due(at(300), 300));
    }
}
