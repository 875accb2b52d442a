//! The health of a target: what checks have said so far, turned into AWS's states and reasons.
//!
//! A new target is `initial` until its first success, which alone makes it `healthy`, or until as many failures
//! in a row as the unhealthy threshold. After that, a change takes as many equal results in a row as the
//! threshold of the new state says.
//!
//! Source: "Health checks for your target groups" of the Application Load Balancer guide, and `HealthyHostCount` of the metrics of
//! classic load balancers, whose instances are new in the same way.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

pub use super::target::TargetState;

/// Why a target is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// `Elb.RegistrationInProgress`
    RegistrationInProgress,
    /// `Elb.InitialHealthChecking`
    InitialHealthChecking,
    /// `Target.ResponseCodeMismatch` with the last status
    ResponseCodeMismatch(u16),
    /// `Target.Timeout`
    Timeout,
    /// `Target.FailedHealthChecks`
    FailedHealthChecks,
    /// `Target.NotRegistered`
    NotRegistered,
    /// `Target.NotInUse`: no listener forwards to the target group
    NotInUse,
    /// `Target.NotInUse`: the load balancer has no node in the target's zone
    ZoneNotEnabled,
    /// `Target.InvalidState`: the instance does not run
    InvalidState,
    /// `Target.IpUnusable`
    IpUnusable,
    /// `Target.HealthCheckDisabled`
    HealthCheckDisabled,
    /// `Target.DeregistrationInProgress`
    DeregistrationInProgress,
    /// `Elb.InternalError`
    InternalError,
}

impl Reason {
    /// AWS's code.
    pub const fn code(self) -> &'static str {
        match self {
            Reason::RegistrationInProgress => "Elb.RegistrationInProgress",
            Reason::InitialHealthChecking => "Elb.InitialHealthChecking",
            Reason::ResponseCodeMismatch(_) => "Target.ResponseCodeMismatch",
            Reason::Timeout => "Target.Timeout",
            Reason::FailedHealthChecks => "Target.FailedHealthChecks",
            Reason::NotRegistered => "Target.NotRegistered",
            Reason::NotInUse | Reason::ZoneNotEnabled => "Target.NotInUse",
            Reason::InvalidState => "Target.InvalidState",
            Reason::IpUnusable => "Target.IpUnusable",
            Reason::HealthCheckDisabled => "Target.HealthCheckDisabled",
            Reason::DeregistrationInProgress => "Target.DeregistrationInProgress",
            Reason::InternalError => "Elb.InternalError",
        }
    }

    /// The text that goes with the code.
    pub fn description(self) -> String {
        let text = match self {
            Reason::RegistrationInProgress => "Target registration is in progress",
            Reason::InitialHealthChecking => "Initial health checks in progress",
            Reason::ResponseCodeMismatch(status) => {
                return format!("Health checks failed with these codes: [{status}]");
            }
            Reason::Timeout => "Request timed out",
            Reason::FailedHealthChecks => "Health checks failed",
            Reason::NotRegistered => "Target is not registered to the target group",
            Reason::NotInUse => "Target group is not configured to receive traffic from the load balancer",
            Reason::ZoneNotEnabled => {
                "Target is in an Availability Zone that is not enabled for the load balancer"
            }
            Reason::InvalidState => "Target is in the stopped state",
            Reason::IpUnusable => "Target IP address is in use by a load balancer",
            Reason::HealthCheckDisabled => "Health checks are disabled for this target group",
            Reason::DeregistrationInProgress => "Target deregistration is in progress",
            Reason::InternalError => "Health checks failed due to an internal error",
        };
        text.to_owned()
    }
}

/// How many equal results in a row change a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Thresholds {
    /// Successes that make an unhealthy target healthy (2–10).
    pub healthy: u8,
    /// Failures that make a target unhealthy (2–10).
    pub unhealthy: u8,
}

/// Result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeOutcome {
    /// The answer was as wanted.
    Success,
    /// Another status than wanted.
    WrongStatus(u16),
    /// No answer in time.
    Timeout,
    /// Refused, reset, or not the protocol.
    Failed,
}

/// What checks have said about one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    state: TargetState,
    reason: Option<Reason>,
    since: Timestamp,
    /// Results in a row that speak against the state; failures while it is initial.
    streak: u8,
}

impl Health {
    /// A target that has just been registered.
    pub const fn registered(now: Timestamp) -> Self {
        Health {
            state: TargetState::Initial,
            reason: Some(Reason::RegistrationInProgress),
            since: now,
            streak: 0,
        }
    }

    /// Initial, healthy or unhealthy.
    pub const fn state(&self) -> TargetState {
        self.state
    }

    /// Why; none when healthy.
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// When the state last changed.
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Checks have begun. True if that changed what is reported.
    pub fn checking(&mut self) -> bool {
        let begins = self.reason == Some(Reason::RegistrationInProgress);
        if begins {
            self.reason = Some(Reason::InitialHealthChecking);
        }
        begins
    }

    /// Takes one result. True if the state or its reason changed.
    pub fn observe(&mut self, outcome: ProbeOutcome, thresholds: Thresholds, now: Timestamp) -> bool {
        let before = (self.state, self.reason);
        self.checking();
        match (outcome.failure(), self.state) {
            (None, TargetState::Healthy) => self.streak = 0,
            (None, TargetState::Unhealthy) => self.count(thresholds.healthy, TargetState::Healthy, None, now),
            (None, _) => self.change(TargetState::Healthy, None, now),
            (Some(reason), TargetState::Unhealthy) => {
                self.streak = 0;
                self.reason = Some(reason);
            }
            (Some(reason), _) => self.count(thresholds.unhealthy, TargetState::Unhealthy, Some(reason), now),
        }
        before != (self.state, self.reason)
    }

    fn count(&mut self, threshold: u8, next: TargetState, reason: Option<Reason>, now: Timestamp) {
        self.streak = self.streak.saturating_add(1);
        if self.streak >= threshold {
            self.change(next, reason, now);
        }
    }

    fn change(&mut self, next: TargetState, reason: Option<Reason>, now: Timestamp) {
        *self = Health { state: next, reason, since: now, streak: 0 };
    }
}

impl ProbeOutcome {
    /// The reason that a failure gives; none for a success.
    pub const fn failure(self) -> Option<Reason> {
        match self {
            ProbeOutcome::Success => None,
            ProbeOutcome::WrongStatus(status) => Some(Reason::ResponseCodeMismatch(status)),
            ProbeOutcome::Timeout => Some(Reason::Timeout),
            ProbeOutcome::Failed => Some(Reason::FailedHealthChecks),
        }
    }
}

/// Statuses that count as success: `200`, `200,202`, `200-299`, and mixtures.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matcher(Vec<(u16, u16)>);

/// Lowest and highest status that a matcher may name.
pub const MATCHER_STATUS: std::ops::RangeInclusive<u16> = 200..=499;

impl Matcher {
    /// Parses the API's form; none if it is not one.
    pub fn parse(text: &str) -> Option<Matcher> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
            if low > high || !MATCHER_STATUS.contains(&low) || !MATCHER_STATUS.contains(&high) {
                return None;
            }
            ranges.push((low, high));
        }
        Some(Matcher(ranges))
    }

    /// Whether `status` is a success.
    pub fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&status))
    }
}

#[cfg(test)]
mod tests;
