use puffer_balancer::{HostCounts, ScopeCounters};
use puffer_core::alarm::MetricId;
use puffer_core::autoscaling::{GroupTag, InstanceSource, PolicyKind, TargetTracking, TargetTrackingMetric};

use super::*;
use crate::elb_fixtures::{LB, NOW, TG};

fn scope(group: bool) -> Scope {
    Scope { load_balancer: LB.into(), target_group: group.then(|| TG.into()), zone: None }
}

fn report(epoch: u64, requests: u64) -> Report {
    let counted = |group| ScopeCounters {
        scope: scope(group),
        counters: Counters {
            request_count: requests,
            http_code_target_2xx: requests,
            active_connection_count: 3,
            ..Counters::default()
        },
        response_time: Histogram {
            count: requests,
            sum_us: 100 * requests,
            buckets: vec![(puffer_balancer::bucket_of(100), requests)],
        },
    };
    Report {
        epoch,
        generation: 1,
        change: 1,
        at: NOW,
        targets: Vec::new(),
        counters: vec![counted(false), counted(true)],
        hosts: vec![HostCounts { scope: scope(true), registered: 5, healthy: 4, unhealthy: 1 }],
    }
}

fn of<'d>(due: &'d [Due], name: &str, n_dimensions: usize) -> Option<&'d Due> {
    due.iter().find(|d| d.what.metric.name == name && d.what.metric.dimensions.len() == n_dimensions)
}

fn value(due: &[Due], name: &str, n_dimensions: usize) -> Option<f64> {
    of(due, name, n_dimensions).map(|d| match &d.what.value {
        Value::One(v) => *v,
        Value::Many(_, counts) => counts.iter().sum(),
    })
}

#[test]
fn differences_are_published_when_the_minute_is_over() {
    let minute = NOW.floor_to(60);
    let at = |s: u64| minute + Duration::from_secs(s);
    let mut book = Book::default();
    let periods = Periods::default();
    let first = book.take(&report(1, 1000), &periods, at(10), at(10));
    assert!(first.is_empty());
    assert!(book.take(&report(1, 1010), &periods, at(10), at(59)).is_empty(), "half a minute is nobody's");
    let due = book.take(&report(1, 1040), &periods, at(59), at(60));
    assert_eq!(value(&due, "RequestCount", 1), Some(40.0), "what was before the first look does not count");
    assert_eq!(value(&due, "RequestCount", 2), Some(40.0));
    assert_eq!(value(&due, "RequestCountPerTarget", 1), Some(10.0));
    assert_eq!(value(&due, "RequestCountPerTarget", 2), Some(10.0));
    assert_eq!(value(&due, "HealthyHostCount", 2), Some(4.0));
    assert_eq!(value(&due, "UnHealthyHostCount", 2), Some(1.0));
    assert_eq!(value(&due, "TargetResponseTime", 2), Some(40.0));
    assert_eq!(value(&due, "ActiveConnectionCount", 1), Some(3.0));
    assert_eq!(value(&due, "ActiveConnectionCount", 2), None, "connections are the balancer's");
    assert_eq!(value(&due, "HTTPCode_ELB_5XX_Count", 1), None, "a count of 0 is not published");
    assert!(due.iter().all(|d| d.at == minute && d.period_s == 60));
    let name = MetricId::new(
        "AWS/ApplicationELB",
        "RequestCountPerTarget",
        &[("LoadBalancer", "app/web/0123456789abcdef"), ("TargetGroup", "targetgroup/tg/0123456789abcdef")],
    );
    assert_eq!(of(&due, "RequestCountPerTarget", 2).unwrap().what.metric, name);
    // No traffic is a fact that alarms need.
    let due = book.take(&report(1, 1040), &periods, at(60), at(120));
    assert_eq!(value(&due, "RequestCount", 1), Some(0.0));
    // A new process counts from 0.
    let due = book.take(&report(2, 7), &periods, at(120), at(180));
    assert_eq!(value(&due, "RequestCount", 1), Some(7.0));
}

#[test]
fn classic_load_balancers_have_metrics_of_their_own() {
    const CLASSIC: &str = "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/old";
    let classic = |mut report: Report| {
        let scopes = report.counters.iter_mut().map(|c| &mut c.scope);
        for scope in scopes.chain(report.hosts.iter_mut().map(|h| &mut h.scope)) {
            scope.load_balancer = CLASSIC.into();
            scope.target_group = scope.target_group.take().map(|_| CLASSIC.into());
            scope.zone = Some("us-east-1a".into());
        }
        report
    };
    let minute = NOW.floor_to(60);
    let end = minute + Duration::from_secs(60);
    let mut book = Book::default();
    book.take(&classic(report(1, 0)), &Periods::default(), minute, minute);
    let due = book.take(&classic(report(1, 8)), &Periods::default(), minute, end);
    let dimensions = [("LoadBalancerName", "old"), ("AvailabilityZone", "us-east-1a")];
    let mut names: Vec<&str> = Vec::new();
    for d in &due {
        assert_eq!(d.what.metric, MetricId::new("AWS/ELB", &d.what.metric.name, &dimensions));
        names.push(&d.what.metric.name);
    }
    names.sort_unstable();
    let want = ["HTTPCode_Backend_2XX", "HealthyHostCount", "Latency", "RequestCount", "UnHealthyHostCount"];
    assert_eq!(names, want, "each once, although the target group was counted too");
    assert_eq!(value(&due, "RequestCount", 2), Some(8.0));

    // Without traffic only the hosts are told, also while none of them has been judged.
    let mut quiet = classic(report(1, 8));
    (quiet.hosts[0].healthy, quiet.hosts[0].unhealthy) = (0, 0);
    let due = book.take(&quiet, &Periods::default(), end, end + Duration::from_secs(60));
    assert_eq!((due.len(), value(&due, "HealthyHostCount", 2)), (2, Some(0.0)));
    quiet.hosts[0].registered = 0;
    let later = end + Duration::from_secs(60);
    assert!(book.take(&quiet, &Periods::default(), later, later + Duration::from_secs(60)).is_empty());
}

#[test]
fn tags_make_seconds() {
    let periods = Periods(HashMap::from([(TG.to_owned(), 1)]));
    let mut book = Book::default();
    book.take(&report(1, 0), &periods, NOW, NOW);
    let due = book.take(&report(1, 5), &periods, NOW, NOW + Duration::from_secs(1));
    assert_eq!(value(&due, "RequestCount", 2), Some(5.0));
    assert_eq!(value(&due, "RequestCount", 1), None, "the balancer has no tag");
    assert!(due.iter().all(|d| d.at == NOW && d.period_s == 1));
}

#[test]
fn periods_end_once() {
    let s = Timestamp::from_secs;
    let table = [
        (s(59), s(60), 60, Some(s(0))),
        (s(60), s(61), 60, None),
        (s(60), s(119), 60, None),
        (s(10), s(200), 60, Some(s(120))),
        (s(7), s(8), 1, Some(s(7))),
        (s(8), s(8), 1, None),
    ];
    for (before, now, period, want) in table {
        assert_eq!(ended(before, now, period), want, "{before} {now} {period}");
    }
}

#[tokio::test]
async fn policies_that_follow_a_target_group_make_it_publish_as_often() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap();
    let policy = |name: &str, metric: &str, enabled| ScalingPolicy {
        name: name.into(),
        group: "g".into(),
        arn: format!("arn:{name}"),
        kind: PolicyKind::TargetTracking(TargetTracking {
            metric: TargetTrackingMetric::Predefined {
                metric_type: metric.into(),
                resource_label: Some("app/web/0123456789abcdef/targetgroup/tg/0123456789abcdef".to_owned()),
            },
            target: 100.0,
            disable_scale_in: false,
        }),
        enabled,
        warmup_s: None,
        alarms: Vec::new(),
        last_executed_at: None,
    };
    let edit = async |body: &dyn Fn(&mut puffer_store::Transaction<'_>)| {
        store
            .transact::<_, puffer_store::StoreError>(|tx| {
                body(tx);
                Ok(())
            })
            .await
            .unwrap();
        store.read(|r| (Periods::read(r).of(&scope(true)), Periods::read(r).of(&scope(false))))
    };
    let group = || Group::new("g", "u", "arn", InstanceSource::LaunchConfiguration("lc".into()), NOW);
    let slow = edit(&|tx| {
        tx.put(crate::elb_fixtures::target_group());
        tx.put(group());
        tx.put(policy("slow", "ALBRequestCountPerTarget", true));
        tx.put(policy("off", "ALBRequestCountPerTargetHighResolution", false));
    })
    .await;
    assert_eq!(slow, (60, 60));
    let quick =
        edit(&|tx| drop(tx.put(policy("quick", "ALBRequestCountPerTargetHighResolution", true)))).await;
    assert_eq!(quick, (10, 60), "the target group's, not all of the balancer's");
    let tag = |value: &str| GroupTag { value: value.into(), propagate_at_launch: false };
    let tagged = edit(&|tx| {
        let tags = [("puffer:metric-period".to_owned(), tag("2"))].into();
        tx.put(Group { tags, ..group() });
    })
    .await;
    assert_eq!(tagged, (2, 60));
}
