"""The API of 2009-05-15 in requests as its first clients wrote them; test_old_clients runs such a client, where there is one."""

import datetime
import re
import urllib.parse
import xml.etree.ElementTree as xml

import pytest

from conftest import until
from test_errors import send

AMI = "ami-0123456789abcdef0"
SCOPES = {"autoscaling": "autoscaling", "cloudwatch": "monitoring", "elb": "elasticloadbalancing"}


@pytest.fixture
def ask(server):
    def ask(body, service="autoscaling", status=200, **more):
        body = "&".join([body, *(f"{k.replace('_', '.')}={urllib.parse.quote(str(v), safe='')}" for k, v in more.items())])
        got, text = send(server, SCOPES[service], body.encode())
        assert got == status, text
        root = xml.fromstring(text)
        for element in root.iter():
            element.tag = re.sub(r"^\{.*\}", "", element.tag)
        return root

    return ask


def texts(root, tag):
    return [e.text for e in root.iter(tag)]


def test_a_group_of_2009_lives_and_goes(ask):
    ask("Action=CreateLaunchConfiguration&Version=2009-05-15&LaunchConfigurationName=of-2009&InstanceType=t2.micro"
        "&KernelId=&RamdiskId=&SecurityGroups.member.1=default", ImageId=AMI)
    known = ask("Action=DescribeLaunchConfigurations&Version=2009-05-15&LaunchConfigurationNames.member.1=of-2009")
    assert (texts(known, "ImageId"), texts(known, "InstanceType")) == ([AMI], ["t2.micro"])
    ask("Action=CreateAutoScalingGroup&Version=2009-05-15&AutoScalingGroupName=of-2009&LaunchConfigurationName=of-2009"
        "&MinSize=1&MaxSize=3&Cooldown=0&AvailabilityZones.member.1=us-east-1a")
    wrong = ask("Action=CreateAutoScalingGroup&Version=2009-05-15&AutoScalingGroupName=of-2009&LaunchConfigurationName=of-2009"
                "&MinSize=1&MaxSize=3&AvailabilityZones.member.1=us-east-1a", status=400)
    assert texts(wrong, "Code") == ["AlreadyExists"]

    def group():
        return ask("Action=DescribeAutoScalingGroups&Version=2009-05-15&AutoScalingGroupNames.member.1=of-2009")

    def settled(n):
        def look():
            found = group()
            return found if texts(found, "LifecycleState") == ["InService"] * n else None

        return until(look, f"{n} instances")

    found = settled(1)
    assert (texts(found, "MinSize"), texts(found, "MaxSize"), texts(found, "Cooldown")) == (["1"], ["3"], ["0"])
    assert texts(found, "LaunchTemplateName") == [], "this version has no word for it"
    ask("Action=SetDesiredCapacity&Version=2009-05-15&AutoScalingGroupName=of-2009&DesiredCapacity=3")
    settled(3)
    ask("Action=UpdateAutoScalingGroup&Version=2009-05-15&AutoScalingGroupName=of-2009&MaxSize=2")
    victim = texts(settled(2), "InstanceId")[0]
    ended = ask("Action=TerminateInstanceInAutoScalingGroup&Version=2009-05-15&ShouldDecrementDesiredCapacity=true", InstanceId=victim)
    assert texts(ended, "Description") == [f"Terminating EC2 instance: {victim}"]
    settled(1)
    activities = ask("Action=DescribeScalingActivities&Version=2009-05-15&AutoScalingGroupName=of-2009")
    assert f"Terminating EC2 instance: {victim}" in texts(activities, "Description") and len(texts(activities, "Cause")) == 5
    delete = "Action=DeleteAutoScalingGroup&Version=2009-05-15&AutoScalingGroupName=of-2009"
    assert texts(ask(delete, status=400), "Code") == ["ResourceInUse"]
    # This version knows no deletion by force: the group is emptied first.
    ask("Action=UpdateAutoScalingGroup&Version=2009-05-15&AutoScalingGroupName=of-2009&MinSize=0&MaxSize=0")
    settled(0)
    ask(delete)
    assert texts(group(), "AutoScalingGroupName") == []
    ask("Action=DeleteLaunchConfiguration&Version=2009-05-15&LaunchConfigurationName=of-2009")
    gone = ask("Action=DeleteLaunchConfiguration&Version=2009-05-15&LaunchConfigurationName=of-2009", status=400)
    assert texts(gone, "Code") == ["ValidationError"]


def test_triggers_and_their_metrics(ask, autoscaling, cloudwatch):
    autoscaling.create_launch_configuration(LaunchConfigurationName="triggers", ImageId=AMI, InstanceType="t2.micro")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="triggers", LaunchConfigurationName="triggers", MinSize=0, MaxSize=3, AvailabilityZones=["us-east-1a"])
    put = ("Action=CreateOrUpdateScalingTrigger&Version=2009-05-15&AutoScalingGroupName=triggers&TriggerName=load&MeasureName=Load"
           "&Namespace=Triggers&Statistic=Average&Period=60&Unit=None&Dimensions.member.1.Name=Host&Dimensions.member.1.Value=a"
           "&LowerThreshold=10&LowerBreachScaleIncrement=-1&UpperThreshold=80&UpperBreachScaleIncrement=50%25")
    assert texts(ask(put, status=400), "Code") == ["ValidationError"], "no BreachDuration"
    ask(put, BreachDuration=120)
    known = "Action=DescribeTriggers&Version=2009-05-15&AutoScalingGroupName=triggers"
    shown = ask(known)
    assert (texts(shown, "TriggerName"), texts(shown, "Status"), texts(shown, "UpperBreachScaleIncrement")) == (
        ["load"], ["NoData"], ["50%"])
    minute = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
    cloudwatch.put_metric_data(Namespace="Triggers", MetricData=[
        {"MetricName": "Load", "Dimensions": [{"Name": "Host", "Value": "a"}], "Value": 50.0,
         "Timestamp": minute - datetime.timedelta(minutes=back)} for back in range(5)])
    assert texts(ask(known), "Status") != ["NoData"]
    # The same data in the words of that day's CloudWatch.
    listed = ask("Action=ListMetrics&Version=2009-05-15", "cloudwatch")
    assert "Load" in texts(listed, "MeasureName")
    measured = ask("Action=GetMetricStatistics&Version=2009-05-15&MeasureName=Load&Namespace=Triggers&Period=60"
                   "&Statistics.member.1=Average&Dimensions.member.1.Name=Host&Dimensions.member.1.Value=a", "cloudwatch",
                   StartTime=(minute - datetime.timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%S"),
                   EndTime=(minute + datetime.timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S"))
    assert [float(v) for v in texts(measured, "Average")] == [50.0] * 5
    ask("Action=DeleteTrigger&Version=2009-05-15&AutoScalingGroupName=triggers&TriggerName=load")
    assert texts(ask(known), "TriggerName") == []
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="triggers", ForceDelete=True)
    until(lambda: not autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["triggers"])["AutoScalingGroups"], "its end")
    autoscaling.delete_launch_configuration(LaunchConfigurationName="triggers")


def test_classic_load_balancers_of_2009(ask, ec2):
    named = "&LoadBalancerName=of-2009"
    made = ask("Action=CreateLoadBalancer&Version=2009-05-15" + named + "&Listeners.member.1.LoadBalancerPort=80"
               "&Listeners.member.1.InstancePort=8080&Listeners.member.1.Protocol=HTTP&AvailabilityZones.member.1=us-east-1a", "elb")
    assert texts(made, "DNSName")[0].startswith("of-2009-")
    run = ec2.run_instances(ImageId=AMI, InstanceType="t2.micro", MinCount=1, MaxCount=1)
    id = run["Instances"][0]["InstanceId"]
    checked = ask("Action=ConfigureHealthCheck&Version=2009-05-15" + named + "&HealthCheck.Target=HTTP:8080/up&HealthCheck.Interval=10"
                  "&HealthCheck.Timeout=4&HealthCheck.UnhealthyThreshold=2&HealthCheck.HealthyThreshold=3", "elb")
    assert texts(checked, "Target") == ["HTTP:8080/up"]
    zone = "&AvailabilityZones.member.1=us-east-1"
    both = ask("Action=EnableAvailabilityZonesForLoadBalancer&Version=2009-05-15" + named + zone + "b", "elb")
    assert texts(both, "member") == ["us-east-1a", "us-east-1b"]
    left = ask("Action=DisableAvailabilityZonesForLoadBalancer&Version=2009-05-15" + named + zone + "a", "elb")
    assert texts(left, "member") == ["us-east-1b"]
    one = f"&Instances.member.1.InstanceId={id}"
    registered = ask("Action=RegisterInstancesWithLoadBalancer&Version=2009-05-15" + named + one, "elb")
    assert texts(registered, "InstanceId") == [id]
    # As boto 1.9b names them, and as the documents do.
    for instances in ("", one, f"&instances.member.1={id}"):
        health = ask("Action=DescribeInstanceHealth&Version=2009-05-15" + named + instances, "elb")
        assert (texts(health, "InstanceId"), texts(health, "State")) == ([id], ["OutOfService"])
    shown = ask("Action=DescribeLoadBalancers&Version=2009-05-15" + named, "elb")
    assert (texts(shown, "InstancePort"), texts(shown, "Interval"), texts(shown, "InstanceId")) == (["8080"], ["10"], [id])
    assert texts(shown, "VPCId") == [], "this version has no word for it"
    gone = ask("Action=DeregisterInstancesFromLoadBalancer&Version=2009-05-15" + named + one, "elb")
    assert texts(gone, "InstanceId") == []
    ask("Action=DeleteLoadBalancer&Version=2009-05-15" + named, "elb")
    none = ask("Action=DescribeLoadBalancers&Version=2009-05-15&LoadBalancerNames.member.1=of-2009", "elb", status=400)
    assert texts(none, "Code") == ["LoadBalancerNotFound"]
    ec2.terminate_instances(InstanceIds=[id])
