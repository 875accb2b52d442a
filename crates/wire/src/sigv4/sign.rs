use super::ALGORITHM;
use super::canonical;
use super::claim::Credential;
use super::verify::{basic, signature, signing_key};
use crate::head::RequestHead;

/// A key pair and the scope to sign for.
#[derive(Clone)]
pub struct Signer {
    /// Public half.
    pub access_key_id: String,
    /// Secret half.
    pub secret_access_key: String,
    /// Scope's region.
    pub region: String,
    /// Scope's service: [`crate::ServiceSchema::signing_name`].
    pub service: String,
}

/// The `X-Amz-Date` and `Authorization` headers for a request of our own client. The request's other headers must be in
/// `head` already, `host` among them; all of them are signed.
pub fn sign(signer: &Signer, head: &RequestHead<'_>, body: &[u8], now_ms: i64) -> (String, String) {
    let date = basic(now_ms);
    let day = &date[..8];
    let scope = format!("{day}/{}/{}/aws4_request", signer.region, signer.service);
    let mut headers = head.headers.clone();
    // Digits and letters are always a valid header value.
    if let Ok(value) = http::HeaderValue::from_str(&date) {
        headers.insert("x-amz-date", value);
    }
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let signed_headers = names.join(";");
    let head = RequestHead { headers: &headers, ..*head };
    let request = canonical::hash(&head, &signed_headers, body).unwrap_or_default();
    let credential = Credential {
        access_key_id: &signer.access_key_id,
        day,
        region: &signer.region,
        service: &signer.service,
        scope: &scope,
    };
    let made = signature(signing_key(&signer.secret_access_key, &credential), &date, &scope, &request);
    let hex = canonical::hex(&made);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, Signature={}",
        signer.access_key_id,
        String::from_utf8_lossy(&hex)
    );
    (date, authorization)
}
