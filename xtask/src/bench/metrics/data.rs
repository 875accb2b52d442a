//! Requests with a thousand points each, to the byte as clients of each kind write them.

use std::fmt::Write;
use std::io::Write as _;

use super::super::load::Message;

/// Points in a request: the most that PutMetricData takes.
pub(super) const BATCH: usize = 1000;
pub(super) const NAMESPACE: &str = "Shop";
/// Metrics of a host.
const METRICS: [(&str, &str); 5] = [
    ("RequestLatency", "Milliseconds"),
    ("RequestCount", "Count"),
    ("ErrorCount", "Count"),
    ("MemoryUtilization", "Percent"),
    ("BytesSent", "Bytes"),
];
const SERVICES: [&str; 4] = ["cart", "checkout", "catalog", "search"];
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

/// How a client writes a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// boto3 and the AWS CLI: they compress what is longer than 10 KiB.
    JsonGzip,
    /// The same with compression switched off.
    Json,
    /// SDKs before 2024.
    Query,
    /// Today's SDK for Go: CBOR, compressed.
    CborGzip,
}

impl Form {
    pub(super) const ALL: [Form; 4] = [Form::JsonGzip, Form::Json, Form::Query, Form::CborGzip];

    pub(super) fn name(self) -> &'static str {
        match self {
            Form::JsonGzip => "PutMetricData, JSON, gzip",
            Form::Json => "PutMetricData, JSON",
            Form::Query => "PutMetricData, query",
            Form::CborGzip => "PutMetricData, CBOR, gzip",
        }
    }
}

/// Metric name and dimensions of a series.
pub(super) fn dimensions(series: usize) -> (&'static str, [(&'static str, String); 3]) {
    let host = series / METRICS.len();
    let address = format!("ip-10-{}-{}-{}", host >> 16, host >> 8 & 255, host & 255);
    let dimensions = [
        ("Service", SERVICES[host % SERVICES.len()].to_owned()),
        ("AvailabilityZone", ZONES[host % ZONES.len()].to_owned()),
        ("Host", address),
    ];
    (METRICS[series % METRICS.len()].0, dimensions)
}

/// Values differ by series and variant and mostly have a fraction.
fn value(series: usize, variant: usize) -> f64 {
    let mixed = (series as u64 * 8 + variant as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (mixed % 100_000) as f64 / 1000.0
}

/// The request with the points of one batch of series.
pub(super) fn message(form: Form, batch: usize, variant: usize, at_s: i64) -> Message {
    let series = batch * BATCH..(batch + 1) * BATCH;
    let json_headers = || {
        vec![
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", "GraniteServiceVersion20100801.PutMetricData"),
            ("x-amzn-query-mode", "true"),
        ]
    };
    match form {
        Form::Query => Message::query(query(series, variant, at_s)),
        Form::Json => {
            Message { path: "/", headers: json_headers(), body: json(series, variant, at_s).into_bytes() }
        }
        Form::JsonGzip => {
            let mut headers = json_headers();
            headers.push(("content-encoding", "gzip"));
            Message { path: "/", headers, body: compressed(json(series, variant, at_s).as_bytes()) }
        }
        Form::CborGzip => Message {
            path: "/service/GraniteServiceVersion20100801/operation/PutMetricData",
            headers: vec![
                ("content-type", "application/cbor"),
                ("smithy-protocol", "rpc-v2-cbor"),
                ("x-amzn-query-mode", "true"),
                ("content-encoding", "gzip"),
            ],
            body: compressed(&cbor(series, variant, at_s)),
        },
    }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing to memory cannot fail.
    let _ = gzip.write_all(body);
    gzip.finish().unwrap_or_default()
}

fn json(series: std::ops::Range<usize>, variant: usize, at_s: i64) -> String {
    let mut text = format!("{{\"Namespace\": \"{NAMESPACE}\", \"MetricData\": [");
    for (n, series) in series.enumerate() {
        let (name, dimensions) = dimensions(series);
        let comma = if n == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{{\"MetricName\": \"{name}\", \"Dimensions\": [");
        for (i, (name, value)) in dimensions.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{{\"Name\": \"{name}\", \"Value\": \"{value}\"}}");
        }
        let (value, unit) = (value(series, variant), METRICS[series % METRICS.len()].1);
        let _ = write!(text, "], \"Timestamp\": {at_s}, \"Value\": {value}, \"Unit\": \"{unit}\"}}");
    }
    text + "]}"
}

fn cbor(series: std::ops::Range<usize>, variant: usize, at_s: i64) -> Vec<u8> {
    let mut out = Vec::new();
    // The head of an item: its major type and a length or value below 2^32.
    let head = |out: &mut Vec<u8>, major: u8, n: usize| match n {
        0..24 => out.push(major << 5 | n as u8),
        24..256 => out.extend_from_slice(&[major << 5 | 24, n as u8]),
        _ => {
            out.push(major << 5 | 26);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    };
    let text = |out: &mut Vec<u8>, text: &str| {
        head(out, 3, text.len());
        out.extend_from_slice(text.as_bytes());
    };
    head(&mut out, 5, 2);
    text(&mut out, "Namespace");
    text(&mut out, NAMESPACE);
    text(&mut out, "MetricData");
    head(&mut out, 4, series.len());
    for series in series {
        let (name, dimensions) = dimensions(series);
        head(&mut out, 5, 5);
        text(&mut out, "Dimensions");
        head(&mut out, 4, dimensions.len());
        for (name, value) in &dimensions {
            head(&mut out, 5, 2);
            text(&mut out, "Name");
            text(&mut out, name);
            text(&mut out, "Value");
            text(&mut out, value);
        }
        text(&mut out, "MetricName");
        text(&mut out, name);
        text(&mut out, "Timestamp");
        head(&mut out, 6, 1);
        head(&mut out, 0, at_s as usize);
        text(&mut out, "Unit");
        text(&mut out, METRICS[series % METRICS.len()].1);
        text(&mut out, "Value");
        out.push(0xfb);
        out.extend_from_slice(&value(series, variant).to_be_bytes());
    }
    out
}

fn query(series: std::ops::Range<usize>, variant: usize, at_s: i64) -> String {
    let mut text = format!("Action=PutMetricData&Version=2010-08-01&Namespace={NAMESPACE}");
    for (n, series) in (1..).zip(series) {
        let at = format!("&MetricData.member.{n}");
        let (name, dimensions) = dimensions(series);
        let _ = write!(text, "{at}.MetricName={name}");
        for (i, (name, value)) in (1..).zip(&dimensions) {
            let _ = write!(
                text,
                "{at}.Dimensions.member.{i}.Name={name}{at}.Dimensions.member.{i}.Value={value}"
            );
        }
        let (value, unit) = (value(series, variant), METRICS[series % METRICS.len()].1);
        let _ = write!(text, "{at}.Timestamp={}{at}.Value={value}{at}.Unit={unit}", iso(at_s));
    }
    text
}

/// `2026-11-21T03%3A28%3A00Z`, escaped as clients do.
fn iso(at_s: i64) -> String {
    let mut text = puffer_wire::EpochMillis(at_s * 1000).to_string();
    text.truncate("2026-11-21T03:28:00".len());
    text.replace(':', "%3A") + "Z"
}
