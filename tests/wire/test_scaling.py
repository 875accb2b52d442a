"""EC2 Auto Scaling through boto3: what a group does when its settings, policies and members change."""

import json
import time

import pytest
from botocore.exceptions import ClientError

from conftest import until

AMI = "ami-0123456789abcdef0"
ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]


@pytest.fixture(scope="module", autouse=True)
def configuration(autoscaling):
    autoscaling.create_launch_configuration(LaunchConfigurationName="scaling", ImageId=AMI, InstanceType="t2.micro")


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


class Group:
    """A group over three zones that is gone after the test."""

    def __init__(self, client, name, sizes, **more):
        self.client, self.name = client, name
        low, high, wanted = sizes
        client.create_auto_scaling_group(
            AutoScalingGroupName=name, LaunchConfigurationName="scaling", MinSize=low, MaxSize=high,
            DesiredCapacity=wanted, AvailabilityZones=ZONES, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.delete_auto_scaling_group(AutoScalingGroupName=self.name, ForceDelete=True)
        until(lambda: not self.exists(), f"the end of {self.name}")

    def exists(self):
        return self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]

    def now(self):
        return self.exists()[0]

    def instances(self, state="InService"):
        return [i for i in self.now()["Instances"] if i["LifecycleState"] == state]

    def settled(self, n):
        def check():
            g = self.now()
            return len(g["Instances"]) == n and all(
                i["LifecycleState"] == "InService" and i["HealthStatus"] == "Healthy" for i in g["Instances"])
        until(check, f"{n} instances in service in {self.name}")
        return self.now()["Instances"]

    def activities(self):
        return self.client.describe_scaling_activities(AutoScalingGroupName=self.name)["Activities"]


def test_a_group_lives_grows_shrinks_and_goes(autoscaling, ec2):
    with Group(autoscaling, "life", (0, 6, 3), Tags=[
            {"Key": "role", "Value": "web", "PropagateAtLaunch": True}]) as g:
        members = g.settled(3)
        assert sorted(i["AvailabilityZone"] for i in members) == ZONES
        tags = ec2.describe_instances(InstanceIds=[members[0]["InstanceId"]])["Reservations"][0]["Instances"][0]["Tags"]
        tags = {t["Key"]: t["Value"] for t in tags}
        assert tags["aws:autoscaling:groupName"] == "life" and tags["role"] == "web"
        first = g.activities()[-1]
        assert first["StatusCode"] == "Successful" and first["Progress"] == 100
        assert "a user request created an AutoScalingGroup changing the desired capacity from 0 to 3.  At " in first["Cause"]
        assert set(json.loads(first["Details"])) == {"Subnet ID", "Availability Zone"}

        autoscaling.set_desired_capacity(AutoScalingGroupName="life", DesiredCapacity=5)
        g.settled(5)
        autoscaling.update_auto_scaling_group(AutoScalingGroupName="life", MaxSize=2)
        g.settled(2)
        assert g.now()["DesiredCapacity"] == 2 and g.now()["MinSize"] == 0
        cause = g.activities()[0]["Cause"]
        assert "update of AutoScalingGroup constraints to min: 0, max: 2, desired: 2 changing the desired capacity from 5 to 2" in cause
        assert cause.endswith("was selected for termination.")
        refused("ValidationError", autoscaling.set_desired_capacity, AutoScalingGroupName="life", DesiredCapacity=3)
        refused("ResourceInUse", autoscaling.delete_auto_scaling_group, AutoScalingGroupName="life")

        pages = autoscaling.get_paginator("describe_scaling_activities").paginate(
            AutoScalingGroupName="life", PaginationConfig={"PageSize": 3})
        seen = [a["ActivityId"] for page in pages for a in page["Activities"]]
        assert len(seen) == len(set(seen)) == 8
    assert autoscaling.describe_scaling_activities(
        AutoScalingGroupName="life", IncludeDeletedGroups=True)["Activities"]


def test_an_empty_group_goes_at_once(autoscaling):
    group = Group(autoscaling, "empty", (0, 1, 0))
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="empty")
    assert not group.exists()


def test_instances_that_die_or_are_called_unhealthy_are_replaced(autoscaling, ec2):
    with Group(autoscaling, "heal", (2, 2, 2)) as g:
        one, two = [i["InstanceId"] for i in g.settled(2)]
        ec2.terminate_instances(InstanceIds=[one])
        until(lambda: one not in [i["InstanceId"] for i in g.now()["Instances"]], "the end of the dead one")
        g.settled(2)
        autoscaling.set_instance_health(InstanceId=two, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
        until(lambda: two not in [i["InstanceId"] for i in g.now()["Instances"]], "the end of the unhealthy one")
        g.settled(2)
        causes = " ".join(a["Cause"] for a in g.activities())
        assert "EC2 health check indicating it has been terminated or stopped" in causes
        assert "in response to a user health-check" in causes
        assert "an unhealthy instance needing to be replaced" in causes


def test_members_are_moved_by_hand(autoscaling, ec2):
    with Group(autoscaling, "move", (1, 4, 3)) as g:
        a, b, c = sorted(i["InstanceId"] for i in g.settled(3))
        answer = autoscaling.enter_standby(
            AutoScalingGroupName="move", InstanceIds=[a], ShouldDecrementDesiredCapacity=True)
        assert answer["Activities"][0]["Description"] == f"Moving EC2 instance to Standby: {a}"
        until(lambda: g.instances("Standby"), "standby")
        assert g.now()["DesiredCapacity"] == 2
        autoscaling.exit_standby(AutoScalingGroupName="move", InstanceIds=[a])
        g.settled(3)
        assert g.now()["DesiredCapacity"] == 3

        autoscaling.detach_instances(
            AutoScalingGroupName="move", InstanceIds=[b], ShouldDecrementDesiredCapacity=True)
        g.settled(2)
        left = ec2.describe_instances(InstanceIds=[b])["Reservations"][0]["Instances"][0]
        assert left["State"]["Name"] == "running"
        assert "aws:autoscaling:groupName" not in [t["Key"] for t in left.get("Tags", [])]
        autoscaling.attach_instances(AutoScalingGroupName="move", InstanceIds=[b])
        g.settled(3)
        refused("ValidationError", autoscaling.attach_instances, AutoScalingGroupName="move", InstanceIds=[b])

        autoscaling.set_instance_protection(
            AutoScalingGroupName="move", InstanceIds=[a, b], ProtectedFromScaleIn=True)
        autoscaling.set_desired_capacity(AutoScalingGroupName="move", DesiredCapacity=2)
        assert {i["InstanceId"] for i in g.settled(2)} == {a, b}
        answer = autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=a, ShouldDecrementDesiredCapacity=True)
        assert answer["Activity"]["Description"] == f"Terminating EC2 instance: {a}"
        assert answer["Activity"]["Cause"].endswith("shrinking the capacity from 2 to 1.")
        assert [i["InstanceId"] for i in g.settled(1)] == [b]
        refused("ValidationError", autoscaling.terminate_instance_in_auto_scaling_group,
                InstanceId=b, ShouldDecrementDesiredCapacity=True)
        refused("ValidationError", autoscaling.terminate_instance_in_auto_scaling_group,
                InstanceId="i-00000000000000000", ShouldDecrementDesiredCapacity=True)


def test_suspended_processes_do_not_act(autoscaling):
    with Group(autoscaling, "still", (0, 3, 1)) as g:
        g.settled(1)
        autoscaling.suspend_processes(AutoScalingGroupName="still", ScalingProcesses=["Launch"])
        autoscaling.set_desired_capacity(AutoScalingGroupName="still", DesiredCapacity=2)
        # A group that wants its instance later has it: by then this one has been looked at, too.
        with Group(autoscaling, "witness", (0, 1, 1)) as witness:
            witness.settled(1)
        assert len(g.now()["Instances"]) == 1
        autoscaling.resume_processes(AutoScalingGroupName="still")
        g.settled(2)


@pytest.mark.parametrize("aggregation,capacity", [("Minimum", 2), (None, 3), ("Maximum", 4)])
def test_steps_look_at_the_aggregated_datapoints_of_the_alarm(autoscaling, cloudwatch, aggregation, capacity):
    name = f"steps-{aggregation}"
    with Group(autoscaling, name, (1, 8, 1)) as g:
        g.settled(1)
        # In the next minute the alarm would look at others of these datapoints.
        until(lambda: time.time() % 60 < 40, "a minute with time left")
        minute = int(time.time()) // 60 * 60
        data = [{"MetricName": name, "Timestamp": minute - 60 * age, "Value": value}
                for age, value in [(4, 90.0), (3, 65.0), (2, 55.0), (1, 55.0)]]
        cloudwatch.put_metric_data(Namespace="Steps", MetricData=data)
        more = {"MetricAggregationType": aggregation} if aggregation else {}
        policy = autoscaling.put_scaling_policy(
            AutoScalingGroupName=name, PolicyName="steps", PolicyType="StepScaling",
            AdjustmentType="ChangeInCapacity", EstimatedInstanceWarmup=0, **more,
            StepAdjustments=[{"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
                             {"MetricIntervalLowerBound": 10, "MetricIntervalUpperBound": 30, "ScalingAdjustment": 2},
                             {"MetricIntervalLowerBound": 30, "ScalingAdjustment": 3}])["PolicyARN"]
        cloudwatch.put_metric_alarm(
            AlarmName=name, Namespace="Steps", MetricName=name, Statistic="Average", Period=60, EvaluationPeriods=4,
            Threshold=50.0, ComparisonOperator="GreaterThanThreshold", AlarmActions=[policy])
        until(lambda: g.now()["DesiredCapacity"] == capacity, f"a capacity of {capacity}")
        cloudwatch.delete_alarms(AlarmNames=[name])


def test_policies_act_when_they_are_executed(autoscaling):
    with Group(autoscaling, "policies", (1, 8, 2)) as g:
        g.settled(2)
        autoscaling.put_scaling_policy(
            AutoScalingGroupName="policies", PolicyName="steps", PolicyType="StepScaling",
            AdjustmentType="ChangeInCapacity", EstimatedInstanceWarmup=0,
            StepAdjustments=[{"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
                             {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 3}])
        step = {"AutoScalingGroupName": "policies", "PolicyName": "steps", "BreachThreshold": 50.0}
        autoscaling.execute_policy(MetricValue=65.0, **step)
        g.settled(5)
        assert "a user request executed policy steps changing the desired capacity from 2 to 5." in g.activities()[0]["Cause"]
        refused("ValidationError", autoscaling.execute_policy, MetricValue=45.0, **step)
        autoscaling.put_scaling_policy(
            AutoScalingGroupName="policies", PolicyName="less", AdjustmentType="PercentChangeInCapacity",
            ScalingAdjustment=-50, Cooldown=300)
        autoscaling.execute_policy(AutoScalingGroupName="policies", PolicyName="less")
        # -2.5 is rounded towards zero.
        g.settled(3)
        until(lambda: all(a["StatusCode"] == "Successful" for a in g.activities()), "the ends of the activities")
        refused("ScalingActivityInProgress", autoscaling.execute_policy,
                AutoScalingGroupName="policies", PolicyName="less", HonorCooldown=True)


def test_target_tracking_makes_alarms_and_reacts_within_seconds(autoscaling, cloudwatch):
    tags = {"puffer:metric-period": "1", "puffer:scale-out-datapoints": "2", "puffer:scale-in-datapoints": "3"}
    with Group(autoscaling, "track", (1, 4, 1), DefaultInstanceWarmup=0) as g:
        g.settled(1)
        made = autoscaling.put_scaling_policy(
            AutoScalingGroupName="track", PolicyName="queue", PolicyType="TargetTrackingScaling",
            TargetTrackingConfiguration={"TargetValue": 10.0, "CustomizedMetricSpecification": {
                "Namespace": "Test", "MetricName": "Backlog", "Statistic": "Average",
                "Dimensions": [{"Name": "Group", "Value": "track"}]}})
        names = [a["AlarmName"] for a in made["Alarms"]]
        assert names[0].startswith("TargetTracking-track-AlarmHigh-") and names[1].startswith("TargetTracking-track-AlarmLow-")

        def alarms():
            found = {a["AlarmName"]: a for a in cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]}
            return [found[n] for n in names]

        high, low = alarms()
        assert (high["Threshold"], high["Period"], high["EvaluationPeriods"]) == (10.0, 60, 3)
        assert (low["Threshold"], low["Period"], low["EvaluationPeriods"]) == (7.0, 60, 15)
        resource = {"ResourceId": "track", "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
        message = refused("ValidationError", autoscaling.create_or_update_tags,
                          Tags=[{**resource, "Key": "puffer:metric-period", "Value": "61"}])
        assert "puffer:metric-period" in message and "1 to 60" in message
        message = refused("ValidationError", autoscaling.create_or_update_tags,
                          Tags=[{**resource, "Key": "puffer:metric-periods", "Value": "1"}])
        assert "puffer:metric-periods" in message and "puffer:scale-in-cooldown" in message, "a slip of the pen is told"
        autoscaling.create_or_update_tags(Tags=[{**resource, "Key": k, "Value": v} for k, v in tags.items()])
        high, low = alarms()
        assert (high["Period"], high["EvaluationPeriods"], low["EvaluationPeriods"]) == (1, 2, 3)

        def load(value, wanted, limit_s=20):
            def check():
                cloudwatch.put_metric_data(Namespace="Test", MetricData=[{
                    "MetricName": "Backlog", "Dimensions": [{"Name": "Group", "Value": "track"}],
                    "Value": value, "StorageResolution": 1}])
                return g.now()["DesiredCapacity"] == wanted
            until(check, f"{wanted} instances at {value}", limit_s, 0.2)

        load(25.0, 3)
        g.settled(3)
        cause = g.activities()[0]["Cause"]
        assert f"a monitor alarm {names[0]} in state ALARM triggered policy queue changing the desired capacity from 1 to 3." in cause
        load(0.5, 1)
        g.settled(1)
        autoscaling.delete_policy(AutoScalingGroupName="track", PolicyName="queue")
        assert not cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]


def test_target_groups_follow_the_members(autoscaling, elbv2, ec2):
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    arn = elbv2.create_target_group(Name="scaling", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]

    def targets():
        return {t["Target"]["Id"] for t in elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]}

    with Group(autoscaling, "traffic", (0, 3, 2), TargetGroupARNs=[arn]) as g:
        members = {i["InstanceId"] for i in g.settled(2)}
        assert targets() == members
        autoscaling.set_desired_capacity(AutoScalingGroupName="traffic", DesiredCapacity=1)
        left = {i["InstanceId"] for i in g.settled(1)}
        assert targets() == left
        autoscaling.detach_load_balancer_target_groups(AutoScalingGroupName="traffic", TargetGroupARNs=[arn])
        until(lambda: not targets(), "the end of the registrations")
        until(lambda: not autoscaling.describe_traffic_sources(AutoScalingGroupName="traffic")["TrafficSources"], "detachment")
        autoscaling.attach_traffic_sources(
            AutoScalingGroupName="traffic", TrafficSources=[{"Identifier": arn, "Type": "elbv2"}])
        until(lambda: len(targets()) == 1, "registration")
    elbv2.delete_target_group(TargetGroupArn=arn)


def test_request_counts_are_those_of_an_attached_target_group(autoscaling, elbv2, ec2, cloudwatch):
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]]
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    lb = elbv2.create_load_balancer(Name="counted", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    tg = elbv2.create_target_group(Name="counted", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
    label = lb.split(":loadbalancer/")[1] + "/" + tg.split(":")[-1]

    def put(label):
        return dict(AutoScalingGroupName="counted", PolicyName="requests", PolicyType="TargetTrackingScaling",
                    TargetTrackingConfiguration={"TargetValue": 100.0, "PredefinedMetricSpecification": {
                        "PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label}})

    with Group(autoscaling, "counted", (0, 3, 0)) as g:
        message = refused("ValidationError", autoscaling.put_scaling_policy, **put(label))
        assert "not attached" in message
        pair = {"PredictiveScalingConfiguration": {"MetricSpecifications": [{
            "TargetValue": 100.0, "PredefinedMetricPairSpecification": {
                "PredefinedMetricType": "ALBRequestCount", "ResourceLabel": label}}]}}
        message = refused("ValidationError", autoscaling.put_scaling_policy, AutoScalingGroupName="counted",
                          PolicyName="forecast", PolicyType="PredictiveScaling", **pair)
        assert "not attached" in message
        autoscaling.attach_load_balancer_target_groups(AutoScalingGroupName="counted", TargetGroupARNs=[tg])
        wrong = label.replace("app/counted/", "app/other/")
        assert "does not exist" in refused("ValidationError", autoscaling.put_scaling_policy, **put(wrong))
        made = autoscaling.put_scaling_policy(**put(label))
        # The same again changes nothing; another target changes the alarms that are there.
        assert autoscaling.put_scaling_policy(**put(label))["Alarms"] == made["Alarms"]
        names = [a["AlarmName"] for a in made["Alarms"]]
        history = cloudwatch.describe_alarm_history(AlarmName=names[0], HistoryItemType="ConfigurationUpdate")
        assert [i["HistorySummary"] for i in history["AlarmHistoryItems"]] == [f'Alarm "{names[0]}" created']
        autoscaling.delete_policy(AutoScalingGroupName=g.name, PolicyName="requests")
        history = cloudwatch.describe_alarm_history(AlarmName=names[0], HistoryItemType="ConfigurationUpdate")
        assert f'Alarm "{names[0]}" deleted' in [i["HistorySummary"] for i in history["AlarmHistoryItems"]]
    elbv2.delete_load_balancer(LoadBalancerArn=lb)
    elbv2.delete_target_group(TargetGroupArn=tg)


def test_honoring_the_cooldown_names_what_blocks(autoscaling):
    with Group(autoscaling, "cooling", (0, 3, 1), DefaultCooldown=300) as g:
        g.settled(1)
        activity = g.activities()[0]["ActivityId"]
        message = refused("ScalingActivityInProgress", autoscaling.set_desired_capacity,
                          AutoScalingGroupName="cooling", DesiredCapacity=2, HonorCooldown=True)
        assert message == f"Scaling activity {activity} is in progress and blocks this action"
        autoscaling.set_desired_capacity(AutoScalingGroupName="cooling", DesiredCapacity=2)
        g.settled(2)


def test_metrics_that_cannot_be_evaluated_are_refused(autoscaling):
    stat = {"Id": "m1", "ReturnData": False, "MetricStat": {
        "Metric": {"Namespace": "Jobs", "MetricName": "Backlog"}, "Stat": "Average"}}
    with Group(autoscaling, "maths", (0, 3, 0)):
        for metrics, part in [
            ([stat, {"Id": "e1", "Expression": "m1 /"}], "syntax error"),
            ([stat, {"Id": "e1", "Expression": "SEARCH('Jobs', 'Sum', 60)"}], "SEARCH"),
            ([stat, {"Id": "m1", "Expression": "m1"}], "used twice"),
            ([{**stat, "MetricStat": {**stat["MetricStat"], "Stat": "Foo"}}, {"Id": "e1", "Expression": "m1"}], "Foo"),
        ]:
            message = refused(
                "ValidationError", autoscaling.put_scaling_policy, AutoScalingGroupName="maths", PolicyName="maths",
                PolicyType="TargetTrackingScaling", TargetTrackingConfiguration={
                    "TargetValue": 10.0, "CustomizedMetricSpecification": {"Metrics": metrics}})
            assert part in message


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(new_server):
    server = new_server("--any-image", "--boot-time", "20")
    client = server.client("autoscaling")
    client.create_launch_configuration(LaunchConfigurationName="scaling", ImageId=AMI, InstanceType="t2.micro")
    group = Group(client, "crash", (0, 40, 20))
    for wanted in (30, 5, 40, 12):
        client.set_desired_capacity(AutoScalingGroupName="crash", DesiredCapacity=wanted)
        server.kill()
        server.start()
        group.client = client = server.client("autoscaling")
    members = {i["InstanceId"] for i in group.settled(12)}
    reservations = server.client("ec2").describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}])["Reservations"]
    assert {i["InstanceId"] for r in reservations for i in r["Instances"]} == members
