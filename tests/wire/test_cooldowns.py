"""Separate waits for growing and shrinking, which `puffer:` tags ask for: two groups get the same alarms, one of them has the tags."""

import pytest

from conftest import until
from test_groups import describe, group, in_service, template  # noqa: F401 (fixtures)
from test_lists import refused

DAY = "86400"


def tag(name, key, value=None):
    return {"ResourceId": name, "ResourceType": "auto-scaling-group", "Key": key, **(
        {} if value is None else {"Value": value, "PropagateAtLaunch": False})}


@pytest.fixture
def alarmed(autoscaling, cloudwatch, group):
    """Makes groups with a policy to grow and one to shrink by one, each on an alarm; gives what sets the alarm off."""
    alarms = []

    def make(name, **settings):
        group(name, MinSize=0, MaxSize=9, DesiredCapacity=3, DefaultCooldown=0, **settings)
        for way, change in (("grow", 1), ("shrink", -1)):
            policy = autoscaling.put_scaling_policy(
                AutoScalingGroupName=name, PolicyName=way, AdjustmentType="ChangeInCapacity", ScalingAdjustment=change, Cooldown=0)
            alarms.append(f"{name}-{way}")
            cloudwatch.put_metric_alarm(
                AlarmName=alarms[-1], Namespace="Cooldowns", MetricName="Load", Statistic="Sum", Period=3600, EvaluationPeriods=1,
                Threshold=1, ComparisonOperator="GreaterThanThreshold", AlarmActions=[policy["PolicyARN"]])

        def alarm(way):
            for each, state in (("grow", "OK"), ("shrink", "OK"), (way, "ALARM")):
                cloudwatch.set_alarm_state(AlarmName=f"{name}-{each}", StateValue=state, StateReason="a test")

        def has(size):
            in_service(autoscaling, name, size)
            # A simple policy waits for the ends of activities.
            until(lambda: all(a["StatusCode"] == "Successful" for a in autoscaling.describe_scaling_activities(
                AutoScalingGroupName=name)["Activities"]), "the ends of the activities")
            return True

        has(3)
        return name, alarm, has

    yield make
    cloudwatch.delete_alarms(AlarmNames=alarms)


def test_a_cooldown_by_tag_holds_for_its_direction(autoscaling, alarmed):
    name, alarm, has = alarmed("waits", Tags=[
        {"Key": "puffer:scale-out-cooldown", "Value": DAY, "PropagateAtLaunch": False}])
    _, free_alarm, free_has = alarmed("waits-not")
    for each in (alarm, free_alarm):
        each("grow")
    assert has(4) and free_has(4)
    for each in (alarm, free_alarm):
        each("grow")
    # The other has grown again: this one would have, too.
    assert free_has(5) and describe(autoscaling, name)["DesiredCapacity"] == 4
    # A user's word does not wait, and neither does the other direction.
    autoscaling.execute_policy(AutoScalingGroupName=name, PolicyName="grow")
    assert has(5)
    alarm("shrink")
    assert has(4)

    autoscaling.delete_tags(Tags=[tag(name, "puffer:scale-out-cooldown")])
    autoscaling.create_or_update_tags(Tags=[tag(name, "puffer:scale-in-cooldown", DAY)])
    # Shrinking waits after either: it has grown and shrunk just now.
    for each in (alarm, free_alarm):
        each("shrink")
    assert free_has(4) and describe(autoscaling, name)["DesiredCapacity"] == 4
    alarm("grow")
    assert has(5)
    autoscaling.create_or_update_tags(Tags=[tag(name, "puffer:scale-in-cooldown", "0")])
    alarm("shrink")
    assert has(4)


@pytest.mark.parametrize("key", ["puffer:scale-out-cooldown", "puffer:scale-in-cooldown"])
def test_cooldowns_are_seconds_of_a_day_at_most(autoscaling, group, key):
    name = group("cooldown")
    for wrong in ("-1", "86401", "soon", "1.5", ""):
        assert key in refused("ValidationError", autoscaling.create_or_update_tags, Tags=[tag(name, key, wrong)])
    assert autoscaling.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": [name]}])["Tags"] == []
    autoscaling.create_or_update_tags(Tags=[tag(name, key, DAY)])
