//! An instance's health in the words of classic load balancers.

use crate::ec2::InstanceState;
use crate::elb::health::Reason;
use crate::elb::{Target, TargetState};

/// `InstanceState` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceVerdict {
    /// `InService`, `OutOfService` or `Unknown`.
    pub state: &'static str,
    /// Who is to blame: `ELB`, `Instance`, or nobody.
    pub reason_code: &'static str,
    /// Text for people.
    pub description: &'static str,
}

const fn out(reason_code: &'static str, description: &'static str) -> InstanceVerdict {
    InstanceVerdict { state: "OutOfService", reason_code, description }
}

/// What is said of an instance: its registration, if it has one, and the state of the instance itself, if it is there.
pub fn verdict(target: Option<&Target>, instance: Option<InstanceState>) -> InstanceVerdict {
    let in_service = |description| InstanceVerdict { state: "InService", reason_code: "N/A", description };
    let Some(target) = target else {
        return out("Instance", "Instance is not currently registered with the LoadBalancer.");
    };
    let because = |reason: Reason| target.reason.as_deref() == Some(reason.code());
    match target.state {
        TargetState::Draining => in_service("Instance deregistration currently in progress."),
        TargetState::Healthy | TargetState::Unavailable => in_service("N/A"),
        TargetState::Unhealthy => out(
            "Instance",
            "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.",
        ),
        TargetState::Initial if because(Reason::RegistrationInProgress) => {
            out("ELB", "Instance registration is still in progress.")
        }
        TargetState::Initial => out(
            "Instance",
            "Instance has not passed the configured HealthyThreshold number of health checks consecutively.",
        ),
        TargetState::Unused if because(Reason::InvalidState) => match instance {
            Some(InstanceState::Terminated | InstanceState::ShuttingDown) => {
                out("Instance", "Instance is in terminated state.")
            }
            _ => out("Instance", "Instance is in stopped state."),
        },
        TargetState::Unused => out(
            "ELB",
            "Instance is in the EC2 Availability Zone for which LoadBalancer is not configured to route traffic to.",
        ),
    }
}
