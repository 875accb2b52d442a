//! Requests as the clients of 2009 make them, signed by those clients themselves.

use http::HeaderMap;

use super::query_signature::TIMESTAMP_LIFE_MS;
use super::{Family, Oldest, Verifier};
use crate::head::RequestHead;

/// 2026-11-21T03:28:00Z.
const NOW_MS: i64 = 1_795_231_680_000;

struct Request {
    method: &'static str,
    host: &'static str,
    query: String,
    body: String,
    encoding: Option<&'static str>,
}

impl Request {
    fn get(query: &str) -> Request {
        Request {
            method: "GET",
            host: "127.0.0.1:4780",
            query: query.into(),
            body: String::new(),
            encoding: None,
        }
    }

    fn verify_at(&self, oldest: Oldest, now_ms: i64) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert("host", self.host.parse().unwrap());
        // boto sends this besides, and it means nothing.
        headers.insert("authorization", "AWS AKID:c2lnbmF0dXJl".parse().unwrap());
        if let Some(encoding) = self.encoding {
            headers.insert("content-encoding", encoding.parse().unwrap());
        }
        let head = RequestHead { method: self.method, path: "/", query: &self.query, headers: &headers };
        let verifier = Verifier::new(("AKID".to_owned(), "secret".to_owned()));
        let verified = verifier.verify_since(oldest, Family::Query, &head, self.body.as_bytes(), now_ms);
        verified.map(|i| i.access_key_id).map_err(|fault| fault.code.into_owned())
    }

    fn verify(&self) -> Result<String, String> {
        self.verify_at(Oldest::V2, NOW_MS)
    }
}

/// Signed by boto 1.9b: version 2, no `Z` after the time, the port in the host.
const V2: &str = "AWSAccessKeyId=AKID&Action=SetDesiredCapacity&AutoScalingGroupName=web%20%2B%20db&DesiredCapacity=3&\
                  SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=2026-11-21T03%3A28%3A00&Version=2009-05-15";
const V2_SIGNATURE: &str = "0DalPWPA6HOxQ0pwCXJf1nJDYGu/fOdNOTttfolP8xs%3D";
const V2_POST_SIGNATURE: &str = "Q%2BuyFp/lP3vtXE5zLTp3LTfxwP1c6aQ3BK5S3xfYmfk%3D";
/// Signed by boto 1.9b's load balancer client: version 1.
const V1: &str = "Action=DescribeLoadBalancers&AWSAccessKeyId=AKID&LoadBalancerName=web&SignatureVersion=1&\
                  Timestamp=2026-11-21T03%3A28%3A00&Version=2009-05-15";
const V1_SIGNATURE: &str = "gdeyu9ks6NCLSaxL%2BA4olgttTZA%3D";

fn v2() -> Request {
    Request::get(&format!("{V2}&Signature={V2_SIGNATURE}"))
}

fn v1() -> Request {
    Request::get(&format!("{V1}&Signature={V1_SIGNATURE}"))
}

#[test]
fn version_2_in_the_query_string_or_the_body() {
    assert_eq!(v2().verify(), Ok("AKID".into()));
    assert_eq!(Request { host: "127.0.0.1:4781", ..v2() }.verify(), Err("SignatureDoesNotMatch".into()));
    let body = format!("{V2}&Signature={V2_POST_SIGNATURE}");
    let post = Request { method: "POST", query: String::new(), body, ..v2() };
    assert_eq!(post.verify(), Ok("AKID".into()));
}

#[test]
fn version_1_is_taken_where_it_must() {
    assert_eq!(v1().verify_at(Oldest::V1, NOW_MS), Ok("AKID".into()));
    assert_eq!(v1().verify(), Err("IncompleteSignature".into()));
    assert_eq!(v2().verify_at(Oldest::V4, NOW_MS), Err("IncompleteSignature".into()));
}

/// What routing inflates is not what the signature covers.
#[test]
fn an_encoded_body_adds_nothing_to_a_signed_query() {
    for encoding in ["identity", "gzip", ""] {
        let body = "Action=DeleteAutoScalingGroup".to_owned();
        let request = Request { body, encoding: Some(encoding), ..v2() };
        assert_eq!(request.verify(), Err("IncompleteSignature".into()), "{encoding}");
        let plain = Request { encoding: Some(encoding), ..v1() };
        assert_eq!(plain.verify_at(Oldest::V1, NOW_MS), Err("IncompleteSignature".into()), "{encoding}");
    }
}

#[test]
fn what_was_changed_is_denied() {
    for (from, to) in [
        ("DesiredCapacity=3", "DesiredCapacity=4"),
        ("Timestamp=2026-11-21T03%3A28%3A00", "Timestamp=2026-11-21T03%3A29%3A00"),
        ("web%20%2B%20db", "web"),
        ("&Version=2009-05-15", "&Version=2009-05-15&More=1"),
        ("HmacSHA256", "HmacSHA1"),
    ] {
        let changed = Request::get(&v2().query.replace(from, to));
        assert_eq!(changed.verify(), Err("SignatureDoesNotMatch".into()), "{to}");
    }
    let changed = Request::get(&v1().query.replace("=web", "=other"));
    assert_eq!(changed.verify_at(Oldest::V1, NOW_MS), Err("SignatureDoesNotMatch".into()));
    let stranger = Request::get(&v2().query.replace("AKID", "OTHER"));
    assert_eq!(stranger.verify(), Err("InvalidClientTokenId".into()));
    for (from, to) in [
        ("SignatureVersion=2", "SignatureVersion=0"),
        ("&Timestamp=2026-11-21T03%3A28%3A00", ""),
        ("Timestamp=2026", "Timestamp=never"),
        ("AWSAccessKeyId=AKID&", ""),
        (V2_SIGNATURE, ""),
        ("HmacSHA256", "MD5"),
    ] {
        let broken = Request::get(&v2().query.replace(from, to));
        assert_eq!(broken.verify(), Err("IncompleteSignature".into()), "{to}");
    }
}

#[test]
fn a_time_is_good_for_a_quarter_of_an_hour() {
    for (after_ms, good) in [
        (TIMESTAMP_LIFE_MS, true),
        (TIMESTAMP_LIFE_MS + 1, false),
        (-super::CLOCK_SKEW_MS_MAX, true),
        (-super::CLOCK_SKEW_MS_MAX - 1, false),
    ] {
        assert_eq!(v2().verify_at(Oldest::V2, NOW_MS + after_ms).is_ok(), good, "{after_ms}");
    }
}
