//! AWS's protocols: what clients send, and what we make of it.

use http::{HeaderMap, HeaderName, HeaderValue};
use puffer_shapes::SERVICES;
use puffer_wire::query::Params;
use puffer_wire::sigv4::{Family, Verifier};
use puffer_wire::{
    Form, OperationSchema, Protocol, Reply, RequestHead, decode_input, decode_output, encode_input, inflate,
    json, limits, route, validate, xml,
};

use crate::Target;

const PARAMETERS: &[&str] = &[
    "Action=",
    "&Version=",
    "Tags",
    "TagSpecification",
    "Filter",
    ".member.",
    ".entry.",
    ".key",
    ".value",
    ".1",
    ".4294967295",
    ".01",
    ".-1",
    "Name",
    "Value",
    "MinSize=",
    "Overrides",
    "LaunchTemplate",
    "MetricData",
    "%41",
    "%",
    "+",
    "&",
    "=",
    ".",
    "\u{6c34}",
    "NaN",
    "1e999",
    "true",
    "2026-11-21T03:28:00Z",
];

pub(crate) const QUERY: Target = Target {
    name: "query",
    run: |data| query(Protocol::Query, data),
    seeds: &[
        b"CreateAutoScalingGroup\nAutoScalingGroupName=web&MinSize=1&MaxSize=4&Tags.member.1.Key=a&Tags.member.1.Value=b&Tags.member.1.PropagateAtLaunch=true",
        b"PutMetricData\nMetricData.member.1.MetricName=m&MetricData.member.1.Value=1.5&MetricData.member.1.Timestamp=2026-11-21T03:28:00Z",
        b"CreateListener\nLoadBalancerArn=arn&DefaultActions.member.1.Type=forward&DefaultActions.member.1.ForwardConfig.TargetGroups.member.1.Weight=2",
    ],
    words: PARAMETERS,
};

pub(crate) const EC2_QUERY: Target = Target {
    name: "ec2_query",
    run: |data| query(Protocol::Ec2, data),
    seeds: &[
        b"DescribeInstances\nInstanceId.1=i-0123456789abcdef0&Filter.1.Name=tag%3AName&Filter.1.Value.1=a&MaxResults=5",
        b"RunInstances\nImageId=ami-1&MinCount=1&MaxCount=2&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=k&UserData=IyEv",
        b"AuthorizeSecurityGroupIngress\nIpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=80&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0",
    ],
    words: PARAMETERS,
};

/// The operation that the first line names, or one that it stands for by chance, and the rest.
fn operation(protocol: Protocol, data: &[u8]) -> Option<(&'static OperationSchema, &[u8])> {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len().min(2));
    let (name, rest) = data.split_at_checked(end)?;
    let is_json = |p: &Protocol| matches!(p, Protocol::Json { .. });
    let same = |p: &Protocol| *p == protocol || (is_json(p) && is_json(&protocol));
    let served =
        SERVICES.iter().filter(|s| s.protocols.iter().any(same)).flat_map(|s| s.operations.iter().copied());
    let named = served.clone().find(|o| o.name.as_bytes() == name);
    let number: usize = name.iter().map(|b| usize::from(*b)).fold(0, |sum, b| (sum * 31 + b) % 65_536);
    let by_chance = || served.clone().nth(number.checked_rem(served.clone().count())?);
    Some((named.or_else(by_chance)?, rest.strip_prefix(b"\n").unwrap_or(rest)))
}

/// What can be read can be written, and that can be read again.
fn query(protocol: Protocol, data: &[u8]) {
    let Some((operation, text)) = operation(protocol, data) else { return };
    let Ok(params) = Params::parse(text) else { return };
    let mut input = (operation.new_input)();
    if decode_input(protocol, &Form::Params(params), &mut *input).is_err() {
        return;
    }
    let _ = validate::validate(operation.service, &*input);
    let body = encode_input(protocol, operation, &*input);
    let form = Form::Params(Params::parse(&body).expect("our own form"));
    let mut again = (operation.new_input)();
    decode_input(protocol, &form, &mut *again).expect("our own request");
}

const JSON_WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"MetricData\"",
    "\"Namespace\"",
    "\"Values\"",
    "\"Timestamp\"",
    "\"AlarmName\"",
    "null",
    "true",
    "-1.5e300",
    "1e999",
    "\"NaN\"",
    "\\u0000",
    "\\ud800",
    "\\",
    "\"",
    "18446744073709551616",
];

const JSON_SEEDS: &[&[u8]] = &[
    b"PutMetricData\n{\"Namespace\":\"a\",\"MetricData\":[{\"MetricName\":\"m\",\"Value\":1.5,\"Timestamp\":1.7e9,\"Dimensions\":[{\"Name\":\"n\",\"Value\":\"v\"}]}]}",
    b"PutMetricAlarm\n{\"AlarmName\":\"a\",\"Threshold\":1,\"EvaluationPeriods\":3,\"Metrics\":[{\"Id\":\"m1\",\"Expression\":\"m2*2\",\"ReturnData\":true}]}",
    b"GetParameters\n{\"Names\":[\"/a\",\"/b\"],\"WithDecryption\":false}",
];

pub(crate) const JSON: Target =
    Target { name: "json", run: json_bodies, seeds: JSON_SEEDS, words: JSON_WORDS };

fn json_bodies(data: &[u8]) {
    let protocol = Protocol::Json { minor: 0 };
    let Some((operation, body)) = operation(protocol, data) else { return };
    let _ = json::decode_error(body, 400, None);
    let mut input = (operation.new_input)();
    if decode_input(protocol, &Form::Json(body), &mut *input).is_err() {
        return;
    }
    let _ = validate::validate(operation.service, &*input);
    let body = encode_input(protocol, operation, &*input);
    let mut again = (operation.new_input)();
    decode_input(protocol, &Form::Json(&body), &mut *again).expect("our own request");
}

pub(crate) const CBOR: Target = Target {
    name: "cbor",
    run: cbor_bodies,
    seeds: &[
        b"PutMetricData\n\xa2iNamespaceaajMetricData\x81\xa4jMetricNameamjDimensions\x81\xa2dNameaneValueaviTimestamp\xc1\x1ak\x01\x0f\xc0eValue\xf9\x3e\x00",
        b"PutMetricAlarm\n\xbfiAlarmName\x7faaabab\xffiThreshold\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00gMetrics\x9f\xa2bIdbm1jReturnData\xf5\xff\xff",
    ],
    words: &["iNamespace", "jMetricData", "eValue", "iTimestamp", "\u{1}", "\u{18}", "\u{1b}", "aa", "iAlarmName", "gMetrics"],
};

fn cbor_bodies(data: &[u8]) {
    let Some((operation, body)) = operation(Protocol::Cbor, data) else { return };
    let mut input = (operation.new_input)();
    if decode_input(Protocol::Cbor, &Form::Cbor(body), &mut *input).is_err() {
        return;
    }
    let _ = validate::validate(operation.service, &*input);
    let body = encode_input(Protocol::Cbor, operation, &*input);
    let mut again = (operation.new_input)();
    decode_input(Protocol::Cbor, &Form::Cbor(&body), &mut *again).expect("our own request");
}

pub(crate) const XML: Target = Target {
    name: "xml",
    run: |data| {
        for protocol in [Protocol::Query, Protocol::Ec2] {
            if let Some((operation, body)) = operation(protocol, data) {
                let mut output = (operation.new_output)();
                let _ = xml::decode(protocol, operation, body, &mut *output);
                let _ = xml::decode_error(body, 400);
            }
        }
    },
    seeds: &[
        b"DescribeInstances\n<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId></item></instancesSet></item></reservationSet></DescribeInstancesResponse>",
        b"DescribeInstances\n<Response><Errors><Error><Code>a</Code><Message>b &amp; c</Message></Error></Errors><RequestID>1</RequestID></Response>",
    ],
    words: &["<", ">", "</", "/>", "<item>", "</item>", "&lt;", "&#xD;", "&#x110000;", "&foo;", "<![CDATA[", "]]>", "<!--", "-->", "<?xml", "<!DOCTYPE"],
};

pub(crate) const ANSWERS: Target =
    Target { name: "answers", run: answers, seeds: JSON_SEEDS, words: JSON_WORDS };

/// Whatever stands in a record, the answer that shows it can be read.
fn answers(data: &[u8]) {
    for protocol in [Protocol::Query, Protocol::Ec2, Protocol::Json { minor: 1 }, Protocol::Cbor] {
        let Some((operation, body)) = operation(protocol, data) else { continue };
        let mut output = (operation.new_output)();
        if json::decode(body, &mut *output).is_err() {
            continue;
        }
        let reply = Reply::success(protocol, operation, &*output, "11111111-2222-3333-4444-555555555555");
        let mut again = (operation.new_output)();
        decode_output(protocol, operation, &reply.body, &mut *again).expect("our own answer");
    }
}

/// 2026-11-21T03:28:00Z, when the seeds were signed.
const NOW_MS: i64 = 1_795_231_680_000;

pub(crate) const AUTHORIZATION: Target = Target {
    name: "authorization",
    run: authorization,
    seeds: &[
        b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261121%2Fus-east-1%2Fec2%2Faws4_request&X-Amz-Date=20261121T032800Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00",
    ],
    words: &[
        "AWS4-HMAC-SHA256 ", "Credential=", "SignedHeaders=", "Signature=", "AKIDEXAMPLE", "/", "20261121", "us-east-1", "aws4_request", ";", ",",
        "host", "x-amz-date", "X-Amz-Expires=", "604800", "-1", "99999999999999999999", "%2F", "&", "X-Amz-Security-Token=t", "\u{e9}",
    ],
};

/// Nothing that was not signed with the secret gets in.
fn authorization(data: &[u8]) {
    let verifier = Verifier::new(("AKIDEXAMPLE".to_owned(), "no input knows this secret".to_owned()));
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("127.0.0.1"));
    headers.insert("x-amz-date", HeaderValue::from_static("20261121T032800Z"));
    if let Ok(value) = HeaderValue::from_bytes(data) {
        headers.insert("authorization", value);
    }
    let text = String::from_utf8_lossy(data);
    let mut plain = headers.clone();
    plain.remove("authorization");
    for (query, headers) in [("", &headers), (&*text, &plain), (&*text, &headers)] {
        let head = RequestHead { method: "GET", path: "/", query, headers };
        for family in [Family::Query, Family::Ec2, Family::Json] {
            verifier.verify(family, &head, b"", NOW_MS).expect_err("not signed");
        }
    }
}

pub(crate) const ROUTE: Target = Target {
    name: "route",
    run: |data| {
        let mut lines = data.splitn(3, |b| *b == b'\n');
        let (first, second, body) = (lines.next(), lines.next(), lines.next().unwrap_or_default());
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-amz-target", first), ("content-type", second)] {
            if let Some(value) = value.filter(|v| !v.is_empty()).and_then(|v| HeaderValue::from_bytes(v).ok())
            {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let query = String::from_utf8_lossy(first.unwrap_or_default()).into_owned();
        for query in ["", &query] {
            let head = RequestHead { method: "POST", path: "/", query, headers: &headers };
            let _ = route(SERVICES, &head, body);
        }
    },
    seeds: &[
        b"GraniteServiceVersion20100801.PutMetricData\napplication/x-amz-json-1.0\n{}",
        b"\napplication/x-www-form-urlencoded\nAction=DescribeInstances&Version=2016-11-15",
        b"Action=GetCallerIdentity&Version=2011-06-15\n\n",
    ],
    words: &[
        "AmazonSSM.",
        "GraniteServiceVersion20100801.",
        ".",
        "Action=",
        "&Version=",
        "2011-01-01",
        "\n",
        "application/x-amz-json-1.1",
    ],
};

pub(crate) const GZIP: Target = Target {
    name: "gzip",
    run: |data| {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        let head = RequestHead { method: "POST", path: "/", query: "", headers: &headers };
        if let Ok(plain) = inflate(&head, data) {
            assert!(plain.len() <= limits::BODY_BYTES_MAX, "inflated without bound");
        }
    },
    seeds: &[b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xabVJLJ\x06\0\xc2A$5\x03\0\0\0"],
    words: &[],
};
