"""What replaces instances, through boto3: instance refresh, maintenance policy, maximum lifetime."""

import json
import subprocess

import pytest
from botocore.exceptions import ClientError

from conftest import PUFFER, until

ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
OLD, NEW = "ami-0123456789abcdef0", "ami-0fedcba9876543210"
ACTIVE = {"Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"}


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


class Fleet:
    """A group from version 1 of a template of its own that has a second version, too."""

    def __init__(self, autoscaling, ec2, name, size, version="1", **settings):
        self.autoscaling, self.ec2, self.name = autoscaling, ec2, name
        self.template = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={
            "ImageId": OLD, "InstanceType": "t2.micro"})["LaunchTemplate"]["LaunchTemplateId"]
        ec2.create_launch_template_version(LaunchTemplateId=self.template, LaunchTemplateData={
            "ImageId": NEW, "InstanceType": "t2.micro"})
        settings = {"MinSize": 0, "MaxSize": size, "DesiredCapacity": size, "AvailabilityZones": ZONES, **settings}
        autoscaling.create_auto_scaling_group(AutoScalingGroupName=name, LaunchTemplate=self.spec(version), **settings)
        self.settled(size)

    def spec(self, version):
        return {"LaunchTemplateId": self.template, "Version": version}

    def now(self):
        return self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"][0]

    def instances(self):
        return self.now()["Instances"]

    def ids(self):
        return {i["InstanceId"] for i in self.instances()}

    def images(self):
        return sorted(i["ImageId"] for i in self.instances())

    def settled(self, n):
        def check():
            found = self.instances()
            return len(found) == n and all(i["LifecycleState"] == "InService" for i in found)
        until(check, f"{n} instances of {self.name}")
        return self.ids()

    def start(self, version=None, **preferences):
        more = {"DesiredConfiguration": {"LaunchTemplate": self.spec(version)}} if version else {}
        preferences = {"InstanceWarmup": 0, **preferences}
        return self.autoscaling.start_instance_refresh(
            AutoScalingGroupName=self.name, Preferences=preferences, **more)["InstanceRefreshId"]

    def refresh(self, id=None):
        ids = {"InstanceRefreshIds": [id]} if id else {}
        return self.autoscaling.describe_instance_refreshes(AutoScalingGroupName=self.name, **ids)["InstanceRefreshes"][0]

    def followed(self, least=0, most=None):
        """Polls until the refresh is over; checks sizes and progress at each poll."""
        seen = []

        def over():
            shown, found = self.refresh(), self.instances()
            serving = [i for i in found if i["LifecycleState"] == "InService"]
            coming = [i for i in found if i["LifecycleState"].startswith("Pending")]
            assert len(serving) >= least, found
            assert most is None or len(serving) + len(coming) <= most, found
            if shown["Status"] in ("InProgress", "RollbackInProgress"):
                seen.append((shown["PercentageComplete"], shown["InstancesToUpdate"]))
            return shown["Status"] not in ACTIVE
        until(over, f"the end of the refresh of {self.name}", 60, 0.02)
        return self.refresh(), seen

    def causes(self):
        activities = self.autoscaling.describe_scaling_activities(AutoScalingGroupName=self.name)["Activities"]
        return [(a["Description"], a["Cause"]) for a in activities]

    def end(self):
        self.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=self.name, ForceDelete=True)
        until(lambda: not self.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=[self.name])["AutoScalingGroups"], f"the end of {self.name}")
        self.ec2.delete_launch_template(LaunchTemplateId=self.template)


@pytest.fixture
def fleet(autoscaling, ec2):
    made = []

    def make(name, size, **settings):
        made.append(Fleet(autoscaling, ec2, name, size, **settings))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_a_refresh_replaces_everything_and_saves_its_configuration(fleet):
    f = fleet("refresh-all", 4)
    before = f.ids()
    id = f.start("2")
    message = refused("InstanceRefreshInProgress", f.start)
    assert "already in progress" in message
    shown, seen = f.followed(least=3, most=4)
    assert (shown["Status"], shown["PercentageComplete"], shown["InstancesToUpdate"]) == ("Successful", 100, 0)
    assert shown["InstanceRefreshId"] == id and shown["EndTime"] >= shown["StartTime"]
    assert shown["Preferences"]["MinHealthyPercentage"] == 90 and "MaxHealthyPercentage" not in shown["Preferences"]
    assert shown["Preferences"]["ScaleInProtectedInstances"] == shown["Preferences"]["StandbyInstances"] == "Wait"
    assert shown["DesiredConfiguration"]["LaunchTemplate"]["Version"] == "2"
    assert all(percent == 100 * (4 - left) // 4 for percent, left in seen), seen
    assert [p for p, _ in seen] == sorted(p for p, _ in seen)
    assert not before & f.settled(4)
    assert f.images() == [NEW] * 4
    assert f.now()["LaunchTemplate"]["Version"] == "2"
    causes = f.causes()
    gone = [c for d, c in causes if d.startswith("Terminating")]
    assert len(gone) == 4 and all("taken out of service in response to an instance refresh." in c for c in gone), causes
    assert sum("an instance was started in response to an instance refresh." in c for _, c in causes) == 4


def test_launch_before_terminate_and_zero_downtime(fleet):
    f = fleet("refresh-ahead", 3)
    f.start("2", MinHealthyPercentage=100, MaxHealthyPercentage=134)
    shown, _ = f.followed(least=3, most=5)
    assert shown["Status"] == "Successful"
    f.settled(3)
    assert f.images() == [NEW] * 3
    zones = sorted(i["AvailabilityZone"] for i in f.instances())
    assert zones == ZONES


def test_skip_matching_leaves_what_fits(fleet):
    f = fleet("refresh-skip", 3)
    before = f.ids()
    f.start(SkipMatching=True)
    shown, _ = f.followed()
    assert shown["Status"] == "Successful" and f.ids() == before
    f.start("2", SkipMatching=True, MinHealthyPercentage=0)
    assert f.followed()[0]["Status"] == "Successful"
    after = f.settled(3)
    assert not after & before
    f.start("2", SkipMatching=True)
    assert f.followed()[0]["Status"] == "Successful" and f.ids() == after


def test_checkpoints_rollback_and_scale_out_meanwhile(fleet):
    f = fleet("refresh-checkpoint", 4, MaxSize=6)
    id = f.start("2", MinHealthyPercentage=0, CheckpointPercentages=[50, 100], CheckpointDelay=3600)
    until(lambda: "checkpoint of 50 percent" in f.refresh().get("StatusReason", ""), "the checkpoint")
    assert f.refresh()["PercentageComplete"] == 50 and f.refresh()["InstancesToUpdate"] == 2
    assert f.images() == sorted([OLD] * 2 + [NEW] * 2)
    f.autoscaling.set_desired_capacity(AutoScalingGroupName=f.name, DesiredCapacity=5)
    f.settled(5)
    assert f.images() == sorted([OLD] * 2 + [NEW] * 3), "scale-outs use the desired configuration"
    assert f.autoscaling.rollback_instance_refresh(AutoScalingGroupName=f.name)["InstanceRefreshId"] == id
    shown, _ = f.followed()
    assert shown["Status"] == "RollbackSuccessful"
    details = shown["RollbackDetails"]
    assert details["PercentageCompleteOnRollback"] == 50 and details["InstancesToUpdateOnRollback"] == 2, details
    assert "user request" in details["RollbackReason"]
    f.settled(5)
    assert f.images() == [OLD] * 5
    assert f.now()["LaunchTemplate"]["Version"] == "1"


def test_cancel_with_and_without_waiting(fleet):
    f = fleet("refresh-cancel", 3)
    refused("ActiveInstanceRefreshNotFound", f.autoscaling.cancel_instance_refresh, AutoScalingGroupName=f.name)
    refused("ActiveInstanceRefreshNotFound", f.autoscaling.rollback_instance_refresh, AutoScalingGroupName=f.name)
    first = f.start("2", InstanceWarmup=3600)
    until(lambda: "is warming up" in f.refresh().get("StatusReason", ""), "a warming instance")
    assert f.autoscaling.cancel_instance_refresh(AutoScalingGroupName=f.name)["InstanceRefreshId"] == first
    shown, _ = f.followed()
    assert (shown["Status"], shown["StatusReason"]) == ("Cancelled", "Cancelled due to user request.")
    f.settled(3)
    assert f.now()["LaunchTemplate"]["Version"] == "1", "not saved"
    assert sorted(f.images()) == sorted([OLD, OLD, NEW])
    second = f.start("2", InstanceWarmup=3600)
    f.autoscaling.cancel_instance_refresh(AutoScalingGroupName=f.name, WaitForTransitioningInstances=False)
    assert f.refresh(second)["Status"] == "Cancelled"
    listed = f.autoscaling.describe_instance_refreshes(AutoScalingGroupName=f.name, MaxRecords=1)
    assert [r["InstanceRefreshId"] for r in listed["InstanceRefreshes"]] == [second]
    rest = f.autoscaling.describe_instance_refreshes(AutoScalingGroupName=f.name, NextToken=listed["NextToken"])
    assert [r["InstanceRefreshId"] for r in rest["InstanceRefreshes"]] == [first] and "NextToken" not in rest


def test_an_alarm_rolls_back_and_what_is_irreversible_is_refused(fleet, cloudwatch):
    f = fleet("refresh-alarm", 2)
    cloudwatch.put_metric_alarm(
        AlarmName="refresh-alarm", Namespace="Test", MetricName="Errors", Statistic="Sum", Period=60,
        EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold")
    alarms = {"AlarmSpecification": {"Alarms": ["refresh-alarm"]}}
    refused("ValidationError", f.start, version="2", AlarmSpecification={"Alarms": ["no-such-alarm"]})
    refused("IrreversibleInstanceRefresh", f.start, AutoRollback=True)
    f.start("2", BakeTime=3600, AutoRollback=True, **alarms)
    until(lambda: f.refresh()["Status"] == "Baking", "the bake time")
    assert f.refresh()["PercentageComplete"] == 100
    cloudwatch.set_alarm_state(AlarmName="refresh-alarm", StateValue="ALARM", StateReason="test")
    shown, _ = f.followed()
    assert shown["Status"] == "RollbackSuccessful", shown
    assert "refresh-alarm is in the ALARM state" in shown["RollbackDetails"]["RollbackReason"]
    f.settled(2)
    assert f.images() == [OLD] * 2
    cloudwatch.delete_alarms(AlarmNames=["refresh-alarm"])
    latest = fleet("refresh-latest", 1, version="$Latest")
    latest.start("1", MinHealthyPercentage=0, InstanceWarmup=3600)
    message = refused("IrreversibleInstanceRefresh", latest.autoscaling.rollback_instance_refresh,
                      AutoScalingGroupName=latest.name)
    assert "$Latest" in message


def test_protected_and_standby_instances(fleet):
    f = fleet("refresh-protected", 3)
    kept, standby, other = sorted(f.ids())
    f.autoscaling.set_instance_protection(
        AutoScalingGroupName=f.name, InstanceIds=[kept], ProtectedFromScaleIn=True)
    f.autoscaling.enter_standby(AutoScalingGroupName=f.name, InstanceIds=[standby], ShouldDecrementDesiredCapacity=True)
    until(lambda: any(i["LifecycleState"] == "Standby" for i in f.instances()), "standby")
    f.start("2")
    until(lambda: "cannot be replaced now" in f.refresh().get("StatusReason", ""), "the wait")
    assert f.refresh()["Status"] == "InProgress" and other not in f.ids()
    f.autoscaling.set_instance_protection(
        AutoScalingGroupName=f.name, InstanceIds=[kept], ProtectedFromScaleIn=False)
    until(lambda: kept not in f.ids(), "the formerly protected one's replacement")
    f.autoscaling.cancel_instance_refresh(AutoScalingGroupName=f.name)
    f.followed()
    f.start("2", ScaleInProtectedInstances="Refresh", StandbyInstances="Ignore")
    assert f.followed()[0]["Status"] == "Successful"
    assert standby in f.ids()
    f.start("2", StandbyInstances="Terminate")
    assert f.followed()[0]["Status"] == "Successful"
    until(lambda: standby not in f.ids(), "the end of the one in standby")


def test_suspension_pauses_and_a_restart_goes_on(new_server):
    server = new_server("--any-image", "--boot-time", "300")
    f = Fleet(server.client("autoscaling"), server.client("ec2"), "refresh-restart", 6)
    f.autoscaling.suspend_processes(AutoScalingGroupName=f.name, ScalingProcesses=["InstanceRefresh"])
    id = f.start("2", MinHealthyPercentage=80)
    assert f.refresh()["Status"] == "Pending"
    f.autoscaling.resume_processes(AutoScalingGroupName=f.name)
    until(lambda: f.refresh()["InstancesToUpdate"] <= 4, "some progress")
    server.kill()
    server.start()
    f.autoscaling, f.ec2 = server.client("autoscaling"), server.client("ec2")
    assert f.refresh()["InstanceRefreshId"] == id
    shown, _ = f.followed(most=6)
    assert shown["Status"] == "Successful"
    f.settled(6)
    assert f.images() == [NEW] * 6


def test_replacements_go_on_while_the_group_scales_and_instances_die(fleet):
    f = fleet("refresh-busy", 4, MaxSize=8)
    f.start("2", MinHealthyPercentage=75, MaxHealthyPercentage=125)
    f.autoscaling.set_desired_capacity(AutoScalingGroupName=f.name, DesiredCapacity=6)
    f.ec2.terminate_instances(InstanceIds=[sorted(f.ids())[0]])
    until(lambda: len(f.instances()) >= 6, "the larger group")
    f.autoscaling.set_desired_capacity(AutoScalingGroupName=f.name, DesiredCapacity=3)
    assert f.followed()[0]["Status"] == "Successful"
    f.settled(3)
    assert f.images() == [NEW] * 3


def test_hooks_hold_it_on_both_ways(fleet):
    f = fleet("refresh-hooked", 2)
    for way in ("LAUNCHING", "TERMINATING"):
        f.autoscaling.put_lifecycle_hook(
            AutoScalingGroupName=f.name, LifecycleHookName=way.lower(), HeartbeatTimeout=600,
            LifecycleTransition=f"autoscaling:EC2_INSTANCE_{way}")
    before = f.ids()
    f.start("2")
    until(lambda: "is Pending:Wait." in f.refresh().get("StatusReason", ""), "the launch hook")
    assert f.refresh()["PercentageComplete"] == 0 and len(before & f.ids()) == 2, "one is Terminating:Wait, one serves"
    release = {"Pending:Wait": "launching", "Terminating:Wait": "terminating"}

    def over():
        for i in f.instances():
            if hook := release.get(i["LifecycleState"]):
                f.autoscaling.complete_lifecycle_action(
                    AutoScalingGroupName=f.name, LifecycleHookName=hook, InstanceId=i["InstanceId"],
                    LifecycleActionResult="CONTINUE")
        return f.refresh()["Status"] == "Successful" and not before & f.ids()
    until(over, "the end of the refresh and of the old instances", 60)
    assert f.images() == [NEW] * 2
    for way in ("launching", "terminating"):
        f.autoscaling.delete_lifecycle_hook(AutoScalingGroupName=f.name, LifecycleHookName=way)


def test_it_explains_itself_and_is_announced(fleet, server):
    f = fleet("refresh-explained", 2)
    id = f.start("2", CheckpointPercentages=[50, 100], CheckpointDelay=0)
    assert f.followed()[0]["Status"] == "Successful"

    def puffer(*command):
        return subprocess.run([PUFFER, *command, "--data-dir", server.data_dir], check=True,
                              capture_output=True, text=True).stdout
    told = puffer("explain", f.name)
    assert told.startswith(f"instance refresh {id}: Successful, 100 percent complete, 0 of 2 instances left"), told
    assert "because i-" in told and f"instance refresh {id} (InProgress): 0 of 2 done; 2 ready" in told, told
    events = puffer("events", "--group", f.name)
    for what in ("Started", "Checkpoint Reached", "Succeeded"):
        assert f"EC2 Auto Scaling Instance Refresh {what}" in events, events


def test_preferences_that_make_no_sense_are_refused(fleet):
    f = fleet("refresh-refused", 1)
    for preferences in (
        {"MaxHealthyPercentage": 120}, {"MinHealthyPercentage": 50, "MaxHealthyPercentage": 160},
        {"CheckpointPercentages": [50, 20]}, {"CheckpointPercentages": [50, 50]}, {"CheckpointDelay": 60},
        {"AlarmSpecification": {"Alarms": [f"a{n}" for n in range(11)]}},
    ):
        refused("ValidationError", f.start, **preferences)
    for strategy in ("Replace", "ReplaceRootVolume"):
        refused("ValidationError", f.autoscaling.start_instance_refresh, AutoScalingGroupName=f.name, Strategy=strategy)
    refused("ValidationError", f.autoscaling.start_instance_refresh, AutoScalingGroupName="no-such-group")
    assert f.autoscaling.describe_instance_refreshes(AutoScalingGroupName=f.name)["InstanceRefreshes"] == []


def test_a_maintenance_policy_launches_first_and_is_the_refreshs_default(fleet):
    f = fleet("maintained", 2, InstanceMaintenancePolicy={"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150})
    assert f.now()["InstanceMaintenancePolicy"] == {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150}
    sick = sorted(f.ids())[0]
    f.autoscaling.set_instance_health(InstanceId=sick, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)

    def healed():
        found = f.instances()
        serving = [i for i in found if i["LifecycleState"] == "InService"]
        assert len(serving) >= 2 and len(serving) <= 3, found
        return sick not in f.ids() and len(found) == 2
    until(healed, "a replacement that came first", pause_s=0.02)
    causes = f.causes()
    assert any("unhealthy instance needing to be replaced" in c for _, c in causes), causes
    f.start()
    preferences = f.refresh()["Preferences"]
    assert (preferences["MinHealthyPercentage"], preferences["MaxHealthyPercentage"]) == (100, 150)
    assert f.followed(least=2, most=3)[0]["Status"] == "Successful"
    update = f.autoscaling.update_auto_scaling_group
    refused("ValidationError", update, AutoScalingGroupName=f.name,
            InstanceMaintenancePolicy={"MinHealthyPercentage": 20, "MaxHealthyPercentage": 150})
    refused("ValidationError", update, AutoScalingGroupName=f.name,
            InstanceMaintenancePolicy={"MinHealthyPercentage": 90})
    update(AutoScalingGroupName=f.name,
           InstanceMaintenancePolicy={"MinHealthyPercentage": -1, "MaxHealthyPercentage": -1})
    assert "InstanceMaintenancePolicy" not in f.now()


def test_the_maximum_lifetime_is_kept_as_a_setting(fleet):
    f = fleet("aging", 1, MaxInstanceLifetime=86400)
    assert f.now()["MaxInstanceLifetime"] == 86400
    update = f.autoscaling.update_auto_scaling_group
    refused("ValidationError", update, AutoScalingGroupName=f.name, MaxInstanceLifetime=3600)
    update(AutoScalingGroupName=f.name, MaxInstanceLifetime=0)
    assert "MaxInstanceLifetime" not in f.now()


class Roots:
    """A group of three with a mixed instances policy, each type with an image of its own."""

    def __init__(self, autoscaling, ec2, name, **settings):
        self.autoscaling, self.ec2, self.name = autoscaling, ec2, name
        self.template = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={
            "ImageId": OLD, "InstanceType": "t3.small"})["LaunchTemplate"]["LaunchTemplateId"]
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, MixedInstancesPolicy=self.policy(OLD), MinSize=0, MaxSize=3, DesiredCapacity=3,
            AvailabilityZones=ZONES, **settings)
        until(lambda: self.states() == ["InService"] * 3, "three in service")

    def policy(self, image, version="1"):
        overrides = [{"InstanceType": t, **({"ImageId": image} if image else {})} for t in ("t3.small", "t3.medium")]
        template = {"LaunchTemplateId": self.template, "Version": version}
        return {"LaunchTemplate": {"LaunchTemplateSpecification": template, "Overrides": overrides}}

    def wanted(self, image, **more):
        return {"MixedInstancesPolicy": self.policy(image, **more)}

    def shown(self):
        return self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"][0]

    def states(self):
        return [i["LifecycleState"] for i in self.shown()["Instances"]]

    def machines(self):
        found = self.ec2.describe_instances(InstanceIds=[i["InstanceId"] for i in self.shown()["Instances"]])
        return {i["InstanceId"]: i for r in found["Reservations"] for i in r["Instances"]}

    def start(self, image=None, preferences=(), **more):
        if image:
            more["DesiredConfiguration"] = self.wanted(image)
        return self.autoscaling.start_instance_refresh(
            AutoScalingGroupName=self.name, Strategy="ReplaceRootVolume",
            Preferences={"InstanceWarmup": 0, **dict(preferences)}, **more)["InstanceRefreshId"]

    def refresh(self):
        return self.autoscaling.describe_instance_refreshes(AutoScalingGroupName=self.name)["InstanceRefreshes"][0]

    def followed(self, serving=0):
        """Polls to the end: nobody comes, nobody goes, and the progress is that of the instances."""
        before, states = set(self.machines()), set()

        def over():
            shown = self.refresh()
            found = self.shown()["Instances"]
            states.update(i["LifecycleState"] for i in found)
            assert {i["InstanceId"] for i in found} == before, found
            assert len([i for i in found if i["LifecycleState"] == "InService"]) >= serving, found
            return shown["Status"] not in ACTIVE and shown
        return until(over, f"the end of the refresh of {self.name}", 60, 0.01), states

    def end(self):
        self.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=self.name, ForceDelete=True)
        until(lambda: not self.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=[self.name])["AutoScalingGroups"], f"the end of {self.name}")
        self.ec2.delete_launch_template(LaunchTemplateId=self.template)


@pytest.fixture
def roots(autoscaling, ec2):
    made = []

    def make(name, **settings):
        made.append(Roots(autoscaling, ec2, name, **settings))
        return made[-1]

    yield make
    for one in made:
        one.end()


def volumes(machines):
    return {m["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] for m in machines.values()}


def test_root_volumes_are_replaced_in_place(roots):
    g = roots("roots")
    before = g.machines()
    id = g.start(NEW, {"MinHealthyPercentage": 60})
    shown, states = g.followed(serving=2)
    assert (shown["InstanceRefreshId"], shown["Strategy"], shown["Status"]) == (id, "ReplaceRootVolume", "Successful")
    assert (shown["PercentageComplete"], shown["InstancesToUpdate"]) == (100, 0)
    assert "MaxHealthyPercentage" not in shown["Preferences"]
    assert any(s.startswith("ReplacingRootVolume") for s in states), states
    after = g.machines()
    for id, machine in before.items():
        for same in ("PrivateIpAddress", "InstanceType", "SubnetId", "LaunchTime", "SecurityGroups"):
            assert after[id][same] == machine[same]
        assert (machine["ImageId"], after[id]["ImageId"]) == (OLD, NEW)
        tasks = g.ec2.describe_replace_root_volume_tasks(
            Filters=[{"Name": "instance-id", "Values": [id]}])["ReplaceRootVolumeTasks"]
        assert [(t["TaskState"], t["ImageId"]) for t in tasks] == [("succeeded", NEW)]
    assert not volumes(before) & volumes(after)
    assert {i["ImageId"] for i in g.shown()["Instances"]} == {NEW}
    assert {o["ImageId"] for o in g.shown()["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]} == {NEW}
    texts = [a["Description"] for a in g.autoscaling.describe_scaling_activities(
        AutoScalingGroupName=g.name)["Activities"]]
    assert len([t for t in texts if t.startswith("Replacing the root volume")]) == 3
    # What is there already is left alone.
    g.start(NEW, {"SkipMatching": True})
    assert g.followed(serving=3)[0]["Status"] == "Successful" and volumes(g.machines()) == volumes(after)


def test_hooks_are_asked_before_and_after_a_root_volume_is_replaced(roots):
    g = roots("roots-hooked")
    for hook, way in (("out", "TERMINATING"), ("in", "LAUNCHING")):
        g.autoscaling.put_lifecycle_hook(
            LifecycleHookName=hook, AutoScalingGroupName=g.name, HeartbeatTimeout=300,
            LifecycleTransition=f"autoscaling:EC2_INSTANCE_{way}")
    g.start(NEW, {"MinHealthyPercentage": 90})
    for hook, state in (("out", "ReplacingRootVolume:Wait"), ("in", "Pending:Wait")):
        waiting = until(lambda s=state: [i for i in g.shown()["Instances"] if i["LifecycleState"] == s], f"one in {state}")
        assert len(waiting) == 1 and g.states().count("InService") == 2
        assert waiting[0]["ImageId"] == {"out": OLD, "in": NEW}[hook]
        assert f"is {state}." in g.refresh()["StatusReason"] and g.refresh()["PercentageComplete"] == 0
        refused("ValidationError", g.autoscaling.put_warm_pool, AutoScalingGroupName=g.name, MinSize=1)
        g.autoscaling.complete_lifecycle_action(
            AutoScalingGroupName=g.name, LifecycleHookName=hook, InstanceId=waiting[0]["InstanceId"],
            LifecycleActionResult="CONTINUE")
    until(lambda: g.refresh()["PercentageComplete"] == 33, "the first")
    g.autoscaling.cancel_instance_refresh(AutoScalingGroupName=g.name, WaitForTransitioningInstances=False)
    assert g.refresh()["Status"] == "Cancelled"
    for hook in ("out", "in"):
        g.autoscaling.delete_lifecycle_hook(LifecycleHookName=hook, AutoScalingGroupName=g.name)


def test_root_volumes_roll_back_on_an_alarm(roots, cloudwatch):
    g = roots("roots-alarm")
    before = g.machines()
    cloudwatch.put_metric_alarm(
        AlarmName="roots-alarm", Namespace="Test", MetricName="Errors", Statistic="Sum", Period=60,
        EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold")
    g.start(NEW, {"MinHealthyPercentage": 0, "AutoRollback": True, "CheckpointPercentages": [60, 100],
                  "CheckpointDelay": 3600, "AlarmSpecification": {"Alarms": ["roots-alarm"]}})
    until(lambda: "checkpoint of 60 percent" in g.refresh().get("StatusReason", ""), "the checkpoint")
    assert sorted(m["ImageId"] for m in g.machines().values()) == sorted([OLD, NEW, NEW])
    cloudwatch.set_alarm_state(AlarmName="roots-alarm", StateValue="ALARM", StateReason="test")
    assert g.followed()[0]["Status"] == "RollbackSuccessful"
    after = g.machines()
    assert set(after) == set(before) and {m["ImageId"] for m in after.values()} == {OLD}
    assert len(volumes(after) & volumes(before)) == 1, "who had not been reached was left alone"
    cloudwatch.delete_alarms(AlarmNames=["roots-alarm"])


def test_what_root_volume_replacement_needs(roots, server):
    g = roots("roots-refused")
    refused("ValidationError", g.start)
    refused("ValidationError", g.start, DesiredConfiguration={
        "LaunchTemplate": {"LaunchTemplateId": g.template, "Version": "1"}})
    refused("ValidationError", g.start, DesiredConfiguration=g.wanted(None))
    message = refused("ValidationError", g.start, DesiredConfiguration=g.wanted(NEW, version="$Latest"))
    assert "$Latest" in message
    refused("ValidationError", g.start, image=NEW, preferences={"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110})
    assert g.autoscaling.describe_instance_refreshes(AutoScalingGroupName=g.name)["InstanceRefreshes"] == []
    # The command line starts one as boto3 does.
    id = server.aws("autoscaling", "start-instance-refresh", "--auto-scaling-group-name", g.name,
                    "--strategy", "ReplaceRootVolume", "--preferences", '{"InstanceWarmup": 0}',
                    "--desired-configuration", json.dumps(g.wanted(NEW)))["InstanceRefreshId"]
    shown, _ = g.followed(serving=2)
    assert (shown["InstanceRefreshId"], shown["Status"]) == (id, "Successful")


def test_a_killed_server_replaces_each_root_volume_once(new_server):
    server = new_server("--any-image", "--boot-time", "400")
    g = Roots(server.client("autoscaling"), server.client("ec2"), "roots-killed")
    g.start(NEW, {"MinHealthyPercentage": 60})
    until(lambda: any(s.startswith("ReplacingRootVolume") for s in g.states()), "the first")
    server.kill()
    server.start()
    g.autoscaling, g.ec2 = server.client("autoscaling"), server.client("ec2")
    assert g.followed(serving=2)[0]["Status"] == "Successful"
    tasks = g.ec2.describe_replace_root_volume_tasks()["ReplaceRootVolumeTasks"]
    assert [t["TaskState"] for t in tasks] == ["succeeded"] * 3 and len({t["InstanceId"] for t in tasks}) == 3
