//! The maintenance policy and the maximum lifetime, by tables and in virtual time.

use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use crate::Timestamp;
use crate::autoscaling::plan::{Action, LaunchWhy, Note, Plan, ReplaceWhy, TerminateWhy, plan};
use crate::autoscaling::view::fixtures::{NOW, group, member, running, view};
use crate::autoscaling::{Group, HealthStatus, HealthyPercentages, LifecycleState, Member, UnhealthyCause};
use crate::ec2::{Instance, InstanceState};

const DAY_S: u64 = 86_400;

fn members(n: usize) -> Vec<Member> {
    (0..n).map(|n| member(&format!("i-{n}"), ["a", "b", "c"][n % 3])).collect()
}

fn planned(g: &Group, m: &[Member], now: Timestamp) -> Plan {
    planned_with(g, m, &running(m), now)
}

fn planned_with(g: &Group, m: &[Member], instances: &[Instance], now: Timestamp) -> Plan {
    let mut v = view(g, m, instances);
    v.now = now;
    plan(&v, &mut Pcg64::seed_from_u64(3))
}

fn counts(plan: &Plan) -> (usize, usize, usize) {
    let n = |f: fn(&Action) -> bool| plan.actions.iter().filter(|a| f(a)).count();
    (
        n(|a| matches!(a, Action::Terminate { .. })),
        n(|a| matches!(a, Action::Launch { why, .. } if !matches!(why, LaunchWhy::Ahead(_)))),
        n(|a| matches!(a, Action::Launch { why: LaunchWhy::Ahead(_), .. })),
    )
}

#[test]
fn a_maintenance_policy_governs_the_replacement_of_the_sick() {
    use UnhealthyCause as U;
    // (desired, sick, cause, min, max) → (terminated, launched in their places, launched ahead)
    let table = [
        (4, 1, U::Elb, 100, 110, (0, 0, 1)),
        (4, 2, U::Elb, 100, 110, (0, 0, 1)),
        (4, 2, U::User, 100, 200, (0, 0, 2)),
        (10, 1, U::Elb, 90, 120, (1, 1, 0)),
        (10, 2, U::Elb, 90, 120, (0, 0, 2)),
        (10, 5, U::Elb, 0, 100, (5, 5, 0)),
        // No way within the bounds: one at a time goes all the same.
        (10, 2, U::Elb, 90, 100, (1, 1, 0)),
        // There is nothing to keep of what does not run.
        (4, 2, U::Ec2NotRunning, 100, 110, (2, 2, 0)),
    ];
    for (desired, sick, cause, min, max, want) in table {
        let mut g = group(0, 20, desired);
        g.maintenance = Some(HealthyPercentages { min, max });
        let mut m = members(desired as usize);
        for m in &mut m[..sick] {
            (m.health, m.unhealthy_cause) = (HealthStatus::Unhealthy, Some(cause));
        }
        let got = planned(&g, &m, NOW);
        assert_eq!(counts(&got), want, "{sick} of {desired}, {cause:?}, {min} to {max}: {got:?}");
    }
}

/// A user called them unhealthy, then they died: nothing is left to keep for a spare.
#[test]
fn what_died_since_it_was_called_unhealthy_goes_at_once() {
    let mut g = group(0, 20, 4);
    g.maintenance = Some(HealthyPercentages { min: 100, max: 110 });
    let mut m = members(4);
    for m in &mut m[..2] {
        (m.health, m.unhealthy_cause) = (HealthStatus::Unhealthy, Some(UnhealthyCause::User));
    }
    let mut instances = running(&m);
    instances[..2].iter_mut().for_each(|i| i.state = InstanceState::Terminated);
    assert_eq!(counts(&planned_with(&g, &m, &instances, NOW)), (2, 2, 0));
}

#[test]
fn a_spare_takes_the_place_of_a_sick_one_once_it_is_ready() {
    let mut g = group(0, 4, 4);
    g.maintenance = Some(HealthyPercentages { min: 100, max: 110 });
    g.default_instance_warmup_s = Some(60);
    let mut m = members(4);
    (m[1].health, m[1].unhealthy_cause) = (HealthStatus::Unhealthy, Some(UnhealthyCause::Elb));
    let mut spare = member("i-spare", "b");
    (spare.spare, spare.in_service_at) = (true, Some(NOW - Duration::from_secs(20)));
    m.push(spare);
    let got = planned(&g, &m, NOW);
    assert!(got.actions.is_empty(), "{got:?}");
    assert_eq!(
        (&got.notes[..], got.look_again),
        (&[Note::ReplacementsWait { waiting: 1 }][..], Some(NOW + Duration::from_secs(40)))
    );
    let got = planned(&g, &m, NOW + Duration::from_secs(40));
    let [Action::Terminate { instance_id, why, .. }, Action::TakeOver { instance_id: heir }] =
        &got.actions[..]
    else {
        panic!("{got:?}")
    };
    assert_eq!(
        (instance_id.as_str(), *why, heir.as_str()),
        ("i-1", TerminateWhy::Unhealthy(UnhealthyCause::Elb), "i-spare")
    );
    // Its victim went by itself: the spare fills the place, and nothing is launched.
    m.remove(1);
    assert_eq!(planned(&g, &m, NOW).actions, [Action::TakeOver { instance_id: "i-spare".into() }]);
    // Nobody needs it any more: it joins, and the group shrinks by its termination policies.
    let mut m = members(4);
    let mut spare = member("i-spare", "b");
    spare.spare = true;
    m.push(spare);
    let got = planned(&g, &m, NOW);
    assert!(
        matches!(
            &got.actions[..],
            [Action::TakeOver { .. }, Action::Terminate { why: TerminateWhy::Difference(5, 4), .. }]
        ),
        "{got:?}"
    );
    // A spare that fails is ended without a successor of its own.
    (m[4].health, m[4].unhealthy_cause) = (HealthStatus::Unhealthy, Some(UnhealthyCause::Ec2NotRunning));
    let got = planned(&g, &m, NOW);
    assert!(
        matches!(&got.actions[..], [Action::Terminate { instance_id, .. }] if instance_id == "i-spare"),
        "{got:?}"
    );
}

/// Runs a group whose instances boot in 60 s for `days`; gives when each termination happened and the most at once.
fn live(g: &Group, mut m: Vec<Member>, days: u64, max_at_once: usize) -> Vec<Timestamp> {
    let (mut ends, mut n, mut now) = (Vec::new(), 0, NOW);
    let until = NOW + Duration::from_secs(days * DAY_S);
    while now < until {
        let got = planned(g, &m, now);
        let mut at_once = 0;
        for action in &got.actions {
            match action {
                Action::Terminate { instance_id, why, .. } => {
                    assert_eq!(*why, TerminateWhy::Lifetime);
                    m.retain(|m| m.instance_id != *instance_id);
                    at_once += 1;
                    ends.push(now);
                }
                Action::TakeWarm { .. } | Action::TakeBack { .. } => panic!("nobody waits or drains"),
                Action::TakeOver { instance_id } => {
                    m.iter_mut().find(|m| m.instance_id == *instance_id).unwrap().spare = false;
                }
                Action::Launch { zone, why, .. } => {
                    n += 1;
                    let mut new = member(&format!("i-new-{n}"), zone);
                    (new.state, new.in_service_at, new.launched_at) = (LifecycleState::Pending, None, now);
                    new.spare = *why == LaunchWhy::Ahead(ReplaceWhy::Lifetime);
                    assert!(new.spare || *why == LaunchWhy::Lifetime);
                    m.push(new);
                }
            }
        }
        assert!(at_once <= max_at_once, "{at_once}");
        if got.actions.is_empty() {
            now = now + Duration::from_secs(60);
            for m in m.iter_mut().filter(|m| m.is_pending()) {
                (m.state, m.in_service_at) = (LifecycleState::InService, Some(now));
            }
        }
        assert!(m.len() <= g.desired as usize + usize::from(g.maintenance.is_some()));
    }
    let oldest = m.iter().map(|m| now.since(m.launched_at)).max().unwrap_or_default();
    assert!(oldest <= Duration::from_secs(u64::from(g.max_instance_lifetime_s) + 600), "{oldest:?}");
    ends
}

#[test]
fn lifetimes_are_spread_and_kept() {
    for maintenance in [None, Some(HealthyPercentages { min: 100, max: 110 })] {
        let mut g = group(0, 20, 10);
        g.max_instance_lifetime_s = 86_400;
        g.maintenance = maintenance;
        let mut m = members(10);
        for m in &mut m {
            m.launched_at = NOW;
        }
        let ends = live(&g, m, 4, 1);
        assert!((30..=50).contains(&ends.len()), "{}", ends.len());
        assert!(ends[0] >= NOW + Duration::from_secs(DAY_S * 9 / 10), "not before the last tenth");
        for pair in ends.windows(2) {
            assert!(pair[1].since(pair[0]) >= Duration::from_secs(600), "one at a time, with a pause");
        }
    }
}

#[test]
fn late_ones_go_by_the_tenth_and_protected_ones_stay() {
    let mut g = group(0, 60, 40);
    g.max_instance_lifetime_s = 86_400;
    let mut m = members(40);
    for m in &mut m {
        m.launched_at = NOW - Duration::from_secs(3 * DAY_S);
    }
    assert_eq!(counts(&planned(&g, &m, NOW)), (4, 4, 0), "a tenth");
    live(&g, m.clone(), 2, 4);
    for m in &mut m {
        m.protected = true;
    }
    assert!(planned(&g, &m, NOW).actions.is_empty());
    // A single instance goes as its successor comes; with a policy that says so, afterwards.
    let mut g = group(0, 1, 1);
    g.max_instance_lifetime_s = 86_400;
    let mut m = members(1);
    m[0].launched_at = NOW - Duration::from_secs(3 * DAY_S);
    assert_eq!(counts(&planned(&g, &m, NOW)), (1, 1, 0));
    g.maintenance = Some(HealthyPercentages { min: 100, max: 110 });
    assert_eq!(counts(&planned(&g, &m, NOW)), (0, 0, 1));
}
