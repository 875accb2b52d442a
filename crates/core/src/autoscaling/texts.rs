//! The texts of activities, which tools and people match on: descriptions, and the sentences of causes.

use std::fmt::Write;

use super::{CauseSentence, Group, UnhealthyCause};
use crate::Timestamp;

/// A cause sentence.
pub fn sentence(at: Timestamp, text: impl Into<String>) -> CauseSentence {
    CauseSentence { at, text: text.into() }
}

/// Description of a launch.
pub fn launching(instance_id: &str) -> String {
    format!("Launching a new EC2 instance: {instance_id}")
}

/// Description of a launch into the warm pool.
pub fn launching_into_pool(instance_id: &str) -> String {
    format!("Launching a new EC2 instance into warm pool: {instance_id}")
}

/// Description of a move from the warm pool into the group.
pub fn launching_from_pool(instance_id: &str) -> String {
    format!("Launching a new EC2 instance from warm pool: {instance_id}")
}

/// Description of a move from the group back into the warm pool.
pub fn returning_to_pool(instance_id: &str) -> String {
    format!("Terminating EC2 instance into warm pool: {instance_id}")
}

/// Description of a termination in the warm pool.
pub fn terminating_from_pool(instance_id: &str) -> String {
    format!("Terminating EC2 instance from warm pool: {instance_id}")
}

/// Description of a launch that failed.
pub fn launch_failed(message: &str) -> String {
    format!("Launching a new EC2 instance.  Status Reason: {}", launch_failed_status(message))
}

/// `StatusMessage` of a launch that failed.
pub fn launch_failed_status(message: &str) -> String {
    format!("{} Launching EC2 instance failed.", ended(message))
}

/// Description of a launch that was given up, with the reason.
pub fn launch_given_up(description: &str, message: &str) -> String {
    format!("{description}.  Status Reason: {message}")
}

fn ended(message: &str) -> String {
    let message = message.trim_end();
    match message.ends_with(['.', '!', '?']) {
        true => message.to_owned(),
        false => format!("{message}."),
    }
}

/// Description of a termination.
pub fn terminating(instance_id: &str) -> String {
    format!("Terminating EC2 instance: {instance_id}")
}

/// Description of the replacement of a root volume.
pub fn replacing_root(instance_id: &str) -> String {
    format!("Replacing the root volume of EC2 instance: {instance_id}")
}

/// The replacement of a root volume for an instance refresh.
pub fn root_refreshed() -> String {
    "the root volume of an instance was replaced in response to an instance refresh".to_owned()
}

/// The end of an instance whose root volume could not be replaced.
pub fn root_failed() -> String {
    "an instance was taken out of service because its root volume could not be replaced".to_owned()
}

/// Description of a move to standby.
pub fn to_standby(instance_id: &str) -> String {
    format!("Moving EC2 instance to Standby: {instance_id}")
}

/// Description of a move out of standby.
pub fn out_of_standby(instance_id: &str) -> String {
    format!("Moving EC2 instance out of Standby: {instance_id}")
}

/// Description of a member's way back from draining.
pub fn taking_back(instance_id: &str) -> String {
    format!("Taking EC2 instance back into service: {instance_id}")
}

/// `StatusMessage` of a termination that was taken back while the instance drained.
pub const DRAIN_CANCELLED: &str =
    "The termination was cancelled while the instance drained: its group needs the capacity again.";

/// A member comes back because more are wanted.
pub fn taken_back(from: u32, to: u32) -> String {
    format!(
        "an instance that was being drained was taken back into service in response to a difference between desired and \
         actual capacity, increasing the capacity from {from} to {to}"
    )
}

/// A member comes back in place of another one that goes.
pub fn taken_back_to_replace() -> String {
    "an instance that was being drained was taken back into service in place of one that is replaced"
        .to_owned()
}

/// Description of a detachment.
pub fn detaching(instance_id: &str) -> String {
    format!("Detaching EC2 instance: {instance_id}")
}

/// Description of an attachment.
pub fn attaching(instance_id: &str) -> String {
    format!("Attaching an existing EC2 instance: {instance_id}")
}

/// The group was made with capacity.
pub fn created(desired: u32) -> String {
    format!("a user request created an AutoScalingGroup changing the desired capacity from 0 to {desired}")
}

/// An update changed the bounds and with them the capacity.
pub fn updated(min: u32, max: u32, from: u32, to: u32) -> String {
    format!(
        "a user request update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {to} changing the \
         desired capacity from {from} to {to}"
    )
}

/// `SetDesiredCapacity`.
pub fn set_by_user(from: u32, to: u32) -> String {
    format!(
        "a user request explicitly set group desired capacity changing the desired capacity from {from} to {to}"
    )
}

/// A scheduled action changed the bounds or the capacity.
pub fn scheduled(min: u32, max: u32, from: u32, to: u32) -> String {
    format!(
        "a scheduled action update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {to} changing \
         the desired capacity from {from} to {to}"
    )
}

/// Description of a scheduled action's run that failed.
pub fn executing_scheduled(action: &str) -> String {
    format!("Executing scheduled action: {action}")
}

/// Cause of a scheduled action's run that failed.
pub fn scheduled_failed(action: &str) -> String {
    format!("the start time of scheduled action {action} was reached")
}

/// `ExecutePolicy`.
pub fn policy_by_user(policy: &str, from: u32, to: u32) -> String {
    format!("a user request executed policy {policy} changing the desired capacity from {from} to {to}")
}

/// A policy set off by an alarm.
pub fn policy_by_alarm(alarm: &str, state: &str, policy: &str, from: u32, to: u32) -> String {
    format!(
        "a monitor alarm {alarm} in state {state} triggered policy {policy} changing the desired capacity from {from} \
         to {to}"
    )
}

/// Predictive scaling prepared the group for an hour.
pub fn predicted(policy: &str, from: u32, to: u32) -> String {
    format!(
        "a forecast of predictive scaling policy {policy} changed the desired capacity from {from} to {to}"
    )
}

/// A trigger of the API of 2009 fired.
pub fn trigger(trigger: &str, condition: &str, from: u32, to: u32) -> String {
    format!("trigger {trigger} saw {condition}, changing the desired capacity from {from} to {to}")
}

/// `LaunchInstances`.
pub fn launched_by_user(from: u32, to: u32) -> String {
    format!("a user request launched instances, increasing the capacity from {from} to {to}")
}

/// Launches towards `desired`.
pub fn started(from: u32, to: u32) -> String {
    format!(
        "an instance was started in response to a difference between desired and actual capacity, increasing the \
         capacity from {from} to {to}"
    )
}

/// Launches into the warm pool.
pub fn pool_grown(from: u32, to: u32) -> String {
    format!(
        "an instance was started in response to a difference between desired and actual capacity, increasing the warm \
         pool capacity from {from} to {to}"
    )
}

/// Terminations in the warm pool.
pub fn pool_shrunk(from: u32, to: u32) -> String {
    format!(
        "an instance was taken out of the warm pool in response to a difference between desired and actual capacity, \
         shrinking the warm pool capacity from {from} to {to}"
    )
}

/// An instance of the warm pool that is not as it should be.
pub fn pool_unfit() -> String {
    "an instance was taken out of the warm pool in response to a health check".to_owned()
}

/// A launch in place of an unhealthy instance.
pub fn started_to_replace() -> String {
    "an instance was launched in response to an unhealthy instance needing to be replaced".to_owned()
}

/// A launch for an instance refresh.
pub fn started_to_refresh() -> String {
    "an instance was started in response to an instance refresh".to_owned()
}

/// A termination for an instance refresh.
pub fn refreshed() -> String {
    "an instance was taken out of service in response to an instance refresh".to_owned()
}

/// A launch in place of an instance that reached its maximum lifetime.
pub fn started_for_lifetime() -> String {
    "an instance was started in response to an instance reaching its maximum lifetime".to_owned()
}

/// A termination of an instance that reached its maximum lifetime.
pub fn lifetime_reached() -> String {
    "an instance was taken out of service in response to reaching its maximum lifetime".to_owned()
}

/// A launch that evens out the zones.
pub fn started_to_rebalance(from_zones: &[&str], to_zone: &str) -> String {
    let mut zones = String::new();
    for zone in from_zones {
        let _ = write!(zones, "{}{zone}", if zones.is_empty() { "" } else { ", " });
    }
    format!(
        "an instance was started in zone {to_zone} in response to availability zones {zones} holding more instances \
         than it"
    )
}

/// A launch in place of a Spot instance at risk.
pub fn started_for_capacity() -> String {
    "an instance was started in response to an EC2 instance rebalance recommendation".to_owned()
}

/// A Spot instance at risk goes, its replacement serves.
pub fn at_risk() -> String {
    "an instance was taken out of service in response to an EC2 instance rebalance recommendation".to_owned()
}

/// A Spot instance goes because it is being taken back.
pub fn interrupted() -> String {
    "an instance was taken out of service in response to an EC2 Spot Instance interruption warning".to_owned()
}

/// Terminations towards `desired`.
pub fn shrunk(from: u32, to: u32) -> String {
    format!(
        "an instance was taken out of service in response to a difference between desired and actual capacity, \
         shrinking the capacity from {from} to {to}"
    )
}

/// Which instance a termination chose.
pub fn selected(instance_id: &str) -> String {
    format!("instance {instance_id} was selected for termination")
}

/// A termination because of failed health.
pub fn unhealthy(cause: UnhealthyCause) -> String {
    let by = match cause {
        UnhealthyCause::Ec2NotRunning => "an EC2 health check indicating it has been terminated or stopped",
        UnhealthyCause::Ec2StatusCheck => "an EC2 instance status checks failure",
        UnhealthyCause::Elb => "an ELB system health check failure",
        UnhealthyCause::User => "a user health-check",
    };
    format!("an instance was taken out of service in response to {by}")
}

/// A termination because a lifecycle hook gave the launch up.
pub fn launch_abandoned(instance_id: &str) -> String {
    format!(
        "instance {instance_id} was taken out of service in response to an abandoned launch lifecycle action"
    )
}

/// A request that takes an instance out of service.
pub fn taken_by_user(instance_id: &str, verb: &str, shrinking: Option<(u32, u32)>) -> String {
    let mut text = format!("instance {instance_id} was {verb} in response to a user request");
    if let Some((from, to)) = shrinking {
        let _ = write!(text, ", shrinking the capacity from {from} to {to}");
    }
    text
}

/// A request that brings an instance into the group.
pub fn brought_by_user(instance_id: &str, verb: &str, from: u32, to: u32) -> String {
    format!(
        "instance {instance_id} was {verb} in response to a user request, increasing the capacity from {from} to {to}"
    )
}

/// The group goes with all it holds.
pub fn group_deleted() -> String {
    "an instance was taken out of service in response to a user request to delete the AutoScalingGroup"
        .to_owned()
}

/// `Details` of an activity.
pub fn details(subnet: &str, zone: &str, alarms: &[serde_json::Value]) -> String {
    let alarms = match alarms {
        [] => String::new(),
        some => format!(",\"InvokingAlarms\":{}", serde_json::Value::from(some)),
    };
    // Subnet ids and zone names need no escaping.
    format!("{{\"Subnet ID\":\"{subnet}\",\"Availability Zone\":\"{zone}\"{alarms}}}")
}

/// ARN of a group.
pub fn group_arn(region: &str, account: &str, uuid: &str, name: &str) -> String {
    format!("arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{uuid}:autoScalingGroupName/{name}")
}

/// ARN of a policy.
pub fn policy_arn(region: &str, account: &str, uuid: &str, group: &str, name: &str) -> String {
    format!(
        "arn:aws:autoscaling:{region}:{account}:scalingPolicy:{uuid}:autoScalingGroupName/{group}:policyName/{name}"
    )
}

/// ARN of a scheduled action.
pub fn scheduled_action_arn(region: &str, account: &str, uuid: &str, group: &str, name: &str) -> String {
    format!(
        "arn:aws:autoscaling:{region}:{account}:scheduledUpdateGroupAction:{uuid}:autoScalingGroupName/{group}:\
         scheduledActionName/{name}"
    )
}

/// Whether an ARN names a scaling policy.
pub fn is_policy_arn(arn: &str) -> bool {
    arn.starts_with("arn:aws:autoscaling:") && arn.contains(":scalingPolicy:")
}

/// ARN of a launch configuration.
pub fn launch_configuration_arn(region: &str, account: &str, uuid: &str, name: &str) -> String {
    format!(
        "arn:aws:autoscaling:{region}:{account}:launchConfiguration:{uuid}:launchConfigurationName/{name}"
    )
}

/// Reasons and causes kept for one change of `desired`: bounds the record when changes follow faster than they are acted on.
pub const DESIRED_CAUSES_MAX: usize = 4;

/// Notes a change of `desired` on the group. The cooldown that follows it is the group's default; a policy with one of its own
/// says so afterwards.
pub fn note_desired(group: &mut Group, cause: CauseSentence, reasons: Vec<String>) {
    group.policy_cooldown_s = None;
    group.desired_cause.push(cause);
    if group.desired_cause.len() > DESIRED_CAUSES_MAX {
        group.desired_cause.remove(0);
    }
    group.desired_reasons = reasons;
}

/// Notes the alarm behind the change that was noted last.
pub fn note_alarm(group: &mut Group, alarm: serde_json::Value) {
    group.desired_alarms.push(alarm);
    if group.desired_alarms.len() > DESIRED_CAUSES_MAX {
        group.desired_alarms.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscaling::{Activity, ActivityStatus};

    #[test]
    fn a_cause_reads_as_on_aws() {
        let at = Timestamp::parse_rfc3339("2026-11-21T03:28:00Z").unwrap();
        let activity = Activity {
            id: String::new(),
            group: "g".into(),
            group_arn: String::new(),
            instance_id: None,
            description: String::new(),
            cause: vec![sentence(at, created(1)), sentence(at, started(0, 1))],
            started_at: at,
            ended_at: None,
            status: ActivityStatus::InProgress,
            status_message: None,
            progress: 0,
            details: details("subnet-1", "us-east-1a", &[]),
            reasons: vec![],
        };
        assert_eq!(
            activity.cause_text(),
            "At 2026-11-21T03:28:00Z a user request created an AutoScalingGroup changing the desired capacity from 0 \
             to 1.  At 2026-11-21T03:28:00Z an instance was started in response to a difference between desired and \
             actual capacity, increasing the capacity from 0 to 1."
        );
        assert_eq!(activity.details, r#"{"Subnet ID":"subnet-1","Availability Zone":"us-east-1a"}"#);
        assert_eq!(
            launch_failed("No room"),
            "Launching a new EC2 instance.  Status Reason: No room. Launching EC2 instance failed."
        );
    }
}
