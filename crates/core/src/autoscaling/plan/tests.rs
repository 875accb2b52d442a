use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;
use crate::autoscaling::cancel_drain::TAG_CANCEL_DRAIN;
use crate::autoscaling::view::SourceView;
use crate::autoscaling::view::fixtures::{NOW, group, member, running, view};
use crate::autoscaling::{
    Group, GroupTag, HealthStatus, InstanceSource, LifecycleState, Member, SuspendedProcess,
};
use crate::ec2::InstanceState;

fn rng() -> Pcg64 {
    Pcg64::seed_from_u64(7)
}

fn members(zones: &[&str]) -> Vec<Member> {
    zones.iter().enumerate().map(|(i, zone)| member(&format!("i-{i}"), zone)).collect()
}

fn launched(plan: &Plan) -> Vec<&str> {
    let mut zones: Vec<&str> = plan
        .actions
        .iter()
        .filter_map(|a| match a {
            Action::Launch { zone, .. } => Some(zone.as_str()),
            _ => None,
        })
        .collect();
    zones.sort_unstable();
    zones
}

fn ended(plan: &Plan) -> Vec<&str> {
    let mut ids: Vec<&str> = plan
        .actions
        .iter()
        .filter_map(|a| match a {
            Action::Terminate { instance_id, .. } => Some(instance_id.as_str()),
            _ => None,
        })
        .collect();
    ids.sort_unstable();
    ids
}

fn returned(plan: &Plan) -> Vec<&str> {
    plan.actions
        .iter()
        .filter_map(|a| match a {
            Action::TakeBack { instance_id, .. } => Some(instance_id.as_str()),
            _ => None,
        })
        .collect()
}

/// Lets members of the group come back from draining.
fn cancel_drain(group: &mut Group) {
    let tag = GroupTag { value: "true".into(), propagate_at_launch: false };
    group.tags.insert(TAG_CANCEL_DRAIN.into(), tag);
}

/// Members that go because the group shrank, the later the longer ago.
fn draining(zones: &[&str]) -> Vec<Member> {
    let one = |(n, zone): (usize, &&str)| {
        let mut m = member(&format!("i-drains-{n}"), zone);
        (m.state, m.scaled_in) = (LifecycleState::Terminating, true);
        m.state_since = NOW - Duration::from_secs(n as u64);
        m
    };
    zones.iter().enumerate().map(one).collect()
}

#[test]
fn who_drains_comes_back_before_anything_is_launched() {
    let mut g = group(0, 9, 3);
    let mut m = members(&["a", "b"]);
    m.extend(draining(&["b", "a", "c", "c"]));
    let i = running(&m);
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert_eq!((returned(&got), launched(&got).len()), (vec![], 1), "only a group that asks for it");
    cancel_drain(&mut g);
    let planned = |g: &Group, m: &[Member]| plan(&view(g, m, &i), &mut rng());
    // Of the zone that has fewest, the one that has drained least.
    let got = planned(&g, &m);
    assert_eq!((returned(&got), launched(&got).len()), (vec!["i-drains-2"], 0));
    assert!(
        matches!(got.actions[..], [Action::TakeBack { why: LaunchWhy::Difference(2, 3), .. }]),
        "{got:?}"
    );
    // All of them, and launches for the rest.
    g.desired = 8;
    let got = planned(&g, &m);
    let mut all = returned(&got);
    all.sort_unstable();
    assert_eq!(all, ["i-drains-0", "i-drains-1", "i-drains-2", "i-drains-3"]);
    assert_eq!(launched(&got).len(), 2);
    assert_eq!(got.actions.len(), 6, "{got:?}");
    // Whoever serves need not be launched, so failed launches are no reason to wait.
    g.launch_backoff = Some((2, NOW + Duration::from_secs(9)));
    let got = planned(&g, &m);
    assert_eq!((returned(&got).len(), launched(&got).len()), (4, 0));
    assert!(matches!(got.notes[..], [Note::BackOff { failures: 2, .. }]), "{got:?}");
    suspend(&mut g, process::LAUNCH);
    assert_eq!(returned(&planned(&g, &m)), Vec::<&str>::new(), "it is an increase all the same");
    g.suspended.clear();
    // Those who go for other reasons stay away.
    m.iter_mut().for_each(|m| m.scaled_in = false);
    assert_eq!(returned(&planned(&g, &m)), Vec::<&str>::new());
}

#[test]
fn who_drains_comes_back_in_place_of_who_is_unhealthy_and_before_the_pool() {
    let mut g = group(0, 9, 2);
    cancel_drain(&mut g);
    g.warm_pool = Some(crate::autoscaling::warm_pool::WarmPool::default());
    let mut m = members(&["a", "b"]);
    m[0].health = HealthStatus::Unhealthy;
    m[0].unhealthy_cause = Some(UnhealthyCause::User);
    m.extend(draining(&["c"]));
    let mut warm = member("i-warm", "c");
    warm.state = LifecycleState::WarmedRunning;
    m.push(warm);
    let i = running(&m);
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert_eq!((ended(&got), returned(&got)), (vec!["i-0"], vec!["i-drains-0"]));
    assert!(!got.actions.iter().any(|a| matches!(a, Action::TakeWarm { .. })), "{got:?}");
}

fn suspend(group: &mut Group, process: &str) {
    group.suspended.push(SuspendedProcess { name: process.into(), reason: "test".into() });
}

#[test]
fn launches_go_where_fewest_are() {
    let table: &[(&[&str], u32, &[&str])] = &[
        (&[], 3, &["a", "b", "c"]),
        (&["a", "a", "b"], 4, &["c"]),
        (&["a", "a", "b"], 6, &["b", "c", "c"]),
        (&["a", "b", "c"], 3, &[]),
    ];
    for (have, desired, want) in table {
        let m = members(have);
        let (g, i) = (group(0, 10, *desired), running(&m));
        let got = plan(&view(&g, &m, &i), &mut rng());
        assert_eq!(launched(&got), *want, "{have:?} → {desired}");
        assert!(ended(&got).is_empty());
    }
}

#[test]
fn a_converged_group_does_nothing_and_says_so() {
    let m = members(&["a", "b", "c", "a"]);
    let (g, i) = (group(0, 10, 4), running(&m));
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert_eq!(got, Plan { notes: vec![Note::Converged], ..Plan::default() });
}

#[test]
fn shrinking_takes_the_fullest_zone_first_and_spares_the_protected() {
    let mut m = members(&["a", "a", "a", "b", "b", "c"]);
    m[0].protected = true;
    m[1].protected = true;
    let (mut g, i) = (group(0, 10, 5), running(&m));
    assert_eq!(ended(&plan(&view(&g, &m, &i), &mut rng())), ["i-2"]);
    g.desired = 0;
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert_eq!(ended(&got), ["i-2", "i-3", "i-4", "i-5"]);
    assert_eq!(got.notes, [Note::AllProtected { excess: 2 }]);
}

#[test]
fn termination_policies() {
    // Ages in minutes and template versions of four instances in one zone.
    let ages = [90, 30, 200, 10];
    let versions = [2, 1, 1, 3];
    let mut m = members(&["a"; 4]);
    for (n, m) in m.iter_mut().enumerate() {
        m.launched_at = NOW - Duration::from_secs(ages[n] * 60);
        m.launch_template.as_mut().unwrap().version = versions[n];
    }
    // (policies, first choice)
    let table: &[(&[&str], &str)] = &[
        (&["OldestInstance"], "i-2"),
        (&["NewestInstance"], "i-3"),
        // 30, 30, 40 and 50 minutes to the next hour; a tie goes on to the next policy.
        (&["ClosestToNextInstanceHour", "NewestInstance"], "i-1"),
        (&["OldestLaunchTemplate", "OldestInstance"], "i-2"),
        // The default: oldest version, then the nearest hour.
        (&[], "i-1"),
        (&["AllocationStrategy", "OldestInstance"], "i-2"),
        (&["OldestLaunchConfiguration", "OldestInstance"], "i-2"),
    ];
    for (policies, want) in table {
        let mut g = group(0, 10, 3);
        g.termination_policies = policies.iter().map(|p| (*p).to_owned()).collect();
        let i = running(&m);
        assert_eq!(ended(&plan(&view(&g, &m, &i), &mut rng())), [*want], "{policies:?}");
    }
}

#[test]
fn the_default_policy_lets_other_sources_go_first() {
    let mut m = members(&["a"; 3]);
    m[1].launch_template.as_mut().unwrap().id = "lt-old".into();
    let (mut g, i) = (group(0, 10, 2), running(&m));
    assert_eq!(ended(&plan(&view(&g, &m, &i), &mut rng())), ["i-1"], "another template");
    m[2].launch_template = None;
    m[2].launch_configuration = Some("lc".into());
    assert_eq!(ended(&plan(&view(&g, &m, &i), &mut rng())), ["i-2"], "a launch configuration");
    // A group on launch configurations: the oldest first, one deleted since before any other.
    for (n, name) in ["new", "old", "new"].iter().enumerate() {
        m[n].launch_template = None;
        m[n].launch_configuration = Some((*name).into());
    }
    g.source = InstanceSource::LaunchConfiguration("new".into());
    let ages = [("new".to_owned(), Timestamp::from_secs(9)), ("old".to_owned(), Timestamp::from_secs(5))];
    for known in [&ages[..], &ages[..1]] {
        let mut v = view(&g, &m, &i);
        v.source = SourceView { template_id: None, configurations: known };
        assert_eq!(ended(&plan(&v, &mut rng())), ["i-1"]);
    }
}

#[test]
fn what_does_not_run_is_replaced_at_once() {
    let mut m = members(&["a", "b", "c"]);
    for m in &mut m[..2] {
        m.health = HealthStatus::Unhealthy;
        m.unhealthy_cause = Some(UnhealthyCause::Ec2NotRunning);
    }
    let (mut g, i) = (group(3, 3, 3), running(&m));
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert_eq!(ended(&got), ["i-0", "i-1"]);
    assert_eq!(launched(&got), ["a", "b"]);
    assert!(got.actions.iter().all(|a| matches!(
        a,
        Action::Launch { why: LaunchWhy::Replacement, .. }
            | Action::Terminate { why: TerminateWhy::Unhealthy(_), .. }
    )));
    suspend(&mut g, process::LAUNCH);
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert_eq!((ended(&got).len(), launched(&got).len()), (2, 0), "unhealthy ones still go");
    g.suspended.clear();
    suspend(&mut g, process::REPLACE_UNHEALTHY);
    assert!(plan(&view(&g, &m, &i), &mut rng()).actions.is_empty());
}

#[test]
fn failed_checks_are_replaced_in_portions() {
    let mut m = members(&["a", "b", "c"].repeat(10));
    for m in &mut m[..8] {
        m.health = HealthStatus::Unhealthy;
        m.unhealthy_cause = Some(UnhealthyCause::Elb);
    }
    let i = running(&m);
    let mut g = group(30, 30, 30);
    g.health_check_elb = true;
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert_eq!(ended(&got).len(), 3, "a tenth of 30");
    assert_eq!(got.notes, [Note::ReplacementsWait { waiting: 5 }]);
    for m in &mut m {
        m.health = HealthStatus::Unhealthy;
        m.unhealthy_cause = Some(UnhealthyCause::Elb);
    }
    assert_eq!(ended(&plan(&view(&g, &m, &i), &mut rng())).len(), 1, "all of them: one by one");
    // With one on its way and 22 of 30 healthy, nothing more goes.
    for m in &mut m[8..] {
        m.health = HealthStatus::Healthy;
    }
    m[29].state = LifecycleState::Terminating;
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert!(ended(&got).is_empty());
    assert_eq!(launched(&got).len(), 1, "the one that goes is being replaced");
}

/// An instance that fails its check, and then stops before it is replaced, leaves its target group: nothing will ever prove it.
#[test]
fn what_stops_after_its_check_failed_waits_for_nobody() {
    let mut m = members(&["a", "b", "c"].repeat(4));
    for m in &mut m[..2] {
        m.health = HealthStatus::Unhealthy;
        m.unhealthy_cause = Some(UnhealthyCause::Elb);
    }
    let mut i = running(&m);
    i[0].state = InstanceState::Stopped;
    let mut g = group(12, 12, 12);
    g.health_check_elb = true;
    let mut v = view(&g, &m, &i);
    v.members[0].traffic.unproven = true;
    let got = plan(&v, &mut rng());
    assert!(ended(&got).contains(&"i-0"), "it is replaced at once");
    // The other one still runs; that one of the unhealthy is not proven does not hold it back.
    i[0].state = InstanceState::Running;
    let mut v = view(&g, &m, &i);
    v.members[1].traffic.unproven = true;
    assert_eq!(ended(&plan(&v, &mut rng())).len(), 1, "a portion of one");
}

#[test]
fn replacements_wait_for_those_that_are_warming() {
    let mut m = members(&["a", "b", "c"].repeat(4));
    m[0].health = HealthStatus::Unhealthy;
    m[0].unhealthy_cause = Some(UnhealthyCause::Elb);
    m[1].in_service_at = Some(NOW - Duration::from_secs(20));
    let i = running(&m);
    let mut g = group(12, 12, 12);
    g.default_instance_warmup_s = Some(60);
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert!(got.actions.is_empty());
    assert_eq!(got.look_again, Some(NOW + Duration::from_secs(40)));
    g.default_instance_warmup_s = Some(20);
    assert_eq!(ended(&plan(&view(&g, &m, &i), &mut rng())), ["i-0"]);
}

#[test]
fn failed_launches_wait_and_zones_without_room_are_left_out() {
    let (mut g, at) = (group(0, 9, 3), |s| NOW + Duration::from_secs(s));
    g.launch_backoff = Some((4, at(9)));
    let got = plan(&view(&g, &[], &[]), &mut rng());
    assert_eq!(got.notes, [Note::BackOff { failures: 4, until: at(9) }]);
    assert_eq!((got.actions.len(), got.look_again), (0, Some(at(9))));
    g.launch_backoff = Some((4, NOW));
    g.zone_backoff.insert("b".into(), (1, at(5)));
    let got = plan(&view(&g, &[], &[]), &mut rng());
    assert!(launched(&got).iter().all(|z| *z != "b"));
    assert_eq!(launched(&got).len(), 3);
    g.balanced_only = true;
    let got = plan(&view(&g, &[], &[]), &mut rng());
    assert!(launched(&got).len() <= 2);
    assert_eq!(got.notes, [Note::NoZone { until: at(5) }]);
    g.balanced_only = false;
    for zone in ["a", "c"] {
        g.zone_backoff.insert(zone.into(), (1, at(7)));
    }
    let got = plan(&view(&g, &[], &[]), &mut rng());
    assert_eq!((got.notes, got.look_again), (vec![Note::NoZone { until: at(5) }], Some(at(5))));
}

#[test]
fn uneven_zones_are_evened_out_launching_first() {
    let mut m = members(&["a", "a", "a", "b", "c"]);
    let mut i = running(&m);
    let mut g = group(5, 5, 5);
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert_eq!(got.actions.len(), 1);
    assert!(matches!(&got.actions[0], Action::Launch { zone, why: LaunchWhy::Rebalance, .. } if zone != "a"));
    // While the newcomer comes, nothing goes.
    let mut newcomer = member("i-new", "b");
    (newcomer.surplus, newcomer.state) = (true, LifecycleState::Pending);
    m.push(newcomer);
    i.push(crate::autoscaling::view::fixtures::instance("i-new", InstanceState::Pending));
    assert!(plan(&view(&g, &m, &i), &mut rng()).actions.is_empty());
    // Once it serves, the crowded zone gives one up.
    m[5].state = LifecycleState::InService;
    let got = plan(&view(&g, &m, &i), &mut rng());
    assert!(matches!(ended(&got)[..], ["i-0" | "i-1" | "i-2"]));
    m.remove(5);
    suspend(&mut g, process::AZ_REBALANCE);
    assert_eq!(plan(&view(&g, &m, &i), &mut rng()).notes, [Note::Suspended(process::AZ_REBALANCE)]);
    g.suspended.clear();
    for m in &mut m[..3] {
        m.protected = true;
    }
    assert!(plan(&view(&g, &m, &i), &mut rng()).actions.is_empty(), "nothing there may go");
}

#[test]
fn a_zone_that_the_group_left_is_emptied() {
    let m = members(&["a", "b", "z"]);
    let (g, i) = (group(3, 3, 3), running(&m));
    assert_eq!(launched(&plan(&view(&g, &m, &i), &mut rng())), ["c"]);
    let more = members(&["a", "b", "z", "c"]);
    let i = running(&more);
    assert_eq!(ended(&plan(&view(&g, &more, &i), &mut rng())), ["i-2"]);
}

#[test]
fn a_deleted_group_ends_all_whatever_protects_them() {
    let mut m = members(&["a", "b"]);
    m[0].protected = true;
    m[1].state = LifecycleState::Standby;
    let (mut g, i) = (group(0, 0, 0), running(&m));
    g.status = GroupStatus::Deleting;
    suspend(&mut g, process::TERMINATE);
    assert_eq!(ended(&plan(&view(&g, &m, &i), &mut rng())), ["i-0", "i-1"]);
}

/// Random members: zone, lifecycle, health, protection.
fn any_members() -> impl Strategy<Value = Vec<Member>> {
    let state = prop_oneof![
        6 => Just(LifecycleState::InService),
        2 => Just(LifecycleState::Pending),
        1 => Just(LifecycleState::Terminating),
        1 => Just(LifecycleState::Standby),
    ];
    let one = (
        prop::sample::select(vec!["a", "b", "c", "z"]),
        state,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
    );
    prop::collection::vec(one, 0..25).prop_map(|all| {
        let all = all.into_iter().enumerate();
        all.map(|(n, (zone, state, sick, protected))| {
            let mut m = member(&format!("i-{n}"), zone);
            m.state = state;
            m.protected = protected;
            m.scaled_in = n % 3 != 0;
            if sick {
                m.health = HealthStatus::Unhealthy;
                m.unhealthy_cause = Some([UnhealthyCause::Elb, UnhealthyCause::Ec2NotRunning][n % 2]);
            }
            m
        })
        .collect()
    })
}

/// What the group would be after the plan: launches become members in service, those chosen are gone.
fn after(plan: &Plan, members: &[Member]) -> Vec<Member> {
    let gone = ended(plan);
    let mut next: Vec<Member> = members
        .iter()
        .cloned()
        .map(|mut m| {
            if returned(plan).contains(&m.instance_id.as_str()) {
                m.state = LifecycleState::Pending;
            }
            m
        })
        .filter(|m| !gone.contains(&m.instance_id.as_str()) && !m.is_terminating())
        .map(|mut m| {
            if m.is_pending() {
                m.state = LifecycleState::InService;
            }
            m
        })
        .collect();
    for (n, zone) in launched(plan).iter().enumerate() {
        next.push(member(&format!("i-{}-{n}", next.len()), zone));
    }
    next
}

proptest! {
    #[test]
    fn never_above_max_never_a_protected_one_and_it_settles(
        mut m in any_members(), max in 0u32..20, desired in 0u32..20, returns: bool, seed: u64,
    ) {
        let desired = desired.min(max);
        let mut g = group(0, max, desired);
        if returns {
            cancel_drain(&mut g);
        }
        let mut rng = Pcg64::seed_from_u64(seed);
        for round in 0..200 {
            let i = running(&m);
            let v = view(&g, &m, &i);
            let got = plan(&v, &mut rng);
            let stay = m.iter().filter(|m| m.counts() && !ended(&got).contains(&m.instance_id.as_str())).count();
            let surplus = got.actions.iter().filter(|a| matches!(a, Action::Launch { why: LaunchWhy::Rebalance, .. })).count();
            let launches = launched(&got).len() - surplus;
            let back = returned(&got).len();
            prop_assert!(
                launches + back == 0 || stay + launches + back <= desired as usize,
                "{stay} + {launches} + {back} > {desired}"
            );
            prop_assert!(surplus <= zones::surplus_max(desired) as usize);
            for a in &got.actions {
                if let Action::Terminate { instance_id, why: TerminateWhy::Difference(..), .. } = a {
                    let chosen = m.iter().find(|m| m.instance_id == *instance_id).unwrap();
                    prop_assert!(!chosen.protected && chosen.counts());
                }
            }
            let mut unique = ended(&got);
            unique.dedup();
            prop_assert_eq!(unique.len(), ended(&got).len());
            if got.actions.is_empty() && !v.has_activity() {
                break;
            }
            prop_assert!(round < 199, "it never settles");
            m = after(&got, &m);
        }
        let counted: Vec<&Member> = m.iter().filter(|m| m.counts()).collect();
        let protected = counted.iter().filter(|m| m.protected).count();
        prop_assert!(counted.len() == desired as usize || counted.len() == protected);
        if protected == 0 {
            let size = |z: &str| counted.iter().filter(|m| m.zone == z).count();
            let sizes = [size("a"), size("b"), size("c")];
            prop_assert_eq!(size("z"), 0);
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
        }
    }
}
