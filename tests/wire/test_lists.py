"""What EC2 Auto Scaling lists: the types it knows, the account's limits, and every list page by page."""

import pytest
from botocore.exceptions import ClientError

from conftest import until

AMI = "ami-0123456789abcdef0"
ZONES = ["us-east-1a", "us-east-1b"]


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


@pytest.fixture
def group(autoscaling):
    """A group of three with a warm pool of two, settled."""
    autoscaling.create_launch_configuration(LaunchConfigurationName="lists", ImageId=AMI, InstanceType="t2.micro")
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="lists", LaunchConfigurationName="lists", MinSize=0, MaxSize=5, DesiredCapacity=3,
        AvailabilityZones=ZONES)
    autoscaling.put_warm_pool(AutoScalingGroupName="lists", PoolState="Running")

    def settled():
        states = sorted(i["LifecycleState"] for i in members(autoscaling) + pool(autoscaling))
        return states == ["InService"] * 3 + ["Warmed:Running"] * 2

    until(settled, "three in service and two in the pool")
    yield "lists"
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="lists", ForceDelete=True)
    until(lambda: not autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["lists"])["AutoScalingGroups"], "its end")
    autoscaling.delete_launch_configuration(LaunchConfigurationName="lists")


def members(autoscaling):
    return autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["lists"])["AutoScalingGroups"][0]["Instances"]


def pool(autoscaling):
    return autoscaling.describe_warm_pool(AutoScalingGroupName="lists")["Instances"]


def test_what_is_listed_as_a_type_is_accepted_and_nothing_else(autoscaling, group):
    here = {"AutoScalingGroupName": group}
    adjustments = [t["AdjustmentType"] for t in autoscaling.describe_adjustment_types()["AdjustmentTypes"]]
    assert adjustments == ["ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"]
    for kind in adjustments:
        autoscaling.put_scaling_policy(**here, PolicyName=kind, AdjustmentType=kind, ScalingAdjustment=1)
    refused("ValidationError", autoscaling.put_scaling_policy, **here, PolicyName="x", AdjustmentType="Double", ScalingAdjustment=1)

    processes = [p["ProcessName"] for p in autoscaling.describe_scaling_process_types()["Processes"]]
    assert processes == ["AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck", "InstanceRefresh", "Launch",
                         "ReplaceUnhealthy", "ScheduledActions", "Terminate"]
    autoscaling.suspend_processes(**here, ScalingProcesses=processes)
    described = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"][0]
    assert sorted(p["ProcessName"] for p in described["SuspendedProcesses"]) == sorted(processes)
    autoscaling.resume_processes(**here, ScalingProcesses=processes)
    refused("ValidationError", autoscaling.suspend_processes, **here, ScalingProcesses=["Think"])

    known = autoscaling.describe_metric_collection_types()
    assert [g["Granularity"] for g in known["Granularities"]] == ["1Minute"]
    metrics = {m["Metric"] for m in known["Metrics"]}
    states = {"InService", "Pending", "Standby", "Terminating", "Total"}
    pools = {"DesiredCapacity", "MinSize", "PendingCapacity", "TerminatingCapacity", "TotalCapacity", "WarmedCapacity",
             "PendingRetainedCapacity", "TerminatingRetainedCapacity"}
    assert metrics == ({f"Group{s}{unit}" for s in states for unit in ("Instances", "Capacity")} | {f"WarmPool{p}" for p in pools} | {
        "GroupMinSize", "GroupMaxSize", "GroupDesiredCapacity", "GroupTerminatingRetainedInstances",
        "GroupTerminatingRetainedCapacity", "GroupAndWarmPoolDesiredCapacity", "GroupAndWarmPoolTotalCapacity"})
    autoscaling.enable_metrics_collection(**here, Granularity="1Minute", Metrics=sorted(metrics))
    refused("ValidationError", autoscaling.enable_metrics_collection, **here, Granularity="1Minute", Metrics=["GroupMood"])
    refused("ValidationError", autoscaling.enable_metrics_collection, **here, Granularity="1Second")

    terminations = autoscaling.describe_termination_policy_types()["TerminationPolicyTypes"]
    assert set(terminations) == {"AllocationStrategy", "ClosestToNextInstanceHour", "Default", "NewestInstance", "OldestInstance",
                                 "OldestLaunchConfiguration", "OldestLaunchTemplate"}
    for policy in terminations:
        autoscaling.update_auto_scaling_group(**here, TerminationPolicies=[policy])
    refused("ValidationError", autoscaling.update_auto_scaling_group, **here, TerminationPolicies=["Youngest"])

    hooks = autoscaling.describe_lifecycle_hook_types()["LifecycleHookTypes"]
    assert hooks == ["autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"]
    for n, transition in enumerate(hooks):
        autoscaling.put_lifecycle_hook(**here, LifecycleHookName=f"hook{n}", LifecycleTransition=transition)
        autoscaling.delete_lifecycle_hook(**here, LifecycleHookName=f"hook{n}")
    refused("ValidationError", autoscaling.put_lifecycle_hook, **here, LifecycleHookName="x", LifecycleTransition="autoscaling:X")


def test_notification_types_are_those_that_can_be_asked_for(autoscaling, sns, group):
    types = autoscaling.describe_auto_scaling_notification_types()["AutoScalingNotificationTypes"]
    assert types == [f"autoscaling:{t}" for t in (
        "EC2_INSTANCE_LAUNCH", "EC2_INSTANCE_LAUNCH_ERROR", "EC2_INSTANCE_TERMINATE", "EC2_INSTANCE_TERMINATE_ERROR",
        "TEST_NOTIFICATION")]
    topic = sns.create_topic(Name="lists")["TopicArn"]
    autoscaling.put_notification_configuration(AutoScalingGroupName=group, TopicARN=topic, NotificationTypes=types)
    shown = autoscaling.describe_notification_configurations(AutoScalingGroupNames=[group])["NotificationConfigurations"]
    assert [c["NotificationType"] for c in shown] == types
    refused("ValidationError", autoscaling.put_notification_configuration, AutoScalingGroupName=group, TopicARN=topic,
            NotificationTypes=["autoscaling:X"])
    sns.delete_topic(TopicArn=topic)


def test_account_limits_count_what_there_is(autoscaling):
    def counts():
        limits = autoscaling.describe_account_limits()
        assert (limits["MaxNumberOfAutoScalingGroups"], limits["MaxNumberOfLaunchConfigurations"]) == (500, 200)
        return limits["NumberOfAutoScalingGroups"], limits["NumberOfLaunchConfigurations"]

    groups, configurations = counts()
    autoscaling.create_launch_configuration(LaunchConfigurationName="limits", ImageId=AMI, InstanceType="t2.micro")
    autoscaling.create_auto_scaling_group(AutoScalingGroupName="limits", LaunchConfigurationName="limits", MinSize=0, MaxSize=0,
                                          AvailabilityZones=ZONES)
    assert counts() == (groups + 1, configurations + 1)
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="limits")
    autoscaling.delete_launch_configuration(LaunchConfigurationName="limits")
    assert counts() == (groups, configurations)


def test_every_list_comes_in_pages(autoscaling, elbv2, ec2, sns, group):
    """Page by page is the same as at once; tokens that no answer gave are refused, and so are pages of no or of too many items."""
    here = {"AutoScalingGroupName": group}
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    targets = [elbv2.create_target_group(Name=f"lists-{n}", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
               for n in range(3)]
    autoscaling.attach_load_balancer_target_groups(**here, TargetGroupARNs=targets)
    topic = sns.create_topic(Name="lists")["TopicArn"]
    autoscaling.put_notification_configuration(**here, TopicARN=topic, NotificationTypes=[
        "autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_TERMINATE"])
    names = ["lists", "lists-a", "lists-b"]
    for name in names[1:]:
        autoscaling.create_launch_configuration(LaunchConfigurationName=name, ImageId=AMI, InstanceType="t2.micro")
        autoscaling.create_auto_scaling_group(AutoScalingGroupName=name, LaunchConfigurationName=name, MinSize=0, MaxSize=0,
                                              AvailabilityZones=ZONES)
    empty = {"AutoScalingGroupName": names[1]}
    for n in range(3):
        autoscaling.put_scaling_policy(**here, PolicyName=f"policy{n}", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1)
        autoscaling.put_scheduled_update_group_action(
            **here, ScheduledActionName=f"action{n}", Recurrence=f"{n} 8 * * *", DesiredCapacity=1)
        autoscaling.create_or_update_tags(Tags=[{
            "ResourceId": group, "ResourceType": "auto-scaling-group", "Key": f"key{n}", "Value": str(n), "PropagateAtLaunch": False}])
        # Nothing is to be replaced: over at once.
        autoscaling.start_instance_refresh(**empty)
        until(lambda: autoscaling.describe_instance_refreshes(**empty)["InstanceRefreshes"][0]["Status"] == "Successful",
              "the refresh of an empty group")
    ids = [i["InstanceId"] for i in members(autoscaling) + pool(autoscaling)]
    until(lambda: all(a["StatusCode"] == "Successful" for a in autoscaling.describe_scaling_activities(**here)["Activities"]),
          "the ends of the activities")
    tags = {"Filters": [{"Name": "auto-scaling-group", "Values": [group]}]}
    for n_least, key, call, arguments in [
        (3, "AutoScalingGroups", autoscaling.describe_auto_scaling_groups, {"AutoScalingGroupNames": names}),
        (5, "AutoScalingInstances", autoscaling.describe_auto_scaling_instances, {"InstanceIds": ids}),
        (3, "LaunchConfigurations", autoscaling.describe_launch_configurations, {"LaunchConfigurationNames": names}),
        (3, "LoadBalancerTargetGroups", autoscaling.describe_load_balancer_target_groups, here),
        (0, "Settings", autoscaling.describe_account_settings, {}),
        (0, "LoadBalancers", autoscaling.describe_load_balancers, here),
        (2, "NotificationConfigurations", autoscaling.describe_notification_configurations, {"AutoScalingGroupNames": names}),
        (3, "ScalingPolicies", autoscaling.describe_policies, here),
        (5, "Activities", autoscaling.describe_scaling_activities, here),
        (3, "ScheduledUpdateGroupActions", autoscaling.describe_scheduled_actions, here),
        (3, "Tags", autoscaling.describe_tags, tags),
        (3, "TrafficSources", autoscaling.describe_traffic_sources, here),
        (2, "Instances", autoscaling.describe_warm_pool, here),
        (3, "InstanceRefreshes", autoscaling.describe_instance_refreshes, empty),
    ]:
        whole = call(**arguments)
        assert len(whole[key]) >= n_least and "NextToken" not in whole, key
        seen, more = [], {}
        while True:
            page = call(**arguments, MaxRecords=2, **more)
            assert len(page[key]) <= 2
            seen += page[key]
            if "NextToken" not in page:
                break
            assert len(page[key]) == 2
            more = {"NextToken": page["NextToken"]}
        assert seen == whole[key], key
        for token in ("nonsense", "bm9uc2Vuc2U", "%%", "x" * 400):
            refused("InvalidNextToken", call, **arguments, NextToken=token)
        for n in (0, -1, 101):
            assert "MaxRecords" in refused("ValidationError", call, **arguments, MaxRecords=n)

    policies = autoscaling.describe_policies
    assert [p["PolicyName"] for p in policies(**here, PolicyNames=["policy1"])["ScalingPolicies"]] == ["policy1"]
    assert policies(**here, PolicyTypes=["StepScaling"])["ScalingPolicies"] == []
    assert len(policies(**here, PolicyTypes=["SimpleScaling"])["ScalingPolicies"]) == 3
    refused("ValidationError", policies, AutoScalingGroupName="none")
    for name in names[1:]:
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name)
        autoscaling.delete_launch_configuration(LaunchConfigurationName=name)
    autoscaling.detach_load_balancer_target_groups(**here, TargetGroupARNs=targets)
    until(lambda: not autoscaling.describe_load_balancer_target_groups(**here)["LoadBalancerTargetGroups"], "detachment")
    for arn in targets:
        elbv2.delete_target_group(TargetGroupArn=arn)
    sns.delete_topic(TopicArn=topic)


def test_a_page_goes_on_where_the_last_one_ended_although_that_has_gone(autoscaling):
    for name in ("gone-a", "gone-b", "gone-c"):
        autoscaling.create_launch_configuration(LaunchConfigurationName=name, ImageId=AMI, InstanceType="t2.micro")
    names = ["gone-a", "gone-b", "gone-c"]
    page = autoscaling.describe_launch_configurations(LaunchConfigurationNames=names, MaxRecords=2)
    autoscaling.delete_launch_configuration(LaunchConfigurationName="gone-b")
    rest = autoscaling.describe_launch_configurations(LaunchConfigurationNames=names, NextToken=page["NextToken"])
    assert [c["LaunchConfigurationName"] for c in rest["LaunchConfigurations"]] == ["gone-c"]
    for name in ("gone-a", "gone-c"):
        autoscaling.delete_launch_configuration(LaunchConfigurationName=name)


def test_tags_are_found_by_what_they_are(autoscaling):
    autoscaling.create_launch_configuration(LaunchConfigurationName="tags", ImageId=AMI, InstanceType="t2.micro")
    for name, stage in (("tags-a", "test"), ("tags-b", "live")):
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, LaunchConfigurationName="tags", MinSize=0, MaxSize=0, AvailabilityZones=ZONES, Tags=[
                {"Key": "tags-stage", "Value": stage, "PropagateAtLaunch": True},
                {"Key": "tags-owner", "Value": "me", "PropagateAtLaunch": False}])

    def found(**filters):
        given = [{"Name": k.replace("_", "-"), "Values": v} for k, v in filters.items()]
        tags = autoscaling.describe_tags(Filters=given)["Tags"]
        assert all(t["ResourceType"] == "auto-scaling-group" for t in tags)
        return [(t["ResourceId"], t["Key"], t["Value"], t["PropagateAtLaunch"]) for t in tags]

    live = ("tags-b", "tags-stage", "live", True)
    assert found(key=["tags-stage"]) == [("tags-a", "tags-stage", "test", True), live]
    assert found(key=["tags-stage", "tags-owner"], value=["live"]) == [live]
    assert found(auto_scaling_group=["tags-b"], propagate_at_launch=["true"]) == [live]
    assert len(found(key=["tags-owner"], propagate_at_launch=["false"])) == 2
    assert "colour" in refused("ValidationError", autoscaling.describe_tags, Filters=[{"Name": "colour", "Values": ["red"]}])

    def groups(name, *values):
        answer = autoscaling.describe_auto_scaling_groups(Filters=[{"Name": name, "Values": list(values)}])
        return [g["AutoScalingGroupName"] for g in answer["AutoScalingGroups"]]

    assert groups("tag-key", "tags-stage", "none") == ["tags-a", "tags-b"]
    assert groups("tag-value", "live") == groups("tag:tags-stage", "live", "none") == ["tags-b"]
    assert groups("tag:tags-owner", "live") == []
    refused("ValidationError", autoscaling.describe_auto_scaling_groups, Filters=[{"Name": "colour", "Values": ["red"]}])
    resource = {"ResourceId": "tags-b", "ResourceType": "auto-scaling-group"}
    # With a value, only a tag that has it goes.
    autoscaling.delete_tags(Tags=[{**resource, "Key": "tags-stage", "Value": "test"}])
    assert found(value=["live"]) == [live]
    autoscaling.delete_tags(Tags=[{**resource, "Key": "tags-stage"}])
    assert found(value=["live"]) == []
    refused("ValidationError", autoscaling.create_or_update_tags, Tags=[{**resource, "Key": "aws:x", "Value": ""}])
    for name in ("tags-a", "tags-b"):
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name)
    autoscaling.delete_launch_configuration(LaunchConfigurationName="tags")
