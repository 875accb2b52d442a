//! Requests that boto 1.9b really sent (see `tests/wire/capture`): each finds its service among those that share a version, its
//! signature holds, and its parameters decode and satisfy the model.

use http::HeaderMap;
use puffer_shapes::SERVICES;
use puffer_wire::sigv4::{Family, Oldest, Verifier};
use puffer_wire::{RequestHead, decode_input, route, validate};
use serde_json::Value;

/// 2026-11-21T03:28:00Z, where the recorder stopped its clock.
const SENT_AT_MS: i64 = 1_795_231_680_000;

#[test]
fn recorded_requests_of_2009() {
    let recorded: Value = serde_json::from_str(include_str!("../goldens/requests_2009.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = (text(&recorded["access_key_id"]), text(&recorded["secret_access_key"]));
    let verifier = Verifier::new(keys.clone());
    let goldens = recorded["goldens"].as_array().unwrap();
    assert!(goldens.len() >= 17);
    for golden in goldens {
        let (service, operation) = (text(&golden["service"]), text(&golden["operation"]));
        let (method, query) = (text(&golden["request"]["method"]), text(&golden["request"]["query"]));
        let mut headers = HeaderMap::new();
        headers.insert("host", text(&golden["request"]["host"]).parse().unwrap());
        let head = RequestHead { method: &method, path: "/", query: &query, headers: &headers };
        let routed = route(SERVICES, &head, b"").unwrap_or_else(|lost| panic!("{operation}: {}", lost.fault));
        assert_eq!((routed.operation.service.name, routed.operation.name), (&*service, &*operation));
        let family = Family::from(routed.protocol);
        let signed_by = verifier
            .verify_since(Oldest::V1, family, &head, b"", SENT_AT_MS)
            .unwrap_or_else(|fault| panic!("{operation}: {fault}"));
        assert_eq!(signed_by.access_key_id, keys.0);
        let mut input = (routed.operation.new_input)();
        decode_input(routed.protocol, &routed.form, &mut *input)
            .unwrap_or_else(|fault| panic!("{operation}: {fault}"));
        validate::validate(routed.operation.service, &*input)
            .unwrap_or_else(|fault| panic!("{operation}: {fault}"));
    }
}

#[test]
fn one_version_of_several_services() {
    let headers = HeaderMap::new();
    let asked = |query: &str| {
        let head = RequestHead { method: "GET", path: "/", query, headers: &headers };
        match route(SERVICES, &head, b"") {
            Ok(route) => format!("{}.{}", route.operation.service.name, route.operation.name),
            Err(lost) => lost.fault.code.into_owned(),
        }
    };
    let of = |action: &str, version: &str| asked(&format!("Action={action}&Version={version}"));
    assert_eq!(of("DescribeTriggers", "2009-05-15"), "autoscaling_2009.DescribeTriggers");
    assert_eq!(of("ListMetrics", "2009-05-15"), "cloudwatch_2009.ListMetrics");
    assert_eq!(of("DescribeLoadBalancers", "2009-05-15"), "elb_2009.DescribeLoadBalancers");
    assert_eq!(of("PutScalingPolicy", "2009-05-15"), "InvalidAction");
    assert_eq!(of("DescribeInstances", "2009-11-30"), "ec2.DescribeInstances", "no scope says so");
    assert_eq!(of("DescribeInstances", "2014-10-01"), "ec2.DescribeInstances");
    assert_eq!(of("DescribeInstances", "2014-10-31"), "InvalidAction", "a version that EC2 never had");
}
