//! How long a group waits after a failed launch.
//!
//! A zone without capacity backs off alone, so that the group can try another; where a group may launch several types On-Demand,
//! the type backs off in the zone alone, so that it can try the next one there. (What Spot capacity there is, the market says
//! beforehand.) Anything else that fails would fail in every zone and holds the whole group. Waits double from a first value to a ceiling; a success or a change of the group
//! ends them.

use std::time::Duration;

use super::Group;
use crate::ec2::InstanceLifecycle;
use crate::{ErrorClass, Timestamp};

/// A group none of whose launches has worked for so long is not tried any more until somebody resumes it (EC2 Auto Scaling
/// guide, "Suspend and resume processes", administrative suspension).
pub const SUSPENDED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// When a group that fails is to be suspended.
pub fn suspension_due(group: &Group) -> Option<Timestamp> {
    let since = group.launches_fail_since.filter(|_| !group.is_suspended(super::process::LAUNCH))?;
    Some(since + SUSPENDED_AFTER)
}

/// First wait after a passing fault or a lack of capacity. Short, since such faults often pass at once.
pub const PASSING_FIRST_S: u64 = 2;
/// Longest wait after passing faults: recovery is noticed within a minute.
pub const PASSING_MAX_S: u64 = 60;
/// First wait after a failure that needs somebody's hand (a missing image, say).
pub const PERMANENT_FIRST_S: u64 = 10;
/// Longest wait after such failures: one activity each quarter of an hour keeps the history readable.
pub const PERMANENT_MAX_S: u64 = 900;

/// The wait after `failures` failures in a row (at least one).
pub fn wait(class: ErrorClass, failures: u32) -> Duration {
    let (first, max) = match class {
        ErrorClass::Capacity | ErrorClass::Transient | ErrorClass::Throttled => {
            (PASSING_FIRST_S, PASSING_MAX_S)
        }
        ErrorClass::Permanent | ErrorClass::Caller | ErrorClass::Bug => (PERMANENT_FIRST_S, PERMANENT_MAX_S),
    };
    // Twenty doublings of any first value are beyond any ceiling here.
    Duration::from_secs((first << failures.saturating_sub(1).min(20)).min(max))
}

/// Where a launch was tried.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Zone.
    pub zone: &'a str,
    /// The type, if others can be tried in its place.
    pub type_of_several: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// Of an instance of the group of this type, bought like this.
    pub fn new(
        group: &Group,
        zone: &'a str,
        instance_type: &'a str,
        lifecycle: InstanceLifecycle,
    ) -> Place<'a> {
        let several = group.mixed.is_some() && lifecycle == InstanceLifecycle::OnDemand;
        Place { zone, type_of_several: several.then_some(instance_type) }
    }

    fn pool(self) -> Option<String> {
        self.type_of_several.map(|instance_type| pool_key(instance_type, self.zone))
    }
}

/// The key of a type in a zone.
pub fn pool_key(instance_type: &str, zone: &str) -> String {
    format!("{instance_type}|{zone}")
}

/// Notes a failed launch. Several failures of one burst count once: a burst that fails as a whole is one
/// attempt.
pub fn launch_failed(group: &mut Group, place: Place<'_>, class: ErrorClass, now: Timestamp) {
    group.launches_fail_since = group.launches_fail_since.or(Some(now));
    let next = |old: Option<&(u32, Timestamp)>| match old {
        Some((failures, until)) if now < *until => (*failures, *until),
        Some((failures, _)) => (failures + 1, now + wait(class, failures + 1)),
        None => (1, now + wait(class, 1)),
    };
    match (class, place.pool()) {
        (ErrorClass::Capacity, Some(pool)) => {
            let value = next(group.pool_backoff.get(&pool));
            group.pool_backoff.insert(pool, value);
        }
        (ErrorClass::Capacity, None) => {
            let value = next(group.zone_backoff.get(place.zone));
            group.zone_backoff.insert(place.zone.to_owned(), value);
        }
        _ => group.launch_backoff = Some(next(group.launch_backoff.as_ref())),
    }
}

/// An instance that ends by itself so soon after its launch counts as a failed launch.
pub const EARLY_END: Duration = Duration::from_secs(60);
/// Early ends that lie further apart have nothing to do with each other.
const EARLY_END_MEMORY: Duration = Duration::from_secs(600);

/// Notes that a member died by itself soon after it came into service. Each such launch succeeded, so what failed is remembered
/// apart: or a guest that cannot live would be launched again and again without a pause.
pub fn ended_early(group: &mut Group, now: Timestamp) {
    let ends = match group.early_ends {
        // As with failures, a burst counts once.
        Some((ends, at)) if now < at + wait(ErrorClass::Transient, ends) => ends,
        Some((ends, at)) if now.since(at) < EARLY_END_MEMORY => ends + 1,
        _ => 1,
    };
    group.early_ends = Some((ends, now));
    let until = now + wait(ErrorClass::Transient, ends);
    if group.launch_backoff.is_none_or(|(_, set)| set < until) {
        group.launch_backoff = Some((ends, until));
    }
}

/// Notes a launch that succeeded. Says whether there was anything to forget.
pub fn launch_succeeded(group: &mut Group, place: Place<'_>) -> bool {
    group.launches_fail_since = None;
    let pool_had = place.pool().is_some_and(|pool| group.pool_backoff.remove(&pool).is_some());
    let zone_had = group.zone_backoff.remove(place.zone).is_some();
    group.launch_backoff.take().is_some() || zone_had || pool_had
}

/// Whether a success there has anything to forget.
pub fn remembers(group: &Group, place: Place<'_>) -> bool {
    group.launches_fail_since.is_some()
        || group.launch_backoff.is_some()
        || group.zone_backoff.contains_key(place.zone)
        || place.pool().is_some_and(|pool| group.pool_backoff.contains_key(&pool))
}

/// Forgets what was lacking in a zone. Says whether there was anything to forget.
pub fn zone_works(group: &mut Group, zone: &str) -> bool {
    let n = group.pool_backoff.len();
    group.pool_backoff.retain(|pool, _| pool.split_once('|').is_none_or(|(_, of)| of != zone));
    group.zone_backoff.remove(zone).is_some() || group.pool_backoff.len() < n
}

/// Whether there is anything to forget.
pub fn remembers_any(group: &Group) -> bool {
    group.launches_fail_since.is_some()
        || group.launch_backoff.is_some()
        || group.early_ends.is_some()
        || !group.zone_backoff.is_empty()
        || !group.pool_backoff.is_empty()
}

/// Forgets all failures: the group or its template changed, so the next launch may well work.
pub fn forget(group: &mut Group) {
    group.launches_fail_since = None;
    group.launch_backoff = None;
    group.early_ends = None;
    group.zone_backoff.clear();
    group.pool_backoff.clear();
}

/// The class of a launch that failed with this `StateReason` code.
pub fn class_of(state_reason_code: &str) -> ErrorClass {
    match state_reason_code {
        "Server.InsufficientInstanceCapacity"
        | "Server.InsufficientFreeAddressesInSubnet"
        | "Client.InsufficientFreeAddressesInSubnet" => ErrorClass::Capacity,
        code if code.starts_with("Client.") => ErrorClass::Permanent,
        _ => ErrorClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscaling::view::fixtures::group;

    fn zone(zone: &str) -> Place<'_> {
        Place { zone, type_of_several: None }
    }

    #[test]
    fn a_type_backs_off_in_its_zone_alone() {
        let mut g = group(0, 5, 3);
        let place = Place { zone: "a", type_of_several: Some("m5.large") };
        launch_failed(&mut g, place, ErrorClass::Capacity, Timestamp::from_secs(100));
        assert_eq!(g.pool_backoff["m5.large|a"], (1, Timestamp::from_secs(102)));
        assert!(g.zone_backoff.is_empty() && remembers(&g, place) && remembers_any(&g));
        let mut other = g.clone();
        assert!(launch_succeeded(&mut g, place) && g.pool_backoff.is_empty());
        assert!(!zone_works(&mut other, "b"));
        assert!(zone_works(&mut other, "a") && other.pool_backoff.is_empty());
    }

    #[test]
    fn waits_double_to_their_ceiling() {
        let table = [
            (ErrorClass::Capacity, 1, 2),
            (ErrorClass::Capacity, 3, 8),
            (ErrorClass::Capacity, 6, 60),
            (ErrorClass::Transient, 40, 60),
            (ErrorClass::Permanent, 1, 10),
            (ErrorClass::Permanent, 5, 160),
            (ErrorClass::Permanent, 90, 900),
        ];
        for (class, failures, seconds) in table {
            assert_eq!(wait(class, failures), Duration::from_secs(seconds), "{class:?} {failures}");
        }
    }

    #[test]
    fn guests_that_die_soon_are_launched_ever_more_slowly() {
        let mut g = group(0, 5, 3);
        let mut now = Timestamp::from_secs(100);
        for seconds in [2, 4, 8, 16, 32, 60, 60] {
            ended_early(&mut g, now);
            assert_eq!(g.launch_backoff.unwrap().1, now + Duration::from_secs(seconds));
            now = g.launch_backoff.unwrap().1;
            assert!(launch_succeeded(&mut g, zone("a")), "it came into service once more");
        }
        let now = now + Duration::from_secs(700);
        // Ten at once are one attempt.
        (0..9).for_each(|_| ended_early(&mut g, now));
        ended_early(&mut g, now);
        assert_eq!(g.launch_backoff.unwrap().1, now + Duration::from_secs(2));
        forget(&mut g);
        assert_eq!((g.launch_backoff, g.early_ends), (None, None));
    }

    #[test]
    fn a_day_of_failures_suspends_and_a_success_does_not() {
        let mut g = group(0, 5, 3);
        let at = Timestamp::from_secs;
        assert_eq!(suspension_due(&g), None);
        launch_failed(&mut g, zone("a"), ErrorClass::Capacity, at(100));
        launch_failed(&mut g, zone("b"), ErrorClass::Permanent, at(50_000));
        assert_eq!(suspension_due(&g), Some(at(100) + SUSPENDED_AFTER));
        assert!(remembers(&g, zone("c")));
        launch_succeeded(&mut g, zone("c"));
        assert_eq!(suspension_due(&g), None);
    }

    #[test]
    fn a_burst_counts_once_and_success_forgets() {
        let mut g = group(0, 5, 3);
        let at = Timestamp::from_secs;
        for _ in 0..3 {
            launch_failed(&mut g, zone("a"), ErrorClass::Permanent, at(100));
        }
        assert_eq!(g.launch_backoff, Some((1, at(110))));
        launch_failed(&mut g, zone("a"), ErrorClass::Permanent, at(110));
        assert_eq!(g.launch_backoff, Some((2, at(130))));
        launch_failed(&mut g, zone("a"), ErrorClass::Capacity, at(110));
        assert_eq!(g.zone_backoff["a"], (1, at(112)));
        assert!(launch_succeeded(&mut g, zone("a")));
        assert!(g.launch_backoff.is_none() && g.zone_backoff.is_empty());
        assert!(!launch_succeeded(&mut g, zone("a")));
    }
}
