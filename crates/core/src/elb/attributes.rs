//! Attributes of load balancers, listeners and target groups: key and value texts on the wire, one table for each
//! kind of resource here.
//!
//! A record keeps only what differs from the table's default, so a new attribute needs no migration. What Puffer
//! does not do is in the tables too, since tools read and write it, but only its idle value can be set
//! ([`Check::Only`]): a stored setting that does nothing would be a lie.

use std::collections::BTreeMap;

/// Which values an attribute takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// `true` or `false`.
    Bool,
    /// A whole number in this range.
    Number(u32, u32),
    /// 0, or a whole number in this range.
    ZeroOr(u32, u32),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// AWS knows more, Puffer only these.
    Only(&'static [&'static str]),
    /// Text that has a meaning only together with another attribute, which is not supported.
    Idle,
}

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// AWS's key.
    pub key: &'static str,
    /// Its value unless set.
    pub default: &'static str,
    /// Which values it takes.
    pub check: Check,
}

const fn attribute(key: &'static str, default: &'static str, check: Check) -> Attribute {
    Attribute { key, default, check }
}

/// Whether nodes use targets of other zones than their own.
pub const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";

const OFF: Check = Check::Only(&["false"]);

/// Attributes of an application load balancer.
pub const LOAD_BALANCER: &[Attribute] = &[
    attribute("access_logs.s3.enabled", "false", OFF),
    attribute("access_logs.s3.bucket", "", Check::Idle),
    attribute("access_logs.s3.prefix", "", Check::Idle),
    attribute("connection_logs.s3.enabled", "false", OFF),
    attribute("connection_logs.s3.bucket", "", Check::Idle),
    attribute("connection_logs.s3.prefix", "", Check::Idle),
    attribute("health_check_logs.s3.enabled", "false", OFF),
    attribute("health_check_logs.s3.bucket", "", Check::Idle),
    attribute("health_check_logs.s3.prefix", "", Check::Idle),
    attribute("client_keep_alive.seconds", "3600", Check::Number(60, 604_800)),
    attribute("deletion_protection.enabled", "false", Check::Bool),
    attribute("idle_timeout.timeout_seconds", "60", Check::Number(1, 4_000)),
    attribute(CROSS_ZONE, "true", Check::Only(&["true"])),
    attribute(
        "routing.http.desync_mitigation_mode",
        "defensive",
        Check::OneOf(&["monitor", "defensive", "strictest"]),
    ),
    attribute("routing.http.drop_invalid_header_fields.enabled", "false", Check::Bool),
    attribute("routing.http.preserve_host_header.enabled", "false", Check::Bool),
    attribute("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false", OFF),
    attribute("routing.http.xff_client_port.enabled", "false", Check::Bool),
    attribute(
        "routing.http.xff_header_processing.mode",
        "append",
        Check::OneOf(&["append", "preserve", "remove"]),
    ),
    // HTTP/2 is negotiated over TLS only, so with clear-text listeners both values mean the same.
    attribute("routing.http2.enabled", "true", Check::Bool),
    attribute("waf.fail_open.enabled", "false", OFF),
    attribute("zonal_shift.config.enabled", "false", OFF),
];

/// Attributes of an HTTP target group.
pub const TARGET_GROUP: &[Attribute] = &[
    attribute("deregistration_delay.timeout_seconds", "300", Check::Number(0, 3_600)),
    attribute("load_balancing.algorithm.anomaly_mitigation", "off", Check::Only(&["off"])),
    attribute(
        "load_balancing.algorithm.type",
        "round_robin",
        Check::OneOf(&["round_robin", "least_outstanding_requests", "weighted_random"]),
    ),
    attribute(
        CROSS_ZONE,
        "use_load_balancer_configuration",
        Check::Only(&["use_load_balancer_configuration", "true"]),
    ),
    attribute("slow_start.duration_seconds", "0", Check::ZeroOr(30, 900)),
    attribute("stickiness.app_cookie.cookie_name", "", Check::Idle),
    attribute("stickiness.app_cookie.duration_seconds", "86400", Check::Only(&["86400"])),
    attribute("stickiness.enabled", "false", Check::Bool),
    attribute("stickiness.lb_cookie.duration_seconds", "86400", Check::Number(1, 604_800)),
    attribute("stickiness.type", "lb_cookie", Check::Only(&["lb_cookie"])),
    attribute("target_group_health.dns_failover.minimum_healthy_targets.count", "1", Check::Only(&["1"])),
    attribute(
        "target_group_health.dns_failover.minimum_healthy_targets.percentage",
        "off",
        Check::Only(&["off"]),
    ),
    attribute(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
        "1",
        Check::Only(&["1"]),
    ),
    attribute(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        "off",
        Check::Only(&["off"]),
    ),
];

/// Attributes of an HTTP listener.
pub const LISTENER: &[Attribute] = &[
    attribute("routing.http.response.access_control_allow_credentials.header_value", "", Check::Idle),
    attribute("routing.http.response.access_control_allow_headers.header_value", "", Check::Idle),
    attribute("routing.http.response.access_control_allow_methods.header_value", "", Check::Idle),
    attribute("routing.http.response.access_control_allow_origin.header_value", "", Check::Idle),
    attribute("routing.http.response.access_control_expose_headers.header_value", "", Check::Idle),
    attribute("routing.http.response.access_control_max_age.header_value", "", Check::Idle),
    attribute("routing.http.response.content_security_policy.header_value", "", Check::Idle),
    attribute("routing.http.response.server.enabled", "true", Check::Only(&["true"])),
    attribute("routing.http.response.strict_transport_security.header_value", "", Check::Idle),
    attribute("routing.http.response.x_content_type_options.header_value", "", Check::Idle),
    attribute("routing.http.response.x_frame_options.header_value", "", Check::Idle),
];

/// Why an attribute cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// No such attribute.
    #[error("attribute key '{0}' is not recognized")]
    Unknown(String),
    /// A value that it does not take.
    #[error("attribute '{key}' does not take the value '{value}': {allowed}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it takes.
        allowed: String,
    },
    /// AWS would take it, Puffer does not do it.
    #[error("attribute '{key}' with the value '{value}' is not supported by Puffer")]
    Unsupported {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Two attributes that exclude each other.
    #[error("slow start cannot be combined with the algorithm '{0}'")]
    SlowStart(String),
}

/// All attributes of a resource, defaults included, in the table's order.
pub fn all<'a>(
    set: &'a BTreeMap<String, String>,
    table: &'static [Attribute],
) -> impl Iterator<Item = (&'static str, &'a str)> {
    table.iter().map(|a| (a.key, set.get(a.key).map_or(a.default, String::as_str)))
}

/// One attribute's value; empty for a key that the table does not have.
pub fn value<'a>(set: &'a BTreeMap<String, String>, table: &'static [Attribute], key: &str) -> &'a str {
    match set.get(key) {
        Some(value) => value,
        None => table.iter().find(|a| a.key == key).map_or("", |a| a.default),
    }
}

/// An attribute that is a number; 0 for one that is not.
pub fn number(set: &BTreeMap<String, String>, table: &'static [Attribute], key: &str) -> u32 {
    value(set, table, key).parse().unwrap_or(0)
}

/// An attribute that is a truth value.
pub fn flag(set: &BTreeMap<String, String>, table: &'static [Attribute], key: &str) -> bool {
    value(set, table, key) == "true"
}

/// Sets attributes; on an error `set` is as before.
pub fn apply<'a>(
    set: &mut BTreeMap<String, String>,
    table: &'static [Attribute],
    changes: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), AttributeError> {
    let mut next = set.clone();
    for (key, value) in changes {
        let attribute =
            table.iter().find(|a| a.key == key).ok_or_else(|| AttributeError::Unknown(key.to_owned()))?;
        attribute.admits(value)?;
        if value == attribute.default {
            next.remove(key);
        } else {
            next.insert(key.to_owned(), value.to_owned());
        }
    }
    let algorithm = value(&next, table, "load_balancing.algorithm.type");
    if number(&next, table, "slow_start.duration_seconds") > 0 && algorithm != "round_robin" {
        return Err(AttributeError::SlowStart(algorithm.to_owned()));
    }
    *set = next;
    Ok(())
}

impl Attribute {
    fn admits(&self, value: &str) -> Result<(), AttributeError> {
        let wrong = |allowed: String| {
            Err(AttributeError::Value { key: self.key.to_owned(), value: value.to_owned(), allowed })
        };
        let between = |low: u32, high: u32| {
            value.parse::<u32>().is_ok_and(|n| (low..=high).contains(&n) && value == n.to_string())
        };
        match self.check {
            Check::Bool if matches!(value, "true" | "false") => Ok(()),
            Check::Bool => wrong("it is 'true' or 'false'".to_owned()),
            Check::Number(low, high) if between(low, high) => Ok(()),
            Check::Number(low, high) => wrong(format!("it is a number from {low} to {high}")),
            Check::ZeroOr(low, high) if value == "0" || between(low, high) => Ok(()),
            Check::ZeroOr(low, high) => wrong(format!("it is 0 or a number from {low} to {high}")),
            Check::OneOf(values) if values.contains(&value) => Ok(()),
            Check::OneOf(values) => wrong(format!("it is one of {}", values.join(", "))),
            Check::Only(values) if values.contains(&value) => Ok(()),
            Check::Idle if value == self.default => Ok(()),
            Check::Only(_) | Check::Idle => {
                Err(AttributeError::Unsupported { key: self.key.to_owned(), value: value.to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_admitted() {
        for attribute in LOAD_BALANCER.iter().chain(TARGET_GROUP).chain(LISTENER) {
            assert_eq!(attribute.admits(attribute.default), Ok(()), "{}", attribute.key);
        }
    }

    #[test]
    fn values() {
        let table = [
            ("idle_timeout.timeout_seconds", "120", true),
            ("idle_timeout.timeout_seconds", "0120", false),
            ("idle_timeout.timeout_seconds", "4001", false),
            ("deletion_protection.enabled", "yes", false),
            ("access_logs.s3.enabled", "true", false),
            ("access_logs.s3.bucket", "logs", false),
            ("routing.http.desync_mitigation_mode", "strictest", true),
            ("nonsense", "1", false),
        ];
        for (key, value, good) in table {
            let mut set = BTreeMap::new();
            let got = apply(&mut set, LOAD_BALANCER, [(key, value)].into_iter());
            assert_eq!(got.is_ok(), good, "{key}={value}: {got:?}");
            assert_eq!(set.len(), usize::from(good));
        }
    }

    #[test]
    fn defaults_are_not_kept_and_failures_change_nothing() {
        let mut set = BTreeMap::new();
        apply(&mut set, TARGET_GROUP, [("deregistration_delay.timeout_seconds", "5")].into_iter()).unwrap();
        assert_eq!(number(&set, TARGET_GROUP, "deregistration_delay.timeout_seconds"), 5);
        let before = set.clone();
        let both =
            [("slow_start.duration_seconds", "30"), ("load_balancing.algorithm.type", "weighted_random")];
        assert!(matches!(apply(&mut set, TARGET_GROUP, both.into_iter()), Err(AttributeError::SlowStart(_))));
        assert_eq!(set, before);
        apply(&mut set, TARGET_GROUP, [("deregistration_delay.timeout_seconds", "300")].into_iter()).unwrap();
        assert!(set.is_empty());
    }
}
