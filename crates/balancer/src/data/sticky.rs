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

/// Attributes of the application's cookie that the load balancer's own has, too, so that both come, go and are sent together.
const COPIED: [&str; 6] = ["path", "domain", "expires", "max-age", "secure", "httponly"];

/// A cookie of the application's that the load balancer's own comes and goes with.
pub(super) struct Follows {
    /// Its name.
    pub(super) cookie: String,
    /// The target that the load balancer's own names.
    target: u64,
}

impl Follows {
    /// Ready lines for an answer that sets the application's cookie: `set_cookie` is the value of the line that does.
    pub(super) fn lines(&self, set_cookie: &[u8]) -> Vec<u8> {
        let parts = set_cookie.split(|&b| b == b';').skip(1).map(<[u8]>::trim_ascii);
        let is_copied = |part: &&[u8]| {
            let name = part.split(|&b| b == b'=').next().unwrap_or_default().trim_ascii();
            COPIED.iter().any(|copied| name.eq_ignore_ascii_case(copied.as_bytes()))
        };
        let attributes = parts.filter(is_copied).flat_map(|part| [b";", part].concat()).collect::<Vec<u8>>();
        classic_lines(self.target, i64::MAX, &attributes)
    }
}

/// How a request stands to the target that its cookies name, under a classic load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// They name none.
    New,
    /// It goes there.
    Kept,
    /// It goes to another one, since that one is gone or cannot be connected.
    Moved,
}

impl Session {
    /// Of the same request when it goes to another target.
    pub(super) const fn moved(self) -> Session {
        match self {
            Session::New => Session::New,
            Session::Kept | Session::Moved => Session::Moved,
        }
    }
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

/// What the answer of `target` sets: lines now, and lines that wait for the application's cookie.
///
/// The load balancer's own cookie runs out when it said, so it is not made anew for who is kept. Who follows the application's
/// cookie gets one whenever that is set, and at once when a session moves: it stays with its new target.
pub(super) fn classic_cookies(
    target: u64,
    sticky: &ClassicStickiness,
    session: Session,
    now: Timestamp,
) -> (Vec<u8>, Option<Follows>) {
    match (sticky, session) {
        (ClassicStickiness::LbCookie { .. }, Session::Kept) => (Vec::new(), None),
        (ClassicStickiness::LbCookie { duration_s: Some(s) }, _) => {
            let end = now + Duration::from_secs((*s).into());
            let attributes = format!(";PATH=/;EXPIRES={}", http_date(end));
            (classic_lines(target, end.as_secs(), attributes.as_bytes()), None)
        }
        (ClassicStickiness::LbCookie { duration_s: None }, _) => {
            (classic_lines(target, i64::MAX, b";PATH=/"), None)
        }
        (ClassicStickiness::AppCookie { name }, session) => {
            let lines = match session {
                Session::Moved => classic_lines(target, i64::MAX, b";PATH=/"),
                Session::New | Session::Kept => Vec::new(),
            };
            (lines, Some(Follows { cookie: name.clone(), target }))
        }
    }
}

/// Ready lines that name a target until a second since 1970, with attributes as they stand in the line.
fn classic_lines(target: u64, until: i64, attributes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, more) in [(NAME_CLASSIC, ""), (NAME_CLASSIC_CORS, ";SameSite=None")] {
        lines.extend_from_slice(format!("Set-Cookie: {name}={target:016x}-{until:x}").as_bytes());
        lines.extend_from_slice(attributes);
        lines.extend_from_slice(more.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    lines
}
