//! Which alarm is due when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use puffer_core::Timestamp;
use puffer_core::alarm::Alarm;
use puffer_metrics::Metrics;

use super::watched::Watched;

/// Evaluations of alarms with periods of a minute and more are spread over so many seconds after the minute; those
/// of 10 to 30 s over the second number. By name, so that each alarm keeps its rhythm.
const SPREAD_MINUTE_S: u64 = 10;
const SPREAD_TEN_S: u64 = 2;

/// All alarms and their turns.
#[derive(Default)]
pub(super) struct Queue {
    watched: HashMap<Arc<str>, Watched>,
    /// `(due second, turn number, name)`; entries whose turn is not the alarm's current one are dead.
    turns: BinaryHeap<Reverse<(i64, u64, Arc<str>)>>,
    next_turn: u64,
    set_by_hand: Vec<Arc<str>>,
    /// When turns were last taken.
    taken_at_s: i64,
    pub(super) prune_at_s: i64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Watched> {
        self.watched.get_mut(name)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.watched.remove(name);
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.watched.retain(|name, _| keep(name));
    }

    /// Takes over an alarm that was made or changed. One that is new here and has left its first state was set by hand
    /// before its first turn.
    pub(super) fn put_changed(&mut self, alarm: Arc<Alarm>, metrics: &Metrics, now: Timestamp) {
        let is_set = alarm.has_transitioned && !self.watched.contains_key(alarm.name.as_str());
        let name = is_set.then(|| Arc::from(alarm.name.as_str()));
        self.put(alarm, metrics, now);
        self.set_by_hand.extend(name);
    }

    /// Takes over an alarm as it is in the store. New settings are evaluated at once; a mere change of state is not.
    pub(super) fn put(&mut self, alarm: Arc<Alarm>, metrics: &Metrics, now: Timestamp) {
        if let Some(watched) = self.watched.get_mut(alarm.name.as_str())
            && watched.has_settings_of(&alarm)
        {
            let set_by_hand = alarm.state_updated_at > watched.alarm.state_updated_at;
            watched.alarm = alarm;
            if set_by_hand && watched.is_new_state() {
                self.set_by_hand.push(Arc::from(watched.alarm.name.as_str()));
            }
            return;
        }
        let name: Arc<str> = alarm.name.as_str().into();
        let fired = self.watched.get_mut(&name).and_then(|w| w.fired.take());
        let mut watched = Watched::new(alarm, metrics);
        watched.fired = fired;
        watched.turn = self.next_turn;
        self.turns.push(Reverse((now.as_secs(), self.next_turn, Arc::clone(&name))));
        self.next_turn += 1;
        self.watched.insert(name, watched);
    }

    /// The alarms whose turn has come; each gets its next turn.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<Arc<str>> {
        let now_s = now.as_secs();
        if now_s < self.taken_at_s {
            self.bring_forward(now_s);
        }
        self.taken_at_s = now_s;
        let mut due = Vec::new();
        while let Some(Reverse((at_s, turn, _))) = self.turns.peek() {
            if *at_s > now_s {
                break;
            }
            let turn = *turn;
            let Some(Reverse((_, _, name))) = self.turns.pop() else { break };
            let Some(watched) = self.watched.get_mut(&name).filter(|w| w.turn == turn) else { continue };
            let interval_s = i64::from(watched.alarm.evaluation_interval_s());
            let next_s = next_turn_s(&name, interval_s, now_s);
            self.turns.push(Reverse((next_s, turn, Arc::clone(&name))));
            due.push(name);
        }
        due
    }

    /// The clock was set back: turns counted by the old time would be missed until it is reached again.
    fn bring_forward(&mut self, now_s: i64) {
        let turns = self.watched.iter().map(|(name, w)| Reverse((now_s, w.turn, Arc::clone(name))));
        self.turns = turns.collect();
        self.prune_at_s = now_s;
    }

    pub(super) fn take_set_by_hand(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.set_by_hand)
    }
}

/// The first second after `now_s` that is the alarm's place in the interval.
fn next_turn_s(name: &str, interval_s: i64, now_s: i64) -> i64 {
    let spread = match interval_s {
        60.. => SPREAD_MINUTE_S,
        10.. => SPREAD_TEN_S,
        _ => 1,
    };
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let place = i64::try_from(hasher.finish() % spread).unwrap_or(0);
    (now_s - place).div_euclid(interval_s) * interval_s + interval_s + place
}

#[cfg(test)]
mod tests {
    use super::next_turn_s;

    #[test]
    fn turns_keep_their_place() {
        for name in ["a", "b", "web-high", "web-low"] {
            let mut at = next_turn_s(name, 60, 1_000_000);
            assert!(at > 1_000_000 && at <= 1_000_060);
            assert!(at.rem_euclid(60) < 10);
            for _ in 0..3 {
                let next = next_turn_s(name, 60, at);
                assert_eq!(next, at + 60);
                at = next;
            }
            assert_eq!(next_turn_s(name, 1, 7), 8);
        }
    }
}
