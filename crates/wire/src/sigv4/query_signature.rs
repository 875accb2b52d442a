//! Signatures of versions 1 and 2, which clients from before 2012 put among the parameters of a query request.
//!
//! Version 2 signs method, host, path and all parameters. Version 1 signs the parameters only, run together without
//! separators, so two different requests can have one signature; it is taken from nobody but the load balancer clients of
//! 2009, who know no other. Neither covers headers: a request that means anything by its headers is not verified here.

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::Sha256;

use super::CLOCK_SKEW_MS_MAX;
use super::faults::Denial;
use crate::head::RequestHead;
use crate::query::Params;

/// How long a request is good for after its `Timestamp`, in milliseconds (AWS's quarter of an hour for these versions).
pub(super) const TIMESTAMP_LIFE_MS: i64 = 15 * 60 * 1000;
/// How far ahead `Expires` may lie, in milliseconds: as for presigned requests of version 4.
const EXPIRES_AHEAD_MS_MAX: i64 = super::PRESIGNED_LIFE_S_MAX * 1000;
/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The oldest version of signatures that an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oldest {
    /// 1, 2 and 4.
    V1,
    /// 2 and 4.
    V2,
    /// 4 only.
    V4,
}

/// A signature among the parameters.
pub(super) struct QuerySignature<'a> {
    params: Params<'a>,
}

impl<'a> QuerySignature<'a> {
    /// Finds one; `None` if the request is not signed in this way. A request with a content encoding is refused: what routing
    /// reads of it is not what is here.
    pub(super) fn find(head: &RequestHead<'a>, body: &'a [u8]) -> Result<Option<QuerySignature<'a>>, Denial> {
        // Some of these clients add an `Authorization` header in the form of S3's, which query services never read.
        let of_version_4 = head.header("authorization").is_some_and(|v| !v.starts_with("AWS "));
        if of_version_4 || head.headers.contains_key("x-amz-target") {
            return Ok(None);
        }
        let Ok(mut params) = Params::parse(head.query.as_bytes()) else { return Ok(None) };
        // The same rule as routing has: what is no form is not part of the request, and so need not be signed.
        let is_form =
            head.header("content-type").is_none_or(|t| t.starts_with("application/x-www-form-urlencoded"));
        if is_form && params.add(body).is_err() {
            return Ok(None);
        }
        if params.get("SignatureVersion").is_none() {
            return Ok(None);
        }
        if head.headers.contains_key("content-encoding") {
            return Err(Denial::incomplete(
                "A request signed with version 1 or 2 must not have a Content-Encoding.",
            ));
        }
        Ok(Some(QuerySignature { params }))
    }

    pub(super) fn access_key_id(&self) -> Result<&str, Denial> {
        self.required("AWSAccessKeyId")
    }

    /// Whether temporary credentials signed it.
    pub(super) fn has_token(&self) -> bool {
        self.params.get("SecurityToken").is_some()
    }

    /// The signature as sent and the one that the secret makes of the request, as alternatives.
    pub(super) fn signatures(
        &self,
        head: &RequestHead<'_>,
        oldest: Oldest,
        secret: &str,
    ) -> Result<(&str, Vec<Vec<u8>>), Denial> {
        let given = self.required("Signature")?;
        let expected = match self.params.get("SignatureVersion") {
            Some("2") if oldest <= Oldest::V2 => self.version_2(head, secret)?,
            Some("1") if oldest == Oldest::V1 => vec![mac::<Sha1>(secret, &self.version_1())],
            other => {
                return Err(Denial::Incomplete(format!(
                    "Signature version {} is not taken for this operation; use version 4.",
                    other.unwrap_or_default()
                )));
            }
        };
        Ok((given, expected))
    }

    fn required(&self, name: &str) -> Result<&str, Denial> {
        match self.params.get(name) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(Denial::Incomplete(format!("The request must contain the parameter {name}."))),
        }
    }

    fn signed(&self) -> Vec<(&str, &str)> {
        self.params.iter().filter(|(name, _)| *name != "Signature").collect()
    }

    fn version_1(&self) -> String {
        let mut pairs = self.signed();
        pairs.sort_by_key(|(name, _)| name.to_lowercase());
        pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()
    }

    fn version_2(&self, head: &RequestHead<'_>, secret: &str) -> Result<Vec<Vec<u8>>, Denial> {
        let host = head.header("host").unwrap_or_default().to_ascii_lowercase();
        let mut pairs = self.signed();
        pairs.sort_unstable();
        let escape = |text| utf8_percent_encode(text, RESERVED);
        let pairs: Vec<String> =
            pairs.into_iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let query = pairs.join("&");
        let path = if head.path.is_empty() { "/" } else { head.path };
        let text = |host: &str| format!("{}\n{host}\n{path}\n{query}", head.method);
        // Clients differ in whether the port belongs to the host.
        let mut texts = vec![text(&host)];
        if let Some((name, _)) = host.rsplit_once(':') {
            texts.push(text(name));
        }
        let sign = match self.params.get("SignatureMethod") {
            Some("HmacSHA256") => mac::<Sha256>,
            Some("HmacSHA1") => mac::<Sha1>,
            _ => return Err(Denial::incomplete("SignatureMethod must be HmacSHA256 or HmacSHA1.")),
        };
        Ok(texts.iter().map(|text| sign(secret, text)).collect())
    }

    /// Checks the time the request is good for.
    pub(super) fn check_time(&self, now_ms: i64) -> Result<(), Denial> {
        let parse = |text: &str| {
            let parsed = crate::time::parse(text).map(|t| t.0);
            parsed.ok_or_else(|| Denial::Incomplete(format!("{text} is not a time in ISO 8601.")))
        };
        let (until, text, earliest) = match (self.params.get("Timestamp"), self.params.get("Expires")) {
            (Some(at), None) => {
                let at_ms = parse(at)?;
                (at_ms + TIMESTAMP_LIFE_MS, at, at_ms - CLOCK_SKEW_MS_MAX)
            }
            (None, Some(until)) => {
                let until_ms = parse(until)?;
                (until_ms, until, until_ms - EXPIRES_AHEAD_MS_MAX)
            }
            _ => return Err(Denial::incomplete("The request must contain either Timestamp or Expires.")),
        };
        if now_ms > until {
            return Err(Denial::Expired(format!("Request has expired: its time is {text}.")));
        }
        if now_ms < earliest {
            return Err(Denial::Expired(format!("Request is not yet valid: its time is {text}.")));
        }
        Ok(())
    }
}

/// The two hashes that these versions know.
trait Hash {
    fn mac(secret: &[u8], text: &[u8]) -> Vec<u8>;
}

macro_rules! hash {
    ($hash:ty) => {
        impl Hash for $hash {
            fn mac(secret: &[u8], text: &[u8]) -> Vec<u8> {
                match Hmac::<$hash>::new_from_slice(secret) {
                    Ok(mac) => mac.chain_update(text).finalize().into_bytes().to_vec(),
                    Err(_) => unreachable!("HMAC takes keys of any length"),
                }
            }
        }
    };
}
hash!(Sha1);
hash!(Sha256);

fn mac<H: Hash>(secret: &str, text: &str) -> Vec<u8> {
    H::mac(secret.as_bytes(), text.as_bytes())
}
