use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Why an instance is to be looked at later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Errand {
    /// Something failed and is tried again.
    Step,
    /// Its status checks are to be made.
    Status,
}

/// Which instances have a task, which had failures, and which are due when.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Instances with a task; true: look again when it ends.
    busy: HashMap<Arc<str>, bool>,
    failures: HashMap<Arc<str>, Failures>,
    due: BTreeSet<(Instant, Errand, Arc<str>)>,
    due_of: HashMap<(Errand, Arc<str>), Instant>,
}

#[derive(Debug)]
struct Failures {
    n: u32,
    not_before: Instant,
}

/// First wait after a failure; doubles with each.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

impl Agenda {
    /// Takes the instance for a task. False if it has one (then it is looked at again afterwards) or is backing off.
    pub(super) fn claim(&mut self, key: &Arc<str>, now: Instant) -> bool {
        if let Some(again) = self.busy.get_mut(key) {
            *again = true;
            return false;
        }
        if let Some(failures) = self.failures.get(key)
            && failures.not_before > now
        {
            let at = failures.not_before;
            self.set_due(Errand::Step, key, at);
            return false;
        }
        self.busy.insert(Arc::clone(key), false);
        true
    }

    /// The task ended. True if something changed meanwhile.
    pub(super) fn release(&mut self, key: &Arc<str>) -> bool {
        self.busy.remove(key).unwrap_or(false)
    }

    pub(super) fn is_busy(&self, key: &str) -> bool {
        self.busy.contains_key(key)
    }

    pub(super) fn n_busy(&self) -> usize {
        self.busy.len()
    }

    /// Notes a failure and when to try again; says how many there were in a row.
    pub(super) fn fail(&mut self, key: &Arc<str>, now: Instant) -> u32 {
        let failures = self.failures.entry(Arc::clone(key)).or_insert(Failures { n: 0, not_before: now });
        failures.n += 1;
        let wait = BACKOFF_FIRST.saturating_mul(1 << (failures.n - 1).min(10)).min(BACKOFF_MAX);
        failures.not_before = now + wait;
        let (n, at) = (failures.n, failures.not_before);
        self.set_due(Errand::Step, key, at);
        n
    }

    /// It went well: the next failure is the first again.
    pub(super) fn succeed(&mut self, key: &str) {
        self.failures.remove(key);
    }

    /// Has the instance looked at later; an earlier time already set stays.
    pub(super) fn set_due(&mut self, errand: Errand, key: &Arc<str>, at: Instant) {
        let slot = (errand, Arc::clone(key));
        if let Some(set) = self.due_of.get(&slot).copied() {
            if set <= at {
                return;
            }
            self.due.remove(&(set, errand, Arc::clone(key)));
        }
        self.due_of.insert(slot, at);
        self.due.insert((at, errand, Arc::clone(key)));
    }

    /// Takes what is due for an errand.
    pub(super) fn take_due(&mut self, errand: Errand, now: Instant) -> Vec<Arc<str>> {
        let due: Vec<_> = self
            .due
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .filter(|(_, e, _)| *e == errand)
            .cloned()
            .collect();
        let take = |entry: (Instant, Errand, Arc<str>)| {
            self.due.remove(&entry);
            let (_, _, key) = entry;
            self.due_of.remove(&(errand, Arc::clone(&key)));
            key
        };
        due.into_iter().map(take).collect()
    }

    /// When something is next due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, ..)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_task_each_and_backing_off() {
        let mut agenda = Agenda::default();
        let (key, now) = (Arc::<str>::from("i-1"), Instant::now());
        assert!(agenda.claim(&key, now));
        assert!(!agenda.claim(&key, now));
        assert!(agenda.release(&key), "the second claim asks for another look");
        assert!(agenda.claim(&key, now));
        assert_eq!(agenda.fail(&key, now), 1);
        assert!(!agenda.release(&key));
        assert!(!agenda.claim(&key, now), "backing off");
        let later = now + BACKOFF_FIRST;
        assert_eq!(agenda.next_due(), Some(later));
        assert_eq!(agenda.take_due(Errand::Status, later), Vec::<Arc<str>>::new());
        assert_eq!(agenda.take_due(Errand::Step, later), std::slice::from_ref(&key));
        assert_eq!(agenda.next_due(), None);
        assert!(agenda.claim(&key, later));
        for n in 2..20 {
            assert_eq!(agenda.fail(&key, later), n);
        }
        assert!(!agenda.claim(&key, later));
        agenda.release(&key);
        assert!(agenda.claim(&key, later + BACKOFF_MAX), "the wait is bounded");
        agenda.succeed(&key);
        assert_eq!(agenda.fail(&key, later), 1);
    }
}
