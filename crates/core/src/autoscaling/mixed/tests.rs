use super::*;
use crate::ec2::InstanceLifecycle::{OnDemand, Spot};
use crate::ec2::spot::DEPTH_MAX;

/// Type, weight, On-Demand price, and in zone a: Spot price, instances left, depth.
type Row = (&'static str, u32, u64, u64, Option<u32>, u32);

fn mix(distribution: Distribution, rows: &[Row]) -> Mix {
    let offer = |(at, row): (usize, &Row)| Offer {
        instance_type: row.0.into(),
        weight: row.1,
        of_override: Some(at),
        on_demand: Price(row.2),
        on_demand_allowed: true,
        spot: vec![ZoneOffer {
            zone: "a".into(),
            quote: Quote { price: Price(row.3), left: row.4, depth: row.5 },
            allowed: true,
            risky: false,
        }],
    };
    Mix {
        distribution,
        offers: rows.iter().enumerate().map(offer).collect(),
        fallback: false,
        templates: vec!["lt-1".into()],
    }
}

const ANY: Floor = Floor { weight: 0, depth: 0, steady: false };

#[test]
fn shares() {
    // (base, percent) → On-Demand of 0, 1, 2, 3, 4, 10, 11
    let table: &[((u32, u32), [u32; 7])] = &[
        ((0, 100), [0, 1, 2, 3, 4, 10, 11]),
        ((0, 0), [0, 0, 0, 0, 0, 0, 0]),
        ((0, 50), [0, 1, 1, 2, 2, 5, 6]),
        ((2, 0), [0, 1, 2, 2, 2, 2, 2]),
        ((2, 25), [0, 1, 2, 3, 3, 4, 5]),
        ((20, 0), [0, 1, 2, 3, 4, 10, 11]),
    ];
    for ((base, percent), want) in table {
        let d =
            Distribution { on_demand_base: *base, on_demand_percent: *percent, ..Distribution::default() };
        assert_eq!([0, 1, 2, 3, 4, 10, 11].map(|n| d.on_demand_of(n)), *want, "{base} {percent}");
    }
}

#[test]
fn on_demand_by_priority_or_price_per_unit() {
    let rows: &[Row] = &[("m", 1, 96, 30, None, 5), ("c", 1, 85, 40, None, 5), ("r", 4, 126, 50, None, 5)];
    let mut m = mix(Distribution::default(), rows);
    let of = |m: &Mix| pick(m, "a", OnDemand, &Planned::default(), &ANY).unwrap().instance_type;
    assert_eq!(of(&m), "m");
    m.distribution.on_demand_strategy = OnDemandStrategy::LowestPrice;
    assert_eq!(of(&m), "r");
    m.offers[2].on_demand_allowed = false;
    assert_eq!(of(&m), "c");
}

#[test]
fn on_demand_goes_on_to_the_next_type_where_one_is_lacking() {
    let rows: &[Row] = &[("m", 1, 96, 30, None, 5), ("c", 1, 85, 40, None, 5)];
    let m = mix(Distribution::default(), rows);
    let mut planned = Planned::default();
    planned.add_lacking("m", "a");
    let of = |zone, planned: &Planned| pick(&m, zone, OnDemand, planned, &ANY).map(|p| p.instance_type);
    assert_eq!((of("a", &planned).as_deref(), of("b", &planned).as_deref()), (Some("c"), Some("m")));
    planned.add_lacking("c", "a");
    assert_eq!(of("a", &planned), None);
}

#[test]
fn spot_strategies() {
    let rows: &[Row] = &[
        ("m", 1, 96, 30, None, 7),
        ("c", 1, 85, 25, None, 9),
        ("r", 2, 126, 40, None, 3),
        ("t", 1, 9, 5, Some(0), 0),
    ];
    let table = [
        (SpotStrategy::LowestPrice, "r"),
        (SpotStrategy::CapacityOptimized, "c"),
        (SpotStrategy::CapacityOptimizedPrioritized, "m"),
        (SpotStrategy::PriceCapacityOptimized, "c"),
    ];
    for (spot_strategy, want) in table {
        let m = mix(Distribution { spot_strategy, spot_pools: Some(1), ..Distribution::default() }, rows);
        let got = pick(&m, "a", Spot, &Planned::default(), &ANY).unwrap();
        assert_eq!(got.instance_type, want, "{spot_strategy:?}");
        assert!(pick(&m, "b", Spot, &Planned::default(), &ANY).is_none(), "no such pool");
    }
}

#[test]
fn lowest_price_spreads_over_its_pools() {
    let rows: &[Row] = &[("m", 1, 96, 30, None, 5), ("c", 1, 85, 20, None, 5), ("r", 1, 126, 25, None, 5)];
    let m = mix(Distribution::default(), rows);
    let mut planned = Planned::default();
    planned.add_member("c", "a", Spot);
    let mut taken = Vec::new();
    for _ in 0..4 {
        let pool = pick(&m, "a", Spot, &planned, &ANY).unwrap();
        planned.add_launch(&pool, "a");
        taken.push(pool.instance_type);
    }
    assert_eq!(taken, ["r", "c", "r", "c"]);
}

#[test]
fn pools_run_out_and_those_not_allowed_are_left_out() {
    let rows: &[Row] = &[("m", 1, 96, 10, Some(2), 2), ("c", 1, 85, 20, None, DEPTH_MAX)];
    let mut m = mix(Distribution { spot_pools: Some(1), ..Distribution::default() }, rows);
    let mut planned = Planned::default();
    let mut taken = Vec::new();
    for _ in 0..3 {
        let pool = pick(&m, "a", Spot, &planned, &ANY).unwrap();
        planned.add_launch(&pool, "a");
        taken.push(pool.instance_type);
    }
    assert_eq!(taken, ["m", "m", "c"]);
    m.offers[1].spot[0].allowed = false;
    assert!(pick(&m, "a", Spot, &planned, &ANY).is_none());
    assert_eq!(pick_any(&m, Spot).unwrap().instance_type, "m");
    let heavier = Floor { weight: 2, ..ANY };
    assert!(pick(&m, "a", OnDemand, &planned, &heavier).is_none());
    m.offers[1].weight = 2;
    assert_eq!(pick(&m, "a", OnDemand, &planned, &heavier).unwrap().instance_type, "c");
    // What is shallower than the floor or too near its maximum price is no way out.
    m.offers[1].spot[0].allowed = true;
    assert!(pick(&m, "a", Spot, &planned, &Floor { depth: DEPTH_MAX, ..ANY }).is_some());
    m.offers[1].spot[0].risky = true;
    assert!(pick(&m, "a", Spot, &planned, &Floor { steady: true, ..ANY }).is_none());
    m.offers[1].spot[0].quote.depth = 3;
    assert!(pick(&m, "a", Spot, &planned, &Floor { depth: 4, ..ANY }).is_none());
}

#[test]
fn misfits() {
    let rows: &[Row] = &[("m", 1, 96, 30, None, 2), ("c", 1, 85, 20, None, 9)];
    let mut m = mix(Distribution::default(), rows);
    assert!(misfit(&m, "c", "a", OnDemand) > misfit(&m, "m", "a", OnDemand), "the lower priority goes first");
    assert!(misfit(&m, "x", "a", OnDemand) > misfit(&m, "c", "a", OnDemand), "what the policy no longer has");
    m.distribution.on_demand_strategy = OnDemandStrategy::LowestPrice;
    assert!(misfit(&m, "m", "a", OnDemand) > misfit(&m, "c", "a", OnDemand));
    for strategy in [
        SpotStrategy::LowestPrice,
        SpotStrategy::CapacityOptimized,
        SpotStrategy::CapacityOptimizedPrioritized,
        SpotStrategy::PriceCapacityOptimized,
    ] {
        m.distribution.spot_strategy = strategy;
        assert!(misfit(&m, "m", "a", Spot) > misfit(&m, "c", "a", Spot), "{strategy:?}");
    }
}
