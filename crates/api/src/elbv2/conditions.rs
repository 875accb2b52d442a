//! Conditions of rules: from the wire, checked.
//!
//! Path and host patterns come as plain `Values` (the older form) or in a configuration of their own; the other
//! fields know only the latter.

use std::collections::BTreeSet;

use puffer_core::elb::limits::{
    CONDITION_VALUE_CHARS_MAX, CONDITION_VALUES_PER_RULE_MAX, CONDITION_WILDCARDS_PER_RULE_MAX,
};
use puffer_core::elb::rule::{Cidr, Condition, QueryPair};
use puffer_shapes::elbv2 as shapes;

use crate::ApiError;

/// Characters of a header's name in a condition.
const HEADER_NAME_CHARS_MAX: usize = 40;
/// Characters of a method in a condition.
const METHOD_CHARS_MAX: usize = 40;

/// The conditions of a request.
pub(super) fn parse(conditions: Option<Vec<shapes::RuleCondition>>) -> Result<Vec<Condition>, ApiError> {
    let parsed: Vec<Condition> =
        conditions.unwrap_or_default().into_iter().map(one).collect::<Result<_, _>>()?;
    if parsed.is_empty() {
        return Err(ApiError::validation("A condition must be specified"));
    }
    let mut single = BTreeSet::new();
    for condition in &parsed {
        if let Some(field) = single_field(condition)
            && !single.insert(field)
        {
            return Err(ApiError::validation(format!("A rule can have only one '{field}' condition")));
        }
    }
    check_counts(&parsed)?;
    Ok(parsed)
}

/// The field of a condition that a rule can have once only.
fn single_field(condition: &Condition) -> Option<&'static str> {
    match condition {
        Condition::HostHeader { .. } => Some("host-header"),
        Condition::PathPattern { .. } => Some("path-pattern"),
        Condition::HttpRequestMethod { .. } => Some("http-request-method"),
        Condition::SourceIp { .. } => Some("source-ip"),
        Condition::HttpHeader { .. } | Condition::QueryString { .. } => None,
    }
}

fn check_counts(conditions: &[Condition]) -> Result<(), ApiError> {
    let (mut n_values, mut n_wildcards) = (0, 0);
    let mut count = |value: &str| n_wildcards += value.bytes().filter(|b| matches!(b, b'*' | b'?')).count();
    for condition in conditions {
        n_values += match condition {
            Condition::HostHeader { values }
            | Condition::PathPattern { values }
            | Condition::HttpHeader { values, .. } => {
                values.iter().for_each(|v| count(v));
                values.len()
            }
            Condition::HttpRequestMethod { values } => values.len(),
            Condition::SourceIp { values } => values.len(),
            Condition::QueryString { values } => {
                for pair in values {
                    pair.key.iter().for_each(|k| count(k));
                    count(&pair.value);
                }
                values.len()
            }
        };
    }
    if n_values > CONDITION_VALUES_PER_RULE_MAX {
        return Err(ApiError::validation(format!(
            "A rule can have at most {CONDITION_VALUES_PER_RULE_MAX} condition values"
        )));
    }
    if n_wildcards > CONDITION_WILDCARDS_PER_RULE_MAX {
        return Err(ApiError::validation(format!(
            "A rule can have at most {CONDITION_WILDCARDS_PER_RULE_MAX} wildcard characters"
        )));
    }
    Ok(())
}

fn one(c: shapes::RuleCondition) -> Result<Condition, ApiError> {
    let regex = [
        c.regex_values.as_deref(),
        c.host_header_config.as_ref().and_then(|c| c.regex_values.as_deref()),
        c.path_pattern_config.as_ref().and_then(|c| c.regex_values.as_deref()),
        c.http_header_config.as_ref().and_then(|c| c.regex_values.as_deref()),
    ];
    if regex.into_iter().flatten().any(|values| !values.is_empty()) {
        return Err(ApiError::validation("Regular expressions in conditions are not supported by Puffer"));
    }
    let field = match (c.field.clone(), config_field(&c)) {
        (Some(field), _) => field,
        (None, Some(field)) => field.to_owned(),
        (None, None) => return Err(ApiError::validation("A condition needs a field")),
    };
    let plain = c.values.unwrap_or_default();
    match field.as_str() {
        "host-header" => {
            let values = either(&field, plain, c.host_header_config.and_then(|c| c.values))?;
            each(&values, "host-header", |v| is_text(v) && !v.contains('/'))?;
            Ok(Condition::HostHeader { values })
        }
        "path-pattern" => {
            let values = either(&field, plain, c.path_pattern_config.and_then(|c| c.values))?;
            each(&values, "path-pattern", |v| is_text(v) && !v.contains(' '))?;
            Ok(Condition::PathPattern { values })
        }
        "http-request-method" => {
            let values = either(&field, plain, c.http_request_method_config.and_then(|c| c.values))?;
            let good = |v: &str| {
                v.len() <= METHOD_CHARS_MAX
                    && v.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'))
            };
            each(&values, "http-request-method", good)?;
            Ok(Condition::HttpRequestMethod { values })
        }
        "source-ip" => {
            let values = either(&field, plain, c.source_ip_config.and_then(|c| c.values))?;
            let cidr = |v: &String| {
                let parsed = v.contains('/').then(|| Cidr::parse(v)).flatten();
                parsed.ok_or_else(|| {
                    ApiError::validation(format!("Condition value '{v}' is not an IPv4 CIDR block"))
                })
            };
            Ok(Condition::SourceIp { values: values.iter().map(cidr).collect::<Result<_, _>>()? })
        }
        "http-header" => {
            let config = c.http_header_config.unwrap_or_default();
            let name = config.http_header_name.unwrap_or_default();
            if !is_header_name(&name) {
                return Err(ApiError::validation(format!(
                    "'{name}' is not a header name that a condition can have"
                )));
            }
            let values = either(&field, plain, config.values)?;
            each(&values, "http-header", is_text)?;
            Ok(Condition::HttpHeader { name, values })
        }
        "query-string" => {
            let pairs = c.query_string_config.and_then(|c| c.values).unwrap_or_default();
            if pairs.is_empty() || !plain.is_empty() {
                return Err(ApiError::validation("A query-string condition needs key and value pairs"));
            }
            let mut values = Vec::with_capacity(pairs.len());
            for pair in pairs {
                let (key, value) = (pair.key, pair.value.unwrap_or_default());
                each(std::slice::from_ref(&value), "query-string", is_text)?;
                each(key.as_slice(), "query-string", is_text)?;
                values.push(QueryPair { key: key.filter(|k| !k.is_empty()), value });
            }
            Ok(Condition::QueryString { values })
        }
        other => Err(ApiError::validation(format!("Condition field '{other}' is not valid"))),
    }
}

fn config_field(c: &shapes::RuleCondition) -> Option<&'static str> {
    let present = [
        (c.host_header_config.is_some(), "host-header"),
        (c.path_pattern_config.is_some(), "path-pattern"),
        (c.http_header_config.is_some(), "http-header"),
        (c.query_string_config.is_some(), "query-string"),
        (c.http_request_method_config.is_some(), "http-request-method"),
        (c.source_ip_config.is_some(), "source-ip"),
    ];
    present.iter().find(|(there, _)| *there).map(|(_, field)| *field)
}

/// The values of one of the two forms. Tools that read a rule and write it back send both, equal.
fn either(field: &str, plain: Vec<String>, config: Option<Vec<String>>) -> Result<Vec<String>, ApiError> {
    let config = config.unwrap_or_default();
    match (plain.is_empty(), config.is_empty()) {
        (true, true) => {
            Err(ApiError::validation(format!("A condition value of '{field}' must be specified")))
        }
        (true, false) => Ok(config),
        (false, true) => Ok(plain),
        (false, false) if plain == config => Ok(plain),
        (false, false) => Err(ApiError::validation(format!(
            "You cannot specify both values and a configuration for the condition '{field}'"
        ))),
    }
}

fn each(values: &[String], field: &str, good: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    match values.iter().find(|v| !good(v)) {
        None => Ok(()),
        Some(bad) => Err(ApiError::validation(format!(
            "Condition value '{bad}' of '{field}' is too long or has characters that are not valid"
        ))),
    }
}

fn is_text(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= CONDITION_VALUE_CHARS_MAX
        && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let own_field = name.eq_ignore_ascii_case("host");
    !name.is_empty() && name.len() <= HEADER_NAME_CHARS_MAX && name.bytes().all(token) && !own_field
}
