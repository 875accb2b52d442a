use http::HeaderMap;

use super::{Family, Signer, Verifier, sign};
use crate::head::RequestHead;

const NOW_MS: i64 = 1_795_231_680_000;

struct Request {
    path: &'static str,
    query: String,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Request {
    fn signed() -> Request {
        let mut request = Request {
            path: "/",
            query: String::new(),
            headers: HeaderMap::new(),
            body: b"Action=DescribeAutoScalingGroups&Version=2011-01-01",
        };
        request.headers.insert("host", "127.0.0.1:4780".parse().unwrap());
        let signer = Signer {
            access_key_id: "AKID".to_owned(),
            secret_access_key: "secret".to_owned(),
            region: "us-east-1".to_owned(),
            service: "autoscaling".to_owned(),
        };
        let (date, authorization) = sign(&signer, &request.head(), request.body, NOW_MS);
        request.headers.insert("x-amz-date", date.parse().unwrap());
        request.headers.insert("authorization", authorization.parse().unwrap());
        request
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead { method: "POST", path: self.path, query: &self.query, headers: &self.headers }
    }

    fn edit_authorization(&mut self, from: &str, to: &str) {
        let old = self.headers["authorization"].to_str().unwrap().to_owned();
        assert!(old.contains(from), "{old}");
        self.headers.insert("authorization", old.replace(from, to).parse().unwrap());
    }

    fn denied(&self, family: Family, now_ms: i64) -> (String, u16, String) {
        let verifier = Verifier::new(("AKID".to_owned(), "secret".to_owned()));
        let fault = verifier.verify(family, &self.head(), self.body, now_ms).unwrap_err();
        (fault.code.into_owned(), fault.status, fault.message)
    }

    fn codes(&self, now_ms: i64) -> [String; 3] {
        [Family::Ec2, Family::Query, Family::Json].map(|f| self.denied(f, now_ms).0)
    }
}

#[test]
fn a_good_signature_passes_again_and_again() {
    let request = Request::signed();
    let verifier = Verifier::new(("AKID".to_owned(), "secret".to_owned()));
    for at in [NOW_MS, NOW_MS + 299_000, NOW_MS - 299_000] {
        let identity = verifier.verify(Family::Query, &request.head(), request.body, at).unwrap();
        assert_eq!((identity.access_key_id.as_str(), identity.region.as_str()), ("AKID", "us-east-1"));
    }
}

#[test]
fn a_cached_key_does_not_let_a_bad_signature_pass() {
    let verifier = Verifier::new(("AKID".to_owned(), "secret".to_owned()));
    let mut request = Request::signed();
    verifier.verify(Family::Query, &request.head(), request.body, NOW_MS).unwrap();
    request.body = b"Action=DeleteAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=web";
    let fault = verifier.verify(Family::Query, &request.head(), request.body, NOW_MS).unwrap_err();
    assert_eq!((fault.code.as_ref(), fault.status), ("SignatureDoesNotMatch", 403));
}

#[test]
fn whatever_the_signature_covers_must_be_as_signed() {
    let mut other_host = Request::signed();
    other_host.headers.insert("host", "127.0.0.1:1".parse().unwrap());
    let mut other_query = Request::signed();
    other_query.query = "Action=Other".to_owned();
    let mut other_path = Request::signed();
    other_path.path = "/x";
    let mut other_secret = Request::signed();
    other_secret.edit_authorization("Signature=", "Signature=0");
    let mut not_hex = Request::signed();
    let signature = not_hex.headers["authorization"].to_str().unwrap().rsplit('=').next().unwrap().to_owned();
    not_hex.edit_authorization(&signature, &"é".repeat(32));
    for request in [other_host, other_query, other_path, other_secret] {
        assert_eq!(request.codes(NOW_MS), ["AuthFailure", "SignatureDoesNotMatch", "SignatureDoesNotMatch"]);
    }
    assert_eq!(not_hex.codes(NOW_MS)[1], "IncompleteSignature", "a header that is not ASCII");
}

#[test]
fn unknown_keys_and_session_tokens() {
    let mut request = Request::signed();
    request.edit_authorization("AKID/", "OTHER/");
    assert_eq!(request.codes(NOW_MS), ["AuthFailure", "InvalidClientTokenId", "InvalidClientTokenId"]);
    assert_eq!(request.denied(Family::Ec2, NOW_MS).1, 401);
    let mut request = Request::signed();
    request.headers.insert("x-amz-security-token", "left-over".parse().unwrap());
    assert_eq!(request.codes(NOW_MS)[1], "InvalidClientTokenId");
}

#[test]
fn clocks_apart() {
    let request = Request::signed();
    assert_eq!(
        request.denied(Family::Query, NOW_MS + 301_000),
        (
            "SignatureDoesNotMatch".to_owned(),
            403,
            "Signature expired: 20261121T032800Z is now earlier than 20261121T032801Z (20261121T033301Z - 5 min.)"
                .to_owned()
        )
    );
    assert!(request.denied(Family::Json, NOW_MS - 301_000).2.starts_with("Signature not yet current: "));
    assert_eq!(request.denied(Family::Ec2, NOW_MS + 301_000).0, "RequestExpired");
}

#[test]
fn incomplete() {
    let mut none = Request::signed();
    none.headers.remove("authorization");
    assert_eq!(
        none.codes(NOW_MS),
        ["AuthFailure", "MissingAuthenticationToken", "MissingAuthenticationToken"]
    );
    let mut no_date = Request::signed();
    no_date.headers.remove("x-amz-date");
    let mut no_signature = Request::signed();
    no_signature.edit_authorization("Signature=", "Sig=");
    let mut no_host = Request::signed();
    no_host.edit_authorization("SignedHeaders=host;", "SignedHeaders=");
    let mut date_not_signed = Request::signed();
    date_not_signed.edit_authorization("SignedHeaders=host;x-amz-date", "SignedHeaders=host");
    let mut target_not_signed = Request::signed();
    target_not_signed.headers.insert("x-amz-target", "AmazonSSM.GetParameter".parse().unwrap());
    let mut short_scope = Request::signed();
    short_scope.edit_authorization("/aws4_request", "");
    let mut version_2 = Request::signed();
    version_2.edit_authorization("AWS4-HMAC-SHA256", "AWS");
    for request in
        [no_date, no_signature, no_host, date_not_signed, target_not_signed, short_scope, version_2]
    {
        assert_eq!(request.codes(NOW_MS)[1..], ["IncompleteSignature", "IncompleteSignature"]);
    }
    let mut in_parameters = Request::signed();
    in_parameters.headers.remove("authorization");
    in_parameters.body = b"Action=DescribeInstances&AWSAccessKeyId=AKID&SignatureVersion=2&Signature=x";
    assert_eq!(in_parameters.codes(NOW_MS)[1], "IncompleteSignature");
    let mut other_day = Request::signed();
    other_day.edit_authorization("/20261121/", "/20261120/");
    assert_eq!(other_day.codes(NOW_MS)[1], "SignatureDoesNotMatch");
}

proptest::proptest! {
    #[test]
    fn no_header_panics(authorization in "[ -~]{0,120}", date in "[0-9TZ]{0,17}", query in "[!-~]{0,80}") {
        let mut request = Request::signed();
        for prefix in ["", "AWS4-HMAC-SHA256 Credential=AKID/20261121/r/s/aws4_request, SignedHeaders=host, Signature="] {
            if let Ok(value) = format!("{prefix}{authorization}").parse() {
                request.headers.insert("authorization", value);
            }
            if let Ok(value) = date.parse() {
                request.headers.insert("x-amz-date", value);
            }
            request.query = query.clone();
            request.denied(Family::Query, NOW_MS);
            request.headers.remove("authorization");
            request.query = format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}");
            request.denied(Family::Query, NOW_MS);
        }
    }

    #[test]
    fn dates_agree_with_jiff(s in 0i64..4_000_000_000) {
        let text = super::verify::basic(s * 1000);
        proptest::prop_assert_eq!(super::claim::parse_date(&text), Some(s * 1000));
    }
}
