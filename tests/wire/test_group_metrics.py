"""A group's own metrics, with the values that the group has."""

import datetime

from conftest import until
from test_groups import describe, group, in_service, template  # noqa: F401 (fixtures)
from test_lifecycle import pooled

# They come at whole minutes, a moment after them.
MINUTE_S = 75


def latest(cloudwatch, name):
    """The newest value of each metric that the group has."""
    values = {}
    now = datetime.datetime.now(datetime.timezone.utc)
    for metric in cloudwatch.list_metrics(Namespace="AWS/AutoScaling", Dimensions=[
            {"Name": "AutoScalingGroupName", "Value": name}])["Metrics"]:
        points = cloudwatch.get_metric_statistics(
            **metric, StartTime=now - datetime.timedelta(minutes=5), EndTime=now + datetime.timedelta(minutes=2), Period=60,
            Statistics=["Average"])["Datapoints"]
        values[metric["MetricName"]] = max(points, key=lambda p: p["Timestamp"])["Average"]
    return values


def test_enabled_metrics_are_published_and_disabled_ones_are_not(autoscaling, cloudwatch, group):
    all_of_it, one_of_it = group("metered", MinSize=1, MaxSize=7, DesiredCapacity=3), group("metered-less", MinSize=1)
    ids = [i["InstanceId"] for i in in_service(autoscaling, all_of_it, 3)]
    in_service(autoscaling, one_of_it, 1)
    autoscaling.enter_standby(AutoScalingGroupName=all_of_it, InstanceIds=ids[:1], ShouldDecrementDesiredCapacity=True)
    autoscaling.put_warm_pool(AutoScalingGroupName=all_of_it, MinSize=1, MaxGroupPreparedCapacity=4)
    pooled(autoscaling, all_of_it, "Warmed:Stopped", 2)
    for name in (all_of_it, one_of_it):
        autoscaling.enable_metrics_collection(AutoScalingGroupName=name, Granularity="1Minute")
    enabled = describe(autoscaling, all_of_it)["EnabledMetrics"]
    assert len(enabled) == 25 and {m["Granularity"] for m in enabled} == {"1Minute"}
    autoscaling.disable_metrics_collection(
        AutoScalingGroupName=one_of_it, Metrics=[m["Metric"] for m in enabled if m["Metric"] != "GroupMaxSize"])
    assert [m["Metric"] for m in describe(autoscaling, one_of_it)["EnabledMetrics"]] == ["GroupMaxSize"]
    values = until(lambda: latest(cloudwatch, all_of_it), "the metrics of a minute", MINUTE_S, 1)
    assert values == {
        "GroupMinSize": 1, "GroupMaxSize": 7, "GroupDesiredCapacity": 2,
        "GroupInServiceInstances": 2, "GroupInServiceCapacity": 2, "GroupPendingInstances": 0, "GroupPendingCapacity": 0,
        "GroupStandbyInstances": 1, "GroupStandbyCapacity": 1, "GroupTerminatingInstances": 0, "GroupTerminatingCapacity": 0,
        "GroupTotalInstances": 3, "GroupTotalCapacity": 3,
        "WarmPoolMinSize": 1, "WarmPoolDesiredCapacity": 2, "WarmPoolPendingCapacity": 0, "WarmPoolTerminatingCapacity": 0,
        "GroupTerminatingRetainedInstances": 0, "GroupTerminatingRetainedCapacity": 0,
        "WarmPoolPendingRetainedCapacity": 0, "WarmPoolTerminatingRetainedCapacity": 0,
        "WarmPoolWarmedCapacity": 2, "WarmPoolTotalCapacity": 2,
        "GroupAndWarmPoolDesiredCapacity": 4, "GroupAndWarmPoolTotalCapacity": 5}
    assert latest(cloudwatch, one_of_it) == {"GroupMaxSize": 5}
    autoscaling.disable_metrics_collection(AutoScalingGroupName=all_of_it)
    assert describe(autoscaling, all_of_it)["EnabledMetrics"] == []
