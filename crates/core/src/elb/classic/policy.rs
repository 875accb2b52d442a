//! Policies of a classic load balancer: named settings that listeners and instance ports refer to.

use serde::{Deserialize, Serialize};

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Name, unique in its load balancer.
    pub name: String,
    /// What it says.
    pub kind: PolicyKind,
}

/// What a policy says. Those about TLS have no room, since there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyKind {
    /// A cookie of the load balancer's own keeps a client on its instance.
    LbCookie {
        /// For so many seconds; without it, as long as the browser runs.
        expiration_s: Option<u32>,
    },
    /// The load balancer's cookie comes and goes with one of the application's.
    AppCookie {
        /// Name of the application's cookie.
        cookie_name: String,
    },
    /// Connections to the instances begin with a line that tells the client's address.
    ProxyProtocol {
        /// Whether they do.
        on: bool,
    },
}

impl PolicyKind {
    /// ELB's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            PolicyKind::LbCookie { .. } => "LBCookieStickinessPolicyType",
            PolicyKind::AppCookie { .. } => "AppCookieStickinessPolicyType",
            PolicyKind::ProxyProtocol { .. } => "ProxyProtocolPolicyType",
        }
    }

    /// Its only attribute, by ELB's name. A cookie without an end has the period 0.
    pub fn attribute(&self) -> (&'static str, String) {
        match self {
            PolicyKind::LbCookie { expiration_s } => {
                ("CookieExpirationPeriod", expiration_s.unwrap_or(0).to_string())
            }
            PolicyKind::AppCookie { cookie_name } => ("CookieName", cookie_name.clone()),
            PolicyKind::ProxyProtocol { on } => ("ProxyProtocol", on.to_string()),
        }
    }

    /// Whether it belongs to a listener and keeps clients on their instances.
    pub fn is_stickiness(&self) -> bool {
        matches!(self, PolicyKind::LbCookie { .. } | PolicyKind::AppCookie { .. })
    }
}
