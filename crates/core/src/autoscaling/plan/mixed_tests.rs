use proptest::prelude::*;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;
use crate::autoscaling::mixed::{Distribution, Mix, Offer, SpotStrategy, ZoneOffer};
use crate::autoscaling::view::fixtures::{NOW, group, member, running, view};
use crate::autoscaling::{HealthStatus, LifecycleState, Member, ZonalShift, ZoneImpairment};
use crate::ec2::InstanceLifecycle::{OnDemand, Spot};
use crate::ec2::spot::Quote;
use crate::ec2::{Instance, InstanceLifecycle, Interruption, InterruptionCause, Price, SpotTerms};

/// Types with weight; Spot at a third of the price, `left` instances in each pool.
fn mix(base: u32, percent: u32, types: &[(&str, u32)], left: Option<u32>) -> Mix {
    let pool = |zone: &str, price: u64| ZoneOffer {
        zone: zone.into(),
        quote: Quote { price: Price(price), left, depth: left.map_or(9, |n| n.min(9)) },
        allowed: true,
        risky: false,
    };
    let offer = |(at, (name, weight)): (usize, &(&str, u32))| {
        let price = 90 * u64::from(*weight) + at as u64;
        Offer {
            instance_type: (*name).into(),
            weight: *weight,
            of_override: Some(at),
            on_demand: Price(price),
            on_demand_allowed: true,
            spot: ["a", "b", "c"].map(|zone| pool(zone, price / 3)).to_vec(),
        }
    };
    Mix {
        distribution: Distribution {
            on_demand_base: base,
            on_demand_percent: percent,
            spot_strategy: SpotStrategy::PriceCapacityOptimized,
            ..Distribution::default()
        },
        offers: types.iter().enumerate().map(offer).collect(),
        fallback: false,
        templates: vec!["lt-1".into()],
    }
}

/// Members: zone, type, weight, how bought.
fn members(all: &[(&str, &str, u32, InstanceLifecycle)]) -> Vec<Member> {
    let one = |(n, (zone, kind, weight, lifecycle)): (usize, &(&str, &str, u32, InstanceLifecycle))| {
        let mut m = member(&format!("i-{n}"), zone);
        m.instance_type = (*kind).into();
        m.weight = *weight;
        m.lifecycle = *lifecycle;
        m
    };
    all.iter().enumerate().map(one).collect()
}

fn decide(g: &crate::autoscaling::Group, m: &[Member], mix: &Mix, seed: u64) -> Plan {
    let i: Vec<Instance> = running(m);
    let mut v = view(g, m, &i);
    v.mix = Some(mix);
    plan(&v, &mut Pcg64::seed_from_u64(seed))
}

/// Units launched On-Demand and Spot.
fn bought(plan: &Plan) -> (u32, u32) {
    let (mut on_demand, mut spot) = (0, 0);
    for action in &plan.actions {
        let Action::Launch { pool: Some(pool), .. } = action else { continue };
        match pool.lifecycle {
            OnDemand => on_demand += pool.weight,
            Spot => spot += pool.weight,
        }
    }
    (on_demand, spot)
}

fn ended(plan: &Plan) -> Vec<&str> {
    plan.actions
        .iter()
        .filter_map(|a| match a {
            Action::Terminate { instance_id, .. } => Some(instance_id.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn launches_keep_the_distribution() {
    // (base, percent, desired) → On-Demand, Spot
    for (base, percent, desired, want) in
        [(0, 0, 6, (0, 6)), (0, 100, 6, (6, 0)), (2, 50, 6, (4, 2)), (1, 0, 3, (1, 2)), (9, 0, 6, (6, 0))]
    {
        let got = decide(&group(0, 20, desired), &[], &mix(base, percent, &[("m5.large", 1)], None), 3);
        assert_eq!(bought(&got), want, "{base} {percent} {desired}");
    }
    // What is lost is replaced in kind.
    let m =
        members(&[("a", "m5.large", 1, OnDemand), ("b", "m5.large", 1, Spot), ("c", "m5.large", 1, Spot)]);
    let got = decide(&group(0, 20, 6), &m, &mix(2, 0, &[("m5.large", 1)], None), 3);
    assert_eq!(bought(&got), (1, 2));
}

#[test]
fn weights_fill_until_the_capacity_is_reached() {
    // Desired, types → units launched: at least desired, by less than the largest weight more.
    for (desired, types, want) in [
        (10, &[("m5.xlarge", 4)][..], 12),
        (12, &[("m5.xlarge", 4)], 12),
        (3, &[("m5.4xlarge", 16), ("m5.large", 2)], 16),
        (1, &[("m5.large", 1)], 1),
    ] {
        let got = decide(&group(0, 100, desired), &[], &mix(0, 100, types, None), 5);
        assert_eq!(bought(&got).0, want, "{desired} {types:?}");
    }
}

#[test]
fn a_decrement_below_the_weight_does_nothing() {
    let four = |zone| (zone, "m5.xlarge", 4, OnDemand);
    let m = members(&[four("a"), four("b"), four("c")]);
    let types = mix(0, 100, &[("m5.xlarge", 4)], None);
    for (desired, gone) in [(12, 0), (11, 0), (9, 0), (8, 1), (5, 1), (4, 2), (0, 3)] {
        let got = decide(&group(0, 20, desired), &m, &types, 5);
        assert_eq!(ended(&got).len(), gone, "{desired}");
        assert!(bought(&got) == (0, 0));
    }
    assert_eq!(decide(&group(0, 20, 9), &m, &types, 5).notes, [Note::TooHeavy { excess: 3, weight: 4 }]);
}

#[test]
fn shrinking_restores_the_distribution_first() {
    let m = members(&[
        ("a", "m5.large", 1, OnDemand),
        ("a", "m5.large", 1, OnDemand),
        ("b", "m5.large", 1, Spot),
        ("b", "m5.large", 1, OnDemand),
    ]);
    // One On-Demand of three: two too many.
    let types = mix(1, 0, &[("m5.large", 1)], None);
    let got = decide(&group(0, 9, 2), &m, &types, 1);
    let gone = ended(&got);
    assert_eq!(gone.len(), 2);
    assert!(!gone.contains(&"i-2"), "{gone:?}");
    // All Spot wanted less: the Spot ones go.
    let types = mix(9, 100, &[("m5.large", 1)], None);
    assert_eq!(ended(&decide(&group(0, 9, 3), &m[1..], &types, 1)), Vec::<&str>::new());
}

#[test]
fn the_default_policy_lets_what_fits_the_strategy_least_go() {
    let m = members(&[
        ("a", "m5.large", 1, OnDemand),
        ("a", "c5.large", 1, OnDemand),
        ("a", "x.gone", 1, OnDemand),
    ]);
    let types = mix(0, 100, &[("m5.large", 1), ("c5.large", 1)], None);
    let mut g = group(0, 9, 2);
    assert_eq!(ended(&decide(&g, &m, &types, 1)), ["i-2"], "a type that the policy no longer has");
    assert_eq!(ended(&decide(&g, &m[..2], &types, 1)).len(), 0);
    g.desired = 1;
    g.termination_policies = vec!["AllocationStrategy".into()];
    assert_eq!(ended(&decide(&g, &m[..2], &types, 1)), ["i-1"], "the lower priority");
    g.termination_policies = vec!["OldestInstance".into(), "AllocationStrategy".into()];
    assert_eq!(ended(&decide(&g, &m[..2], &types, 1)), ["i-1"]);
}

#[test]
fn without_a_pool_the_launch_fails_visibly_or_falls_back() {
    let mut types = mix(0, 0, &[("m5.large", 1), ("c5.large", 1)], Some(0));
    let g = group(0, 9, 2);
    let got = decide(&g, &[], &types, 1);
    assert_eq!(bought(&got), (0, 2), "planned all the same, to be refused with the reason");
    types.fallback = true;
    let got = decide(&g, &[], &types, 1);
    assert_eq!(bought(&got), (2, 0));
    assert!(got.actions.iter().all(|a| matches!(a, Action::Launch { pool: Some(p), .. } if p.fallback)));
    // With some room in each pool, only the rest falls back: two types in three zones, one instance each.
    let mut types = mix(0, 0, &[("m5.large", 1), ("c5.large", 1)], Some(1));
    types.fallback = true;
    assert_eq!(bought(&decide(&group(0, 20, 8), &[], &types, 1)), (2, 6));
}

#[test]
fn a_shifted_zone_takes_nothing_and_keeps_what_it_has() {
    let m = members(&[("a", "m5.large", 1, OnDemand), ("a", "m5.large", 1, OnDemand)]);
    let types = mix(0, 100, &[("m5.large", 1)], None);
    let mut g = group(0, 9, 6);
    g.zone_impairment = ZoneImpairment { shift_enabled: true, ignore_unhealthy: false };
    let until = NOW + std::time::Duration::from_secs(60);
    g.zonal_shift = Some(ZonalShift { zone: "b".into(), until });
    let got = decide(&g, &m, &types, 1);
    assert_eq!(got.actions.len(), 4);
    assert!(got.actions.iter().all(|a| matches!(a, Action::Launch { zone, .. } if zone != "b")));
    // Uneven zones are not evened out into the shifted one, but are once the shift has ended.
    let m = members(&[
        ("a", "m5.large", 1, OnDemand),
        ("a", "m5.large", 1, OnDemand),
        ("c", "m5.large", 1, OnDemand),
    ]);
    g.desired = 3;
    assert_eq!(decide(&g, &m, &types, 1).notes, [Note::Converged]);
    g.zonal_shift = Some(ZonalShift { zone: "b".into(), until: NOW });
    assert_eq!(decide(&g, &m, &types, 1).actions.len(), 1);
    // What fails there stays if the group says so.
    let mut sick = m;
    sick[0].zone = "b".into();
    (sick[0].health, sick[0].unhealthy_cause) = (HealthStatus::Unhealthy, Some(UnhealthyCause::Elb));
    g.zonal_shift = Some(ZonalShift { zone: "b".into(), until });
    assert_eq!(ended(&decide(&g, &sick, &types, 1)), ["i-0"]);
    g.zone_impairment.ignore_unhealthy = true;
    assert!(ended(&decide(&g, &sick, &types, 1)).is_empty());
}

/// Running Spot instances of `m`, those in `risky` advised to move, those in `noticed` with their notice.
fn at_risk(m: &[Member], risky: &[&str], noticed: &[&str]) -> Vec<Instance> {
    let mut all = running(m);
    for i in &mut all {
        let mut terms = SpotTerms::default();
        if risky.contains(&i.id.as_str()) {
            terms.rebalance_at = Some(NOW);
        }
        if noticed.contains(&i.id.as_str()) {
            let cause = InterruptionCause::User;
            terms.interruption = Some(Interruption { noticed_at: NOW, ends_at: NOW, cause });
        }
        i.spot = Some(terms);
    }
    all
}

#[test]
fn capacity_at_risk_is_replaced_before_it_goes() {
    let spot = |zone| (zone, "m5.large", 1, Spot);
    let mut m = members(&[spot("a"), spot("b"), spot("c"), spot("a"), spot("b")]);
    let mut types = mix(0, 0, &[("m5.large", 1), ("c5.large", 1)], None);
    let mut g = group(0, 5, 5);
    let look = |g: &crate::autoscaling::Group, m: &[Member], i: &[Instance], types: &Mix| {
        let mut v = view(g, m, i);
        v.mix = Some(types);
        plan(&v, &mut Pcg64::seed_from_u64(1))
    };
    let i = at_risk(&m, &["i-1", "i-3"], &[]);
    assert_eq!(look(&g, &m, &i, &types).notes, [Note::Converged], "only if the group asks for it");
    g.capacity_rebalance = true;
    let got = look(&g, &m, &i, &types);
    assert!(
        matches!(&got.actions[..], [Action::Launch { why: LaunchWhy::CapacityRebalance, .. }]),
        "{got:?}"
    );
    // While it comes nothing else happens; once it serves, one at risk goes, and the next is replaced.
    let mut new = member("i-new", "a");
    (new.surplus, new.state, new.lifecycle) = (true, LifecycleState::Pending, Spot);
    m.push(new);
    let i = at_risk(&m, &["i-1", "i-3"], &[]);
    assert!(look(&g, &m, &i, &types).actions.is_empty());
    m[5].state = LifecycleState::InService;
    let got = look(&g, &m, &i, &types);
    assert!(
        matches!(&got.actions[..], [Action::Terminate { why: TerminateWhy::AtRisk, instance_id, .. }]
            if ["i-1", "i-3"].contains(&instance_id.as_str())),
        "{got:?}"
    );
    m.pop();
    // Protected ones are left to the market.
    m[1].protected = true;
    let i = at_risk(&m, &["i-1"], &["i-1"]);
    assert_eq!(look(&g, &m, &i, &types).notes, [Note::Converged]);
    m[1].protected = false;
    // With the notice it goes at once, and its place is filled.
    let got = look(&g, &m, &i, &types);
    assert_eq!(ended(&got), ["i-1"]);
    assert_eq!(bought(&got), (0, 1));
    assert!(
        got.actions.iter().any(|a| matches!(a, Action::Terminate { why: TerminateWhy::Interrupted, .. }))
    );
    // A pool that is worse is no way out.
    let i = at_risk(&m, &["i-1"], &[]);
    for offer in &mut types.offers {
        let own = offer.instance_type == "m5.large";
        for pool in offer.spot.iter_mut().filter(|p| !(own && p.zone == "b")) {
            pool.quote.depth = 1;
        }
    }
    types.offers[0].spot[1].risky = true;
    assert_eq!(look(&g, &m, &i, &types).notes, [Note::NoType]);
}

#[test]
fn a_newcomer_on_top_takes_the_place_of_one_that_goes_by_itself() {
    let spot = |zone| (zone, "m5.large", 1, Spot);
    let mut m = members(&[spot("a"), spot("b"), spot("c")]);
    m[1].state = LifecycleState::Terminating;
    (m[2].surplus, m[2].state) = (true, LifecycleState::Pending);
    let types = mix(0, 0, &[("m5.large", 1)], None);
    assert!(decide(&group(0, 5, 2), &m, &types, 1).actions.is_empty());
    assert_eq!(bought(&decide(&group(0, 5, 3), &m, &types, 1)), (0, 1));
}

const TYPES: [(&str, u32); 3] = [("m5.large", 2), ("m5.xlarge", 4), ("c5.large", 1)];

fn any_members() -> impl Strategy<Value = Vec<Member>> {
    let one =
        (prop::sample::select(vec!["a", "b", "c"]), 0..3usize, any::<bool>(), prop::bool::weighted(0.2));
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let all = all.into_iter().enumerate();
        all.map(|(n, (zone, kind, spot, protected))| {
            let mut m = member(&format!("i-{n}"), zone);
            (m.instance_type, m.weight) = (TYPES[kind].0.into(), TYPES[kind].1);
            m.lifecycle = if spot { Spot } else { OnDemand };
            m.protected = protected;
            m
        })
        .collect()
    })
}

proptest! {
    #[test]
    fn weights_never_exceed_the_capacity_by_the_largest_and_never_fall_short(
        mut m in any_members(), desired in 0u32..30, base in 0u32..10, percent in 0u32..=100, seed: u64,
        left in prop::option::of(0u32..3),
    ) {
        let g = group(0, 30, desired);
        let mut types = mix(base, percent, &TYPES, left);
        types.fallback = true;
        let mut rng = Pcg64::seed_from_u64(seed);
        for round in 0..300 {
            let got = {
                let i = running(&m);
                let mut v = view(&g, &m, &i);
                v.mix = Some(&types);
                plan(&v, &mut rng)
            };
            let gone = ended(&got);
            let stay: u32 = m.iter().filter(|m| !gone.contains(&m.instance_id.as_str())).map(Member::units).sum();
            let surplus = got.actions.iter().any(|a| matches!(a, Action::Launch { why: LaunchWhy::Rebalance, .. }));
            let (on_demand, spot) = bought(&got);
            if on_demand + spot > 0 && !surplus {
                prop_assert!(stay + on_demand + spot < desired + 4, "{stay} {on_demand} {spot} {desired}");
                prop_assert!(stay + on_demand + spot >= desired);
            }
            if !gone.is_empty() {
                prop_assert!(stay >= desired, "{stay} < {desired}");
            }
            for id in &gone {
                prop_assert!(!m.iter().any(|m| m.instance_id == **id && m.protected));
            }
            if got.actions.is_empty() {
                break;
            }
            prop_assert!(round < 299, "it never settles");
            let mut next: Vec<Member> =
                m.iter().filter(|m| !gone.contains(&m.instance_id.as_str())).cloned().collect();
            for (n, action) in got.actions.iter().enumerate() {
                if let Action::Launch { zone, pool: Some(pool), .. } = action {
                    let mut new = member(&format!("i-{round}-{n}"), zone);
                    (new.instance_type, new.weight) = (pool.instance_type.clone(), pool.weight);
                    new.lifecycle = pool.lifecycle;
                    next.push(new);
                }
            }
            m = next;
        }
    }
}

#[test]
fn the_rest_goes_to_the_next_type_and_waits_when_none_is_left() {
    let types = &[("m5.large", 1), ("c5.large", 1)];
    let mix = mix(0, 100, types, None);
    let kinds = |plan: &Plan| -> Vec<String> {
        let kind = |a: &Action| match a {
            Action::Launch { pool: Some(pool), .. } => Some(pool.instance_type.clone()),
            _ => None,
        };
        plan.actions.iter().filter_map(kind).collect()
    };
    let mut g = group(0, 20, 2);
    let until = NOW + std::time::Duration::from_secs(10);
    for zone in ["a", "b", "c"] {
        g.pool_backoff.insert(format!("m5.large|{zone}"), (1, until));
    }
    assert_eq!(kinds(&decide(&g, &[], &mix, 1)), ["c5.large", "c5.large"]);
    for zone in ["a", "b", "c"] {
        g.pool_backoff.insert(format!("c5.large|{zone}"), (1, until));
    }
    let waits = decide(&g, &[], &mix, 1);
    assert_eq!(
        (kinds(&waits), waits.notes, waits.look_again),
        (vec![], vec![Note::NoZone { until }], Some(until))
    );
    g.pool_backoff.remove("m5.large|b");
    let one = decide(&g, &[], &mix, 1);
    assert!(matches!(&one.actions[0], Action::Launch { zone, .. } if zone == "b"), "{one:?}");
    // What has waited long enough is tried again.
    g.pool_backoff.values_mut().for_each(|b| b.1 = NOW);
    assert_eq!(kinds(&decide(&g, &[], &mix, 1)), ["m5.large", "m5.large"]);
}

#[test]
fn a_warm_pool_holds_on_demand_instances_of_the_policy() {
    use crate::autoscaling::warm_pool::WarmPool;
    let mix = mix(0, 100, &[("m5.large", 1), ("c5.large", 1)], None);
    let mut g = group(0, 5, 2);
    g.warm_pool = Some(WarmPool::default());
    // All that is wanted is bought On-Demand already, so the distribution would go on with Spot.
    let mut m = members(&[("a", "m5.large", 1, OnDemand), ("b", "m5.large", 1, OnDemand)]);
    let got = decide(&g, &m, &mix, 1);
    assert_eq!(bought(&got), (3, 0), "{got:?}");
    assert!(got.actions.iter().all(|a| matches!(a, Action::Launch { why: LaunchWhy::Pool(0, 3), .. })));
    // Two wait; of the type that its zone has just lacked, none is started.
    for mut warm in members(&[("c", "m5.large", 1, OnDemand), ("c", "c5.large", 1, OnDemand)]) {
        warm.instance_id.push_str("-warm");
        warm.state = LifecycleState::WarmedRunning;
        m.push(warm);
    }
    (g.desired, g.max) = (3, 3);
    g.pool_backoff.insert("m5.large|c".into(), (1, NOW + std::time::Duration::from_secs(9)));
    let got = decide(&g, &m, &mix, 1);
    assert!(
        matches!(&got.actions[..], [Action::TakeWarm { instance_id, .. }, ..] if instance_id == "i-1-warm"),
        "{got:?}"
    );
    g.pool_backoff.clear();
    let got = decide(&g, &m, &mix, 1);
    assert!(
        matches!(&got.actions[..], [Action::TakeWarm { instance_id, .. }, ..] if instance_id == "i-0-warm"),
        "{got:?}"
    );
}

#[test]
fn spot_instances_of_an_earlier_policy_do_not_return_to_the_pool() {
    use crate::autoscaling::warm_pool::WarmPool;
    let mix = mix(0, 100, &[("m5.large", 1)], None);
    let mut g = group(0, 3, 0);
    g.warm_pool = Some(WarmPool { reuse_on_scale_in: true, ..WarmPool::default() });
    // One comes back, so the pool lacks two.
    let m = members(&[("a", "m5.large", 1, OnDemand), ("b", "m5.large", 1, Spot)]);
    let got = decide(&g, &m, &mix, 1);
    assert_eq!((ended(&got).len(), bought(&got)), (2, (2, 0)), "{got:?}");
}
