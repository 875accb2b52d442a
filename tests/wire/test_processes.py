"""What each process does, shown by what does not happen while it is suspended.

Two groups get the same treatment, first the one whose process is suspended. When the other has reacted, the first would have, too.
"""

import datetime

import pytest

from conftest import until

AMI = "ami-0123456789abcdef0"


@pytest.fixture(scope="module", autouse=True)
def configuration(autoscaling):
    autoscaling.create_launch_configuration(LaunchConfigurationName="processes", ImageId=AMI, InstanceType="t2.micro")


class Group:
    def __init__(self, client, name, size, settings):
        self.client, self.name = client, name
        settings = {"MinSize": 0, "MaxSize": 5, "DefaultCooldown": 0, "AvailabilityZones": ["us-east-1a"], **settings}
        client.create_auto_scaling_group(
            AutoScalingGroupName=name, LaunchConfigurationName="processes", DesiredCapacity=size, **settings)
        self.settled(size)

    def now(self):
        return self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"][0]

    def members(self):
        return {i["InstanceId"]: i for i in self.now()["Instances"]}

    def settled(self, n):
        def look():
            found = self.members().values()
            return len(found) == n and all(i["LifecycleState"] == "InService" for i in found)

        until(look, f"{n} in service in {self.name}")
        return sorted(self.members())

    def at_rest(self):
        """No activity goes on: a simple policy would wait for its end."""
        until(lambda: all(a["StatusCode"] == "Successful" for a in self.client.describe_scaling_activities(
            AutoScalingGroupName=self.name)["Activities"]), f"the ends of {self.name}'s activities")

    def zones(self):
        return sorted(i["AvailabilityZone"] for i in self.members().values() if i["LifecycleState"] == "InService")

    def size(self, n):
        self.client.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=n)

    def call_unhealthy(self, instance):
        self.client.set_instance_health(InstanceId=instance, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)

    def resume(self, process):
        self.client.resume_processes(AutoScalingGroupName=self.name, ScalingProcesses=[process])
        assert self.now()["SuspendedProcesses"] == []


@pytest.fixture
def twins(autoscaling):
    """Makes two groups; the first has the process suspended, once it has settled."""
    made = []

    def make(process, size, **settings):
        made.extend(Group(autoscaling, f"{process.lower()}-{kind}", size, settings) for kind in ("still", "free"))
        autoscaling.suspend_processes(AutoScalingGroupName=made[0].name, ScalingProcesses=[process])
        shown = made[0].now()["SuspendedProcesses"]
        assert [p["ProcessName"] for p in shown] == [process] and shown[0]["SuspensionReason"].startswith("User suspended at ")
        return made

    yield make
    for group in made:
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=group.name, ForceDelete=True)
    names = [group.name for group in made]
    until(lambda: not autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=names)["AutoScalingGroups"], "the groups' end")


def test_launch(twins):
    """Without it a group does not grow; an instance that is not healthy ends all the same, and nothing takes its place."""
    still, free = twins("Launch", 1)
    for group in (still, free):
        group.size(2)
    free.settled(2)
    victim, = still.settled(1)
    still.call_unhealthy(victim)
    still.settled(0)
    other = free.settled(2)[0]
    free.call_unhealthy(other)
    until(lambda: other not in free.members() and len(free.members()) == 2, "the free group's replacement")
    assert still.members() == {}
    still.resume("Launch")
    still.settled(2)


def test_terminate(twins):
    """Without it a group does not shrink, and an instance found unhealthy stays, marked."""
    still, free = twins("Terminate", 3)
    victims = [group.settled(3)[0] for group in (still, free)]
    for group, victim in zip((still, free), victims):
        group.size(2)
        group.call_unhealthy(victim)
    until(lambda: victims[1] not in free.members() and len(free.members()) == 2, "the free group's reaction")
    seen = still.members()
    assert len(seen) == 3 and seen[victims[0]]["HealthStatus"] == "Unhealthy"
    assert {i["LifecycleState"] for i in seen.values()} == {"InService"}
    still.resume("Terminate")
    assert victims[0] not in until(lambda: len(still.members()) == 2 and still.members(), "the end of the unhealthy one")


def test_health_check(twins, ec2):
    """Without it nobody looks; what the user says of an instance still holds."""
    still, free = twins("HealthCheck", 2)
    victims = [group.settled(2)[0] for group in (still, free)]
    ec2.stop_instances(InstanceIds=victims)
    until(lambda: victims[1] not in free.members(), "the free group's reaction")
    seen = still.members()
    assert {i["HealthStatus"] for i in seen.values()} == {"Healthy"} and victims[0] in seen
    called = next(i for i in seen if i != victims[0])
    still.call_unhealthy(called)
    until(lambda: called not in still.members(), "the end of the one that is called unhealthy")
    assert victims[0] in still.members()
    still.resume("HealthCheck")
    until(lambda: victims[0] not in still.members(), "the end of the stopped one")


def test_replace_unhealthy(twins):
    """Without it unhealthy instances are marked and stay."""
    still, free = twins("ReplaceUnhealthy", 1)
    victims = [group.settled(1)[0] for group in (still, free)]
    for group, victim in zip((still, free), victims):
        group.call_unhealthy(victim)
    until(lambda: victims[1] not in free.members(), "the free group's replacement")
    assert [(i, m["HealthStatus"], m["LifecycleState"]) for i, m in still.members().items()] == [
        (victims[0], "Unhealthy", "InService")]
    # A group that shrinks lets the unhealthy one go first, and that is not this process.
    still.size(2)
    kept = next(i for i in still.settled(2) if i != victims[0])
    still.size(1)
    until(lambda: list(still.members()) == [kept], "the end of the unhealthy one")
    still.call_unhealthy(kept)
    still.resume("ReplaceUnhealthy")
    until(lambda: kept not in still.members(), "the replacement")


def test_az_rebalance(twins, autoscaling):
    """Without it a group that got a second zone leaves its instances where they are."""
    still, free = twins("AZRebalance", 2)
    for group in (still, free):
        autoscaling.update_auto_scaling_group(AutoScalingGroupName=group.name, AvailabilityZones=["us-east-1a", "us-east-1b"])
    until(lambda: free.zones() == ["us-east-1a", "us-east-1b"], "the free group's balance")
    assert still.zones() == ["us-east-1a", "us-east-1a"]
    # New instances go where few are, even so.
    still.size(3)
    until(lambda: still.zones() == ["us-east-1a", "us-east-1a", "us-east-1b"], "the third")
    still.size(4)
    until(lambda: still.zones() == ["us-east-1a", "us-east-1a", "us-east-1b", "us-east-1b"], "the fourth")


def test_alarm_notification(twins, autoscaling, cloudwatch):
    """Without it alarms set no policy off; users still can."""
    still, free = twins("AlarmNotification", 1)
    for group in (still, free):
        group.at_rest()
        policy = autoscaling.put_scaling_policy(
            AutoScalingGroupName=group.name, PolicyName="more", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1, Cooldown=0)
        cloudwatch.put_metric_alarm(
            AlarmName=group.name, Namespace="Processes", MetricName=group.name, Statistic="Sum", Period=60, EvaluationPeriods=1,
            Threshold=1, ComparisonOperator="GreaterThanThreshold", AlarmActions=[policy["PolicyARN"]])

    def alarm(group):
        for state in ("OK", "ALARM"):
            cloudwatch.set_alarm_state(AlarmName=group.name, StateValue=state, StateReason="a test")

    alarm(still)
    alarm(free)
    free.settled(2)
    assert still.now()["DesiredCapacity"] == 1
    history = cloudwatch.describe_alarm_history(AlarmName=still.name, HistoryItemType="Action")["AlarmHistoryItems"]
    autoscaling.execute_policy(AutoScalingGroupName=still.name, PolicyName="more")
    still.settled(2)
    still.at_rest()
    still.resume("AlarmNotification")
    alarm(still)
    still.settled(3)
    assert len(cloudwatch.describe_alarm_history(AlarmName=still.name, HistoryItemType="Action")["AlarmHistoryItems"]) > len(history)
    cloudwatch.delete_alarms(AlarmNames=[still.name, free.name])


def test_scheduled_actions(twins, autoscaling):
    """Without it their time passes, and what was missed is not made up for."""
    still, free = twins("ScheduledActions", 0)
    start = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)
    for group in (still, free):
        autoscaling.put_scheduled_update_group_action(
            AutoScalingGroupName=group.name, ScheduledActionName="once", StartTime=start, DesiredCapacity=1)
    free.settled(1)
    until(lambda: not autoscaling.describe_scheduled_actions(AutoScalingGroupName=still.name)["ScheduledUpdateGroupActions"],
          "the time of the action")
    still.resume("ScheduledActions")
    free.size(0)
    free.settled(0)
    assert still.now()["DesiredCapacity"] == 0 and still.members() == {}


def test_add_to_load_balancer(twins, autoscaling, elbv2, ec2):
    """Without it new instances are not registered, and are not later on either."""
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    arn = elbv2.create_target_group(Name="processes", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]

    def targets():
        return {t["Target"]["Id"] for t in elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]}

    still, free = twins("AddToLoadBalancer", 1, TargetGroupARNs=[arn])
    first = still.settled(1)
    for group in (still, free):
        group.size(2)
    unseen = set(still.settled(2)) - set(first)
    until(lambda: targets() >= set(free.settled(2)), "the free group's targets")
    assert not targets() & unseen and set(first) <= targets()
    still.resume("AddToLoadBalancer")
    still.size(3)
    until(lambda: len(targets() & set(still.settled(3))) == 2, "the third instance's registration")
    assert not targets() & unseen
    for group in (still, free):
        autoscaling.detach_load_balancer_target_groups(AutoScalingGroupName=group.name, TargetGroupARNs=[arn])
    until(lambda: not targets(), "the end of the registrations")
    elbv2.delete_target_group(TargetGroupArn=arn)
