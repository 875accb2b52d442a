//! The health check settings of a target group: from the wire, checked.

use puffer_core::elb::HealthCheck;
use puffer_core::elb::health::Matcher;
use puffer_shapes::elbv2::{self as shapes, errors};

use crate::ApiError;

/// Characters of a health check's path.
const PATH_CHARS_MAX: usize = 1024;

/// The settings as both requests that carry them have them.
#[derive(Default)]
pub(super) struct Given {
    pub(super) enabled: Option<bool>,
    pub(super) protocol: Option<String>,
    pub(super) port: Option<String>,
    pub(super) path: Option<String>,
    pub(super) matcher: Option<shapes::Matcher>,
    pub(super) interval_s: Option<i32>,
    pub(super) timeout_s: Option<i32>,
    pub(super) healthy_threshold: Option<i32>,
    pub(super) unhealthy_threshold: Option<i32>,
}

impl Given {
    /// `base` with what is given.
    pub(super) fn over(self, base: &HealthCheck) -> Result<HealthCheck, ApiError> {
        let mut check = base.clone();
        if self.enabled == Some(false) {
            return Err(ApiError::validation(
                "Health checks must be enabled for target groups with target type 'instance' or 'ip'",
            ));
        }
        match self.protocol.as_deref() {
            None | Some("HTTP") => {}
            Some(other) => {
                return Err(ApiError::declared(
                    &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
                    format!("Puffer checks targets of application load balancers by HTTP only, not {other}"),
                ));
            }
        }
        if let Some(port) = self.port {
            check.port = match port.as_str() {
                "traffic-port" => None,
                other => Some(other.parse().ok().filter(|p| *p > 0).ok_or_else(|| {
                    ApiError::validation(format!(
                        "Health check port '{other}' must be a port or 'traffic-port'"
                    ))
                })?),
            };
        }
        if let Some(path) = self.path {
            let good = path.starts_with('/')
                && path.len() <= PATH_CHARS_MAX
                && path.bytes().all(|b| b.is_ascii_graphic());
            if !good {
                return Err(ApiError::validation(format!(
                    "Health check path '{path}' must begin with a '/' character, and can have at most \
                     {PATH_CHARS_MAX} printable ASCII characters without whitespace"
                )));
            }
            check.path = path;
        }
        if let Some(matcher) = self.matcher {
            if matcher.grpc_code.is_some() {
                return Err(ApiError::validation("A gRPC matcher needs the protocol version GRPC"));
            }
            if let Some(codes) = matcher.http_code {
                if Matcher::parse(&codes).is_none() {
                    return Err(ApiError::validation(format!(
                        "Health check matcher HTTP code '{codes}' must be within '200-499' inclusive"
                    )));
                }
                check.matcher = codes;
            }
        }
        if let Some(s) = self.interval_s {
            check.interval_s = ranged("Health check interval", s, 5, 300)?;
        }
        if let Some(s) = self.timeout_s {
            check.timeout_s = ranged("Health check timeout", s, 2, 120)?;
        }
        if let Some(n) = self.healthy_threshold {
            check.healthy_threshold = threshold("Healthy threshold count", n)?;
        }
        if let Some(n) = self.unhealthy_threshold {
            check.unhealthy_threshold = threshold("Unhealthy threshold count", n)?;
        }
        // An interval alone may be shorter than the default time-out, which nobody chose.
        if check.timeout_s >= check.interval_s && self.timeout_s.is_none() && self.interval_s.is_some() {
            check.timeout_s = (check.interval_s - 1).max(2);
        }
        if check.timeout_s >= check.interval_s {
            return Err(ApiError::validation(format!(
                "Health check timeout '{}' must be smaller than the interval '{}'",
                check.timeout_s, check.interval_s
            )));
        }
        Ok(check)
    }
}

fn ranged(what: &str, value: i32, low: u32, high: u32) -> Result<u32, ApiError> {
    u32::try_from(value).ok().filter(|n| (low..=high).contains(n)).ok_or_else(|| {
        ApiError::validation(format!(
            "{what} '{value}' must be greater than or equal to {low} and less than or equal to {high}"
        ))
    })
}

fn threshold(what: &str, value: i32) -> Result<u8, ApiError> {
    let n = ranged(what, value, 2, 10)?;
    Ok(u8::try_from(n).unwrap_or(u8::MAX))
}
