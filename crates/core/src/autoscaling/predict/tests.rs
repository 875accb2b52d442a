use std::time::Duration;

use super::*;
use crate::alarm::{MetricId, MetricSource};
use crate::autoscaling::view::fixtures::group;

const NOW: Timestamp = Timestamp::from_secs(1_795_230_000);

fn series(text: &str) -> Vec<f64> {
    text.lines().skip(1).map(|l| l.split_once(',').unwrap().1.parse().unwrap()).collect()
}

/// Mean absolute error of 48-hour forecasts every six hours, each from at most two weeks, over the mean of what came: ours, and
/// that of "as yesterday".
fn errors(hours: &[f64]) -> (f64, f64) {
    let (mut ours, mut yesterday, mut came) = (0.0, 0.0, 0.0);
    let mut k = 3 * 24;
    while k + HORIZON_H <= hours.len() {
        let past = &hours[k.saturating_sub(HISTORY_H_MAX)..k];
        let made = forecast_load(past, HORIZON_H).unwrap();
        for (i, made) in made.iter().enumerate() {
            let real = hours[k + i];
            ours += (made - real).abs();
            yesterday += (past[past.len() - 24 + i % 24] - real).abs();
            came += real;
        }
        k += 6;
    }
    (ours / came, yesterday / came)
}

#[test]
fn recorded_loads_are_forecast_better_than_as_yesterday() {
    let requests = series(include_str!("../../../tests/data/elb_request_count_hourly.csv"));
    let (ours, yesterday) = errors(&requests);
    assert!(ours < 0.90 * yesterday, "requests: {ours:.4} against {yesterday:.4}");
    let sizes = series(include_str!("../../../tests/data/asg_capacity_hourly.csv"));
    let (ours, yesterday) = errors(&sizes);
    assert!(ours < 0.90 * yesterday, "sizes: {ours:.4} against {yesterday:.4}");
}

/// A day's wave with a quiet weekend, in requests per hour.
fn wave(hour: usize) -> f64 {
    let of_day = (hour % 24) as f64 / 24.0 * std::f64::consts::TAU;
    let weekend = if (hour / 24) % 7 >= 5 { 0.4 } else { 1.0 };
    weekend * (1000.0 - 600.0 * of_day.cos())
}

#[test]
fn seasons_are_found() {
    // Two days: the day. Two weeks: the week as well.
    for (days, n) in [(3, 24), (14, 48)] {
        let past: Vec<f64> = (0..days * 24).map(wave).collect();
        let made = forecast_load(&past, n).unwrap();
        let (mut error, mut sum) = (0.0, 0.0);
        for (i, made) in made.iter().enumerate() {
            let real = wave(days * 24 + i);
            error += (made - real).abs();
            sum += real;
        }
        assert!(error / sum < 0.15, "{days} days: {}", error / sum);
    }
    let day: Vec<f64> = (0..30).map(wave).collect();
    assert_eq!(forecast_load(&day, 2).unwrap(), [wave(6), wave(7)], "as yesterday");
    assert_eq!(forecast_load(&[1.0; 23], 2), Err(TooLittle::Hours(23)));
    assert!(forecast_load(&[0.0; 100], 48).unwrap().iter().all(|v| v.abs() < 1e-6));
}

fn at(hours_ago: i64) -> Timestamp {
    Timestamp::from_secs((NOW.as_secs().div_euclid(3600) - hours_ago) * 3600)
}

#[test]
fn gaps_are_bridged_and_silence_is_told() {
    let all: Vec<(Timestamp, f64)> = (1..=30).rev().map(|h| (at(h), h as f64)).collect();
    let (hours, next) = history(&all, NOW).unwrap();
    assert_eq!((hours.len(), hours[0], hours[29], next), (30, 30.0, 1.0, at(0)));
    let holes: Vec<_> = all.iter().copied().filter(|(t, _)| *t != at(10) && *t != at(11)).collect();
    assert_eq!(history(&holes, NOW).unwrap().0, hours, "in a straight line");
    assert_eq!(history(&all[7..], NOW), Err(TooLittle::Hours(23)));
    assert_eq!(history(&[], NOW), Err(TooLittle::Hours(0)));
    let old: Vec<_> = all.iter().map(|(t, v)| (*t - Duration::from_secs(25 * 3600), *v)).collect();
    assert_eq!(history(&old, NOW), Err(TooLittle::Stopped(25)));
    let long: Vec<_> = (1..=500).rev().map(|h| (at(h), 1.0)).collect();
    assert_eq!(history(&long, NOW).unwrap().0.len(), HISTORY_H_MAX);
}

#[test]
fn the_load_of_an_instance_is_learnt() {
    let load: Vec<_> = (0..48).map(|h| (at(h), wave(usize::try_from(h).unwrap()))).collect();
    let capacity: Vec<_> = (0..48).map(|h| (at(h), 1.0 + (h % 3) as f64)).collect();
    // One per cent of CPU for each ten requests an hour and instance.
    let scaling: Vec<_> = load.iter().zip(&capacity).map(|((t, l), (_, n))| (*t, l / n / 10.0)).collect();
    let learnt = learn(&load, &scaling, &capacity).unwrap();
    assert!((learnt.factor - 0.1).abs() < 1e-9 && learnt.correlation.unwrap() > 0.999);
    assert_eq!(learnt.capacity(1000.0, 50.0), 2);
    assert_eq!(learnt.capacity(1001.0, 50.0), 3);
    assert_eq!(learnt.capacity(0.0, 50.0), 0);
    assert_eq!(learn(&load[..11], &scaling, &capacity), None, "too few hours");
    let nothing: Vec<_> = load.iter().map(|(t, _)| (*t, 0.0)).collect();
    assert_eq!(learn(&nothing, &scaling, &capacity), None);
    assert_eq!(correlation(&load, &nothing, &capacity), None, "a constant correlates with nothing");
}

fn pair(pair_type: &str, label: Option<&str>) -> Specification {
    Specification::Pair { pair_type: pair_type.into(), resource_label: label.map(Into::into) }
}

fn each(samples: f64) -> SamplesPerHour {
    SamplesPerHour { cpu: samples, others: samples }
}

#[test]
fn only_cpu_is_sampled_more_often_in_fast_groups() {
    let samples = SamplesPerHour { cpu: 360.0, others: 60.0 };
    let relation = |name| sources(&pair(name, None), "g", samples).unwrap().relation;
    assert_eq!(relation("ASGCPUUtilization"), Relation::Known(1.0 / 360.0));
    assert_eq!(relation("ASGNetworkIn"), Relation::Known(1.0 / 60.0));
    assert_eq!(relation("ASGNetworkOut"), Relation::Known(1.0 / 60.0));
}

#[test]
fn predefined_metrics() {
    let cpu = sources(&pair("ASGCPUUtilization", None), "g", each(12.0)).unwrap();
    let MetricSource::Stat { metric, statistic, period_s, .. } = &cpu.load[0].source else { panic!() };
    assert_eq!(*metric, MetricId::new("AWS/EC2", "CPUUtilization", &[("AutoScalingGroupName", "g")]));
    assert_eq!((statistic.as_str(), *period_s, cpu.relation), ("Sum", 3600, Relation::Known(1.0 / 12.0)));
    let label = Some("app/lb/0123456789abcdef/targetgroup/tg/fedcba9876543210");
    let requests = sources(&pair("ALBRequestCount", label), "g", each(60.0)).unwrap();
    assert_eq!(requests.relation, Relation::Known(1.0 / 60.0));
    assert!(requests.scaling.iter().any(|q| q.return_data && q.id == "e1"));
    let predefined = |name: &str| MetricChoice::Predefined { metric_type: name.into(), resource_label: None };
    let apart = |load: &str, scaling: &str| Specification::Apart {
        load: predefined(load),
        scaling: predefined(scaling),
        capacity: None,
    };
    let same = sources(&apart("ASGTotalNetworkIn", "ASGAverageNetworkIn"), "g", each(60.0)).unwrap();
    assert_eq!(same.relation, Relation::Known(1.0 / 60.0));
    let mixed = sources(&apart("ASGTotalNetworkIn", "ASGAverageCPUUtilization"), "g", each(60.0)).unwrap();
    assert_eq!(mixed.relation, Relation::Learnt);
    for wrong in [
        pair("Other", None),
        pair("ALBRequestCount", None),
        pair("ALBRequestCount", Some("x")),
        apart("ASGAverageCPUUtilization", "ASGAverageCPUUtilization"),
        apart("ASGTotalCPUUtilization", "ASGTotalCPUUtilization"),
    ] {
        assert!(sources(&wrong, "g", each(60.0)).is_err(), "{wrong:?}");
    }
}

fn policy(max_capacity: MaxCapacity) -> PredictiveScaling {
    PredictiveScaling {
        specification: pair("ASGCPUUtilization", None),
        target: 50.0,
        mode: Mode::ForecastAndScale,
        buffer_s: BUFFER_S,
        max_capacity,
    }
}

#[test]
fn a_forecast_raises_and_never_lowers() {
    let point = |capacity| ForecastPoint { at: NOW, load: 1.0, capacity };
    let with = |buffer_percent| MaxCapacity::Increase { buffer_percent };
    // (behaviour, forecast, min, max, desired) → (desired, max)
    let table = [
        (MaxCapacity::Honor, 6, 2, 10, 4, Some((6, 10))),
        (MaxCapacity::Honor, 4, 2, 10, 4, None),
        (MaxCapacity::Honor, 1, 2, 10, 4, None),
        (MaxCapacity::Honor, 50, 2, 10, 4, Some((10, 10))),
        (MaxCapacity::Honor, 50, 2, 10, 10, None),
        // The guide's: a forecast of 50 and a buffer of 10 % make 55.
        (with(10), 50, 2, 40, 40, Some((50, 55))),
        (with(0), 50, 2, 40, 40, Some((50, 50))),
        (with(10), 38, 2, 40, 40, Some((40, 42))),
        (with(10), 20, 2, 40, 10, Some((20, 40))),
        (with(10), 0, 2, 40, 10, None),
    ];
    for (behaviour, forecast, min, max, desired, want) in table {
        let raised = raise(&policy(behaviour), &point(forecast), &group(min, max, desired));
        assert_eq!(
            raised.map(|r| (r.desired, r.max)),
            want,
            "{behaviour:?} {forecast} in {min}–{max} at {desired}"
        );
    }
}

#[test]
fn an_hour_is_prepared_when_the_buffer_begins() {
    let p = policy(MaxCapacity::Honor);
    let hour = Timestamp::from_secs(1_795_230_000 / 3600 * 3600);
    let next = hour + Duration::from_secs(3600);
    assert_eq!(p.hour_to_prepare(next - Duration::from_secs(301)), hour);
    assert_eq!(p.hour_to_prepare(next - Duration::from_secs(300)), next);
    assert_eq!(p.hour_to_prepare(next + Duration::from_secs(3299)), next);
    let none = PredictiveScaling { buffer_s: 0, ..p };
    assert_eq!(none.hour_to_prepare(next), next);
}

#[test]
fn forecasts_past_are_kept_for_a_month() {
    let mut f = Forecast::empty("g", "p");
    assert!(f.is_due(NOW));
    let made = |from: Timestamp, capacity| -> Vec<ForecastPoint> {
        (0..48)
            .map(|h| ForecastPoint { at: from + Duration::from_secs(h * 3600), load: 1.0, capacity })
            .collect()
    };
    let mut hour = at(0);
    let began = hour;
    for _ in 0..200 {
        f.renew(hour, made(hour, 3), None);
        assert!(!f.is_due(hour + Duration::from_secs(6 * 3600 - 1)));
        hour = hour + Duration::from_secs(6 * 3600);
        assert!(f.is_due(hour));
    }
    let last = hour - Duration::from_secs(6 * 3600);
    assert_eq!(f.points.len(), 30 * 24 + 48);
    assert_eq!(f.of_hour(last + Duration::from_secs(59)).unwrap().at, last);
    assert_eq!(f.of_hour(began), None);
    assert!(f.points.windows(2).all(|w| w[0].at < w[1].at), "in order, each hour once");
}
