//! Session tokens of metadata version 2.
//!
//! A token is its expiry and a MAC over expiry and instance: nothing is remembered, so an instance cannot fill a table,
//! and a token works at its own instance only.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use hmac::{Hmac, KeyInit, Mac};
use puffer_core::Timestamp;
use sha2::Sha256;

/// Bytes of the expiry in front.
const EXPIRY_BYTES: usize = 8;
/// Bytes of the MAC that are kept.
const MAC_BYTES: usize = 31;

/// The key of one server's tokens. With a new key at each start tokens end with the server, and clients ask for new ones.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// From random bytes.
    pub fn new(random: [u8; 32]) -> TokenKey {
        TokenKey(random)
    }

    pub(super) fn issue(&self, instance_id: &str, expires: Timestamp) -> String {
        let expiry = expires.as_millis().to_be_bytes();
        let mut token = expiry.to_vec();
        if let Some(mac) = self.mac(instance_id, &expiry) {
            token.extend(mac.finalize().into_bytes().iter().take(MAC_BYTES));
        }
        URL_SAFE.encode(token)
    }

    /// Whether the token is this instance's and has not expired.
    pub(super) fn accepts(&self, token: &str, instance_id: &str, now: Timestamp) -> bool {
        let Ok(bytes) = URL_SAFE.decode(token) else { return false };
        if bytes.len() != EXPIRY_BYTES + MAC_BYTES {
            return false;
        }
        let (expiry, mac) = bytes.split_at(EXPIRY_BYTES);
        let Ok(expiry) = <[u8; EXPIRY_BYTES]>::try_from(expiry) else { return false };
        let genuine = self
            .mac(instance_id, &expiry)
            .is_some_and(|expected| expected.verify_truncated_left(mac).is_ok());
        genuine && now.as_millis() < i64::from_be_bytes(expiry)
    }

    fn mac(&self, instance_id: &str, expiry: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(expiry);
        mac.update(instance_id.as_bytes());
        Some(mac)
    }
}
