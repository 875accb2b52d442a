//! Stickiness by the load balancer's own cookie: `AWSALB`, and `AWSALBCORS` for requests from other sites.
//!
//! The value names the target and says until when that holds. It is not a secret: a client that forges it chooses
//! only among the targets it could have got anyway.

use puffer_core::Timestamp;
use std::time::Duration;

use crate::config::StickinessConfig;
use crate::http::own_response::http_date;
use crate::http::request::Request;

/// The cookie's name for requests from the same site.
const NAME: &str = "AWSALB";
/// Its name for requests from other sites, too.
const NAME_CORS: &str = "AWSALBCORS";
/// How long the client keeps the cookie; the value itself may end earlier.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// The target that the request's cookie names, unless its time is over.
pub(super) fn named_target(request: &Request<'_, '_>, now: Timestamp) -> Option<u64> {
    let value = request.cookie(NAME).or_else(|| request.cookie(NAME_CORS))?;
    let value = std::str::from_utf8(value).ok()?;
    let (name, until) = value.split_once('-')?;
    let until = i64::from_str_radix(until, 16).ok()?;
    if until < now.as_secs() {
        return None;
    }
    u64::from_str_radix(name, 16).ok()
}

/// Ready `Set-Cookie` lines that keep the client on a target.
pub(super) fn cookie_lines(target: u64, config: &StickinessConfig, now: Timestamp) -> Vec<u8> {
    let until = now.as_secs() + i64::from(config.duration_s);
    let expires = http_date(now + KEPT);
    format!(
        "Set-Cookie: {NAME}={target:016x}-{until:x}; Expires={expires}; Path=/\r\n\
         Set-Cookie: {NAME_CORS}={target:016x}-{until:x}; Expires={expires}; Path=/; SameSite=None\r\n"
    )
    .into_bytes()
}
