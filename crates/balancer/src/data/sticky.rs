//! Stickiness by the load balancer's own cookie: `AWSALB`, and `AWSALBCORS` for requests from other sites.
//!
//! The value names the target and says until when that holds. It is not a secret: a client that forges it chooses
//! only among the targets it could have got anyway.
//!
//! Classic load balancers have `AWSELB` instead: from the first answer on, or set whenever the application sets a cookie of its own.

use puffer_core::Timestamp;
use std::time::Duration;

use crate::config::{ClassicStickiness, StickinessConfig};
use crate::http::own_response::http_date;
use crate::http::request::Request;

/// The cookie's name for requests from the same site.
const NAME: &str = "AWSALB";
/// Its name for requests from other sites, too.
const NAME_CORS: &str = "AWSALBCORS";
/// The cookie's name under classic load balancers.
const NAME_CLASSIC: &str = "AWSELB";
/// Its name for requests from other sites, too.
const NAME_CLASSIC_CORS: &str = "AWSELBCORS";
/// How long the client keeps the cookie; the value itself may end earlier.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// The target that the request's cookie names, unless its time is over.
pub(super) fn named_target(request: &Request<'_, '_>, now: Timestamp) -> Option<u64> {
    read(request.cookie(NAME).or_else(|| request.cookie(NAME_CORS))?, now)
}

fn read(value: &[u8], now: Timestamp) -> Option<u64> {
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

/// A cookie of the application's that the load balancer's own comes and goes with.
pub(super) struct Follows {
    /// Its name.
    pub(super) cookie: String,
    /// Ready lines for an answer that sets it.
    pub(super) lines: Vec<u8>,
}

/// The target that the request's cookie names under a classic load balancer. With a cookie of the application's to follow, only
/// while that one is there too.
pub(super) fn classic_target(
    request: &Request<'_, '_>,
    sticky: &ClassicStickiness,
    now: Timestamp,
) -> Option<u64> {
    if let ClassicStickiness::AppCookie { name } = sticky {
        request.cookie(name)?;
    }
    read(request.cookie(NAME_CLASSIC).or_else(|| request.cookie(NAME_CLASSIC_CORS))?, now)
}

/// What a client that has no valid cookie gets: lines for its answer, or lines that wait for the application's cookie.
pub(super) fn classic_cookies(
    target: u64,
    sticky: &ClassicStickiness,
    now: Timestamp,
) -> (Vec<u8>, Option<Follows>) {
    let (until, expires) = match sticky {
        ClassicStickiness::LbCookie { duration_s: Some(s) } => {
            let end = now + Duration::from_secs((*s).into());
            (end.as_secs(), format!(";EXPIRES={}", http_date(end)))
        }
        ClassicStickiness::LbCookie { duration_s: None } | ClassicStickiness::AppCookie { .. } => {
            (i64::MAX, String::new())
        }
    };
    let lines = format!(
        "Set-Cookie: {NAME_CLASSIC}={target:016x}-{until:x};PATH=/{expires}\r\n\
         Set-Cookie: {NAME_CLASSIC_CORS}={target:016x}-{until:x};PATH=/{expires};SameSite=None\r\n"
    )
    .into_bytes();
    match sticky {
        ClassicStickiness::LbCookie { .. } => (lines, None),
        ClassicStickiness::AppCookie { name } => (Vec::new(), Some(Follows { cookie: name.clone(), lines })),
    }
}
