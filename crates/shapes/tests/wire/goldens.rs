//! Requests that boto3 and the AWS CLI really sent (see `tests/wire/capture`): each is routed, its signature verified, and
//! decoded to the very parameters the client was given.

use http::{HeaderMap, HeaderName, HeaderValue};
use puffer_shapes::SERVICES;
use puffer_wire::sigv4::{Family, Verifier};
use puffer_wire::{Form, RequestHead, decode_input, json, route};
use serde_json::Value;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

/// `20261121T032800Z`, from the header or the query string.
fn sent_at_ms(request: &Value, headers: &HeaderMap) -> i64 {
    let date = match headers.get("x-amz-date") {
        Some(date) => date.to_str().unwrap(),
        None => text(request, "query").split("X-Amz-Date=").nth(1).unwrap().split('&').next().unwrap(),
    };
    let n = |from: usize, to: usize| date[from..to].parse::<i64>().unwrap();
    let (year, month, day) = (n(0, 4), n(4, 6), n(6, 8));
    // Days from the civil date, counting years from March.
    let y = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * y + y / 4 - y / 100 + y / 400 + of_year - 719_468;
    ((days * 24 + n(9, 11)) * 60 + n(11, 13)) * 60_000 + n(13, 15) * 1000
}

#[test]
fn recorded_requests() {
    let recorded: Value = serde_json::from_str(include_str!("../goldens/requests.json")).unwrap();
    let keys = (text(&recorded, "access_key_id").to_owned(), text(&recorded, "secret_access_key").to_owned());
    let verifier = Verifier::new(keys);
    let goldens = recorded["goldens"].as_array().unwrap();
    assert!(goldens.len() >= 25);
    for golden in goldens {
        let name = format!("{} {}", text(golden, "client"), text(golden, "operation"));
        let request = &golden["request"];
        let mut headers = HeaderMap::new();
        for pair in request["headers"].as_array().unwrap() {
            let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
        }
        let head = RequestHead {
            method: text(request, "method"),
            path: text(request, "path"),
            query: text(request, "query"),
            headers: &headers,
        };
        let body = text(request, "body").as_bytes();
        let routed = route(SERVICES, &head, body).unwrap_or_else(|lost| panic!("{name}: {}", lost.fault));
        assert_eq!(routed.operation.name, text(golden, "operation"), "{name}");
        assert_eq!(routed.operation.service.name, text(golden, "service"), "{name}");
        let identity = verifier
            .verify(Family::from(routed.protocol), &head, body, sent_at_ms(request, &headers))
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(identity.access_key_id, text(&recorded, "access_key_id"));
        let mut input = (routed.operation.new_input)();
        decode_input(routed.protocol, &routed.form, &mut *input)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let mut decoded = Vec::new();
        json::encode(&*input, &mut decoded);
        let decoded: Value = serde_json::from_slice(&decoded).unwrap();
        assert_eq!(decoded, golden["parameters"], "{name}");
    }
}

#[test]
fn forms_of_versions_and_scopes() {
    let mut headers = HeaderMap::new();
    let asked = |headers: &HeaderMap, query: &str| {
        let head = RequestHead { method: "GET", path: "/", query, headers };
        match route(SERVICES, &head, b"") {
            Ok(route) => {
                assert!(matches!(route.form, Form::Params(_)));
                format!("{}.{}", route.operation.service.name, route.operation.name)
            }
            Err(lost) => lost.fault.code.into_owned(),
        }
    };
    let tags = "Action=DescribeTags&Version=";
    assert_eq!(asked(&headers, &format!("{tags}2011-01-01")), "autoscaling.DescribeTags");
    assert_eq!(asked(&headers, &format!("{tags}2016-11-15")), "ec2.DescribeTags");
    assert_eq!(asked(&headers, &format!("{tags}2015-12-01")), "elbv2.DescribeTags");
    assert_eq!(asked(&headers, &format!("{tags}2012-06-01")), "elb.DescribeTags");
    assert_eq!(asked(&headers, "Action=PutMetricData&Version=2010-08-01"), "cloudwatch.PutMetricData");
    assert_eq!(asked(&headers, "Action=Nonsense&Version=2016-11-15"), "InvalidAction");
    assert_eq!(asked(&headers, "Action=DescribeTags"), "InvalidAction", "no version and no scope");
    assert_eq!(asked(&headers, ""), "MissingAction");
    let scope =
        "AWS4-HMAC-SHA256 Credential=AK/20261121/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0";
    headers.insert("authorization", scope.parse().unwrap());
    assert_eq!(asked(&headers, &format!("{tags}2014-10-01")), "ec2.DescribeTags", "an old version of EC2");
    headers.insert("x-amz-target", "GraniteServiceVersion20100801.Nonsense".parse().unwrap());
    assert_eq!(asked(&headers, ""), "InvalidAction");
}
