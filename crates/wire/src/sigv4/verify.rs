use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::canonical;
use super::claim::{Claim, Credential, parse_date};
use super::faults::{Denial, Family};
use super::query_signature::{Oldest, QuerySignature};
use super::{ALGORITHM, CLOCK_SKEW_MS_MAX};
use crate::fault::Fault;
use crate::head::RequestHead;

/// Signing keys kept, one per key id, day, region and service. Deriving one costs four HMACs.
const SIGNING_KEYS_MAX: usize = 1024;

/// Where secrets come from. The secret of a key id never changes; keys may come and go.
pub trait SecretSource: Send + Sync {
    /// The secret access key, or `None` if the key id is not known.
    fn secret(&self, access_key_id: &str) -> Option<&str>;
}

/// One key pair.
impl SecretSource for (String, String) {
    fn secret(&self, access_key_id: &str) -> Option<&str> {
        (self.0 == access_key_id).then_some(&self.1)
    }
}

/// Who signed a request, and for where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The key id.
    pub access_key_id: String,
    /// The scope's region, which old clients guess; empty if the signature has no scope.
    pub region: String,
}

/// Verifies signatures.
pub struct Verifier<S> {
    secrets: S,
    /// Keyed MACs by the whole credential, each stored only after a signature made with it was right.
    keys: RwLock<HashMap<String, Hmac<Sha256>>>,
}

impl<S: SecretSource> Verifier<S> {
    /// A verifier for the keys of `secrets`.
    pub fn new(secrets: S) -> Self {
        Verifier { secrets, keys: RwLock::default() }
    }

    /// Verifies one request at the time `now_ms` for an operation that also takes signatures as old as `oldest`.
    pub fn verify_since(
        &self,
        oldest: Oldest,
        family: Family,
        head: &RequestHead<'_>,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Identity, Fault> {
        match QuerySignature::find(head, body).map_err(|denial| denial.fault(family))? {
            Some(old) => self.check_old(&old, head, oldest, now_ms).map_err(|denial| denial.fault(family)),
            None => self.verify(family, head, body, now_ms),
        }
    }

    fn check_old(
        &self,
        old: &QuerySignature<'_>,
        head: &RequestHead<'_>,
        oldest: Oldest,
        now_ms: i64,
    ) -> Result<Identity, Denial> {
        let access_key_id = old.access_key_id()?;
        old.check_time(now_ms)?;
        let secret = self.secrets.secret(access_key_id).filter(|_| !old.has_token());
        let secret = secret.ok_or(Denial::UnknownKey)?;
        let (given, expected) = old.signatures(head, oldest, secret)?;
        let given = STANDARD.decode(given).map_err(|_| Denial::mismatch())?;
        if !expected.iter().any(|signature| bool::from(signature.ct_eq(&given))) {
            return Err(Denial::mismatch());
        }
        Ok(Identity { access_key_id: access_key_id.to_owned(), region: String::new() })
    }

    /// Verifies one request at the time `now_ms` by version 4.
    pub fn verify(
        &self,
        family: Family,
        head: &RequestHead<'_>,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Identity, Fault> {
        self.check(head, body, now_ms).map_err(|denial| denial.fault(family))
    }

    fn check(&self, head: &RequestHead<'_>, body: &[u8], now_ms: i64) -> Result<Identity, Denial> {
        let claim = Claim::find(head, body)?;
        let credential = Credential::parse(&claim.credential).ok_or_else(|| {
            Denial::incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term",
            )
        })?;
        check_date(&claim, &credential, now_ms)?;
        check_coverage(head, &claim)?;
        let secret = self.secrets.secret(credential.access_key_id).ok_or(Denial::UnknownKey)?;
        if claim.has_token {
            // Temporary credentials are not given out, so any session token is a left-over of another account.
            return Err(Denial::UnknownKey);
        }
        let request = canonical::hash(head, &claim.signed_headers, body).ok_or_else(Denial::mismatch)?;
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&*claim.credential).cloned();
        let (key, fresh) = match known {
            Some(key) => (key, false),
            None => (signing_key(secret, &credential), true),
        };
        let expected = signature(key.clone(), &claim.date, credential.scope, &request);
        if !bool::from(expected.ct_eq(&unhex(&claim.signature).ok_or_else(Denial::mismatch)?)) {
            return Err(Denial::mismatch());
        }
        if fresh {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            if keys.len() >= SIGNING_KEYS_MAX {
                keys.clear();
            }
            keys.insert(claim.credential.clone().into_owned(), key);
        }
        Ok(Identity {
            access_key_id: credential.access_key_id.to_owned(),
            region: credential.region.to_owned(),
        })
    }
}

fn check_date(claim: &Claim<'_>, credential: &Credential<'_>, now_ms: i64) -> Result<(), Denial> {
    let at = parse_date(&claim.date).ok_or_else(|| {
        Denial::incomplete("Date must be in ISO-8601 'basic format', such as 20261121T032800Z.")
    })?;
    if claim.date.get(..8) != Some(credential.day) {
        return Err(Denial::Mismatch(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}'.",
            credential.day,
            claim.date.get(..8).unwrap_or_default()
        )));
    }
    let life = claim.expires_s.map_or(CLOCK_SKEW_MS_MAX, |s| s * 1000);
    if now_ms - at > life {
        return Err(Denial::Expired(format!(
            "Signature expired: {} is now earlier than {} ({} - {} min.)",
            claim.date,
            basic(now_ms - life),
            basic(now_ms),
            life / 60_000
        )));
    }
    if at - now_ms > CLOCK_SKEW_MS_MAX {
        return Err(Denial::Expired(format!(
            "Signature not yet current: {} is still later than {} ({} + 5 min.)",
            claim.date,
            basic(now_ms + CLOCK_SKEW_MS_MAX),
            basic(now_ms)
        )));
    }
    Ok(())
}

/// The headers that decide what a request means must be under the signature.
fn check_coverage(head: &RequestHead<'_>, claim: &Claim<'_>) -> Result<(), Denial> {
    let signed = |name: &str| claim.signed_headers.split(';').any(|h| h == name);
    if !signed("host") {
        return Err(Denial::incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization."));
    }
    for name in ["x-amz-date", "x-amz-target"] {
        if head.headers.contains_key(name) && !signed(name) {
            let message = format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.");
            return Err(Denial::Incomplete(message));
        }
    }
    Ok(())
}

/// `20261121T032800Z`.
pub(super) fn basic(ms: i64) -> String {
    let mut text = Vec::new();
    crate::time::write_iso(&mut text, crate::EpochMillis(ms));
    text.truncate(19);
    text.retain(|b| !matches!(b, b'-' | b':'));
    text.push(b'Z');
    text.into_iter().map(char::from).collect()
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    mac(key).chain_update(text).finalize().into_bytes().into()
}

pub(super) fn signing_key(secret: &str, credential: &Credential<'_>) -> Hmac<Sha256> {
    let day = hmac(format!("AWS4{secret}").as_bytes(), credential.day);
    let service = hmac(&hmac(&day, credential.region), credential.service);
    mac(&hmac(&service, "aws4_request"))
}

pub(super) fn signature(key: Hmac<Sha256>, date: &str, scope: &str, request: &[u8; 32]) -> [u8; 32] {
    key.chain_update(ALGORITHM)
        .chain_update("\n")
        .chain_update(date)
        .chain_update("\n")
        .chain_update(scope)
        .chain_update("\n")
        .chain_update(canonical::hex(request))
        .finalize()
        .into_bytes()
        .into()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |b: u8| (b as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}
