//! What the service tells others: messages to the topics of a group, messages of lifecycle hooks, and events.
//!
//! Source: EC2 Auto Scaling guide, "Amazon SNS notification options", "Prepare to add a lifecycle hook", and "event reference".

use serde_json::{Value, json};

use super::hook::{HookAction, Transition};
use super::{Activity, ActivityStatus, Group, texts};
use crate::Timestamp;

/// Topics of a group (AWS's limit).
pub const TOPICS_PER_GROUP_MAX: usize = 10;
/// What groups can be told of.
pub const NOTIFICATION_TYPES: [&str; 5] = [
    "autoscaling:EC2_INSTANCE_LAUNCH",
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
    "autoscaling:EC2_INSTANCE_TERMINATE",
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
    TEST_NOTIFICATION,
];
/// Sent once when somebody is to be told from now on.
pub const TEST_NOTIFICATION: &str = "autoscaling:TEST_NOTIFICATION";

/// Where an instance comes from or goes to (`Origin`, `Destination`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// It is being made, or ends.
    Ec2,
    /// The group proper.
    Group,
    /// The group's warm pool.
    WarmPool,
}

impl Party {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Party::Ec2 => "EC2",
            Party::Group => "AutoScalingGroup",
            Party::WarmPool => "WarmPool",
        }
    }
}

/// What the end of an activity says to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// A launch, otherwise a termination.
    pub launch: bool,
    /// It went well.
    pub success: bool,
    /// Where from.
    pub origin: Party,
    /// Where to.
    pub destination: Party,
}

impl Notice {
    /// What an activity that has ended says, if anything: moves to standby and detachments say nothing, nor does what was
    /// overtaken by another activity.
    pub fn of(a: &Activity) -> Option<Notice> {
        let success = match a.status {
            ActivityStatus::Successful => true,
            ActivityStatus::Failed => false,
            // Nobody was told that it began.
            ActivityStatus::Cancelled if a.status_message.as_deref() == Some(texts::DRAIN_CANCELLED) => {
                return None;
            }
            ActivityStatus::Cancelled if a.status_message.is_some() => false,
            _ => return None,
        };
        let launch = a.description.starts_with("Launching a new EC2 instance");
        if !launch && !a.description.starts_with("Terminating EC2 instance") {
            return None;
        }
        let (out, home) = if launch { (Party::Ec2, Party::Group) } else { (Party::Group, Party::Ec2) };
        let (origin, destination) = match () {
            () if a.description.contains(" from warm pool:") => (Party::WarmPool, home),
            () if a.description.contains(" into warm pool:") => (out, Party::WarmPool),
            () => (out, home),
        };
        Some(Notice { launch, success, origin, destination })
    }

    /// `autoscaling:EC2_INSTANCE_LAUNCH`, ….
    pub fn notification_type(self) -> &'static str {
        let at = 2 * usize::from(!self.launch) + usize::from(!self.success);
        NOTIFICATION_TYPES[at]
    }

    /// The event's type.
    pub fn detail_type(self) -> &'static str {
        match (self.launch, self.success) {
            (true, true) => "EC2 Instance Launch Successful",
            (true, false) => "EC2 Instance Launch Unsuccessful",
            (false, true) => "EC2 Instance Terminate Successful",
            (false, false) => "EC2 Instance Terminate Unsuccessful",
        }
    }

    /// The subject of the message.
    pub fn subject(self, group: &str) -> String {
        let what = if self.launch { "launch" } else { "termination" };
        let failed = if self.success { "" } else { "failed " };
        format!("Auto Scaling: {failed}{what} for group \"{group}\"")
    }
}

/// Subject of a test message.
pub fn test_subject(group: &str) -> String {
    format!("Auto Scaling: test notification for group \"{group}\"")
}

/// Subject of a hook's message.
pub fn hook_subject(group: &str) -> String {
    format!("Auto Scaling:  Lifecycle action for group \"{group}\"")
}

/// The status that messages show: one that went well is told of while it ends, as on AWS.
fn shown_status(a: &Activity, notice: Notice) -> (&'static str, u8) {
    match notice.success {
        true => (ActivityStatus::InProgress.name(), 50),
        false => (a.status.name(), 100),
    }
}

fn details(a: &Activity) -> Value {
    serde_json::from_str(&a.details).unwrap_or_else(|_| json!({}))
}

/// The message to a group's topics.
pub fn activity_message(group: &Group, a: &Activity, notice: Notice, account: &str, at: Timestamp) -> Value {
    let (status, progress) = shown_status(a, notice);
    json!({
        "Service": "AWS Auto Scaling",
        "Time": at.to_rfc3339_millis(),
        "RequestId": a.id,
        "Event": notice.notification_type(),
        "AccountId": account,
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "ActivityId": a.id,
        "Description": a.description,
        "Cause": a.cause_text(),
        "StartTime": a.started_at.to_rfc3339_millis(),
        "EndTime": a.ended_at.unwrap_or(at).to_rfc3339_millis(),
        "StatusCode": status,
        "StatusMessage": a.status_message.as_deref().unwrap_or_default(),
        "Progress": progress,
        "EC2InstanceId": a.instance_id.as_deref().unwrap_or_default(),
        "Details": details(a),
        "Origin": notice.origin.name(),
        "Destination": notice.destination.name(),
    })
}

/// The detail of an activity's event.
pub fn activity_detail(a: &Activity, notice: Notice, at: Timestamp) -> Value {
    let (status, _) = shown_status(a, notice);
    json!({
        "StatusCode": status,
        "Description": a.description,
        "AutoScalingGroupName": a.group,
        "ActivityId": a.id,
        "Details": details(a),
        "RequestId": a.id,
        "StatusMessage": a.status_message.as_deref().unwrap_or_default(),
        "EndTime": a.ended_at.unwrap_or(at).to_rfc3339_secs(),
        "EC2InstanceId": a.instance_id.as_deref().unwrap_or_default(),
        "StartTime": a.started_at.to_rfc3339_secs(),
        "Cause": a.cause_text(),
        "Origin": notice.origin.name(),
        "Destination": notice.destination.name(),
    })
}

/// An instance's wait for a hook, as others are told.
#[derive(Debug, Clone, Copy)]
pub struct HookNotice<'a> {
    /// The group's name.
    pub group: &'a str,
    /// The instance.
    pub instance_id: &'a str,
    /// The wait.
    pub action: &'a HookAction,
    /// Which way.
    pub transition: Transition,
    /// The hook's metadata.
    pub metadata: Option<&'a str>,
    /// Where from.
    pub origin: Party,
    /// Where to.
    pub destination: Party,
}

impl HookNotice<'_> {
    /// The event's type.
    pub fn detail_type(&self) -> &'static str {
        match self.transition {
            Transition::Launching => "EC2 Instance-launch Lifecycle Action",
            Transition::Terminating => "EC2 Instance-terminate Lifecycle Action",
        }
    }

    /// The event's detail.
    pub fn detail(&self) -> Value {
        let mut value = json!({
            "LifecycleActionToken": self.action.token,
            "AutoScalingGroupName": self.group,
            "LifecycleHookName": self.action.hook,
            "EC2InstanceId": self.instance_id,
            "LifecycleTransition": self.transition.name(),
            "Origin": self.origin.name(),
            "Destination": self.destination.name(),
        });
        if let Some(metadata) = self.metadata {
            value["NotificationMetadata"] = metadata.into();
        }
        value
    }

    /// The message to the hook's target.
    pub fn message(&self, account: &str, at: Timestamp) -> Value {
        let mut value = self.detail();
        value["Service"] = "AWS Auto Scaling".into();
        value["Time"] = at.to_rfc3339_millis().into();
        value["RequestId"] = self.action.token.as_str().into();
        value["AccountId"] = account.into();
        value
    }
}

/// The message that tests a target.
pub fn test_message(group: &Group, account: &str, request_id: &str, at: Timestamp) -> Value {
    json!({
        "AccountId": account,
        "RequestId": request_id,
        "AutoScalingGroupARN": group.arn,
        "AutoScalingGroupName": group.name,
        "Service": "AWS Auto Scaling",
        "Event": TEST_NOTIFICATION,
        "Time": at.to_rfc3339_millis(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscaling::texts;
    use crate::autoscaling::view::fixtures::{NOW, group};

    fn activity(description: String, status: ActivityStatus, message: Option<&str>) -> Activity {
        Activity {
            id: "a-1".into(),
            group: "g".into(),
            group_arn: "arn".into(),
            instance_id: Some("i-1".into()),
            description,
            cause: vec![],
            started_at: NOW,
            ended_at: Some(NOW),
            status,
            status_message: message.map(str::to_owned),
            progress: 100,
            details: texts::details("subnet-1", "a", &[]),
            reasons: vec![],
        }
    }

    #[test]
    fn ends_of_activities_say_what_happened() {
        use ActivityStatus as A;
        let (launch, end) = (texts::launching("i-1"), texts::terminating("i-1"));
        let table = [
            (launch.clone(), A::Successful, None, Some("autoscaling:EC2_INSTANCE_LAUNCH")),
            (
                texts::launch_failed("no"),
                A::Failed,
                Some("no"),
                Some("autoscaling:EC2_INSTANCE_LAUNCH_ERROR"),
            ),
            (launch.clone(), A::Cancelled, Some("hook"), Some("autoscaling:EC2_INSTANCE_LAUNCH_ERROR")),
            (launch.clone(), A::Cancelled, None, None),
            (launch, A::InProgress, None, None),
            (end.clone(), A::Successful, None, Some("autoscaling:EC2_INSTANCE_TERMINATE")),
            (end, A::Cancelled, Some("kept"), Some("autoscaling:EC2_INSTANCE_TERMINATE_ERROR")),
            (texts::to_standby("i-1"), A::Successful, None, None),
            (texts::detaching("i-1"), A::Successful, None, None),
        ];
        for (description, status, message, want) in table {
            let a = activity(description, status, message);
            assert_eq!(Notice::of(&a).map(Notice::notification_type), want, "{a:?}");
        }
    }

    #[test]
    fn a_launch_is_told_of_as_aws_tells_it() {
        let a = activity(texts::launching("i-1"), ActivityStatus::Successful, None);
        let notice = Notice::of(&a).unwrap();
        let message = activity_message(&group(0, 1, 1), &a, notice, "123456789012", NOW);
        assert_eq!(message["StatusCode"], "InProgress");
        assert_eq!((&message["Progress"], &message["Origin"]), (&json!(50), &json!("EC2")));
        assert_eq!(message["Details"]["Subnet ID"], "subnet-1");
        assert_eq!(notice.subject("g"), "Auto Scaling: launch for group \"g\"");
        assert_eq!(notice.detail_type(), "EC2 Instance Launch Successful");
        assert_eq!(activity_detail(&a, notice, NOW)["Destination"], "AutoScalingGroup");
    }
}
