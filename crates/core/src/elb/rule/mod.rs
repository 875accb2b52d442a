//! Listener rules: which requests a rule takes, and what is then done with them.
//!
//! A rule takes a request when *all* its conditions hold; a condition holds when *any* of its values does. Rules
//! are tried by ascending priority and the default rule, which has no condition, comes last. The caller gives the
//! request as a [`RequestView`], so that the data plane can match straight on its read buffer.
//!
//! Source: "Condition types for listener rules" of the Application Load Balancer guide.

mod redirect;
mod wildcard;

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

pub use redirect::{Origin, redirect_location};
pub use wildcard::{Case, Escape, wildcard_match};

/// Largest weight of a target group in a forward action.
pub const WEIGHT_MAX: u16 = 999;
/// Most target groups of one forward action.
pub const FORWARD_TARGET_GROUPS_MAX: usize = 5;

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "field", rename_all = "kebab-case")]
pub enum Condition {
    /// The `Host` header without its port; case-insensitive; `*` and `?`.
    HostHeader {
        /// Patterns, any of which may match.
        values: Vec<String>,
    },
    /// The path without its query; case-sensitive; `*` and `?`.
    PathPattern {
        /// Patterns, any of which may match.
        values: Vec<String>,
    },
    /// The method, exactly.
    HttpRequestMethod {
        /// Methods, any of which may be equal.
        values: Vec<String>,
    },
    /// The address of the connection's peer (never that of `X-Forwarded-For`).
    SourceIp {
        /// CIDR blocks, any of which may hold it.
        values: Vec<Cidr>,
    },
    /// A header by name (case-insensitive); values case-insensitive; `*` and `?`.
    HttpHeader {
        /// The header's name.
        name: String,
        /// Patterns, any of which may match any of the header's lines.
        values: Vec<String>,
    },
    /// Key and value pairs of the query; case-insensitive; `*` and `?`, which a backslash makes literal.
    QueryString {
        /// Pairs, any of which may occur.
        values: Vec<QueryPair>,
    },
}

/// A key (any, if absent) and a value to look for in a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QueryPair {
    /// Pattern of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Pattern of the value.
    pub value: String,
}

/// An IPv4 block in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: u32,
    prefix: u8,
}

/// What a rule does with its requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Action {
    /// To one of several target groups, chosen by weight.
    Forward(Forward),
    /// Answered with a `Location`.
    Redirect(Redirect),
    /// Answered by the load balancer itself.
    FixedResponse(FixedResponse),
}

/// Target groups with weights.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forward {
    /// At least one; a weight of 0 takes no request.
    pub target_groups: Vec<WeightedTargetGroup>,
    /// Keeps a client on the target group that it first got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<GroupStickiness>,
}

/// A target group in a forward action.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WeightedTargetGroup {
    /// ARN of the target group.
    pub arn: String,
    /// 0–[`WEIGHT_MAX`]; its share is weight ÷ sum of weights.
    pub weight: u16,
}

/// Stickiness among the target groups of a forward action.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupStickiness {
    /// Whether it is on.
    pub enabled: bool,
    /// How long the cookie holds, in seconds.
    pub duration_s: u32,
}

/// A redirect. Each part may hold `#{protocol}`, `#{host}`, `#{port}`, `#{path}` and `#{query}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Redirect {
    /// `HTTP`, `HTTPS` or `#{protocol}`.
    pub protocol: String,
    /// Host; `#{host}` keeps it.
    pub host: String,
    /// Port; `#{port}` keeps it.
    pub port: String,
    /// Path with its leading `/`; `/#{path}` keeps it.
    pub path: String,
    /// Query without the `?`; `#{query}` keeps it.
    pub query: String,
    /// 301 or 302.
    pub status_code: u16,
}

/// A response that the load balancer gives itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FixedResponse {
    /// 2XX, 4XX or 5XX.
    pub status_code: u16,
    /// `Content-Type` of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The body, at most 1,024 bytes.
    #[serde(default)]
    pub message_body: String,
}

/// A request as far as rules look at it.
pub trait RequestView {
    /// The method.
    fn method(&self) -> &[u8];
    /// The host without its port; empty if there is none.
    fn host(&self) -> &[u8];
    /// The path without its query.
    fn path(&self) -> &[u8];
    /// The query without the `?`, if there is one.
    fn query(&self) -> Option<&[u8]>;
    /// The address of the connection's peer.
    fn source(&self) -> Ipv4Addr;
    /// Whether `holds` is true of the value of any header line called `name`.
    fn any_header(&self, name: &str, holds: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// Whether all of `conditions` hold for `request`.
pub fn matches_all(conditions: &[Condition], request: &dyn RequestView) -> bool {
    conditions.iter().all(|c| c.holds(request))
}

impl Condition {
    /// Whether any of the values matches `request`.
    pub fn holds(&self, request: &dyn RequestView) -> bool {
        match self {
            Condition::HostHeader { values } => any_wildcard(values, request.host(), Case::Insensitive),
            Condition::PathPattern { values } => any_wildcard(values, request.path(), Case::Sensitive),
            Condition::HttpRequestMethod { values } => {
                values.iter().any(|v| v.as_bytes() == request.method())
            }
            Condition::SourceIp { values } => values.iter().any(|c| c.contains(request.source())),
            Condition::HttpHeader { name, values } => {
                request.any_header(name, &mut |line| any_wildcard(values, line, Case::Insensitive))
            }
            Condition::QueryString { values } => query_holds(values, request.query().unwrap_or_default()),
        }
    }
}

fn any_wildcard(patterns: &[String], text: &[u8], case: Case) -> bool {
    patterns.iter().any(|p| wildcard_match(p.as_bytes(), text, case, Escape::None))
}

fn query_holds(wanted: &[QueryPair], query: &[u8]) -> bool {
    let like = |pattern: &str, text: &[u8]| {
        wildcard_match(pattern.as_bytes(), text, Case::Insensitive, Escape::Backslash)
    };
    query.split(|&b| b == b'&').filter(|pair| !pair.is_empty()).any(|pair| {
        let (key, value) = match pair.iter().position(|&b| b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        wanted.iter().any(|w| w.key.as_ref().is_none_or(|k| like(k, key)) && like(&w.value, value))
    })
}

impl Cidr {
    /// The block of `prefix` (0–32) bits around `address`; host bits are dropped.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Cidr> {
        (prefix <= 32).then(|| Cidr { network: u32::from(address) & mask(prefix), prefix })
    }

    /// Parses `a.b.c.d/n`; a bare address is a /32.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((a, p)) => (a, p.parse().ok()?),
            None => (text, 32),
        };
        Cidr::new(address.parse().ok()?, prefix)
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.network
    }
}

const fn mask(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Cidr::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not an IPv4 CIDR block: {text}")))
    }
}

#[cfg(test)]
mod tests;
