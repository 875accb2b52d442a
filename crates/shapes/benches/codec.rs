//! What one request costs in the codecs and in the signature check: `cargo bench -p puffer-shapes`.

use http::HeaderMap;
use puffer_shapes::{SERVICES, autoscaling, cloudwatch};
use puffer_wire::sigv4::{Family, Signer, Verifier, sign};
use puffer_wire::{
    EpochMillis, Operation, Protocol, Reply, RequestHead, decode_input, json, route, validate,
};

const NOW_MS: i64 = 1_795_231_680_000;

fn main() {
    divan::main();
}

fn signed(body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", "127.0.0.1:4780".parse().expect("a header"));
    headers.insert(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8".parse().expect("a header"),
    );
    let signer = Signer {
        access_key_id: "AKID".to_owned(),
        secret_access_key: "secret".to_owned(),
        region: "us-east-1".to_owned(),
        service: "autoscaling".to_owned(),
    };
    let head = RequestHead { method: "POST", path: "/", query: "", headers: &headers };
    let (date, authorization) = sign(&signer, &head, body, NOW_MS);
    headers.insert("x-amz-date", date.parse().expect("a header"));
    headers.insert("authorization", authorization.parse().expect("a header"));
    headers
}

const BODY: &[u8] =
    b"Action=DescribeAutoScalingGroups&Version=2011-01-01&AutoScalingGroupNames.member.1=bench-group-17";

#[divan::bench]
fn verify(bencher: divan::Bencher<'_, '_>) {
    let headers = signed(BODY);
    let head = RequestHead { method: "POST", path: "/", query: "", headers: &headers };
    let verifier = Verifier::new(("AKID".to_owned(), "secret".to_owned()));
    bencher.bench(|| verifier.verify(Family::Query, &head, BODY, NOW_MS).expect("a good signature"));
}

#[divan::bench]
fn route_decode_validate(bencher: divan::Bencher<'_, '_>) {
    let headers = signed(BODY);
    let head = RequestHead { method: "POST", path: "/", query: "", headers: &headers };
    bencher.bench(|| {
        let routed = route(SERVICES, &head, BODY).expect("a route");
        let mut input = (routed.operation.new_input)();
        decode_input(routed.protocol, &routed.form, &mut *input).expect("a request");
        validate::validate(routed.operation.service, &*input).expect("a valid request");
        input
    });
}

fn groups(n: usize) -> autoscaling::DescribeAutoScalingGroupsOutput {
    let text = |s: &str| Some(s.to_owned());
    let instance = autoscaling::Instance {
        instance_id: text("i-0123456789abcdef0"),
        instance_type: text("t3.micro"),
        availability_zone: text("us-east-1a"),
        lifecycle_state: text("InService"),
        health_status: text("Healthy"),
        protected_from_scale_in: Some(false),
        ..Default::default()
    };
    let group = autoscaling::AutoScalingGroup {
        auto_scaling_group_name: text("bench-group-17"),
        auto_scaling_group_arn: text(
            "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:uuid:autoScalingGroupName/g",
        ),
        min_size: Some(0),
        max_size: Some(10),
        desired_capacity: Some(3),
        default_cooldown: Some(300),
        availability_zones: Some(vec!["us-east-1a".to_owned(), "us-east-1b".to_owned()]),
        load_balancer_names: Some(vec![]),
        target_group_arns: Some(vec![]),
        health_check_type: text("EC2"),
        health_check_grace_period: Some(0),
        instances: Some(vec![instance; 3]),
        created_time: Some(EpochMillis(NOW_MS)),
        suspended_processes: Some(vec![]),
        vpc_zone_identifier: text("subnet-0123456789abcdef0,subnet-0123456789abcdef1"),
        enabled_metrics: Some(vec![]),
        tags: Some(vec![]),
        termination_policies: Some(vec!["Default".to_owned()]),
        ..Default::default()
    };
    autoscaling::DescribeAutoScalingGroupsOutput {
        auto_scaling_groups: Some(vec![group; n]),
        ..Default::default()
    }
}

#[divan::bench(args = [1, 50])]
fn encode_groups(bencher: divan::Bencher<'_, '_>, n: usize) {
    let output = groups(n);
    let schema = autoscaling::DescribeAutoScalingGroups::schema();
    bencher
        .bench(|| Reply::success(Protocol::Query, schema, &output, "11111111-2222-3333-4444-555555555555"));
}

#[divan::bench]
fn clone_50_groups(bencher: divan::Bencher<'_, '_>) {
    let output = groups(50);
    bencher.bench(|| output.clone());
}

#[divan::bench]
fn decode_1000_metric_data(bencher: divan::Bencher<'_, '_>) {
    let datum = r#"{"MetricName":"load","Dimensions":[{"Name":"d","Value":"v"}],"Timestamp":1795231680,"Value":1.25}"#;
    let body = format!("{{\"Namespace\":\"N\",\"MetricData\":[{}]}}", vec![datum; 1000].join(","));
    bencher.bench(|| {
        let mut input = cloudwatch::PutMetricDataInput::default();
        json::decode(body.as_bytes(), &mut input).expect("a request");
        input
    });
}
