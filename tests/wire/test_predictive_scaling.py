"""Predictive scaling through boto3: the configuration comes back, and two weeks of data make a forecast that is acted on."""

import datetime
import math

import pytest
from botocore.exceptions import ClientError

from conftest import until

AMI = "ami-0123456789abcdef0"


@pytest.fixture(scope="module")
def group(autoscaling):
    autoscaling.create_launch_configuration(LaunchConfigurationName="predictive", ImageId=AMI, InstanceType="t2.micro")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="predictive", LaunchConfigurationName="predictive", MinSize=1, MaxSize=4, DesiredCapacity=1,
        AvailabilityZones=["us-east-1a"])
    yield "predictive"
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="predictive", ForceDelete=True)


def pair(**more):
    return {"MetricSpecifications": [{
        "TargetValue": 40.0, "PredefinedMetricPairSpecification": {"PredefinedMetricType": "ASGCPUUtilization"}}], **more}


def customized():
    def query(name, stat):
        metric = {"Namespace": "Predictive", "MetricName": name, "Dimensions": [{"Name": "Queue", "Value": "a"}]}
        return {"MetricDataQueries": [{"Id": "m1", "MetricStat": {"Metric": metric, "Stat": stat}, "ReturnData": True}]}

    return {"MetricSpecifications": [{
        "TargetValue": 100.0,
        "CustomizedLoadMetricSpecification": query("Jobs", "Sum"),
        "CustomizedScalingMetricSpecification": query("JobsPerWorker", "Average"),
        "CustomizedCapacityMetricSpecification": query("Workers", "Average"),
    }], "Mode": "ForecastAndScale", "SchedulingBufferTime": 0}


def put(autoscaling, group, configuration, name="p"):
    return autoscaling.put_scaling_policy(
        AutoScalingGroupName=group, PolicyName=name, PolicyType="PredictiveScaling",
        PredictiveScalingConfiguration=configuration)


def described(autoscaling, group, name="p"):
    found = autoscaling.describe_policies(AutoScalingGroupName=group, PolicyNames=[name])["ScalingPolicies"][0]
    assert found["PolicyType"] == "PredictiveScaling"
    return found["PredictiveScalingConfiguration"]


def test_the_configuration_comes_back_with_its_defaults(autoscaling, group):
    assert put(autoscaling, group, pair())["Alarms"] == []
    assert described(autoscaling, group) == pair(
        Mode="ForecastOnly", SchedulingBufferTime=300, MaxCapacityBreachBehavior="HonorMaxCapacity")
    whole = pair(Mode="ForecastAndScale", SchedulingBufferTime=600, MaxCapacityBreachBehavior="IncreaseMaxCapacity",
                 MaxCapacityBuffer=10)
    put(autoscaling, group, whole)
    assert described(autoscaling, group) == whole

    def problem():
        now = datetime.datetime.now(datetime.timezone.utc)
        with pytest.raises(ClientError) as error:
            autoscaling.get_predictive_scaling_forecast(
                AutoScalingGroupName=group, PolicyName="p", StartTime=now, EndTime=now + datetime.timedelta(days=2))
        return error.value.response["Error"]["Message"]

    until(lambda: "needs 24 hours of data" in problem(), "the reason for no forecast")
    autoscaling.delete_policy(AutoScalingGroupName=group, PolicyName="p")


def test_a_forecast_is_made_and_acted_on(autoscaling, cloudwatch, group):
    hour = datetime.datetime.now(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0)
    data = []
    for back in range(1, 13 * 24):
        at = hour - datetime.timedelta(hours=back)
        load = 230.0 + 20 * math.sin(at.hour / 24 * math.tau)
        for name, value in (("Jobs", load), ("JobsPerWorker", load / 2), ("Workers", 2)):
            data.append({"MetricName": name, "Timestamp": at, "Value": value,
                         "Dimensions": [{"Name": "Queue", "Value": "a"}]})
    cloudwatch.put_metric_data(Namespace="Predictive", MetricData=data)
    put(autoscaling, group, customized())
    assert described(autoscaling, group)["MetricSpecifications"] == customized()["MetricSpecifications"]

    def forecast():
        try:
            return autoscaling.get_predictive_scaling_forecast(
                AutoScalingGroupName=group, PolicyName="p", StartTime=hour, EndTime=hour + datetime.timedelta(hours=48))
        except ClientError:
            return None

    made = until(forecast, "the forecast")
    times = made["CapacityForecast"]["Timestamps"]
    assert len(times) == 48 and times[0] == hour and times[47] == hour + datetime.timedelta(hours=47)
    assert set(made["CapacityForecast"]["Values"]) == {3.0}, "210 to 250 jobs at 100 each"
    [load] = made["LoadForecast"]
    assert load["Timestamps"] == times and all(200 < v < 260 for v in load["Values"])
    assert load["MetricSpecification"]["TargetValue"] == 100.0
    assert made["UpdateTime"] >= hour

    def desired():
        return autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"][0]

    until(lambda: desired()["DesiredCapacity"] == 3, "the raised capacity")

    def causes():
        found = autoscaling.describe_scaling_activities(AutoScalingGroupName=group)["Activities"]
        return any("predictive scaling policy p" in a["Cause"] for a in found)

    until(causes, "the cause")
    autoscaling.delete_policy(AutoScalingGroupName=group, PolicyName="p")


@pytest.mark.parametrize("text,wrong", [
    ("exactly one element", {"MetricSpecifications": []}),
    ("SchedulingBufferTime", pair(SchedulingBufferTime=3601)),
    ("MaxCapacityBuffer can be", pair(MaxCapacityBuffer=5)),
    ("MaxCapacityBuffer must be specified", pair(MaxCapacityBreachBehavior="IncreaseMaxCapacity")),
    ("ResourceLabel", {"MetricSpecifications": [{
        "TargetValue": 1, "PredefinedMetricPairSpecification": {"PredefinedMetricType": "ALBRequestCount"}}]}),
    ("metric pair", {"MetricSpecifications": [{
        "TargetValue": 1, "PredefinedLoadMetricSpecification": {"PredefinedMetricType": "ASGTotalCPUUtilization"}}]}),
    ("TargetValue", {"MetricSpecifications": [{
        "TargetValue": 0, "PredefinedMetricPairSpecification": {"PredefinedMetricType": "ASGCPUUtilization"}}]}),
])
def test_what_makes_no_sense_is_refused(autoscaling, group, text, wrong):
    with pytest.raises(ClientError) as error:
        put(autoscaling, group, wrong)
    assert error.value.response["Error"]["Code"] == "ValidationError"
    assert text in error.value.response["Error"]["Message"]
