//! The worked examples of the EC2 Auto Scaling guide, and what must hold for any input.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::alarm::{Comparison, MetricId, MetricQuery, MetricSource};
use crate::autoscaling::view::fixtures::{NOW, group, member, view};
use crate::autoscaling::{
    GroupTag, LifecycleState, Member, StepAdjustment, TargetTracking, TargetTrackingMetric,
};

fn capacity(min: u32, max: u32, desired: u32, warming: u32) -> Capacity {
    Capacity { min, max, desired, warmed: desired - warming, warming, metered: desired }
}

#[test]
fn percentages_round_as_documented() {
    use AdjustmentType as T;
    // (type, adjustment, least magnitude, current) → capacity
    let table = [
        (T::ChangeInCapacity, 3, None, 4, 7),
        (T::ChangeInCapacity, -5, None, 4, -1),
        (T::ExactCapacity, 2, None, 9, 2),
        (T::PercentChangeInCapacity, 10, None, 10, 11),
        // 12.7 → 12, 0.67 → 1, −0.58 → −1, −6.67 → −6.
        (T::PercentChangeInCapacity, 127, None, 10, 22),
        (T::PercentChangeInCapacity, 67, None, 1, 2),
        (T::PercentChangeInCapacity, -58, None, 1, 0),
        (T::PercentChangeInCapacity, -667, None, 1, -5),
        (T::PercentChangeInCapacity, 25, Some(2), 4, 6),
        (T::PercentChangeInCapacity, -25, Some(2), 4, 2),
        (T::PercentChangeInCapacity, 25, Some(2), 0, 2),
        (T::PercentChangeInCapacity, 0, Some(2), 5, 5),
        (T::ChangeInCapacity, 1, Some(2), 4, 5),
    ];
    for (kind, adjustment, least, current, want) in table {
        assert_eq!(adjusted(kind, adjustment, least, current), want, "{kind:?} {adjustment} of {current}");
    }
}

fn step(lower: Option<f64>, upper: Option<f64>, adjustment: i32) -> StepAdjustment {
    StepAdjustment { lower, upper, adjustment }
}

/// The guide's policies around a threshold of 50 %.
fn guide_steps() -> (Vec<StepAdjustment>, Vec<StepAdjustment>) {
    (
        vec![step(Some(0.0), Some(10.0), 0), step(Some(10.0), Some(20.0), 10), step(Some(20.0), None, 30)],
        vec![
            step(Some(-10.0), Some(0.0), 0),
            step(Some(-20.0), Some(-10.0), -10),
            step(None, Some(-20.0), -30),
        ],
    )
}

fn decide(steps: &[StepAdjustment], value: f64, capacity: &Capacity) -> Decision {
    decide_step(AdjustmentType::PercentChangeInCapacity, steps, None, value, 50.0, capacity)
}

fn to(decision: &Decision) -> Option<u32> {
    match decision {
        Decision::Change { to, .. } => Some(*to),
        Decision::Keep(_) => None,
    }
}

#[test]
fn the_guides_walk_through_steps() {
    let (out, inward) = guide_steps();
    assert_eq!(to(&decide(&out, 60.0, &capacity(2, 20, 10, 0))), Some(11));
    assert_eq!(to(&decide(&out, 70.0, &capacity(2, 20, 11, 0))), Some(14));
    assert_eq!(to(&decide(&inward, 40.0, &capacity(2, 20, 14, 0))), Some(13));
    assert_eq!(to(&decide(&inward, 30.0, &capacity(2, 20, 13, 0))), Some(10));
    // Within ten of the threshold nothing happens.
    assert_eq!(decide(&out, 55.0, &capacity(2, 20, 10, 0)), Decision::Keep(Keep::Nothing));
}

#[test]
fn a_lasting_breach_launches_once_and_a_growing_one_the_rest() {
    let (out, inward) = guide_steps();
    // 10 serve, one more warms up.
    assert_eq!(decide(&out, 62.0, &capacity(2, 20, 11, 1)), Decision::Keep(Keep::Covered));
    assert_eq!(to(&decide(&out, 72.0, &capacity(2, 20, 11, 1))), Some(13));
    assert_eq!(decide(&inward, 30.0, &capacity(2, 20, 11, 1)), Decision::Keep(Keep::Warming(1)));
    assert_eq!(decide(&out, 90.0, &capacity(2, 10, 10, 0)), Decision::Keep(Keep::AtBound(10)));
}

#[test]
fn bounds_of_steps_are_closed_on_the_side_of_the_threshold() {
    let (out, inward) = guide_steps();
    let of = |steps: &[StepAdjustment], diff| step_for(steps, diff).map(|s| s.adjustment);
    let table = [(0.0, Some(0)), (9.9, Some(0)), (10.0, Some(10)), (20.0, Some(30)), (-1.0, None)];
    for (diff, want) in table {
        assert_eq!(of(&out, diff), want, "{diff}");
    }
    let table = [(0.0, Some(0)), (-10.0, Some(-10)), (-19.9, Some(-10)), (-20.0, Some(-30)), (5.0, None)];
    for (diff, want) in table {
        assert_eq!(of(&inward, diff), want, "{diff}");
    }
}

#[test]
fn datapoints_are_aggregated_as_the_policy_says() {
    let above = |d: f64| d > 50.0;
    let table: [(&str, &[f64], Option<f64>); 9] = [
        ("Average", &[60.0, 70.0, 95.0], Some(75.0)),
        ("Minimum", &[60.0, 70.0, 95.0], Some(60.0)),
        ("Maximum", &[60.0, 95.0, 70.0], Some(95.0)),
        ("Average", &[80.0], Some(80.0)),
        // Three of five: those that do not cross the threshold do not count.
        ("Average", &[60.0, 10.0, 70.0, 20.0, 95.0], Some(75.0)),
        ("Minimum", &[60.0, 10.0, 70.0, 20.0, 95.0], Some(60.0)),
        // Set by hand.
        ("Average", &[10.0, 20.0], Some(15.0)),
        ("Maximum", &[10.0, 20.0], Some(20.0)),
        ("Average", &[], None),
    ];
    for (aggregation, datapoints, want) in table {
        assert_eq!(aggregate(aggregation, datapoints, above), want, "{aggregation} of {datapoints:?}");
    }
}

#[test]
fn steps_must_fit_together() {
    let (out, inward) = guide_steps();
    assert_eq!(validate_steps(&out), Ok(()));
    assert_eq!(validate_steps(&inward), Ok(()));
    assert_eq!(validate_steps(&[step(None, None, 1)]), Ok(()));
    let wrong = [
        vec![],
        vec![step(Some(0.0), Some(10.0), 1), step(Some(5.0), None, 2)],
        vec![step(Some(0.0), Some(10.0), 1), step(Some(11.0), None, 2)],
        vec![step(Some(0.0), Some(10.0), 1)],
        vec![step(Some(-5.0), Some(0.0), 1)],
        vec![step(Some(5.0), Some(5.0), 1)],
        vec![step(None, None, 1), step(Some(1.0), None, 1)],
        vec![step(Some(0.0), None, 1), step(Some(3.0), None, 1)],
        (0..21).map(|n| step(Some(f64::from(n)), (n < 20).then(|| f64::from(n + 1)), 1)).collect(),
    ];
    for steps in wrong {
        assert!(validate_steps(&steps).is_err(), "{steps:?}");
    }
}

#[test]
fn targets_are_met_and_never_fallen_short_of() {
    // (value, target, side, min, max, desired, warming) → capacity
    let table = [
        // +1.5 becomes +2, −1.5 becomes −1.
        (75.0, 50.0, Side::High, 1, 10, 3, 0, Some(5)),
        (25.0, 50.0, Side::Low, 1, 10, 3, 0, Some(2)),
        (100.0, 50.0, Side::High, 1, 10, 1, 0, Some(2)),
        (100.0, 50.0, Side::High, 1, 5, 4, 0, Some(5)),
        (30.0, 10.0, Side::High, 1, 100, 7, 0, Some(21)),
        // Those that warm up are capacity but not in the metric: 2 serve 200 %, so 4 are needed.
        (100.0, 50.0, Side::High, 1, 10, 3, 1, Some(4)),
        (70.0, 50.0, Side::High, 1, 10, 3, 1, None),
        (90.0, 50.0, Side::High, 1, 10, 1, 1, None),
        (50.0, 50.0, Side::High, 1, 10, 3, 0, None),
        (90.0, 50.0, Side::High, 1, 3, 3, 0, None),
        // Nothing there, but the metric asks: start with what one instance shows.
        (90.0, 50.0, Side::High, 0, 3, 0, 0, Some(2)),
        // In: gradually, and not while anything warms up.
        (1.0, 50.0, Side::Low, 1, 10, 8, 0, Some(4)),
        (1.0, 50.0, Side::Low, 1, 10, 2, 0, Some(1)),
        (0.0, 50.0, Side::Low, 0, 10, 1, 0, Some(0)),
        (1.0, 50.0, Side::Low, 1, 10, 8, 1, None),
        (1.0, 50.0, Side::Low, 3, 10, 3, 0, None),
        (30.0, 50.0, Side::Low, 1, 10, 2, 0, None),
    ];
    for (value, target, side, min, max, desired, warming, want) in table {
        let got = decide_target(value, target, side, &capacity(min, max, desired, warming));
        assert_eq!(to(&got), want, "{value}/{target} {side:?} {desired} ({warming}): {got:?}");
    }
    assert_eq!(
        decide_target(f64::NAN, 50.0, Side::High, &capacity(1, 2, 1, 0)),
        Decision::Keep(Keep::NoData)
    );
}

#[test]
fn capacity_counts_what_is_warm() {
    let s = Duration::from_secs;
    let mut m: Vec<Member> = (0..4).map(|n| member(&format!("i-{n}"), "a")).collect();
    m[1].in_service_at = Some(NOW - s(100));
    m[2].state = LifecycleState::Pending;
    m[2].in_service_at = None;
    m[3].state = LifecycleState::Terminating;
    let g = group(0, 10, 4);
    let v = view(&g, &m, &[]);
    let of = |warmup| {
        let c = Capacity::of(&v, warmup);
        (c.warmed, c.warming)
    };
    // One is yet to be launched.
    assert_eq!(of(300), (1, 3));
    assert_eq!(of(100), (2, 2));
    let small = group(0, 10, 1);
    let v = view(&small, &m, &[]);
    assert_eq!((Capacity::of(&v, 100).warmed, Capacity::of(&v, 100).warming), (1, 0));
}

#[test]
fn simple_scaling_waits_for_activities_and_cooldowns() {
    let m: Vec<Member> = (0..2).map(|n| member(&format!("i-{n}"), "a")).collect();
    let mut g = group(0, 5, 2);
    let decide = |g: &Group, m: &[Member], honor| {
        decide_simple(&view(g, m, &[]), AdjustmentType::ChangeInCapacity, 2, None, honor)
    };
    assert_eq!(to(&decide(&g, &m, true)), Some(4));
    g.cooldown_started_at = Some(NOW - Duration::from_secs(299));
    assert_eq!(decide(&g, &m, true), Decision::Keep(Keep::Cooldown(NOW + Duration::from_secs(1))));
    assert_eq!(to(&decide(&g, &m, false)), Some(4));
    g.cooldown_s = Some(60);
    assert_eq!(to(&decide(&g, &m, true)), Some(4));
    g.desired = 3;
    assert_eq!(decide(&g, &m, true), Decision::Keep(Keep::ActivityInProgress));
    g.desired = 2;
    g.max = 2;
    assert_eq!(decide(&g, &m, true), Decision::Keep(Keep::AtBound(2)));
}

#[test]
fn the_largest_result_wins_also_for_scale_in() {
    let c = capacity(0, 10, 8, 0);
    let three = decide_step(AdjustmentType::ChangeInCapacity, &[step(None, None, -3)], None, 1.0, 2.0, &c);
    let quarter =
        decide_step(AdjustmentType::PercentChangeInCapacity, &[step(None, None, -25)], None, 1.0, 2.0, &c);
    assert_eq!(largest([("three", &three), ("quarter", &quarter)]), Some(("quarter", 6)));
    assert_eq!(largest([((), &Decision::Keep(Keep::Nothing))]), None);
}

#[test]
fn thresholds_seen_on_aws() {
    // (target, instances) → low threshold
    let table = [
        (50.0, 1, 35.0),
        (20.0, 2, 14.0),
        (50.0, 7, 42.5),
        (60.0, 10, 54.0),
        (40.0, 30, 36.0),
        (50.0, 0, 35.0),
    ];
    for (target, n, want) in table {
        let got: f64 = target * low_ratio(n);
        assert!((got - want).abs() < 1e-9, "{target} × {n}: {got}");
    }
}

fn tracking(metric_type: &str, label: Option<&str>) -> TargetTracking {
    TargetTracking {
        metric: TargetTrackingMetric::Predefined {
            metric_type: metric_type.into(),
            resource_label: label.map(Into::into),
        },
        target: 60.0,
        disable_scale_in: false,
    }
}

fn policy(tracking: TargetTracking) -> ScalingPolicy {
    ScalingPolicy {
        name: "cpu".into(),
        group: "g".into(),
        arn: "arn:policy".into(),
        kind: PolicyKind::TargetTracking(tracking),
        enabled: true,
        warmup_s: None,
        alarms: vec![],
        last_executed_at: None,
    }
}

fn names() -> AlarmNames {
    AlarmNames {
        arn_prefix: "arn:aws:cloudwatch:us-east-1:123456789012:alarm:".into(),
        high_uuid: "u1".into(),
        low_uuid: "u2".into(),
    }
}

#[test]
fn alarms_are_those_that_aws_makes() {
    let mut g = group(1, 5, 2);
    let alarms =
        target_tracking_alarms(&policy(tracking("ASGAverageCPUUtilization", None)), &g, &names(), NOW)
            .unwrap();
    let [high, low] = &alarms[..] else { panic!("{alarms:?}") };
    assert_eq!(high.name, "TargetTracking-g-AlarmHigh-u1");
    assert_eq!(low.arn, "arn:aws:cloudwatch:us-east-1:123456789012:alarm:TargetTracking-g-AlarmLow-u2");
    assert_eq!(
        (high.threshold, high.period_s, high.evaluation_periods, high.comparison),
        (60.0, 60, 3, Comparison::GreaterThanThreshold)
    );
    assert_eq!(
        (low.threshold, low.period_s, low.evaluation_periods, low.comparison),
        (42.0, 60, 15, Comparison::LessThanThreshold)
    );
    assert_eq!(high.alarm_actions, ["arn:policy"]);
    // Tags ask for seconds; a second rewrite changes nothing.
    let tag = |value: &str| GroupTag { value: value.into(), propagate_at_launch: false };
    g.tags.insert(TAG_METRIC_PERIOD.into(), tag("1"));
    g.tags.insert(TAG_SCALE_OUT_DATAPOINTS.into(), tag("2"));
    g.tags.insert(TAG_SCALE_IN_DATAPOINTS.into(), tag("10"));
    let t = tracking("ASGAverageCPUUtilization", None);
    let mut low = low.clone();
    assert_eq!(rewrite_alarms(&t, &g, &mut low, NOW), Ok(true));
    assert_eq!((low.period_s, low.evaluation_periods), (1, 10));
    assert!(matches!(&low.queries[0].source, MetricSource::Stat { period_s: 1, .. }));
    assert_eq!(rewrite_alarms(&t, &g, &mut low, NOW), Ok(false));
    let mut no_scale_in = t;
    no_scale_in.disable_scale_in = true;
    assert_eq!(target_tracking_alarms(&policy(no_scale_in), &g, &names(), NOW).unwrap().len(), 1);
}

#[test]
fn request_counts_are_scaled_to_the_period() {
    let label = "app/lb/0123456789abcdef/targetgroup/tg/fedcba9876543210";
    let t = tracking("ALBRequestCountPerTarget", Some(label));
    let (queries, period, target) = metric_of(&t, "g", &Reaction::default()).unwrap();
    assert_eq!((period, target), (60, 60.0));
    let MetricSource::Stat { metric, statistic, .. } = &queries[0].source else { panic!() };
    assert_eq!(statistic, "Sum");
    assert_eq!(metric.dimensions[1], ("TargetGroup".into(), "targetgroup/tg/fedcba9876543210".into()));
    let quick = Reaction { period_s: Some(5), ..Reaction::default() };
    assert_eq!(metric_of(&t, "g", &quick).unwrap().2, 5.0);
    for (metric_type, label) in
        [("ALBRequestCountPerTarget", None), ("ALBRequestCountPerTarget", Some("x/y")), ("Other", None)]
    {
        assert!(metric_of(&tracking(metric_type, label), "g", &quick).is_err());
    }
}

#[test]
fn short_periods_are_for_metrics_that_have_them() {
    let label = "app/lb/0123456789abcdef/targetgroup/tg/fedcba9876543210";
    let second = Reaction { period_s: Some(1), ..Reaction::default() };
    let customized = |namespace: &str, name: &str, period_s| {
        let source = MetricSource::Stat {
            metric: MetricId::new(namespace, name, &[("AutoScalingGroupName", "g")]),
            statistic: "Average".into(),
            period_s,
            unit: None,
        };
        let query = MetricQuery { id: "m1".into(), source, label: None, return_data: true };
        TargetTracking {
            metric: TargetTrackingMetric::Customized { queries: vec![query], period_s, plain: true },
            target: 60.0,
            disable_scale_in: false,
        }
    };
    let predefined = |name: &str| tracking(name, Some(label).filter(|_| name.starts_with("ALB")));
    // (metric, period without and with the tag, target with the tag)
    let table = [
        (predefined("ASGAverageCPUUtilization"), 60, 1, 60.0),
        (predefined("ASGAverageCPUUtilizationHighResolution"), 10, 1, 60.0),
        (predefined("ASGAverageNetworkIn"), 60, 60, 60.0),
        (predefined("ASGAverageNetworkOut"), 60, 60, 60.0),
        (predefined("ALBRequestCountPerTarget"), 60, 1, 1.0),
        (predefined("ALBRequestCountPerTargetHighResolution"), 10, 1, 1.0),
        (customized("AWS/EC2", "CPUUtilization", 60), 60, 1, 60.0),
        (customized("AWS/EC2", "NetworkIn", 60), 60, 60, 60.0),
        (customized("AWS/AutoScaling", "GroupInServiceInstances", 60), 60, 60, 60.0),
        (customized("Mine", "Jobs", 30), 30, 1, 60.0),
    ];
    for (tracking, plain, tagged, target) in table {
        let found = metric_of(&tracking, "g", &Reaction::default()).unwrap();
        assert_eq!(found.1, plain, "{tracking:?}");
        let (queries, period_s, found) = metric_of(&tracking, "g", &second).unwrap();
        assert_eq!((period_s, found), (tagged, target), "{tracking:?}");
        assert!(matches!(queries[0].source, MetricSource::Stat { period_s, .. } if period_s == tagged));
    }
}

#[test]
fn policies_say_which_balancers_they_follow_and_how_often() {
    let label = "app/lb/0123456789abcdef/targetgroup/tg/fedcba9876543210";
    let group = group(0, 1, 1);
    let needs = |name, label| balancer_needs(&policy(tracking(name, label)), &group).unwrap();
    let target_group = vec!["targetgroup/tg/fedcba9876543210".to_owned()];
    assert_eq!(needs("ALBRequestCountPerTarget", Some(label)), (target_group.clone(), 60));
    assert_eq!(needs("ALBRequestCountPerTargetHighResolution", Some(label)), (target_group, 10));
    assert_eq!(needs("ASGAverageCPUUtilization", None).0, Vec::<String>::new());
}

#[test]
fn tags_are_checked() {
    let read =
        |key: &'static str, value: &'static str| Reaction::from_tags(move |k| (k == key).then_some(value));
    assert_eq!(read(TAG_METRIC_PERIOD, "5").unwrap().period_s, Some(5));
    assert_eq!(read("other", "x"), Ok(Reaction::default()));
    for value in ["0", "61", "five", "", "-1", "1.5"] {
        let error = read(TAG_METRIC_PERIOD, value).unwrap_err();
        assert!(error.contains(TAG_METRIC_PERIOD) && error.contains("from 1 to 60"), "{error}");
    }
    assert!(read(TAG_SCALE_IN_DATAPOINTS, "101").is_err());
}

proptest! {
    #[test]
    fn decisions_stay_within_the_bounds_and_move_the_right_way(
        value in 0.0f64..1e6, target in 0.001f64..1e4, min in 0u32..50, span in 0u32..50, at in 0.0f64..=1.0, warm in 0.0f64..=1.0,
        adjustment in -500i32..500, out: bool,
    ) {
        let max = min + span;
        let desired = min + (f64::from(span) * at) as u32;
        let warmed = (f64::from(desired) * warm) as u32;
        let c = Capacity { min, max, desired, warmed, warming: desired - warmed, metered: desired };
        let side = if out { Side::High } else { Side::Low };
        if let Decision::Change { to, reasons } = decide_target(value, target, side, &c) {
            prop_assert!((min..=max).contains(&to) && !reasons.is_empty());
            prop_assert_eq!(to > desired, out);
            // Enough for the load, unless a bound or gradual scale-in says otherwise.
            if to < max {
                prop_assert!(f64::from(to) * target >= f64::from(warmed) * value - 1e-3);
            }
        }
        let steps = [step(None, None, adjustment)];
        for kind in [AdjustmentType::ChangeInCapacity, AdjustmentType::PercentChangeInCapacity] {
            if let Decision::Change { to, .. } = decide_step(kind, &steps, None, value, target, &c) {
                prop_assert!((min..=max).contains(&to));
                prop_assert_eq!(to > desired, adjustment > 0);
            }
        }
    }
}
