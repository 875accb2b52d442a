//! The metrics behind a specification, as queries by the hour.

use super::relation::Relation;
use super::{HOUR_S, MetricChoice, Specification};
use crate::alarm::{MetricId, MetricQuery, MetricSource};

/// How many samples an instance publishes in an hour. Only its CPU is published by the second where a group asks for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplesPerHour {
    /// Of its CPU.
    pub cpu: f64,
    /// Of everything else.
    pub others: f64,
}

/// What to read for a forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources {
    /// The group's load, a sum per hour.
    pub load: Vec<MetricQuery>,
    /// The scaling metric, an average per hour.
    pub scaling: Vec<MetricQuery>,
    /// The capacity; `None`: from the number of samples of the instances' CPU metric ([`Sources::samples`]).
    pub capacity: Option<Vec<MetricQuery>>,
    /// How load per instance and scaling metric hang together.
    pub relation: Relation,
}

impl Sources {
    /// The metric whose samples per hour tell how many instances there were.
    pub fn samples(group: &str) -> MetricId {
        by_group("CPUUtilization", group)
    }
}

fn by_group(name: &str, group: &str) -> MetricId {
    MetricId::new("AWS/EC2", name, &[("AutoScalingGroupName", group)])
}

/// The kinds of load that have a scaling metric of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cpu,
    NetworkIn,
    NetworkOut,
    Requests,
}

impl Kind {
    fn of_pair(name: &str) -> Option<Kind> {
        Some(match name {
            "ASGCPUUtilization" => Kind::Cpu,
            "ASGNetworkIn" => Kind::NetworkIn,
            "ASGNetworkOut" => Kind::NetworkOut,
            "ALBRequestCount" => Kind::Requests,
            _ => return None,
        })
    }

    fn of_load(name: &str) -> Option<Kind> {
        Some(match name {
            "ASGTotalCPUUtilization" => Kind::Cpu,
            "ASGTotalNetworkIn" => Kind::NetworkIn,
            "ASGTotalNetworkOut" => Kind::NetworkOut,
            "ALBTargetGroupRequestCount" => Kind::Requests,
            _ => return None,
        })
    }

    fn of_scaling(name: &str) -> Option<Kind> {
        Some(match name {
            "ASGAverageCPUUtilization" => Kind::Cpu,
            "ASGAverageNetworkIn" => Kind::NetworkIn,
            "ASGAverageNetworkOut" => Kind::NetworkOut,
            "ALBRequestCountPerTarget" => Kind::Requests,
            _ => return None,
        })
    }

    fn ec2(self) -> Option<&'static str> {
        match self {
            Kind::Cpu => Some("CPUUtilization"),
            Kind::NetworkIn => Some("NetworkIn"),
            Kind::NetworkOut => Some("NetworkOut"),
            Kind::Requests => None,
        }
    }

    fn load(self, group: &str, label: Option<&str>) -> Result<Vec<MetricQuery>, String> {
        let metric = match self.ec2() {
            Some(name) => by_group(name, group),
            None => of_balancer("RequestCount", label)?,
        };
        Ok(vec![stat("m1", metric, "Sum", true)])
    }

    fn scaling(self, group: &str, label: Option<&str>) -> Result<Vec<MetricQuery>, String> {
        if let Some(name) = self.ec2() {
            return Ok(vec![stat("m1", by_group(name, group), "Average", true)]);
        }
        // A request count is one of a minute.
        let source = MetricSource::Expression { expression: "m1 / 60".into(), period_s: Some(HOUR_S) };
        let per_minute = MetricQuery { id: "e1".into(), source, label: None, return_data: true };
        Ok(vec![stat("m1", of_balancer("RequestCountPerTarget", label)?, "Sum", false), per_minute])
    }

    /// Both metrics are of the same samples: an instance at the target gives, in an hour, the target times its samples.
    fn relation(self, samples: SamplesPerHour) -> Relation {
        Relation::Known(
            1.0 / match self {
                Kind::Requests => 60.0,
                Kind::Cpu => samples.cpu,
                Kind::NetworkIn | Kind::NetworkOut => samples.others,
            },
        )
    }
}

fn stat(id: &str, metric: MetricId, statistic: &str, return_data: bool) -> MetricQuery {
    let source = MetricSource::Stat { metric, statistic: statistic.into(), period_s: HOUR_S, unit: None };
    MetricQuery { id: id.into(), source, label: None, return_data }
}

fn of_balancer(name: &str, label: Option<&str>) -> Result<MetricId, String> {
    let label = label.ok_or("ResourceLabel is required for request counts of load balancers")?;
    let parts: Vec<&str> = label.split('/').collect();
    let ["app", lb, lb_id, "targetgroup", tg, tg_id] = parts[..] else {
        return Err(format!(
            "ResourceLabel {label} is not of the form app/<load-balancer-name>/<id>/targetgroup/<target-group-name>/<id>"
        ));
    };
    let (lb, tg) = (format!("app/{lb}/{lb_id}"), format!("targetgroup/{tg}/{tg_id}"));
    Ok(MetricId::new("AWS/ApplicationELB", name, &[("LoadBalancer", &lb), ("TargetGroup", &tg)]))
}

/// What a specification reads for a group whose instances publish so many samples an hour each. `Err` names what is not known.
pub fn sources(
    specification: &Specification,
    group: &str,
    samples: SamplesPerHour,
) -> Result<Sources, String> {
    let unknown = |name: &str| format!("Predefined metric type {name} is not supported");
    let (load, scaling, capacity) = match specification {
        Specification::Pair { pair_type, resource_label } => {
            let kind = Kind::of_pair(pair_type).ok_or_else(|| unknown(pair_type))?;
            let label = resource_label.as_deref();
            return Ok(Sources {
                load: kind.load(group, label)?,
                scaling: kind.scaling(group, label)?,
                capacity: None,
                relation: kind.relation(samples),
            });
        }
        Specification::Apart { load, scaling, capacity } => (load, scaling, capacity),
    };
    let read = |choice: &MetricChoice, is_load: bool| match choice {
        MetricChoice::Customized(queries) => Ok((by_the_hour(queries), None)),
        MetricChoice::Predefined { metric_type, resource_label } => {
            let kind = if is_load { Kind::of_load(metric_type) } else { Kind::of_scaling(metric_type) };
            let kind = kind.ok_or_else(|| unknown(metric_type))?;
            let label = resource_label.as_deref();
            let queries = if is_load { kind.load(group, label) } else { kind.scaling(group, label) };
            queries.map(|q| (q, Some((kind, resource_label.clone()))))
        }
    };
    let ((load, load_kind), (scaling, scaling_kind)) = (read(load, true)?, read(scaling, false)?);
    let relation = match load_kind {
        Some((kind, _)) if load_kind == scaling_kind => kind.relation(samples),
        _ => Relation::Learnt,
    };
    Ok(Sources { load, scaling, capacity: capacity.as_deref().map(by_the_hour), relation })
}

/// Queries with all periods an hour.
fn by_the_hour(queries: &[MetricQuery]) -> Vec<MetricQuery> {
    let mut queries = queries.to_vec();
    for query in &mut queries {
        match &mut query.source {
            MetricSource::Stat { period_s, .. } => *period_s = HOUR_S,
            MetricSource::Expression { period_s, .. } => *period_s = Some(HOUR_S),
        }
    }
    queries
}
