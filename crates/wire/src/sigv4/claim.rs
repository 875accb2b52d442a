//! What a request claims about its signature, before anything is verified.

use std::borrow::Cow;

use super::ALGORITHM;
use super::faults::Denial;
use crate::head::RequestHead;
use crate::query::Params;

/// A signature as found in a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// `KEY/20261121/us-east-1/ec2/aws4_request`.
    pub(super) credential: Cow<'a, str>,
    /// Names, separated by semicolons.
    pub(super) signed_headers: Cow<'a, str>,
    /// Hexadecimal.
    pub(super) signature: Cow<'a, str>,
    /// `20261121T032800Z`.
    pub(super) date: Cow<'a, str>,
    /// Life in seconds, of presigned requests.
    pub(super) expires_s: Option<i64>,
    /// Names an `X-Amz-Security-Token`.
    pub(super) has_token: bool,
}

/// The parts of a credential.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credential<'a> {
    pub(super) access_key_id: &'a str,
    /// `20261121`.
    pub(super) day: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// From the day on, as the string to sign has it.
    pub(super) scope: &'a str,
}

impl<'a> Credential<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Credential<'a>> {
        // A key id has no slash, but take the scope from the end in case one does.
        let mut parts = text.rsplitn(5, '/');
        let terminator = parts.next()?;
        let (service, region, day, key) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let scope = text.get(key.len() + 1..)?;
        (terminator == "aws4_request" && !key.is_empty() && day.len() == 8).then_some(Credential {
            access_key_id: key,
            day,
            region,
            service,
            scope,
        })
    }
}

/// The service that the credential scope names, if the request is signed at all.
pub fn scope_service<'a>(head: &RequestHead<'a>, params: &'a Params<'_>) -> Option<&'a str> {
    let header = head.headers.get("authorization").and_then(|v| v.to_str().ok());
    let credential = match header {
        Some(value) => value.split_once("Credential=")?.1.split([',', ' ']).next()?,
        None => params.get("X-Amz-Credential")?,
    };
    credential.rsplit('/').nth(1)
}

impl<'a> Claim<'a> {
    /// Finds the claim in the header or, failing that, in the query string.
    pub(super) fn find(head: &RequestHead<'a>, body: &[u8]) -> Result<Claim<'a>, Denial> {
        if let Some(value) = head.headers.get("authorization") {
            let value =
                value.to_str().map_err(|_| Denial::incomplete("Authorization header is not ASCII."))?;
            return Claim::in_header(head, value);
        }
        if head.query.contains("X-Amz-Algorithm=") || head.query.contains("X-Amz-Signature=") {
            return Claim::in_query(head);
        }
        let old = b"SignatureVersion=";
        if [head.query.as_bytes(), body].iter().any(|text| text.windows(old.len()).any(|w| w == old)) {
            return Err(Denial::incomplete(
                "This operation takes Signature Version 4 only, not versions 1 and 2.",
            ));
        }
        Err(Denial::Missing)
    }

    fn in_header(head: &RequestHead<'a>, value: &'a str) -> Result<Claim<'a>, Denial> {
        let Some(rest) = value.strip_prefix(ALGORITHM) else {
            return Err(Denial::incomplete(
                "Authorization header requires the algorithm AWS4-HMAC-SHA256; Puffer verifies Signature Version 4 only.",
            ));
        };
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.trim().split_once('=') {
                Some(("Credential", v)) => credential = Some(v),
                Some(("SignedHeaders", v)) => signed_headers = Some(v),
                Some(("Signature", v)) => signature = Some(v),
                _ => {}
            }
        }
        let need = |part: Option<&'a str>, name: &str| {
            part.filter(|v| !v.is_empty()).map(Cow::Borrowed).ok_or_else(|| {
                Denial::incomplete(&format!("Authorization header requires '{name}' parameter."))
            })
        };
        let date = match head.headers.get("x-amz-date").or_else(|| head.headers.get("date")) {
            Some(date) => normal_date(date.to_str().unwrap_or_default()).ok_or_else(|| {
                Denial::incomplete("Date must be in ISO-8601 'basic format', such as 20261121T032800Z.")
            })?,
            None => {
                return Err(Denial::incomplete(
                    "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
                ));
            }
        };
        Ok(Claim {
            credential: need(credential, "Credential")?,
            signature: need(signature, "Signature")?,
            signed_headers: need(signed_headers, "SignedHeaders")?,
            date,
            expires_s: None,
            has_token: head.headers.contains_key("x-amz-security-token"),
        })
    }

    fn in_query(head: &RequestHead<'a>) -> Result<Claim<'a>, Denial> {
        let params = Params::parse(head.query.as_bytes())
            .map_err(|_| Denial::incomplete("The query string is malformed."))?;
        let need = |name: &str| match params.get(name) {
            Some(v) if !v.is_empty() => Ok(Cow::Owned(v.to_owned())),
            _ => Err(Denial::incomplete(&format!("AWS query-string parameters must include '{name}'."))),
        };
        if need("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Denial::incomplete("X-Amz-Algorithm must be AWS4-HMAC-SHA256."));
        }
        let expires_s =
            need("X-Amz-Expires")?.parse().ok().filter(|s| (1..=super::PRESIGNED_LIFE_S_MAX).contains(s));
        let expires_s =
            expires_s.ok_or_else(|| Denial::incomplete("X-Amz-Expires must be from 1 to 604800."))?;
        Ok(Claim {
            credential: need("X-Amz-Credential")?,
            signed_headers: need("X-Amz-SignedHeaders")?,
            signature: need("X-Amz-Signature")?,
            date: need("X-Amz-Date")?,
            expires_s: Some(expires_s),
            has_token: params.get("X-Amz-Security-Token").is_some(),
        })
    }
}

/// The basic form; a `Date` header may have the form of mail dates instead.
fn normal_date(text: &str) -> Option<Cow<'_, str>> {
    if parse_date(text).is_some() {
        return Some(Cow::Borrowed(text));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Cow::Owned(date.with_time_zone(jiff::tz::TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string()))
}

/// Milliseconds since the epoch of `20261121T032800Z`.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    if b.len() != 16 || b[8] != b'T' || b[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = &b[from..to];
        let sum = digits.iter().fold(0i16, |n, d| n.wrapping_mul(10).wrapping_add(i16::from(*d) - 48));
        digits.iter().all(u8::is_ascii_digit).then_some(sum)
    };
    let small = |from: usize| number(from, from + 2).and_then(|n| i8::try_from(n).ok());
    let day = jiff::civil::Date::new(number(0, 4)?, small(4)?, small(6)?).ok()?;
    let (hour, minute, second) = (small(9)?, small(11)?, small(13)?);
    if !(hour < 24 && minute < 60 && second < 61) {
        return None;
    }
    let epoch = jiff::civil::date(1970, 1, 1);
    let days = i64::from(day.since((jiff::Unit::Day, epoch)).ok()?.get_days());
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some((days * 86_400 + seconds) * 1000)
}
