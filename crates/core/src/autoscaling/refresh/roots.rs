//! Whose root volume is replaced next.
//! Source: EC2 Auto Scaling guide, "Replace root volumes during instance refresh".

use super::{Pace, Replacing};
use crate::Mutation;
use crate::autoscaling::view::{GroupView, sum};
use crate::autoscaling::{Bounds, HealthStatus};

/// Root volumes that one step begins to replace: bounds the length of a transaction. The rest follows with the next.
pub const ROOTS_PER_STEP_MAX: usize = 100;

/// Places in the view's members of those who go out of service for another root volume now, the oldest first: as many as leave
/// `min_healthy` percent of the group ready, and one at least if all are. Who is unhealthy is replaced whole, as without a refresh, and a group that is
/// too big shrinks first.
pub fn next_roots(view: &GroupView<'_>, replacing: &Replacing, min_healthy: u32) -> Vec<usize> {
    let Pace::Go(limit) = replacing.pace else { return Vec::new() };
    let unit = view.weight_max();
    let bounds = Bounds::together(min_healthy, view.group.desired, unit);
    if view.n_counted() >= view.group.desired.saturating_add(unit) {
        return Vec::new();
    }
    let is_ready = |i: usize| view.members[i].is_ready(view.group, replacing.warmup, view.now);
    let weight = |i: usize| view.members[i].member.weight;
    let counted = (0..view.members.len()).filter(|&i| view.members[i].member.counts());
    let mut ready = sum(counted.filter(|&i| is_ready(i)).map(weight));
    let mut order = replacing.candidates.clone();
    order.retain(|&i| view.members[i].member.health == HealthStatus::Healthy);
    order.sort_by_key(|&i| (view.members[i].member.launched_at, i));
    let most = ROOTS_PER_STEP_MAX.min(limit as usize);
    let mut chosen = Vec::new();
    for i in order {
        let lost = if is_ready(i) { weight(i) } else { 0 };
        let allowed = ready >= bounds.ready_min.saturating_add(lost) || Mutation::IgnoreMaintenance.is_on();
        if chosen.len() < most && allowed {
            ready = ready.saturating_sub(lost);
            chosen.push(i);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::autoscaling::view::Warmup;
    use crate::autoscaling::view::fixtures::{NOW, group, member, view};
    use crate::autoscaling::{LifecycleState as S, Member};

    fn replacing(candidates: Vec<usize>, pace: Pace) -> Replacing {
        let bounds = Bounds { ready_min: 0, total_max: 0 };
        Replacing {
            candidates,
            end: vec![],
            pace,
            bounds,
            warmup: Warmup { s: 60, since: NOW },
            stand: String::new(),
        }
    }

    fn members(n: usize) -> Vec<Member> {
        let one = |i: usize| {
            let mut m = member(&format!("i-{i}"), "a");
            // The last is the oldest.
            m.launched_at = Timestamp::from_secs(1_000 - i as i64);
            m
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn as_many_at_once_as_leave_enough_ready() {
        // (members, percent, pace, out already, how many go)
        let table = [
            (10, 90, Pace::Go(u32::MAX), 0, 1),
            (10, 60, Pace::Go(u32::MAX), 0, 4),
            (10, 60, Pace::Go(2), 0, 2),
            (10, 60, Pace::Go(0), 0, 0),
            (10, 60, Pace::Finish, 0, 0),
            (10, 60, Pace::Hold, 0, 0),
            (10, 60, Pace::Go(u32::MAX), 3, 1),
            (10, 60, Pace::Go(u32::MAX), 4, 0),
            (10, 100, Pace::Go(u32::MAX), 0, 1),
            (10, 100, Pace::Go(u32::MAX), 1, 0),
            (1, 90, Pace::Go(u32::MAX), 0, 1),
            (10, 0, Pace::Go(u32::MAX), 0, 10),
            (300, 0, Pace::Go(u32::MAX), 0, ROOTS_PER_STEP_MAX),
        ];
        for (n, percent, pace, out, want) in table {
            let g = group(0, 400, u32::try_from(n).unwrap());
            let mut all = members(n);
            for m in &mut all[..out] {
                (m.state, m.in_service_at) = (S::ReplacingRootVolumeProceed, None);
            }
            let got = next_roots(&view(&g, &all, &[]), &replacing((out..n).collect(), pace), percent);
            assert_eq!(got.len(), want, "{n} {percent} {pace:?} {out}");
            assert!(got.iter().rev().zip(n - want..n).all(|(got, want)| *got == want), "the oldest first");
        }
    }

    #[test]
    fn who_is_unhealthy_warming_or_too_many() {
        let all = |n: usize| replacing((0..n).collect(), Pace::Go(u32::MAX));
        let g = group(0, 10, 4);
        let mut sick = members(4);
        sick[3].health = HealthStatus::Unhealthy;
        assert_eq!(
            next_roots(&view(&g, &sick, &[]), &all(4), 75),
            Vec::<usize>::new(),
            "three are ready, three must be"
        );
        assert_eq!(next_roots(&view(&g, &sick, &[]), &all(4), 50), [2], "the sick one is not its business");
        // One that is warming up serves nobody to be missed, but the others must be enough.
        let mut warming = members(4);
        warming[3].in_service_at = Some(NOW);
        assert_eq!(next_roots(&view(&g, &warming, &[]), &all(4), 75), [3]);
        assert_eq!(next_roots(&view(&g, &warming, &[]), &all(4), 50), [3, 2]);
        assert_eq!(
            next_roots(&view(&g, &members(5), &[]), &all(5), 50),
            Vec::<usize>::new(),
            "it shrinks first"
        );
        // With weights: six units are to stay of ten.
        let mut heavy = members(3);
        (heavy[0].weight, heavy[1].weight, heavy[2].weight) = (4, 4, 2);
        assert_eq!(
            next_roots(&view(&group(0, 20, 10), &heavy, &[]), &all(3), 60),
            [2],
            "the next would be too heavy"
        );
    }
}
