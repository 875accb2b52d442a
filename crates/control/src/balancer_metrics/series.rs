//! Counters of the data plane as CloudWatch's metrics: names, dimensions, units and which scopes carry which.
//!
//! Source: "CloudWatch metrics for your Application Load Balancer" of the guide, and that for classic load balancers. A count of 0
//! is not published, except for the request counts of application load balancers, which alarms for scale-in need.

use puffer_balancer::{Counters, Histogram, HostCounts, Scope, bucket_value_s};
use puffer_core::alarm::{MetricId, Unit};
use puffer_core::elb::arn::{classic_name, load_balancer_dimension, target_group_dimension};

const NAMESPACE: &str = "AWS/ApplicationELB";
/// Namespace of classic load balancers.
const CLASSIC_NAMESPACE: &str = "AWS/ELB";

/// Something to put.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub(crate) metric: MetricId,
    pub(crate) unit: Unit,
    pub(crate) value: Value,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// One number.
    One(f64),
    /// A distribution: values and how often each.
    Many(Vec<f64>, Vec<f64>),
}

/// The metric `name` of a scope.
pub(crate) fn metric(name: &str, scope: &Scope) -> MetricId {
    let mut dimensions = vec![("LoadBalancer", load_balancer_dimension(&scope.load_balancer))];
    if let Some(group) = &scope.target_group {
        dimensions.push(("TargetGroup", target_group_dimension(group)));
    }
    if let Some(zone) = &scope.zone {
        dimensions.push(("AvailabilityZone", zone));
    }
    MetricId::new(NAMESPACE, name, &dimensions)
}

/// The metric `name` of a classic load balancer, as a whole or of a zone.
fn classic_metric(name: &str, balancer: &str, scope: &Scope) -> MetricId {
    let mut dimensions = vec![("LoadBalancerName", balancer)];
    if let Some(zone) = &scope.zone {
        dimensions.push(("AvailabilityZone", zone));
    }
    MetricId::new(CLASSIC_NAMESPACE, name, &dimensions)
}

type Field = fn(&Counters) -> u64;

/// Which scopes carry a counter.
#[derive(Clone, Copy, PartialEq)]
enum Carried {
    /// With and without a target group.
    Everywhere,
    /// Of the balancer only, by zone and in sum.
    Balancer,
}

const COUNTERS: &[(&str, Field, Carried, Unit)] = &[
    ("HTTPCode_Target_2XX_Count", |c| c.http_code_target_2xx, Carried::Everywhere, Unit::Count),
    ("HTTPCode_Target_3XX_Count", |c| c.http_code_target_3xx, Carried::Everywhere, Unit::Count),
    ("HTTPCode_Target_4XX_Count", |c| c.http_code_target_4xx, Carried::Everywhere, Unit::Count),
    ("HTTPCode_Target_5XX_Count", |c| c.http_code_target_5xx, Carried::Everywhere, Unit::Count),
    ("HTTPCode_ELB_3XX_Count", |c| c.http_code_elb_3xx, Carried::Balancer, Unit::Count),
    ("HTTPCode_ELB_4XX_Count", |c| c.http_code_elb_4xx, Carried::Balancer, Unit::Count),
    ("HTTPCode_ELB_5XX_Count", |c| c.http_code_elb_5xx, Carried::Balancer, Unit::Count),
    ("HTTPCode_ELB_500_Count", |c| c.http_code_elb_500, Carried::Balancer, Unit::Count),
    ("HTTPCode_ELB_502_Count", |c| c.http_code_elb_502, Carried::Balancer, Unit::Count),
    ("HTTPCode_ELB_503_Count", |c| c.http_code_elb_503, Carried::Balancer, Unit::Count),
    ("HTTPCode_ELB_504_Count", |c| c.http_code_elb_504, Carried::Balancer, Unit::Count),
    ("HTTP_Redirect_Count", |c| c.http_redirect_count, Carried::Balancer, Unit::Count),
    ("HTTP_Fixed_Response_Count", |c| c.http_fixed_response_count, Carried::Balancer, Unit::Count),
    ("NewConnectionCount", |c| c.new_connection_count, Carried::Balancer, Unit::Count),
    ("RejectedConnectionCount", |c| c.rejected_connection_count, Carried::Balancer, Unit::Count),
    ("ProcessedBytes", |c| c.processed_bytes, Carried::Balancer, Unit::Bytes),
    ("TargetConnectionErrorCount", |c| c.target_connection_error_count, Carried::Everywhere, Unit::Count),
    ("NonStickyRequestCount", |c| c.non_sticky_request_count, Carried::Balancer, Unit::Count),
];

/// What classic load balancers count. There is no surge queue: what finds no instance is refused at once.
const CLASSIC_COUNTERS: &[(&str, Field)] = &[
    ("RequestCount", |c| c.request_count),
    ("HTTPCode_Backend_2XX", |c| c.http_code_target_2xx),
    ("HTTPCode_Backend_3XX", |c| c.http_code_target_3xx),
    ("HTTPCode_Backend_4XX", |c| c.http_code_target_4xx),
    ("HTTPCode_Backend_5XX", |c| c.http_code_target_5xx),
    ("HTTPCode_ELB_4XX", |c| c.http_code_elb_4xx),
    ("HTTPCode_ELB_5XX", |c| c.http_code_elb_5xx),
    ("BackendConnectionErrors", |c| c.target_connection_error_count),
];

/// What a classic load balancer measured, as a whole or at the node of a zone.
fn classic_measured(
    balancer: &str,
    scope: &Scope,
    before: &Counters,
    now: &Counters,
    times: &Histogram,
) -> Vec<Measured> {
    if scope.target_group.is_some() {
        return Vec::new();
    }
    let grown = |field: Field| field(now).saturating_sub(field(before)) as f64;
    let one = |name: &str, n: f64| Measured {
        metric: classic_metric(name, balancer, scope),
        unit: Unit::Count,
        value: Value::One(n),
    };
    let counted = CLASSIC_COUNTERS.iter().map(|(name, field)| (name, grown(*field)));
    let mut out: Vec<_> = counted.filter(|(_, n)| *n > 0.0).map(|(name, n)| one(name, n)).collect();
    out.extend((times.count > 0).then(|| Measured {
        metric: classic_metric("Latency", balancer, scope),
        unit: Unit::Seconds,
        value: distribution(times),
    }));
    out
}

fn distribution(times: &Histogram) -> Value {
    let (values, counts) = times.buckets.iter().map(|&(b, n)| (bucket_value_s(b), n as f64)).unzip();
    Value::Many(values, counts)
}

/// What a scope measured between two reports, `before` and `now`. `hosts` is the number of healthy targets of the scope's
/// group.
pub(crate) fn measured(
    scope: &Scope,
    before: &Counters,
    now: &Counters,
    times: &Histogram,
    hosts: Option<u32>,
) -> Vec<Measured> {
    if let Some(balancer) = classic_name(&scope.load_balancer) {
        return classic_measured(balancer, scope, before, now, times);
    }
    // A gauge is what it is; everything else grows, and begins anew with the process.
    let grown = |field: Field| field(now).saturating_sub(field(before)) as f64;
    let one =
        |name: &str, unit, value| Measured { metric: metric(name, scope), unit, value: Value::One(value) };
    let requests = grown(|c| c.request_count);
    let mut out = vec![one("RequestCount", Unit::Count, requests)];
    let of_balancer = scope.target_group.is_none();
    for (name, field, carried, unit) in COUNTERS {
        let n = grown(*field);
        if n > 0.0 && (*carried == Carried::Everywhere || of_balancer) {
            out.push(one(name, *unit, n));
        }
    }
    if of_balancer && now.active_connection_count > 0 {
        out.push(one("ActiveConnectionCount", Unit::Count, now.active_connection_count as f64));
    }
    if times.count > 0 {
        out.push(Measured {
            metric: metric("TargetResponseTime", scope),
            unit: Unit::Seconds,
            value: distribution(times),
        });
    }
    if let (Some(group), Some(hosts)) = (&scope.target_group, hosts)
        && hosts > 0
    {
        let per_target = requests / f64::from(hosts);
        out.push(one("RequestCountPerTarget", Unit::Count, per_target));
        // The form that names the target group only.
        let mut dimensions = vec![("TargetGroup", target_group_dimension(group))];
        if let Some(zone) = &scope.zone {
            dimensions.push(("AvailabilityZone", zone));
        }
        let metric = MetricId::new(NAMESPACE, "RequestCountPerTarget", &dimensions);
        out.push(Measured { metric, unit: Unit::Count, value: Value::One(per_target) });
    }
    out
}

/// The numbers of hosts by health, if they are to be published: a classic load balancer tells them as soon as an instance is
/// registered, an application load balancer once a target has been judged.
pub(crate) fn hosts(counts: &HostCounts) -> Option<[Measured; 2]> {
    let HostCounts { scope, registered, healthy, unhealthy } = counts;
    let n_told = match classic_name(&scope.load_balancer) {
        Some(_) => *registered,
        None => healthy + unhealthy,
    };
    let one = |name, n: u32| Measured {
        metric: match classic_name(&scope.load_balancer) {
            Some(balancer) => classic_metric(name, balancer, scope),
            None => metric(name, scope),
        },
        unit: Unit::Count,
        value: Value::One(f64::from(n)),
    };
    (n_told > 0).then(|| [one("HealthyHostCount", *healthy), one("UnHealthyHostCount", *unhealthy)])
}
