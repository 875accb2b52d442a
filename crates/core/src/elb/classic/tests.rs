use super::*;
use crate::ec2::InstanceState;
use crate::elb::health::Reason;
use crate::elb::{Target, TargetState};

fn balancer() -> ClassicLoadBalancer {
    ClassicLoadBalancer {
        name: "web".into(),
        arn: "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/web".into(),
        dns_name: "web-1.us-east-1.elb.amazonaws.com".into(),
        scheme: Scheme::InternetFacing,
        vpc_id: "vpc-1".into(),
        nodes: Vec::new(),
        security_groups: Vec::new(),
        listeners: vec![ClassicListener {
            port: 80,
            protocol: Protocol::Http,
            instance_port: 8080,
            policies: vec!["sticky".into()],
        }],
        health_check: ClassicHealthCheck::of_new(8080),
        attributes: ClassicAttributes::default(),
        policies: vec![
            Policy { name: "sticky".into(), kind: PolicyKind::LbCookie { expiration_s: Some(60) } },
            Policy { name: "proxy".into(), kind: PolicyKind::ProxyProtocol { on: true } },
        ],
        backend_policies: BTreeMap::from([(8080, vec!["proxy".into()])]),
        created_at: Timestamp::default(),
        tags: Tags::new(),
    }
}

#[test]
fn targets_of_checks() {
    let table: &[(&str, Result<CheckTarget, ()>)] = &[
        ("TCP:80", Ok(CheckTarget::Tcp { port: 80 })),
        ("tcp:80", Ok(CheckTarget::Tcp { port: 80 })),
        ("HTTP:80/", Ok(CheckTarget::Http { port: 80, path: "/".into() })),
        ("HTTP:8080/up?x=1", Ok(CheckTarget::Http { port: 8080, path: "/up?x=1".into() })),
        ("HTTP:80", Err(())),
        ("HTTP:0/", Err(())),
        ("HTTP:/up", Err(())),
        ("HTTP:80/a b", Err(())),
        ("HTTP:80/\r\nX: y", Err(())),
        ("TCP:65536", Err(())),
        ("TCP:80/", Err(())),
        ("UDP:80", Err(())),
        ("80", Err(())),
        ("", Err(())),
    ];
    for (text, want) in table {
        let got = text.parse::<CheckTarget>();
        assert_eq!(got.clone().map_err(drop), *want, "{text}");
        if let Ok(target) = got {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
    }
    for text in ["SSL:443", "HTTPS:443/"] {
        assert_eq!(text.parse::<CheckTarget>(), Err(CheckTargetError::Tls(text.to_owned())));
    }
}

#[test]
fn the_target_group_of_a_load_balancer() {
    let mut balancer = balancer();
    let group = balancer.target_group();
    assert_eq!((group.arn.as_str(), group.port), (balancer.arn.as_str(), WHOLE_INSTANCE));
    assert_eq!(group.deregistration_delay_s(), 0, "draining is off unless asked for");
    let check = &group.health_check;
    assert_eq!((check.protocol, check.port), (HealthCheckProtocol::Tcp, Some(8080)));
    assert_eq!((check.healthy_threshold, check.unhealthy_threshold), (10, 2));
    assert_eq!((check.interval_s, check.timeout_s), (30, 5));
    balancer.attributes.draining = true;
    balancer.health_check.target = CheckTarget::Http { port: 81, path: "/up".into() };
    let group = balancer.target_group();
    assert_eq!(group.deregistration_delay_s(), 300);
    let check = &group.health_check;
    assert_eq!(
        (check.protocol, check.port, check.path.as_str()),
        (HealthCheckProtocol::Http, Some(81), "/up")
    );
    let set = &group.attributes;
    assert_eq!(set.get(CROSS_ZONE).map(String::as_str), Some("false"));
}

#[test]
fn policies_that_hold() {
    let balancer = balancer();
    let sticky = balancer.stickiness(&balancer.listeners[0]);
    assert_eq!(sticky, Some(&PolicyKind::LbCookie { expiration_s: Some(60) }));
    assert!(balancer.has_proxy_protocol(8080) && !balancer.has_proxy_protocol(80));
}

#[test]
fn a_record_survives_its_json() {
    let before = balancer();
    let json = serde_json::to_string(&before).unwrap();
    assert!(json.contains("\"TCP:8080\""), "{json}");
    assert_eq!(serde_json::from_str::<ClassicLoadBalancer>(&json).unwrap(), before);
}

#[test]
fn verdicts() {
    let target = |state, reason: Option<Reason>| Target {
        target_group: "tg".into(),
        id: "i-1".into(),
        port: WHOLE_INSTANCE,
        address: std::net::Ipv4Addr::LOCALHOST,
        zone: "us-east-1a".into(),
        registered_at: Timestamp::default(),
        draining_since: None,
        state,
        reason: reason.map(|r| r.code().to_owned()),
        description: None,
    };
    use InstanceState::{Running, Stopped, Terminated};
    use TargetState::*;
    let table = [
        (Healthy, None, Running, "InService", "N/A", "N/A"),
        (
            Draining,
            Some(Reason::DeregistrationInProgress),
            Running,
            "InService",
            "N/A",
            "deregistration currently in",
        ),
        (Unhealthy, Some(Reason::Timeout), Running, "OutOfService", "Instance", "UnhealthyThreshold"),
        (Initial, Some(Reason::RegistrationInProgress), Running, "OutOfService", "ELB", "still in progress"),
        (
            Initial,
            Some(Reason::InitialHealthChecking),
            Running,
            "OutOfService",
            "Instance",
            "HealthyThreshold",
        ),
        (Unused, Some(Reason::InvalidState), Stopped, "OutOfService", "Instance", "stopped state"),
        (Unused, Some(Reason::InvalidState), Terminated, "OutOfService", "Instance", "terminated state"),
        (Unused, Some(Reason::ZoneNotEnabled), Running, "OutOfService", "ELB", "Availability Zone"),
    ];
    for (state, reason, instance, want, code, text) in table {
        let got = verdict(Some(&target(state, reason)), Some(instance));
        assert_eq!((got.state, got.reason_code), (want, code), "{state:?}");
        assert!(got.description.contains(text), "{}", got.description);
    }
    assert_eq!(verdict(None, Some(Running)).state, "OutOfService");
}
