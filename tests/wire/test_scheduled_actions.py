"""Scheduled actions through boto3: what is stored, what is refused, and that they run."""

import datetime

import pytest
from botocore.exceptions import ClientError

from conftest import until

AMI = "ami-0123456789abcdef0"


def soon(seconds):
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def group(autoscaling):
    autoscaling.create_launch_configuration(LaunchConfigurationName="scheduled", ImageId=AMI, InstanceType="t2.micro")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="scheduled", LaunchConfigurationName="scheduled", MinSize=0, MaxSize=5, DesiredCapacity=0,
        AvailabilityZones=["us-east-1a"])
    yield "scheduled"
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="scheduled", ForceDelete=True)


def actions(autoscaling, group, **filters):
    answer = autoscaling.describe_scheduled_actions(AutoScalingGroupName=group, **filters)
    return {a["ScheduledActionName"]: a for a in answer["ScheduledUpdateGroupActions"]}


def test_a_recurring_action_is_shown_with_its_next_run(autoscaling, group):
    autoscaling.put_scheduled_update_group_action(
        AutoScalingGroupName=group, ScheduledActionName="morning", Recurrence="0 8 * * MON-FRI", TimeZone="Europe/Berlin",
        MinSize=1, MaxSize=4, DesiredCapacity=2)
    shown = actions(autoscaling, group)["morning"]
    assert shown["ScheduledActionARN"].endswith(":autoScalingGroupName/scheduled:scheduledActionName/morning")
    assert (shown["MinSize"], shown["MaxSize"], shown["DesiredCapacity"]) == (1, 4, 2)
    assert (shown["Recurrence"], shown["TimeZone"]) == ("0 8 * * MON-FRI", "Europe/Berlin")
    assert shown["StartTime"] == shown["Time"] > soon(0)
    autoscaling.delete_scheduled_action(AutoScalingGroupName=group, ScheduledActionName="morning")
    assert actions(autoscaling, group) == {}


def test_a_single_action_runs_and_says_why(autoscaling, group):
    autoscaling.put_scheduled_update_group_action(
        AutoScalingGroupName=group, ScheduledActionName="once", StartTime=soon(5), DesiredCapacity=1)
    until(lambda: "once" not in actions(autoscaling, group), "the action's run")
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"][0]
    assert found["DesiredCapacity"] == 1

    def causes():
        return [a["Cause"] for a in autoscaling.describe_scaling_activities(AutoScalingGroupName=group)["Activities"]]

    until(causes, "the launch's activity")
    assert "a scheduled action update of AutoScalingGroup constraints to min: 0, max: 5, desired: 1" in causes()[0]


@pytest.mark.parametrize("code,text,wrong", [
    ("ValidationError", "Given recurrence string: 0 0 0 8 * * is invalid", {"Recurrence": "0 0 0 8 * *"}),
    ("ValidationError", "Given recurrence string: 0 0 31 2 * is invalid", {"Recurrence": "0 0 31 2 *"}),
    ("ValidationError", "Given time zone: Mars is invalid", {"Recurrence": "0 8 * * *", "TimeZone": "Mars"}),
    ("ValidationError", "Given start time is in the past", {"StartTime": soon(-60)}),
    ("ValidationError", "Given end time is in the past", {"Recurrence": "0 8 * * *", "EndTime": soon(-60)}),
    ("ValidationError", "not after the start time", {"StartTime": soon(50_000), "EndTime": soon(40_000)}),
    ("ValidationError", "Either StartTime or Recurrence", {}),
    ("ValidationError", "At least one of", {"StartTime": soon(50_000), "DesiredCapacity": None}),
    ("ValidationError", "Min bound, 5, must be less", {"StartTime": soon(50_000), "MinSize": 5, "MaxSize": 4}),
    ("ValidationError", "AutoScalingGroup name not found", {"StartTime": soon(50_000), "AutoScalingGroupName": "none"}),
])
def test_what_makes_no_sense_is_refused(autoscaling, group, code, text, wrong):
    request = {"AutoScalingGroupName": group, "ScheduledActionName": "wrong", "DesiredCapacity": 1, **wrong}
    with pytest.raises(ClientError) as error:
        autoscaling.put_scheduled_update_group_action(**{k: v for k, v in request.items() if v is not None})
    assert error.value.response["Error"]["Code"] == code
    assert text in error.value.response["Error"]["Message"]


def test_batches_answer_for_each_item(autoscaling, group):
    start = soon(3600)
    answer = autoscaling.batch_put_scheduled_update_group_action(AutoScalingGroupName=group, ScheduledUpdateGroupActions=[
        {"ScheduledActionName": "a", "StartTime": start, "DesiredCapacity": 1},
        {"ScheduledActionName": "b", "StartTime": start, "DesiredCapacity": 2},
        {"ScheduledActionName": "c", "Recurrence": "0 8 * *", "DesiredCapacity": 2},
        {"ScheduledActionName": "d", "StartTime": soon(7200), "DesiredCapacity": 2},
    ])
    failed = {f["ScheduledActionName"]: f["ErrorCode"] for f in answer["FailedScheduledUpdateGroupActions"]}
    assert failed == {"b": "AlreadyExists", "c": "ValidationError"}
    assert set(actions(autoscaling, group)) == {"a", "d"}
    assert set(actions(autoscaling, group, StartTime=soon(5000))) == {"d"}
    assert set(actions(autoscaling, group, ScheduledActionNames=["a"])) == {"a"}
    pages = autoscaling.get_paginator("describe_scheduled_actions").paginate(
        AutoScalingGroupName=group, PaginationConfig={"PageSize": 1})
    assert [a["ScheduledActionName"] for p in pages for a in p["ScheduledUpdateGroupActions"]] == ["a", "d"]
    answer = autoscaling.batch_delete_scheduled_action(AutoScalingGroupName=group, ScheduledActionNames=["a", "b", "d"])
    assert [f["ScheduledActionName"] for f in answer["FailedScheduledActions"]] == ["b"]
    assert actions(autoscaling, group) == {}
