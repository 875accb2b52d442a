//! No input makes a decoder panic or allocate beyond its bounds.

use proptest::prelude::*;
use puffer_shapes::{SERVICES, autoscaling, cloudwatch, ec2};
use puffer_wire::query::{self, Params};
use puffer_wire::{Operation, Protocol, json, validate, xml};

fn try_query(protocol: Protocol, text: &[u8]) {
    let Ok(params) = Params::parse(text) else { return };
    for operation in SERVICES.iter().flat_map(|s| s.operations).step_by(7) {
        let mut input = (operation.new_input)();
        if query::decode(protocol, &params, &mut *input).is_ok() {
            let _ = validate::validate(operation.service, &*input);
        }
    }
}

proptest! {
    #[test]
    fn query_of_any_bytes(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        try_query(Protocol::Query, &text);
        try_query(Protocol::Ec2, &text);
    }

    #[test]
    fn query_of_likely_words(words in proptest::collection::vec(
        prop::sample::select(vec![
            "Tags", "Tag", "TagSpecification", "Filters", "Filter", "member", "entry", "key", "value", "1", "2", "10", "01",
            "99999999999", "0", "-1", "Key", "Value", "Name", "Values", "AutoScalingGroupName", "LaunchTemplate", "Overrides",
            "MixedInstancesPolicy", "BlockDeviceMapping", "Ebs", "MinSize", "true", ".", ".", ".", ".", "=", "=", "&", "&", "%41",
            "%", "+", "水", "",
        ]), 0..60)) {
        try_query(Protocol::Query, words.concat().as_bytes());
        try_query(Protocol::Ec2, words.concat().as_bytes());
    }

    #[test]
    fn json_of_any_text(text in ".{0,200}") {
        let mut input = cloudwatch::PutMetricDataInput::default();
        let _ = json::decode(text.as_bytes(), &mut input);
    }

    #[test]
    fn json_of_likely_words(words in proptest::collection::vec(
        prop::sample::select(vec![
            "{", "{", "}", "[", "]", ":", ":", ",", "\"MetricData\"", "\"Namespace\"", "\"Values\"", "\"Timestamp\"", "\"x\"",
            "null", "true", "1", "-1.5e300", "1e999", "\"NaN\"", "\\",
        ]), 0..60)) {
        let mut input = cloudwatch::PutMetricDataInput::default();
        let _ = json::decode(words.concat().as_bytes(), &mut input);
    }

    #[test]
    fn xml_of_likely_words(words in proptest::collection::vec(
        prop::sample::select(vec![
            "<a>", "</a>", "<DescribeInstancesResponse>", "<reservationSet>", "<item>", "</item>", "<instancesSet>", "</", ">", "&lt;",
            "&#xD;", "&#x110000;", "&foo;", "<![CDATA[", "]]>", "<!--", "text", "<instanceId>", "</instanceId>",
        ]), 0..40)) {
        let mut output = ec2::DescribeInstancesOutput::default();
        let body = words.concat();
        let _ = xml::decode(Protocol::Ec2, ec2::DescribeInstances::schema(), body.as_bytes(), &mut output);
        let _ = xml::decode_error(body.as_bytes(), 400);
    }
}

#[test]
fn deep_json_is_refused() {
    let deep = "{\"MetricData\":".to_owned() + &"[".repeat(100_000);
    let mut input = cloudwatch::PutMetricDataInput::default();
    assert_eq!(json::decode(deep.as_bytes(), &mut input).unwrap_err().code, "MalformedInput");
    let deep = "{\"Unknown\":".to_owned() + &"[".repeat(100_000);
    assert!(json::decode(deep.as_bytes(), &mut input).is_err());
}

#[test]
fn huge_indexes_allocate_nothing() {
    let params =
        Params::parse(b"AutoScalingGroupNames.member.4294967295=a&AutoScalingGroupNames.member.7=b").unwrap();
    let mut input = autoscaling::DescribeAutoScalingGroupsInput::default();
    query::decode(Protocol::Query, &params, &mut input).unwrap();
    assert_eq!(input.auto_scaling_group_names, Some(vec!["b".to_owned(), "a".to_owned()]));
}

#[test]
fn too_long_lists_are_refused() {
    let items = vec!["\"x\""; puffer_wire::limits::LIST_ITEMS_MAX + 1].join(",");
    let mut input = cloudwatch::DeleteAlarmsInput::default();
    assert!(json::decode(format!("{{\"AlarmNames\":[{items}]}}").as_bytes(), &mut input).is_err());
    let many = "a=1&".repeat(puffer_wire::limits::PARAMS_MAX + 1);
    assert_eq!(Params::parse(many.as_bytes()).unwrap_err().code, "MalformedQueryString");
}
