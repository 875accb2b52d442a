//! What the data plane is to do: one declarative snapshot of everything.
//!
//! The control plane sends the whole configuration each time, with a generation number that grows. The data plane
//! compares it with what runs and changes only what differs, so applying the same snapshot again is free and a
//! lost answer does no harm.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

pub use puffer_core::elb::balance::Algorithm;
pub use puffer_core::elb::rule::{
    Action, Cidr, Condition, FixedResponse, Forward, GroupStickiness, QueryPair, Redirect,
    WeightedTargetGroup,
};

/// Everything that the data plane does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BalancerConfig {
    /// Grows with every change; a snapshot older than the applied one is refused.
    pub generation: u64,
    /// Load balancers with their listeners.
    pub load_balancers: Vec<LoadBalancerConfig>,
    /// Target groups that rules forward to.
    pub target_groups: Vec<TargetGroupConfig>,
}

/// What kind of load balancer it is. Network and gateway load balancers have no room here yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancerKind {
    /// HTTP, layer 7.
    #[default]
    Application,
    /// HTTP or TCP by listener; its own ARN is that of its target group, which is used also without a listener.
    Classic,
}

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerConfig {
    /// Its ARN.
    pub arn: String,
    /// Its kind.
    #[serde(default)]
    pub kind: LoadBalancerKind,
    /// One node per enabled zone.
    pub nodes: Vec<NodeConfig>,
    /// Attributes.
    #[serde(default)]
    pub attributes: LoadBalancerAttributes,
    /// Listeners; each listens on every node's address.
    pub listeners: Vec<ListenerConfig>,
}

/// A load balancer's presence in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// Zone name, the `AvailabilityZone` dimension of its metrics.
    pub zone: String,
    /// Where it listens, and where its connections to targets come from.
    pub address: Ipv4Addr,
    /// It takes no connections for now, because its zone is down. The zone is enabled all the same: its targets are checked.
    #[serde(default)]
    pub deaf: bool,
}

/// Attributes of a load balancer, with AWS's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadBalancerAttributes {
    /// Longest silence on a connection with a request under way, and longest wait for a response, in seconds.
    pub idle_timeout_s: u32,
    /// Longest life of a client's connection, in seconds.
    pub client_keep_alive_s: u32,
    /// What happens to `X-Forwarded-For`.
    pub xff_mode: XffMode,
    /// Whether the client's port joins its address in `X-Forwarded-For`.
    pub xff_client_port: bool,
    /// Whether header lines with names outside `[-A-Za-z0-9]` are dropped rather than passed.
    pub drop_invalid_header_fields: bool,
    /// Whether targets see the client's `Host` unchanged, port included.
    pub preserve_host_header: bool,
    /// How strictly doubtful requests are treated.
    pub desync_mode: DesyncMode,
}

impl Default for LoadBalancerAttributes {
    fn default() -> Self {
        LoadBalancerAttributes {
            idle_timeout_s: 60,
            client_keep_alive_s: 3600,
            xff_mode: XffMode::Append,
            xff_client_port: false,
            drop_invalid_header_fields: false,
            preserve_host_header: false,
            desync_mode: DesyncMode::Defensive,
        }
    }
}

/// `routing.http.xff_header_processing.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XffMode {
    /// The client's address joins the list.
    #[default]
    Append,
    /// The header passes unchanged.
    Preserve,
    /// The header is taken away.
    Remove,
}

/// `routing.http.desync_mitigation_mode`.
///
/// Requests whose framing two parsers could read differently are refused in every mode, as the monitor mode of AWS
/// would let them through to targets; the strictest mode refuses what only departs from the RFC, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesyncMode {
    /// As defensive here.
    Monitor,
    /// Refuses ambiguous requests.
    #[default]
    Defensive,
    /// Refuses everything that is not RFC 9112.
    Strictest,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerConfig {
    /// Its ARN.
    pub arn: String,
    /// The port by the API, as `X-Forwarded-Port` and redirects show it.
    pub port: u16,
    /// The port really bound; differs from `port` only where low ports cannot be bound.
    pub bind_port: u16,
    /// Protocol.
    pub protocol: ListenerProtocol,
    /// Rules by ascending priority, the default rule last.
    pub rules: Vec<RuleConfig>,
    /// What only listeners of classic load balancers have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classic: Option<ClassicListenerConfig>,
}

/// What only listeners of classic load balancers have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicListenerConfig {
    /// Port of the targets, in place of the one under which they are registered.
    pub target_port: u16,
    /// Keeps a client on its target; of HTTP listeners.
    #[serde(default)]
    pub stickiness: Option<ClassicStickiness>,
    /// Whether a connection to a target begins with a line of the proxy protocol, version 1; of TCP listeners.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// Stickiness of a classic listener: by the cookie `AWSELB`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassicStickiness {
    /// From the client's first request on.
    LbCookie {
        /// For so many seconds; without it, as long as the browser runs.
        duration_s: Option<u32>,
    },
    /// As long as the client has a cookie of the application's.
    AppCookie {
        /// Its name.
        name: String,
    },
}

/// Protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ListenerProtocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
    /// Bytes, connection by connection; the only rule forwards.
    Tcp,
}

/// A rule of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleConfig {
    /// Its ARN.
    pub arn: String,
    /// 1–50,000; the default rule has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// All must hold; the default rule has none.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The last one is the terminal one.
    pub actions: Vec<Action>,
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupConfig {
    /// Its ARN.
    pub arn: String,
    /// Protocol towards the targets.
    #[serde(default)]
    pub protocol: TargetProtocol,
    /// Default port of its targets; only for the record, since each target has its own.
    pub port: u16,
    /// How its targets are checked.
    pub health_check: HealthCheckConfig,
    /// Attributes.
    #[serde(default)]
    pub attributes: TargetGroupAttributes,
    /// Its targets, those that drain included.
    pub targets: Vec<TargetConfig>,
}

/// Protocol towards targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TargetProtocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
}

/// How targets are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheckConfig {
    /// Off makes every target `unavailable`, which takes requests.
    pub enabled: bool,
    /// Protocol of the check.
    pub protocol: HealthCheckProtocol,
    /// Port; none is the port on which the target takes traffic.
    #[serde(default)]
    pub port: Option<u16>,
    /// Path, with a query if any.
    pub path: String,
    /// Statuses that count as success, such as `200` or `200-299,302`.
    pub matcher: String,
    /// Time between checks of a target, in milliseconds: AWS's seconds, or less for second-level reaction.
    pub interval_ms: u64,
    /// Longest time for an answer, in milliseconds.
    pub timeout_ms: u64,
    /// Successes in a row that make an unhealthy target healthy; a new one needs a single one.
    pub healthy_threshold: u8,
    /// Failures in a row that make a target unhealthy.
    pub unhealthy_threshold: u8,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        HealthCheckConfig {
            enabled: true,
            protocol: HealthCheckProtocol::Http,
            port: None,
            path: "/".to_owned(),
            matcher: "200".to_owned(),
            interval_ms: 30_000,
            timeout_ms: 5_000,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
        }
    }
}

/// Protocol of health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthCheckProtocol {
    /// `GET` of the path.
    #[default]
    Http,
    /// A connection is enough.
    Tcp,
}

/// Attributes of a target group, with AWS's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetGroupAttributes {
    /// How long requests under way at a deregistering target may go on, in seconds.
    pub deregistration_delay_s: u32,
    /// How a target is chosen.
    pub algorithm: Algorithm,
    /// Time over which a new target's share grows to full, in seconds; 0 is off.
    pub slow_start_s: u32,
    /// Keeps a client on its target by a cookie.
    pub stickiness: StickinessConfig,
    /// Whether unhealthy targets take requests while there are no others.
    pub fail_open: bool,
    /// Whether nodes use targets of other zones than their own.
    pub cross_zone: bool,
}

impl Default for TargetGroupAttributes {
    fn default() -> Self {
        TargetGroupAttributes {
            deregistration_delay_s: 300,
            algorithm: Algorithm::RoundRobin,
            slow_start_s: 0,
            stickiness: StickinessConfig::default(),
            fail_open: true,
            cross_zone: true,
        }
    }
}

/// Stickiness by the load balancer's own cookie (`lb_cookie`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StickinessConfig {
    /// Whether it is on.
    pub enabled: bool,
    /// How long a client stays on its target after its last request, in seconds.
    pub duration_s: u32,
}

impl Default for StickinessConfig {
    fn default() -> Self {
        StickinessConfig { enabled: false, duration_s: 86_400 }
    }
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetConfig {
    /// Instance id or address, as registered. Unique in the group together with the port.
    pub id: String,
    /// Where it is reached.
    pub address: Ipv4Addr,
    /// Port on which it takes traffic.
    pub port: u16,
    /// Its zone; `all` for addresses outside the zones.
    pub zone: String,
    /// Deregistering: takes nothing new. Leave it in the snapshot until [`crate::TargetReport::in_flight`] is 0
    /// or the deregistration delay is over; taking it out cuts what is still under way.
    #[serde(default)]
    pub draining: bool,
}

/// The zone of targets that are outside every zone.
pub const ZONE_ALL: &str = "all";
