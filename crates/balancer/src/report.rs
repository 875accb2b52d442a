//! What the data plane has seen: health, requests under way, and counters that only grow.
//!
//! Counters are cumulative since the process began, so a report that gets lost loses nothing: the control plane
//! keeps the previous report and takes the difference. [`Report::epoch`] changes when the process does, and the
//! counters then begin again at 0.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use puffer_core::Timestamp;
use puffer_core::elb::health::{Reason, TargetState};

use crate::histogram::Histogram;

/// Everything the data plane has seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which process counted: differs after every start.
    pub epoch: u64,
    /// Generation of the applied configuration; 0 before the first.
    pub generation: u64,
    /// Change number up to which this report is complete, for the next wait.
    pub change: u64,
    /// When the report was made.
    pub at: Timestamp,
    /// Health of each configured target.
    pub targets: Vec<TargetReport>,
    /// Counters of each scope that has been configured, recently removed ones included.
    pub counters: Vec<ScopeCounters>,
    /// Hosts by health, per target group and zone.
    pub hosts: Vec<HostCounts>,
}

/// A target of a target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetReport {
    /// ARN of the target group.
    pub target_group: String,
    /// Instance id or address.
    pub id: String,
    /// Port.
    pub port: u16,
    /// State.
    pub state: TargetState,
    /// Why, with its code and text; none when healthy.
    pub reason: Option<Reason>,
    /// When the state last changed.
    pub since: Timestamp,
    /// Requests under way.
    pub in_flight: u32,
}

/// What a set of counters is about; the dimensions of CloudWatch.
///
/// (balancer), (balancer, zone), (balancer, group) and (balancer, group, zone) occur. The zone is that of the node
/// that took the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// ARN of the load balancer.
    pub load_balancer: String,
    /// ARN of the target group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group: Option<String>,
    /// Zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Counters of one scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScopeCounters {
    /// What they are about.
    pub scope: Scope,
    /// The counters.
    pub counters: Counters,
    /// Times from the request's leaving to the first byte of the response.
    pub response_time: Histogram,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters by CloudWatch's names; all but `active_connection_count` only grow.
        ///
        /// Connection counters stay 0 in scopes with a target group.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl AddAssign<&Counters> for Counters {
            fn add_assign(&mut self, other: &Counters) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }
        }

        /// One worker's counters of one scope. Only that worker writes, so a plain load and store counts right.
        #[derive(Debug, Default)]
        pub(crate) struct LiveCounters { $(pub(crate) $name: crate::metrics::Count,)* }

        impl LiveCounters {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.get(),)* }
            }
        }
    };
}

counters! {
    /// `RequestCount`: requests that got a response, or would have (460), from a target for target groups.
    request_count,
    /// `HTTPCode_Target_2XX_Count`.
    http_code_target_2xx,
    /// `HTTPCode_Target_3XX_Count`.
    http_code_target_3xx,
    /// `HTTPCode_Target_4XX_Count`.
    http_code_target_4xx,
    /// `HTTPCode_Target_5XX_Count`.
    http_code_target_5xx,
    /// `HTTPCode_ELB_3XX_Count`.
    http_code_elb_3xx,
    /// `HTTPCode_ELB_4XX_Count`, 460 included.
    http_code_elb_4xx,
    /// `HTTPCode_ELB_5XX_Count`.
    http_code_elb_5xx,
    /// `HTTPCode_ELB_500_Count`.
    http_code_elb_500,
    /// `HTTPCode_ELB_502_Count`.
    http_code_elb_502,
    /// `HTTPCode_ELB_503_Count`.
    http_code_elb_503,
    /// `HTTPCode_ELB_504_Count`.
    http_code_elb_504,
    /// `HTTP_Redirect_Count`.
    http_redirect_count,
    /// `HTTP_Fixed_Response_Count`.
    http_fixed_response_count,
    /// Connections open now, from clients and to targets: a gauge for `ActiveConnectionCount`.
    active_connection_count,
    /// `NewConnectionCount`: connections opened by clients and to targets.
    new_connection_count,
    /// `RejectedConnectionCount`: clients turned away at a connection limit.
    rejected_connection_count,
    /// `ProcessedBytes`: bytes from and to clients.
    processed_bytes,
    /// `TargetConnectionErrorCount`.
    target_connection_error_count,
    /// `NonStickyRequestCount`: a stickiness cookie that could not be honoured, or none.
    non_sticky_request_count,
}

/// Hosts by health in a target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCounts {
    /// Load balancer, target group, and the targets' zone or none for all of them.
    pub scope: Scope,
    /// Targets in any state but on their way out.
    #[serde(default)]
    pub registered: u32,
    /// `HealthyHostCount`.
    pub healthy: u32,
    /// `UnHealthyHostCount`.
    pub unhealthy: u32,
}
