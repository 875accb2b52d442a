"""Groups from the outside: boto3 makes them, simulated instances follow."""

import pytest
from botocore.exceptions import ClientError

from conftest import until


@pytest.fixture
def template(ec2):
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={
        "ImageId": "ami-0123456789abcdef0", "InstanceType": "t2.micro"})["LaunchTemplate"]
    yield made
    ec2.delete_launch_template(LaunchTemplateId=made["LaunchTemplateId"])


@pytest.fixture
def group(autoscaling, template):
    """Makes groups and deletes them with their instances."""
    made = []

    def make(name, **settings):
        settings = {"MinSize": 0, "MaxSize": 5, "AvailabilityZones": ["us-east-1a", "us-east-1b"], **settings}
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"], "Version": "$Latest"}, **settings)
        made.append(name)
        return name

    yield make
    for name in made:
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
    # No name at all would ask for all groups there are.
    until(lambda: not made or not autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=made)["AutoScalingGroups"],
          "the groups' end")


def describe(autoscaling, name):
    return autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]


def in_service(autoscaling, name, count):
    def look():
        members = describe(autoscaling, name)["Instances"]
        ready = [m for m in members if m["LifecycleState"] == "InService"]
        return ready if len(ready) == len(members) == count else None

    return until(look, f"{count} instances in service") if count else until(
        lambda: not describe(autoscaling, name)["Instances"], "an empty group")


def test_a_group_like_an_instance_stands_where_it_stands(autoscaling, ec2):
    subnets = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1c"]}])["Subnets"]
    run = ec2.run_instances(ImageId="ami-0123456789abcdef0", InstanceType="t3.small", SubnetId=subnets[0]["SubnetId"],
                            MinCount=1, MaxCount=1)
    like = run["Instances"][0]["InstanceId"]
    autoscaling.create_auto_scaling_group(AutoScalingGroupName="like", InstanceId=like, MinSize=1, MaxSize=1)
    [member] = in_service(autoscaling, "like", 1)
    assert (member["AvailabilityZone"], member["LaunchConfigurationName"]) == ("us-east-1c", "like")
    made = ec2.describe_instances(InstanceIds=[member["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert (made["SubnetId"], made["InstanceType"]) == (subnets[0]["SubnetId"], "t3.small")
    # A place that is given is the one.
    autoscaling.create_auto_scaling_group(AutoScalingGroupName="like-elsewhere", InstanceId=like, MinSize=0, MaxSize=0,
                                          AvailabilityZones=["us-east-1a"])
    assert describe(autoscaling, "like-elsewhere")["AvailabilityZones"] == ["us-east-1a"]
    for name in ("like", "like-elsewhere"):
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
        until(lambda: not autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"], "its end")
        autoscaling.delete_launch_configuration(LaunchConfigurationName=name)
    ec2.terminate_instances(InstanceIds=[like])


def test_a_group_shows_what_its_instances_run_from(autoscaling, ec2, group):
    name, other = group("shown", MinSize=1), "ami-0fedcba9876543210"
    [member] = in_service(autoscaling, name, 1)
    assert member["ImageId"] == "ami-0123456789abcdef0"
    task = ec2.create_replace_root_volume_task(InstanceId=member["InstanceId"], ImageId=other, DeleteReplacedRootVolume=True)
    task = task["ReplaceRootVolumeTask"]["ReplaceRootVolumeTaskId"]
    until(lambda: ec2.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=[task])["ReplaceRootVolumeTasks"][0][
        "TaskState"] == "succeeded", "the new root volume")
    assert describe(autoscaling, name)["Instances"][0]["ImageId"] == other
    [alone] = autoscaling.describe_auto_scaling_instances(InstanceIds=[member["InstanceId"]])["AutoScalingInstances"]
    assert alone["ImageId"] == other


def test_a_group_reaches_its_capacity_over_its_zones(autoscaling, ec2, group):
    name = group("spread", MinSize=4, Tags=[{"Key": "Team", "Value": "x", "PropagateAtLaunch": True}])
    members = in_service(autoscaling, name, 4)
    zones = sorted(m["AvailabilityZone"] for m in members)
    assert zones == ["us-east-1a", "us-east-1a", "us-east-1b", "us-east-1b"]
    reservations = ec2.describe_instances(InstanceIds=[members[0]["InstanceId"]])["Reservations"]
    tags = {t["Key"]: t["Value"] for t in reservations[0]["Instances"][0]["Tags"]}
    assert tags["aws:autoscaling:groupName"] == name
    assert tags["Team"] == "x"


def test_capacity_follows_requests_and_bounds(autoscaling, group):
    name = group("sized", MinSize=1, MaxSize=3)
    in_service(autoscaling, name, 1)
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=3)
    in_service(autoscaling, name, 3)
    with pytest.raises(ClientError) as error:
        autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=4)
    assert "above max value 3" in error.value.response["Error"]["Message"]
    autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, MaxSize=2)
    assert describe(autoscaling, name)["DesiredCapacity"] == 2
    in_service(autoscaling, name, 2)


def test_a_terminated_instance_is_replaced_and_activities_say_so(autoscaling, ec2, group):
    name = group("healed", MinSize=1, MaxSize=1)
    victim = in_service(autoscaling, name, 1)[0]["InstanceId"]
    ec2.terminate_instances(InstanceIds=[victim])
    until(lambda: [m for m in describe(autoscaling, name)["Instances"]
                   if m["LifecycleState"] == "InService" and m["InstanceId"] != victim], "a replacement")
    activities = until(
        lambda: (lambda a: a if all(x["StatusCode"] == "Successful" for x in a) else None)(
            autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]), "finished activities")
    causes = [a["Cause"] for a in activities]
    assert any("EC2 health check indicating it has been terminated or stopped" in c for c in causes), causes
    assert any(a["Description"].startswith("Terminating EC2 instance: " + victim) for a in activities)
    assert len([a for a in activities if a["Description"].startswith("Launching")]) == 2


def test_terminate_in_group_with_and_without_replacement(autoscaling, group):
    name = group("ended", MinSize=0, MaxSize=3, DesiredCapacity=2)
    first, second = [m["InstanceId"] for m in in_service(autoscaling, name, 2)]
    answer = autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=first, ShouldDecrementDesiredCapacity=True)["Activity"]
    assert answer["Description"] == f"Terminating EC2 instance: {first}"
    left = in_service(autoscaling, name, 1)
    assert left[0]["InstanceId"] == second
    autoscaling.terminate_instance_in_auto_scaling_group(InstanceId=second, ShouldDecrementDesiredCapacity=False)
    until(lambda: [m for m in describe(autoscaling, name)["Instances"]
                   if m["InstanceId"] != second and m["LifecycleState"] == "InService"], "a replacement")


def test_an_unhealthy_instance_is_replaced(autoscaling, group):
    name = group("sick", MinSize=1, MaxSize=1)
    victim = in_service(autoscaling, name, 1)[0]["InstanceId"]
    autoscaling.set_instance_health(InstanceId=victim, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
    until(lambda: [m for m in describe(autoscaling, name)["Instances"]
                   if m["InstanceId"] != victim and m["LifecycleState"] == "InService"], "a replacement")


def test_suspended_processes_hold_still(autoscaling, group):
    name = group("still", MinSize=0, MaxSize=3)
    autoscaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["Launch"])
    autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    shown = describe(autoscaling, name)
    assert [p["ProcessName"] for p in shown["SuspendedProcesses"]] == ["Launch"]
    autoscaling.resume_processes(AutoScalingGroupName=name)
    in_service(autoscaling, name, 2)
    launches = autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
    assert len(launches) == 2


def test_target_tracking_makes_and_removes_its_alarms(autoscaling, cloudwatch, group):
    name = group("tracked", Tags=[{"Key": "puffer:metric-period", "Value": "1", "PropagateAtLaunch": False}])
    policy = autoscaling.put_scaling_policy(
        AutoScalingGroupName=name, PolicyName="cpu", PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration={"TargetValue": 40.0, "PredefinedMetricSpecification": {
            "PredefinedMetricType": "ASGAverageCPUUtilization"}})
    names = [a["AlarmName"] for a in policy["Alarms"]]
    assert [n.split("-")[2] for n in names] == ["AlarmHigh", "AlarmLow"]
    high = cloudwatch.describe_alarms(AlarmNames=names[:1])["MetricAlarms"][0]
    assert (high["Threshold"], high["Period"], high["EvaluationPeriods"]) == (40.0, 1, 3)
    assert high["AlarmActions"] == [policy["PolicyARN"]]
    autoscaling.delete_tags(Tags=[{"ResourceId": name, "ResourceType": "auto-scaling-group", "Key": "puffer:metric-period"}])
    assert cloudwatch.describe_alarms(AlarmNames=names[:1])["MetricAlarms"][0]["Period"] == 60
    autoscaling.delete_policy(AutoScalingGroupName=name, PolicyName="cpu")
    assert cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"] == []


def test_a_step_policy_on_an_alarm_grows_the_group(autoscaling, cloudwatch, group):
    name = group("stepped", MinSize=1, MaxSize=5)
    in_service(autoscaling, name, 1)
    policy = autoscaling.put_scaling_policy(
        AutoScalingGroupName=name, PolicyName="steps", PolicyType="StepScaling", AdjustmentType="ChangeInCapacity",
        EstimatedInstanceWarmup=0, StepAdjustments=[
            {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 50, "ScalingAdjustment": 1},
            {"MetricIntervalLowerBound": 50, "ScalingAdjustment": 3}])["PolicyARN"]
    cloudwatch.put_metric_alarm(
        AlarmName="queue", Namespace="Test", MetricName="Depth", Statistic="Average", Period=10, EvaluationPeriods=1,
        Threshold=100, ComparisonOperator="GreaterThanThreshold", AlarmActions=[policy])

    def feed_and_look():
        cloudwatch.put_metric_data(Namespace="Test", MetricData=[
            {"MetricName": "Depth", "Value": 170, "StorageResolution": 1}])
        return describe(autoscaling, name)["DesiredCapacity"] >= 4

    until(feed_and_look, "a larger group", limit_s=40, pause_s=1)
    cloudwatch.delete_alarms(AlarmNames=["queue"])
    cause = autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"][0]["Cause"]
    assert "a monitor alarm queue in state ALARM triggered policy steps changing the desired capacity from 1 to 4" in cause


def test_paging_and_filters(autoscaling, group):
    for i in range(5):
        group(f"page-{i}", Tags=[{"Key": "Page", "Value": str(i % 2), "PropagateAtLaunch": False}])
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
        Filters=[{"Name": "tag:Page", "Values": ["0"]}], PaginationConfig={"PageSize": 2})
    names = [g["AutoScalingGroupName"] for page in pages for g in page["AutoScalingGroups"]]
    assert names == ["page-0", "page-2", "page-4"]


def test_deleting_what_is_in_use_is_refused(autoscaling, group):
    name = group("busy", MinSize=1)
    in_service(autoscaling, name, 1)
    with pytest.raises(ClientError) as error:
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name)
    assert error.value.response["Error"]["Code"] == "ResourceInUse"
    autoscaling.create_launch_configuration(
        LaunchConfigurationName="lc", ImageId="ami-0123456789abcdef0", InstanceType="t2.micro")
    autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, LaunchConfigurationName="lc")
    with pytest.raises(ClientError) as error:
        autoscaling.delete_launch_configuration(LaunchConfigurationName="lc")
    assert error.value.response["Error"]["Code"] == "ResourceInUse"


def test_what_is_not_built_is_refused_by_name(autoscaling, group):
    name = group("plain")
    for call, code in [
        (lambda: autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, PlacementGroup="p"),
         "UnsupportedOperation"),
        (lambda: autoscaling.attach_load_balancers(AutoScalingGroupName=name, LoadBalancerNames=["classic"]), "ValidationError"),
    ]:
        with pytest.raises(ClientError) as error:
            call()
        assert error.value.response["Error"]["Code"] == code


def test_the_aws_cli_and_its_waiters(server, group, autoscaling, ec2):
    name = group("cli", MinSize=1)
    member = in_service(autoscaling, name, 1)[0]["InstanceId"]
    shown = server.aws("autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", name)
    assert shown["AutoScalingGroups"][0]["Instances"][0]["InstanceId"] == member
    server.aws("ec2", "wait", "instance-running", "--instance-ids", member)
    alone = ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    server.aws("ec2", "wait", "instance-status-ok", "--instance-ids", alone)
    ec2.terminate_instances(InstanceIds=[alone])
    server.aws("ec2", "wait", "instance-terminated", "--instance-ids", alone)


def test_a_template_may_go_before_its_group_which_then_says_so(autoscaling, ec2):
    made = ec2.create_launch_template(LaunchTemplateName="gone", LaunchTemplateData={
        "ImageId": "ami-0123456789abcdef0", "InstanceType": "t2.micro"})["LaunchTemplate"]["LaunchTemplateId"]
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="orphan", MinSize=0, MaxSize=2, AvailabilityZones=["us-east-1a"],
        LaunchTemplate={"LaunchTemplateId": made, "Version": "$Latest"})
    ec2.delete_launch_template(LaunchTemplateId=made)
    autoscaling.set_desired_capacity(AutoScalingGroupName="orphan", DesiredCapacity=1)
    tell = lambda: autoscaling.describe_scaling_activities(AutoScalingGroupName="orphan")["Activities"]
    until(lambda: any(a["StatusCode"] == "Failed" and made in a["StatusMessage"] for a in tell()), "a failed launch")
    shown = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["orphan"])["AutoScalingGroups"][0]
    assert shown["Instances"] == [] and shown["LaunchTemplate"]["LaunchTemplateId"] == made
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="orphan", ForceDelete=True)
