"""Lifecycle hooks, notifications and warm pools from the outside, on simulated instances."""

import pytest
from botocore.exceptions import ClientError

from conftest import until
from test_groups import describe, group, in_service, template  # noqa: F401 (fixtures)

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


def in_state(autoscaling, name, state, count=1):
    """The group's instances in a lifecycle state, once there are so many."""
    def look():
        found = [m for m in describe(autoscaling, name)["Instances"] if m["LifecycleState"] == state]
        return found if len(found) == count else None

    return until(look, f"{count} instances in {state}")


def activities(autoscaling, name):
    return autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]


def test_hooks_are_put_described_changed_and_deleted(autoscaling, group):
    name = group("hooked", LifecycleHookSpecificationList=[
        {"LifecycleHookName": "first", "LifecycleTransition": LAUNCHING, "HeartbeatTimeout": 120}])
    autoscaling.put_lifecycle_hook(AutoScalingGroupName=name, LifecycleHookName="second",
                                   LifecycleTransition=TERMINATING, DefaultResult="CONTINUE")
    autoscaling.put_lifecycle_hook(AutoScalingGroupName=name, LifecycleHookName="first", HeartbeatTimeout=7200,
                                   NotificationMetadata="more")
    first, second = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]
    assert first == {
        "LifecycleHookName": "first", "AutoScalingGroupName": name, "LifecycleTransition": LAUNCHING,
        "HeartbeatTimeout": 7200, "GlobalTimeout": 172800, "DefaultResult": "ABANDON", "NotificationMetadata": "more"}
    assert (second["HeartbeatTimeout"], second["DefaultResult"]) == (3600, "CONTINUE")
    chosen = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=name, LifecycleHookNames=["second"])
    assert [h["LifecycleHookName"] for h in chosen["LifecycleHooks"]] == ["second"]
    autoscaling.delete_lifecycle_hook(AutoScalingGroupName=name, LifecycleHookName="second")
    assert len(autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]) == 1
    put = autoscaling.put_lifecycle_hook
    assert "HeartbeatTimeout" in refused(
        put, AutoScalingGroupName=name, LifecycleHookName="first", HeartbeatTimeout=29)["Message"]
    assert "LifecycleTransition" in refused(put, AutoScalingGroupName=name, LifecycleHookName="new")["Message"]
    error = refused(autoscaling.complete_lifecycle_action, AutoScalingGroupName=name, LifecycleHookName="first",
                    LifecycleActionResult="CONTINUE", LifecycleActionToken="0" * 36)
    assert error["Code"] == "ValidationError"
    assert error["Message"] == "No active Lifecycle Action found with token " + "0" * 36


def test_launch_hooks_hold_instances_until_they_are_completed(autoscaling, group):
    name = group("gated", MinSize=1, LifecycleHookSpecificationList=[
        {"LifecycleHookName": "in", "LifecycleTransition": LAUNCHING}])
    waiting = in_state(autoscaling, name, "Pending:Wait")[0]["InstanceId"]
    assert activities(autoscaling, name)[0]["StatusCode"] == "MidLifecycleAction"
    autoscaling.record_lifecycle_action_heartbeat(
        AutoScalingGroupName=name, LifecycleHookName="in", InstanceId=waiting)
    autoscaling.complete_lifecycle_action(AutoScalingGroupName=name, LifecycleHookName="in", InstanceId=waiting,
                                          LifecycleActionResult="CONTINUE")
    assert in_service(autoscaling, name, 1)[0]["InstanceId"] == waiting
    # A second one is abandoned: it goes, its activity says why, and another takes its place.
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    bad = in_state(autoscaling, name, "Pending:Wait")[0]["InstanceId"]
    autoscaling.complete_lifecycle_action(AutoScalingGroupName=name, LifecycleHookName="in", InstanceId=bad,
                                          LifecycleActionResult="ABANDON")
    failed = until(lambda: [a for a in activities(autoscaling, name) if a["StatusCode"] == "Cancelled"],
                   "an abandoned launch")[0]
    assert failed["StatusMessage"].startswith(
        "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token ")
    assert failed["StatusMessage"].endswith(" was abandoned: Lifecycle Action Completed with ABANDON Result")
    assert failed["Description"] == f"Launching a new EC2 instance: {bad}.  Status Reason: {failed['StatusMessage']}"
    assert in_state(autoscaling, name, "Pending:Wait")[0]["InstanceId"] != bad


def test_termination_hooks_hold_instances_and_retention_keeps_them(autoscaling, ec2, group):
    name = group("kept", MinSize=0, DesiredCapacity=1, LifecycleHookSpecificationList=[
        {"LifecycleHookName": "out", "LifecycleTransition": TERMINATING}],
        InstanceLifecyclePolicy={"RetentionTriggers": {"TerminateHookAbandon": "retain"}})
    assert describe(autoscaling, name)["InstanceLifecyclePolicy"]["RetentionTriggers"] == {
        "TerminateHookAbandon": "retain"}
    kept = in_service(autoscaling, name, 1)[0]["InstanceId"]
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=0)
    in_state(autoscaling, name, "Terminating:Wait")
    done = dict(AutoScalingGroupName=name, LifecycleHookName="out", InstanceId=kept)
    autoscaling.complete_lifecycle_action(**done, LifecycleActionResult="ABANDON")
    in_state(autoscaling, name, "Terminating:Retained")
    state = ec2.describe_instances(InstanceIds=[kept])["Reservations"][0]["Instances"][0]["State"]["Name"]
    assert state == "running"
    terminate = autoscaling.terminate_instance_in_auto_scaling_group
    assert "Terminating:Retained" in refused(
        terminate, InstanceId=kept, ShouldDecrementDesiredCapacity=True)["Message"]
    assert "ForceDelete" in refused(
        autoscaling.delete_auto_scaling_group, AutoScalingGroupName=name, ForceDelete=True)["Message"]
    terminate(InstanceId=kept, ShouldDecrementDesiredCapacity=False)
    in_state(autoscaling, name, "Terminating:Wait")
    autoscaling.complete_lifecycle_action(**done, LifecycleActionResult="CONTINUE")
    in_service(autoscaling, name, 0)
    autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, InstanceLifecyclePolicy={
        "RetentionTriggers": {"TerminateHookAbandon": "terminate"}})
